package jsonfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/storage"
)

func mustOpen(tb testing.TB, path string, cfg Config) *Store {
	tb.Helper()
	s, err := Open(path, cfg)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func mustPut(tb testing.TB, s *Store, key, value string) {
	tb.Helper()
	err := s.Update(context.Background(), func(tx storage.Tx) error { return tx.Put(storage.Sessions, key, []byte(value)) })
	if err != nil {
		tb.Fatalf("put %s: %v", key, err)
	}
}

func get(tb testing.TB, s *Store, key string) (value string) {
	tb.Helper()
	err := s.View(context.Background(), func(r storage.Reader) error {
		v, err := r.Get(storage.Sessions, key)
		value = string(v)
		if err != nil {
			value = err.Error()
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return value
}

// TestReadable is the promise to the person who looks into the folder.
func TestReadable(t *testing.T) {
	path := t.TempDir()
	s := mustOpen(t, path, testConfig())
	mustPut(t, s, "agent:main:main", `{"label":"hello"}`)
	mustPut(t, s, "a/b", "\x00")
	file := filepath.Join(path, "sessions", "agent+main+main.json")
	if b, err := os.ReadFile(file); err != nil || string(b) != `{"label":"hello"}`+"\n" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(path, "sessions", "a,b.env.json")); err != nil || !strings.Contains(string(b), `"key":"a/b"`) {
		t.Errorf("%q, %v", b, err)
	}
	s.Close()
	// Edited by hand, pretty, without a last newline; a note and a copy beside it.
	write(t, file, "{\n  \"label\": \"edited\"\n}")
	write(t, filepath.Join(path, "sessions", "README.txt"), "mine")
	write(t, filepath.Join(path, "sessions", "agent+main+main copy.json"), "{}")
	s = mustOpen(t, path, testConfig())
	if got := get(t, s, "agent:main:main"); got != "{\n  \"label\": \"edited\"\n}" {
		t.Errorf("edited: %q", got)
	}
	if aside := s.Health().SetAside; len(aside) != 1 || !strings.Contains(aside[0], " copy.json.damaged-") {
		t.Errorf("set aside: %q", aside)
	}
	if _, err := os.Stat(filepath.Join(path, "sessions", "README.txt")); err != nil {
		t.Errorf("the note: %v", err)
	}
}

func write(tb testing.TB, path, content string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// TestFilesCannotBeWritten: what the journal has is acknowledged, readable, and reaches
// its files when that is possible again.
func TestFilesCannotBeWritten(t *testing.T) {
	path := t.TempDir()
	cfg := testConfig()
	cfg.CacheBytes = 0
	s := mustOpen(t, path, cfg)
	mustPut(t, s, "old", `"old"`)
	dir := filepath.Join(path, "sessions")
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "new", `"new"`)
	if got := get(t, s, "new"); got != `"new"` {
		t.Errorf("acknowledged, and reads as %s", got)
	}
	if s.Health().Degraded == "" {
		t.Error("health says nothing")
	}
	err := s.Update(context.Background(), func(storage.Tx) error { t.Error("fn ran"); return nil })
	if err == nil {
		t.Error("a second update was taken")
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "newer", `"newer"`)
	if s.Health().Degraded != "" {
		t.Errorf("degraded: %s", s.Health().Degraded)
	}
	for _, reopened := range []bool{false, true} {
		if reopened {
			s.Close()
			s = mustOpen(t, path, cfg)
		}
		for _, k := range []string{"old", "new", "newer"} {
			if got := get(t, s, k); got != `"`+k+`"` {
				t.Errorf("reopened=%v: %s reads as %s", reopened, k, got)
			}
		}
	}
}

// crash leaves the folder as a killed process would: the journal is not emptied.
func crash(tb testing.TB, s *Store) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(s.path, journalName))
	if err != nil {
		tb.Fatal(err)
	}
	s.Close()
	return b
}

// TestJournal: the files are lost or old, the journal has it all; then it is damaged.
func TestJournal(t *testing.T) {
	for name, x := range map[string]struct {
		damage func([]byte) []byte
		have   string // the keys that must be there afterwards
		aside  int
	}{
		"whole":            {func(b []byte) []byte { return b }, "0 1 2 3 4", 0},
		"cut in the last":  {func(b []byte) []byte { return b[:len(b)-3] }, "0 1 2 3", 0},
		"cut in its head":  {func(b []byte) []byte { return b[:len(b)*4/5+5] }, "0 1 2 3", 0},
		"zeros at the end": {func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, "0 1 2 3 4", 0},
		"first scratched":  {func(b []byte) []byte { b[20] ^= 0xff; return b }, "1 2 3 4", 1},
		"length scratched": {func(b []byte) []byte { b[5] ^= 0xff; return b }, "1 2 3 4", 1},
		"last scratched":   {func(b []byte) []byte { b[len(b)-1] ^= 0xff; return b }, "0 1 2 3", 1},
		"nonsense":         {func([]byte) []byte { return []byte("what is this?") }, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			s := mustOpen(t, path, testConfig())
			for i := range 5 {
				mustPut(t, s, fmt.Sprint(i), fmt.Sprintf(`{"n":%d}`, i))
			}
			b := crash(t, s)
			if err := os.RemoveAll(filepath.Join(path, "sessions")); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(path, journalName), string(x.damage(b)))
			s = mustOpen(t, path, testConfig())
			var have []string
			for i := range 5 {
				if get(t, s, fmt.Sprint(i)) == fmt.Sprintf(`{"n":%d}`, i) {
					have = append(have, fmt.Sprint(i))
				}
			}
			if got := strings.Join(have, " "); got != x.have {
				t.Errorf("have %q, want %q", got, x.have)
			}
			if aside := s.Health().SetAside; len(aside) != x.aside {
				t.Errorf("set aside: %q", aside)
			}
			mustPut(t, s, "after", "1")
		})
	}
}

// TestLateDamage: beyond verifyMaxBytes a damaged file is an error of who reads it.
func TestLateDamage(t *testing.T) {
	path := t.TempDir()
	cfg := testConfig()
	cfg.VerifyMaxBytes, cfg.CacheBytes = 0, 0
	s := mustOpen(t, path, cfg)
	mustPut(t, s, "k", "{}")
	mustPut(t, s, "other", "{}")
	s.Close()
	write(t, filepath.Join(path, "sessions", "k.json"), `{"cut`)
	s = mustOpen(t, path, cfg)
	err := s.View(context.Background(), func(r storage.Reader) error { _, err := r.Get(storage.Sessions, "k"); return err })
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
	if got := get(t, s, "other"); got != "{}" {
		t.Errorf("its neighbour: %s", got)
	}
	mustPut(t, s, "k", `"again"`)
	if got := get(t, s, "k"); got != `"again"` {
		t.Errorf("written again: %s", got)
	}
}

func TestPathIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "precious")
	if _, err := Open(path, testConfig()); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file became %q", b)
	}
}

// TestNames: one key, one name, whatever the case of the file system; and back.
func TestNames(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := rapid.String().Draw(rt, "a"), rapid.String().Draw(rt, "b")
		if rapid.Bool().Draw(rt, "long") {
			a += strings.Repeat("Long", 60)
		}
		name, reversible := encodeName(a)
		other, _ := encodeName(b)
		if a != b && strings.EqualFold(name, other) {
			rt.Fatalf("%q and %q share %q", a, b, name)
		}
		if len(name) > maxName || strings.ContainsAny(name, "/\\.: \x00ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			rt.Fatalf("%q becomes %q", a, name)
		}
		back, ok := decodeName(name)
		if ok != reversible || ok && back != a {
			rt.Fatalf("%q becomes %q and comes back as %q, %v", a, name, back, ok)
		}
	})
}

func FuzzDecodeName(f *testing.F) {
	for _, s := range []string{"agent+main+main", "^a", "%2f", "%2F", "^", "%", "%0", "a~b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if key, ok := decodeName(name); ok {
			if back, _ := encodeName(key); back != name {
				t.Fatalf("%q decodes to %q, which is %q", name, key, back)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(true, []byte(`{"key":"k","value":{}}`))
	f.Add(true, []byte(`{"key":"k","base64":"AP8=","crc32c":1}`))
	f.Add(false, []byte("{}\n"))
	f.Fuzz(func(t *testing.T, wrapped bool, content []byte) {
		key, value, err := parse(wrapped, content)
		if err != nil {
			return
		}
		if !wrapped {
			key = "k"
		}
		file, again := format(key, value)
		key2, value2, err := parse(isEnvelope(file), again)
		if err != nil || isEnvelope(file) && key2 != key || !bytes.Equal(value, value2) {
			t.Fatalf("%q=%q became %q=%q, %v", key, value, key2, value2, err)
		}
	})
}

func FuzzReplay(f *testing.F) {
	one := frame([]op{{c: storage.Meta, key: "k", value: []byte("v"), put: true}, {c: storage.Runs, key: "gone"}})
	f.Add(one)
	f.Add(append(append([]byte("junk"), one...), one...))
	f.Fuzz(func(t *testing.T, b []byte) {
		replay(b, func(ops []op) error {
			for _, o := range ops {
				if err := storage.CheckKey(o.c, o.key); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		})
	})
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Default()
	bad.JournalMaxFiles = 0
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "journalMaxFiles") {
		t.Errorf("%v", err)
	}
}
