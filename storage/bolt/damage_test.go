package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

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

func mustUpdate(tb testing.TB, s *Store, fn func(storage.Tx) error) {
	tb.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		tb.Fatalf("update: %v", err)
	}
}

// fill writes n messages of about 400 bytes and closes the store.
func fill(tb testing.TB, path string, n int) {
	tb.Helper()
	s := mustOpen(tb, path, testConfig())
	for from := 0; from < n; from += 1000 {
		mustUpdate(tb, s, func(tx storage.Tx) error {
			for i := from; i < min(n, from+1000); i++ {
				if err := tx.Put(storage.Transcripts, key(i), message(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
}

func key(i int) string { return fmt.Sprintf("session/%012d", i) }

func message(i int) []byte {
	return fmt.Appendf(nil, `{"seq":%d,"text":%q}`, i, strings.Repeat("message ", 48))
}

// count returns how many messages are right, and fails on one that is wrong.
func count(tb testing.TB, s *Store) (n int) {
	tb.Helper()
	err := s.View(context.Background(), func(r storage.Reader) error {
		return r.Scan(storage.Transcripts, storage.Range{}, func(k string, v []byte) error {
			var i int
			fmt.Sscanf(k, "session/%d", &i)
			if string(v) != string(message(i)) {
				tb.Errorf("%s came back as %.60q", k, v)
			}
			n++
			return nil
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// pages returns the offsets of the file's pages with a flag that are in use.
func pages(tb testing.TB, path string, flag uint16) (offsets []int64) {
	tb.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	size := int64(db.Info().PageSize)
	name := map[uint16]string{flagLeaf: "leaf", flagBranch: "branch", flagFreelist: "freelist"}[flag]
	err = db.View(func(tx *bbolt.Tx) error {
		for id := 2; ; id++ {
			p, err := tx.Page(id)
			if err != nil || p == nil {
				return err
			}
			if p.Type == name {
				offsets = append(offsets, int64(id)*size)
			}
			id += p.OverflowCount
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	return offsets
}

func scratch(tb testing.TB, path string, at int64, bytes ...byte) {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes, at); err != nil {
		tb.Fatal(err)
	}
}

// TestPartialDamage: a damaged page costs its own keys, not the store.
func TestPartialDamage(t *testing.T) {
	const n = 4000 // about 2 MB: two levels of branches are not reached, one is
	for name, x := range map[string]struct {
		flag uint16
		at   int64 // within the page
		keep int
	}{
		"leaf header":   {flagLeaf, 0, n - 40},
		"leaf element":  {flagLeaf, 22, n - 40},
		"leaf value":    {flagLeaf, 700, n - 1},
		"freelist":      {flagFreelist, 8, n},
		"freelist ids":  {flagFreelist, 16, n},
		"branch header": {flagBranch, 8, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.db")
			fill(t, path, n)
			all := pages(t, path, x.flag)
			if len(all) == 0 {
				t.Skip("the file has no such page")
			}
			scratch(t, path, all[len(all)/2]+x.at, 0x5A, 0x5A)
			s := mustOpen(t, path, testConfig())
			if got := count(t, s); got < x.keep {
				t.Errorf("%d of %d messages left, want at least %d", got, n, x.keep)
			}
			if aside := s.Health().SetAside; len(aside) != 1 {
				t.Errorf("set aside: %q", aside)
			}
		})
	}
}

// TestDamageWhileRunning: beyond verifyMaxBytes nothing is read at Open; damage is an
// error of the call that meets it, never a panic, a fault or a wrong value.
func TestDamageWhileRunning(t *testing.T) {
	cfg := testConfig()
	cfg.VerifyMaxBytes = 0
	for name, at := range map[string]int64{"leaf flags": 8, "leaf value": 700} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.db")
			fill(t, path, 2000)
			all := pages(t, path, flagLeaf)
			scratch(t, path, all[len(all)/2]+at, 0x5A, 0x5A)
			s := mustOpen(t, path, cfg)
			err := s.View(context.Background(), func(r storage.Reader) error {
				return r.Scan(storage.Transcripts, storage.Range{}, func(string, []byte) error { return nil })
			})
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("scan over the damage: %v, want ErrCorrupt", err)
			}
			mustUpdate(t, s, func(tx storage.Tx) error { return tx.Put(storage.Meta, "k", []byte("1")) })
		})
	}
	t.Run("cut while open", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s.db")
		fill(t, path, 2000)
		s := mustOpen(t, path, cfg)
		if err := os.Truncate(path, 64<<10); err != nil {
			t.Fatal(err)
		}
		err := s.View(context.Background(), func(r storage.Reader) error {
			return r.Scan(storage.Transcripts, storage.Range{}, func(string, []byte) error { return nil })
		})
		if !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("scan past the end of the file: %v, want ErrCorrupt", err)
		}
	})
}

func TestCompactAtOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	fill(t, path, 30_000)
	s := mustOpen(t, path, testConfig())
	for from := 0; from < 30_000; from += 1000 {
		mustUpdate(t, s, func(tx storage.Tx) error {
			for i := from; i < from+1000; i++ {
				if i%10 != 0 {
					if err := tx.Delete(storage.Transcripts, key(i)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	s.Close()
	before := size(t, path)
	s = mustOpen(t, path, testConfig())
	after := size(t, path)
	if after > before/3 || count(t, s) != 3000 {
		t.Errorf("%d bytes before, %d after, %d messages", before, after, count(t, s))
	}
	if aside := s.Health().SetAside; len(aside) != 0 {
		t.Errorf("compaction looks like damage: %q", aside)
	}
	if left, _ := filepath.Glob(path + tmpSuffix + "*"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func size(tb testing.TB, path string) int64 {
	tb.Helper()
	info, err := os.Stat(path)
	if err != nil {
		tb.Fatal(err)
	}
	return info.Size()
}

func TestMaxBytes(t *testing.T) {
	cfg := testConfig()
	cfg.MaxBytes = 2 << 20
	s := mustOpen(t, filepath.Join(t.TempDir(), "s.db"), cfg)
	put := func(i int) error {
		return s.Update(context.Background(), func(tx storage.Tx) error {
			return tx.Put(storage.Transcripts, key(i), make([]byte, 64<<10))
		})
	}
	n := 0
	var err error
	for ; n < 100 && err == nil; n++ {
		err = put(n)
	}
	if !errors.Is(err, storage.ErrFull) || n < 15 || s.Health().Degraded == "" {
		t.Fatalf("after %d writes of 64 KiB: %v, %+v", n, err, s.Health())
	}
	mustUpdate(t, s, func(tx storage.Tx) error {
		for i := range n {
			if err := tx.Delete(storage.Transcripts, key(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := put(1); err != nil || s.Health().Degraded != "" {
		t.Fatalf("with room again: %v, %+v", err, s.Health())
	}
}

// TestBrokenSync: a commit whose last sync failed is in doubt, and nothing is
// acknowledged on top of it.
func TestBrokenSync(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "s.db"), testConfig())
	mustUpdate(t, s, func(tx storage.Tx) error { return tx.Put(storage.Meta, "k", []byte("1")) })
	var id int
	if err := s.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("fdatasync: input/output error")
	if err := s.settle(id, failed); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if err := s.Update(context.Background(), func(storage.Tx) error { return nil }); !errors.Is(err, failed) {
		t.Errorf("an update on top of it: %v", err)
	}
	if s.Health().Degraded == "" {
		t.Error("health says nothing")
	}
	if err := s.View(context.Background(), func(storage.Reader) error { return nil }); err != nil {
		t.Errorf("reads go on: %v", err)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Default()
	bad.CompactFreePercent = 100
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "compactFreePercent") {
		t.Errorf("%v", err)
	}
	bad = Default()
	bad.MaxBytes = 5
	if _, err := Open(filepath.Join(t.TempDir(), "s.db"), bad); err == nil {
		t.Error("a bound of 5 bytes was accepted")
	}
}

// FuzzInspect: whatever the file holds, looking at it must neither panic nor run away,
// and what it gives out has passed its checksum.
func FuzzInspect(f *testing.F) {
	path := filepath.Join(f.TempDir(), "s.db")
	fill(f, path, 8)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	whole = whole[:min(len(whole), 64<<10)]
	f.Add(whole, uint32(0), []byte{})
	f.Add(whole, uint32(8192), []byte{0xff, 0xff})
	f.Add([]byte("not a store"), uint32(0), []byte{1})
	f.Fuzz(func(t *testing.T, file []byte, at uint32, patch []byte) {
		if int(at) < len(file) {
			file = append([]byte(nil), file...)
			copy(file[at:], patch)
		}
		_, err := inspect(bytes.NewReader(file), int64(len(file)), func(bucket, key string, raw []byte) error {
			_, err := unseal(storage.Collection(bucket), key, raw)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestSymlink: a repair keeps the link and replaces what it points to.
func TestSymlink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "real.db"), filepath.Join(dir, "link.db")
	fill(t, path, 1000)
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	scratch(t, path, pages(t, path, flagLeaf)[10]+700, 0x5A)
	s := mustOpen(t, link, testConfig())
	if got := count(t, s); got != 999 || len(s.Health().SetAside) != 1 {
		t.Errorf("%d messages, %+v", got, s.Health())
	}
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("the link became %q, %v", target, err)
	}
}
