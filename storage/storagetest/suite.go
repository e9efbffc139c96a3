// Package storagetest is the conformance suite of the storage backends: what every
// storage.Store promises, as tests. A backend's own test is
//
//	func TestConformance(t *testing.T) {
//		storagetest.Run(t, func(path string) (storage.Store, error) { return Open(path, Default()) })
//	}
//
// It also holds Memory, a Store in memory for the tests of other packages.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/storage"
)

// Opener opens or creates the store at path.
type Opener func(path string) (storage.Store, error)

// Run runs the whole suite. t must belong to a top-level test function: the tests of
// kill -9 and of the full disk run it again in a child process.
func Run(t *testing.T, open Opener) {
	if runChild(t, open) {
		return
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, Opener)
	}{
		{"Values", testValues},
		{"Ownership", testOwnership},
		{"InvalidKeys", testInvalidKeys},
		{"StrangeKeys", testStrangeKeys},
		{"Scan", testScan},
		{"ScanInUpdate", testScanInUpdate},
		{"ScanErrors", testScanErrors},
		{"Rollback", testRollback},
		{"Isolation", testIsolation},
		{"Context", testContext},
		{"Closed", testClosed},
		{"Reopen", testReopen},
		{"Permissions", testPermissions},
		{"Locked", testLocked},
		{"Concurrent", testConcurrent},
		{"LargeValues", testLargeValues},
		{"Overlay", testOverlay},
		{"Model", testModel},
		{"Damage", testDamage},
		{"Kill", testKill},
		{"FullDisk", testFullDisk},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

// place returns a path for one store in a folder of its own.
func place(t testing.TB) string { return filepath.Join(t.TempDir(), "state", "store.db") }

// mustOpen opens the store at path and closes it when the test ends, unless the test
// did so itself.
func mustOpen(t testing.TB, open Opener, path string) storage.Store {
	t.Helper()
	s, err := open(path)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, storage.ErrClosed) {
			t.Errorf("close %s: %v", path, err)
		}
	})
	return s
}

func mustClose(t testing.TB, s storage.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func update(t testing.TB, s storage.Store, fn func(storage.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func view(t testing.TB, s storage.Store, fn func(storage.Reader) error) {
	t.Helper()
	if err := s.View(context.Background(), fn); err != nil {
		t.Fatalf("view: %v", err)
	}
}

func put(t testing.TB, s storage.Store, c storage.Collection, key, value string) {
	t.Helper()
	update(t, s, func(tx storage.Tx) error { return tx.Put(c, key, []byte(value)) })
}

// get returns the value under key, or "<none>".
func get(t testing.TB, s storage.Store, c storage.Collection, key string) (value string) {
	t.Helper()
	view(t, s, func(r storage.Reader) error {
		value = read(t, r, c, key)
		return nil
	})
	return value
}

// fataler is what the helpers need of testing.TB; a *rapid.T is one, too.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func read(t fataler, r storage.Reader, c storage.Collection, key string) string {
	t.Helper()
	v, err := r.Get(c, key)
	if errors.Is(err, storage.ErrNotFound) {
		return "<none>"
	}
	if err != nil {
		t.Fatalf("get %s/%q: %v", c, key, err)
	}
	return string(v)
}

// scan returns "key=value" for each visited pair.
func scan(t fataler, r storage.Reader, c storage.Collection, rng storage.Range) []string {
	t.Helper()
	got := []string{}
	if err := r.Scan(c, rng, func(k string, v []byte) error {
		got = append(got, k+"="+string(v))
		return nil
	}); err != nil {
		t.Fatalf("scan %s %+v: %v", c, rng, err)
	}
	return got
}

func equal(t fataler, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// files lists the regular files of the store at path (a file or a folder) with what
// lies beside it under the same name.
func files(t testing.TB, path string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Dir(path), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasPrefix(p, path) {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func testPermissions(t *testing.T, open Opener) {
	path := place(t)
	s := mustOpen(t, open, path)
	put(t, s, storage.Devices, "device", `{"secret":"hash"}`)
	err := filepath.WalkDir(filepath.Dir(path), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = fmt.Errorf("%s has mode %v: others may read it", p, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	for _, f := range files(t, path) {
		if err := os.Chmod(f, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, open, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.Fatalf("open left %s with mode %v", path, info.Mode())
	}
}

func testLocked(t *testing.T, open Opener) {
	path := place(t)
	s := mustOpen(t, open, path)
	put(t, s, storage.Meta, "k", `1`)
	second, err := open(path)
	if !errors.Is(err, storage.ErrLocked) {
		if second != nil {
			second.Close()
		}
		t.Fatalf("second open: %v, want ErrLocked", err)
	}
	if !strings.Contains(err.Error(), filepath.Base(path)) {
		t.Errorf("the error does not name the path: %v", err)
	}
	put(t, s, storage.Meta, "k", `2`) // the first is not disturbed
	mustClose(t, s)
	if got := get(t, mustOpen(t, open, path), storage.Meta, "k"); got != `2` {
		t.Fatalf("got %s after the lock was free", got)
	}
}
