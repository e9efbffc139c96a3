package storage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/storage"
	"sluice/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inUpdate runs fn in a transaction of a new store in memory.
func inUpdate(t *testing.T, fn func(tx storage.Tx)) {
	t.Helper()
	s := storagetest.NewMemory()
	if err := s.Update(context.Background(), func(tx storage.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCollections(t *testing.T) {
	for i, c := range storage.Collections {
		if c.Index() != i {
			t.Errorf("%s has the index %d, want %d", c, c.Index(), i)
		}
	}
	if storage.Collection("other").Index() != -1 {
		t.Error("an unknown collection has an index")
	}
}

func TestKindForPath(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "plain"), nil, 0o600))
	for path, want := range map[string]string{
		"/s/state.db": "bolt", "/s/state.bolt": "bolt", "/s/state": "bolt", "/s/STATE.DB": "bolt",
		"/s/state.sqlite": "sqlite", "/s/state.SQLite3": "sqlite",
		"/s/state/": "jsonfile", "/s/state.d": "jsonfile", "state.d/": "jsonfile",
		dir: "jsonfile", filepath.Join(dir, "plain"): "bolt",
	} {
		if got := storage.KindForPath(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestBounds compares Range.Bounds with what the fields of Range say.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xc3, 0xa9, 0xff}), 0, 3), func(b []byte) string { return string(b) })
		r := storage.Range{Prefix: word.Draw(rt, "prefix"), From: word.Draw(rt, "from"), Reverse: rapid.Bool().Draw(rt, "reverse")}
		key := word.Draw(rt, "key")
		want := strings.HasPrefix(key, r.Prefix) && (r.From == "" || !r.Reverse && key >= r.From || r.Reverse && key <= r.From)
		low, high, bounded := r.Bounds()
		if got := key >= low && (!bounded || key < high); got != want {
			rt.Fatalf("%+v of %q: %v, want %v (bounds %q %q %v)", r, key, got, want, low, high, bounded)
		}
	})
}

// TestOverlayModel: an overlay answers as the transaction below would after Flush.
func TestOverlayModel(t *testing.T) {
	keys := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 1, 3, -1)
	rapid.Check(t, func(rt *rapid.T) {
		s := storagetest.NewMemory()
		err := s.Update(context.Background(), func(tx storage.Tx) error {
			for range rapid.IntRange(0, 8).Draw(rt, "below") {
				must2(rt, tx.Put(storage.Meta, keys.Draw(rt, "k"), []byte("old")))
			}
			o := storage.NewOverlay(tx)
			ranges := []storage.Range{}
			for range rapid.IntRange(0, 8).Draw(rt, "above") {
				if k := keys.Draw(rt, "k"); rapid.Bool().Draw(rt, "delete") {
					must2(rt, o.Delete(storage.Meta, k))
				} else {
					must2(rt, o.Put(storage.Meta, k, []byte("new "+k)))
				}
				ranges = append(ranges, storage.Range{
					Prefix:  rapid.SampledFrom([]string{"", "a", "ab", "b"}).Draw(rt, "prefix"),
					From:    rapid.OneOf(rapid.Just(""), keys).Draw(rt, "from"),
					Limit:   rapid.IntRange(0, 3).Draw(rt, "limit"),
					Reverse: rapid.Bool().Draw(rt, "reverse"),
				})
			}
			dump := func(r storage.Reader) string {
				var b strings.Builder
				for _, rng := range ranges {
					must2(rt, r.Scan(storage.Meta, rng, func(k string, v []byte) error { fmt.Fprintf(&b, "%s=%s ", k, v); return nil }))
					b.WriteString("; ")
				}
				return b.String()
			}
			before := dump(o)
			must2(rt, o.Flush())
			if after := dump(tx); before != after {
				rt.Fatalf("the overlay says %s, and after Flush it is %s", before, after)
			}
			return nil
		})
		must2(rt, err)
	})
}

func must2(rt *rapid.T, err error) {
	if err != nil {
		rt.Fatal(err)
	}
}

func TestSessions(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		for i := range 10 {
			agent := []string{"main", "other"}[i%2]
			must(t, storage.PutSession(tx, &storage.SessionRow{
				Key: fmt.Sprintf("agent:%s:%02d", agent, i), SessionID: fmt.Sprintf("id-%d", i), AgentID: agent,
				UpdatedAtMs: int64(i), Archived: i >= 8,
			}))
		}
		yes, no := true, false
		for _, x := range []struct {
			f    storage.SessionFilter
			want int
		}{
			{storage.SessionFilter{}, 10},
			{storage.SessionFilter{AgentID: "main"}, 5},
			{storage.SessionFilter{KeyPrefix: "agent:other:"}, 5},
			{storage.SessionFilter{AfterKey: "agent:main:04"}, 7},
			{storage.SessionFilter{Archived: &yes}, 2},
			{storage.SessionFilter{Archived: &no}, 8},
			{storage.SessionFilter{UpdatedFromMs: 5}, 5},
			{storage.SessionFilter{Limit: 3}, 3},
			{storage.SessionFilter{Match: func(r *storage.SessionRow) bool { return r.SessionID == "id-3" }}, 1},
		} {
			rows, err := storage.ListSessions(tx, x.f)
			if err != nil || len(rows) != x.want {
				t.Errorf("%+v: %d rows, %v; want %d", x.f, len(rows), err, x.want)
			}
		}
		if n, err := storage.CountSessions(tx); n != 10 || err != nil {
			t.Errorf("%d sessions, %v", n, err)
		}
		if key, err := storage.SessionKeyByID(tx, "id-4"); err != nil || key != "agent:main:04" {
			t.Errorf("id-4 is %q, %v", key, err)
		}
		// A session id belongs to one session: an id in a request must not lead elsewhere.
		err := storage.PutSession(tx, &storage.SessionRow{Key: "agent:evil:x", SessionID: "id-4"})
		if !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("a stolen session id: %v", err)
		}
		// A reset gives the session another id, and the old one leads nowhere.
		row, err := storage.GetSession(tx, "agent:main:04")
		must(t, err)
		row.SessionID = "id-new"
		must(t, storage.PutSession(tx, &row))
		if _, err := storage.SessionKeyByID(tx, "id-4"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("the old id: %v", err)
		}
		must(t, storage.DeleteSession(tx, "agent:main:04"))
		must(t, storage.DeleteSession(tx, "agent:main:04"))
		for _, gone := range []string{"id-new", "nobody"} {
			if _, err := storage.SessionKeyByID(tx, gone); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: %v", gone, err)
			}
		}
		for _, bad := range []string{"", "../x", "a/b", "/", strings.Repeat("x", 257), "\xff"} {
			if err := storage.PutSession(tx, &storage.SessionRow{Key: "k", SessionID: bad}); !errors.Is(err, storage.ErrInvalidKey) {
				t.Errorf("session id %.20q: %v", bad, err)
			}
		}
	})
}

func TestSessionRowRoundTrip(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		want := storage.SessionRow{Key: "k", SessionID: "s", Label: "l", LastSeq: 1<<53 + 1, Extra: map[string]jsontext.Value{"fastMode": jsontext.Value(`"auto"`)}}
		must(t, storage.PutSession(tx, &want))
		got, err := storage.GetSession(tx, "k")
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v, %v", got, err)
		}
		must(t, tx.Put(storage.Sessions, "newer", []byte(`{"key":"newer","sessionId":"n","fromTheFuture":[1]}`)))
		if got, err := storage.GetSession(tx, "newer"); err != nil || got.SessionID != "n" {
			t.Errorf("%+v, %v", got, err)
		}
		must(t, tx.Put(storage.Sessions, "bad", []byte(`{"key":7}`)))
		if _, err := storage.GetSession(tx, "bad"); !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "sessions/bad") {
			t.Errorf("%v", err)
		}
	})
}

func TestMeta(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		for want := range int64(3) {
			if n, err := storage.AddCounter(tx, storage.CounterBoots, 1); err != nil || n != want+1 {
				t.Errorf("%d, %v", n, err)
			}
		}
		for give, want := range map[int64]int64{100: 100} {
			n, err := storage.RaiseCounter(tx, storage.CounterEvents, give)
			if n != want || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		if n, err := storage.RaiseCounter(tx, storage.CounterEvents, 50); n != 100 || err != nil {
			t.Errorf("a watermark went back to %d, %v", n, err)
		}
		must(t, storage.CheckSchema(tx))
		must(t, storage.CheckSchema(tx))
		must(t, storage.SetCounter(tx, storage.CounterSchema, storage.SchemaVersion+1))
		if err := storage.CheckSchema(tx); err == nil || !strings.Contains(err.Error(), "newer program") {
			t.Errorf("state from the future: %v", err)
		}
		must(t, tx.Put(storage.Meta, string(storage.CounterBoots), []byte("x")))
		if _, err := storage.ReadCounter(tx, storage.CounterBoots); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%v", err)
		}
	})
}

func TestConfigRevisions(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		for i := range 12 {
			rev := storage.ConfigRevision{Hash: fmt.Sprint(i), Raw: "{}"}
			must(t, storage.AppendConfigRevision(tx, &rev, 5))
			if rev.Revision != int64(i+1) {
				t.Errorf("revision %d, want %d", rev.Revision, i+1)
			}
		}
		revs, err := storage.ListConfigRevisions(tx, 0)
		if err != nil || len(revs) != 5 || revs[0].Revision != 12 || revs[4].Revision != 8 {
			t.Errorf("%+v, %v", revs, err)
		}
		if _, err := storage.GetConfigRevision(tx, 7); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%v", err)
		}
		if rev, err := storage.GetConfigRevision(tx, 9); err != nil || rev.Hash != "8" {
			t.Errorf("%+v, %v", rev, err)
		}
	})
}
