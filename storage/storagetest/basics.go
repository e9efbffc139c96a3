package storagetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"sluice/storage"
)

func testValues(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	if got := get(t, s, storage.Sessions, "a"); got != "<none>" {
		t.Fatalf("a new store has %q", got)
	}
	values := []string{"", "{}", `{"a":[1,2.50,"x\u0000"]}`, "{}\n", " {} ", "null", "\x00\xff\xfe", `{"a":1,"a":2}`, "not json", `"ends\n"`}
	for i, v := range values {
		key := string(rune('a' + i))
		put(t, s, storage.Sessions, key, v)
		if got := get(t, s, storage.Sessions, key); got != v {
			t.Errorf("put %q, got %q", v, got)
		}
	}
	// Every change of shape: JSON to bytes, bytes to JSON, longer, shorter, gone, back.
	for _, v := range []string{"{}", "\xff", "[1]", strings.Repeat("x", 5000), `"y"`} {
		put(t, s, storage.Sessions, "a", v)
		if got := get(t, s, storage.Sessions, "a"); got != v {
			t.Errorf("replaced by %q, got %q", v, got)
		}
	}
	if got := get(t, s, storage.Runs, "a"); got != "<none>" {
		t.Errorf("collections are not apart: %q", got)
	}
	update(t, s, func(tx storage.Tx) error {
		return errors.Join(tx.Delete(storage.Sessions, "a"), tx.Delete(storage.Sessions, "never there"))
	})
	if got := get(t, s, storage.Sessions, "a"); got != "<none>" {
		t.Errorf("deleted, got %q", got)
	}
	update(t, s, func(tx storage.Tx) error {
		if err := tx.Put(storage.Sessions, "a", []byte("1")); err != nil {
			return err
		}
		if got := read(t, tx, storage.Sessions, "a"); got != "1" {
			t.Errorf("an update does not see its own write: %q", got)
		}
		if err := tx.Delete(storage.Sessions, "a"); err != nil {
			return err
		}
		if got := read(t, tx, storage.Sessions, "a"); got != "<none>" {
			t.Errorf("an update does not see its own delete: %q", got)
		}
		return nil
	})
}

func testOwnership(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	buf := []byte("first")
	update(t, s, func(tx storage.Tx) error {
		if err := tx.Put(storage.Meta, "k", buf); err != nil {
			return err
		}
		copy(buf, "XXXXX") // Put copied it
		if got := read(t, tx, storage.Meta, "k"); got != "first" {
			t.Errorf("in the update: %q", got)
		}
		return nil
	})
	copy(buf, "YYYYY")
	view(t, s, func(r storage.Reader) error {
		v, err := r.Get(storage.Meta, "k")
		if err != nil {
			return err
		}
		if string(v) != "first" {
			t.Errorf("committed: %q", v)
		}
		_ = append(v, "overflow"...) // must not write into a neighbour
		return nil
	})
	if got := get(t, s, storage.Meta, "k"); got != "first" {
		t.Errorf("after an append to the returned slice: %q", got)
	}
}

func testInvalidKeys(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	long := strings.Repeat("k", storage.MaxKeyBytes)
	bad := []struct {
		c   storage.Collection
		key string
	}{
		{storage.Meta, ""}, {storage.Meta, long + "k"}, {storage.Meta, "\xff"}, {"nowhere", "k"}, {"", "k"},
	}
	for _, b := range bad {
		err := s.Update(context.Background(), func(tx storage.Tx) error {
			if _, err := tx.Get(b.c, b.key); !errors.Is(err, storage.ErrInvalidKey) {
				t.Errorf("get %q/%.10q: %v", b.c, b.key, err)
			}
			if err := tx.Delete(b.c, b.key); !errors.Is(err, storage.ErrInvalidKey) {
				t.Errorf("delete %q/%.10q: %v", b.c, b.key, err)
			}
			return tx.Put(b.c, b.key, nil)
		})
		if !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("put %q/%.10q: %v", b.c, b.key, err)
		}
	}
	err := s.View(context.Background(), func(r storage.Reader) error {
		return r.Scan("nowhere", storage.Range{}, func(string, []byte) error { return nil })
	})
	if !errors.Is(err, storage.ErrInvalidKey) {
		t.Errorf("scan of an unknown collection: %v", err)
	}
	put(t, s, storage.Meta, long, "1")
	if got := get(t, s, storage.Meta, long); got != "1" {
		t.Errorf("the longest key: %q", got)
	}
}

// strangeKeys would collide, escape or vanish if a key became a path or a pattern.
var strangeKeys = []string{
	"../../etc/passwd", "/abs", "a/b", "a", "A", "aA", "Aa", "CON", "con.", ".", "..", "a.json", "a.json.tmp",
	"a%", "a_", "%2f", "^a", "a:b", "a+b", "a,b", "a b", " a", "a ", "a\x00b", "a\nb", "é", "e\u0301", "\U0010ffff",
	"x.damaged-20260101T000000.000Z", "journal", strings.Repeat("L", 300), strings.Repeat("l", 300), strings.Repeat("é/", 150),
	strings.Repeat("L", 299) + "M", "a'b", `a"b`, `a\b`, "~", "-", "--", "a*", "a?b",
}

func testStrangeKeys(t *testing.T, open Opener) {
	path := place(t)
	s := mustOpen(t, open, path)
	for i, k := range strangeKeys {
		v := "{}"
		if i%2 == 1 {
			v = "\x00bytes"
		}
		put(t, s, storage.Runs, k, v+k)
	}
	check := func(s storage.Store) {
		t.Helper()
		for i, k := range strangeKeys {
			v := "{}"
			if i%2 == 1 {
				v = "\x00bytes"
			}
			if got := get(t, s, storage.Runs, k); got != v+k {
				t.Errorf("%q: got %q", k, got)
			}
		}
		view(t, s, func(r storage.Reader) error {
			if got := scan(t, r, storage.Runs, storage.Range{}); len(got) != len(strangeKeys) {
				t.Errorf("%d keys in, %d out: %q", len(strangeKeys), len(got), got)
			}
			return nil
		})
	}
	check(s)
	mustClose(t, s)
	s = mustOpen(t, open, path)
	check(s)
	if aside := s.Health().SetAside; len(aside) != 0 {
		t.Errorf("a sound store reports damage: %q", aside)
	}
	update(t, s, func(tx storage.Tx) error {
		for _, k := range strangeKeys {
			if err := tx.Delete(storage.Runs, k); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(r storage.Reader) error {
		equal(t, "after deleting all", scan(t, r, storage.Runs, storage.Range{}), nil)
		return nil
	})
}

func testLargeValues(t *testing.T, open Opener) {
	path := place(t)
	s := mustOpen(t, open, path)
	random := rand.New(rand.NewPCG(1, 2))
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(random.Uint32())
	}
	text := []byte(`{"text":"` + strings.Repeat("lorem ipsum ", 1<<20/12) + `"}`)
	update(t, s, func(tx storage.Tx) error {
		return errors.Join(
			tx.Put(storage.Transcripts, "bytes", big), tx.Put(storage.Transcripts, "json", text),
			tx.Put(storage.Transcripts, "small", []byte("{}")))
	})
	check := func(s storage.Store) {
		t.Helper()
		view(t, s, func(r storage.Reader) error {
			for key, want := range map[string][]byte{"bytes": big, "json": text, "small": []byte("{}")} {
				if v, err := r.Get(storage.Transcripts, key); err != nil || !bytes.Equal(v, want) {
					t.Errorf("%s: %d bytes, %v; want %d", key, len(v), err, len(want))
				}
			}
			return nil
		})
	}
	check(s)
	mustClose(t, s)
	s = mustOpen(t, open, path)
	check(s)
	for range 8 { // replacing a large value again and again must not leave the old ones behind
		update(t, s, func(tx storage.Tx) error { return tx.Put(storage.Transcripts, "bytes", big) })
	}
	check(s)
}

func testReopen(t *testing.T, open Opener) {
	path := place(t)
	for i := range 5 {
		s := mustOpen(t, open, path)
		if i > 0 {
			if got, want := get(t, s, storage.Meta, "n"), string(rune('0'+i-1)); got != want {
				t.Fatalf("opening %d: got %q, want %q", i, got, want)
			}
		}
		put(t, s, storage.Meta, "n", string(rune('0'+i)))
		h := s.Health()
		if h.Backend == "" || h.Path != path || h.Degraded != "" || len(h.SetAside) != 0 {
			t.Fatalf("health of a sound store: %+v", h)
		}
		mustClose(t, s)
	}
}
