package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/storage"
)

// garbage is not UTF-8, not JSON, and no page of any kind.
const garbage = 0xA5

// testDamage damages a closed store in many ways. Whatever happened, Open must
// succeed, nothing may come back with a wrong value, what is missing must have been
// reported with the damaged bytes kept, and the store must be usable.
func testDamage(t *testing.T, open Opener) {
	for _, d := range []struct {
		name   string
		damage func(t *testing.T, file string)
	}{
		{"Head", func(t *testing.T, f string) { overwrite(t, f, 0, 16<<10) }},
		{"Everything", func(t *testing.T, f string) { overwrite(t, f, 0, 1<<30) }},
		{"HalfCut", func(t *testing.T, f string) { cut(t, f, 50) }},
		{"NearlyAllCut", func(t *testing.T, f string) { cut(t, f, 1) }},
		{"Text", func(t *testing.T, f string) { write(t, f, []byte("this was a store\n")) }},
	} {
		t.Run(d.name, func(t *testing.T) {
			path := place(t)
			want := fill(t, open, path)
			file := victim(t, path)
			d.damage(t, file)
			damaged, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := survivors(t, open, path, want)
			if len(got.aside) == 0 {
				// A file may be cut within room that it does not use yet.
				if got.kept < len(want) || d.name != "HalfCut" {
					t.Errorf("nothing was set aside; %d of %d keys are left", got.kept, len(want))
				}
			} else if kept, err := os.ReadFile(got.aside[0]); err != nil || !bytes.Equal(kept, damaged) {
				t.Errorf("%s does not hold the damaged bytes: %v", got.aside[0], err)
			}
		})
	}
	t.Run("Random", func(t *testing.T) {
		random := rand.New(rand.NewPCG(7, 7))
		lost, total := 0, 0
		for range 8 {
			path := place(t)
			want := fill(t, open, path)
			file := victim(t, path)
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, file, random.Int64N(info.Size()), 1+random.Int64N(64))
			got := survivors(t, open, path, want)
			if got.kept < len(want) && len(got.aside) == 0 {
				t.Fatalf("%d of %d keys are left and nothing was reported", got.kept, len(want))
			}
			lost, total = lost+len(want)-got.kept, total+len(want)
		}
		t.Logf("8 scratches of at most 64 bytes cost %d of %d keys", lost, total)
		if lost > total/4 {
			t.Errorf("a small scratch costs too much: %d of %d keys", lost, total)
		}
	})
}

// fill writes some hundred keys in several commits, closes the store and returns them.
func fill(t *testing.T, open Opener, path string) map[string]string {
	t.Helper()
	want := map[string]string{}
	s := mustOpen(t, open, path)
	for batch := range 4 {
		update(t, s, func(tx storage.Tx) error {
			for i := range 30 {
				key := fmt.Sprintf("agent:main:%d-%03d", batch, i)
				value := fmt.Sprintf(`{"key":%q,"text":%q}`, key, strings.Repeat(key, 20))
				want[key] = value
				if err := tx.Put(storage.Sessions, key, []byte(value)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	mustClose(t, s)
	return want
}

// victim is the file to damage: the store's own, or one of the keys' in a folder.
func victim(t *testing.T, path string) string {
	t.Helper()
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return path
	}
	for _, f := range files(t, path) {
		if filepath.Base(filepath.Dir(f)) == string(storage.Sessions) {
			return f
		}
	}
	t.Fatal("no file in the folder of sessions")
	return ""
}

type survived struct {
	kept  int
	aside []string
}

// survivors opens the store and checks what it has against want, and that it works and
// still reports the damage when it is opened once more.
func survivors(t *testing.T, open Opener, path string, want map[string]string) survived {
	t.Helper()
	s := mustOpen(t, open, path)
	got := survived{aside: s.Health().SetAside}
	view(t, s, func(r storage.Reader) error {
		for _, kv := range scan(t, r, storage.Sessions, storage.Range{}) {
			key, value, _ := strings.Cut(kv, "=")
			if want[key] != value {
				t.Errorf("%q came back as %.60q", key, value)
			}
			got.kept++
		}
		for key, value := range want {
			if v, err := r.Get(storage.Sessions, key); !errors.Is(err, storage.ErrNotFound) && string(v) != value {
				t.Errorf("get %q: %.60q, %v", key, v, err)
			}
		}
		return nil
	})
	for _, name := range got.aside {
		if !strings.Contains(filepath.Base(name), ".damaged-") {
			t.Errorf("set aside under the name %s", name)
		}
	}
	put(t, s, storage.Sessions, "after", `{"ok":true}`)
	mustClose(t, s)
	s = mustOpen(t, open, path)
	if v := get(t, s, storage.Sessions, "after"); v != `{"ok":true}` {
		t.Errorf("a write after the repair came back as %q", v)
	}
	if again := s.Health().SetAside; len(again) != len(got.aside) {
		t.Errorf("set aside: %q at first, %q when opened again", got.aside, again)
	}
	mustClose(t, s)
	return got
}

func overwrite(t *testing.T, file string, at, n int64) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := at; i < min(at+n, int64(len(b))); i++ {
		b[i] = garbage
	}
	write(t, file, b)
}

func cut(t *testing.T, file string, percent int64) {
	t.Helper()
	info, err := os.Stat(file)
	if err == nil {
		err = os.Truncate(file, max(info.Size()*percent/100, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
