package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/storage"
	"sluice/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig() Config {
	cfg := Default()
	cfg.LockTimeoutMs = 50
	return cfg
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(path string) (storage.Store, error) { return Open(path, testConfig()) })
}

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

func key(i int) string { return fmt.Sprintf("session/%012d", i) }

func message(i int) []byte {
	return fmt.Appendf(nil, `{"seq":%d,"text":%q}`, i, strings.Repeat("message ", 48))
}

func fill(tb testing.TB, path string, n int) {
	tb.Helper()
	s := mustOpen(tb, path, testConfig())
	mustUpdate(tb, s, func(tx storage.Tx) error {
		for i := range n {
			if err := tx.Put(storage.Transcripts, key(i), message(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
}

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

// TestPartialDamage: a damaged page in the middle costs its own rows.
func TestPartialDamage(t *testing.T) {
	const n = 4000
	for name, at := range map[string]int64{"page header": 0, "cell pointers": 10, "row": 3000} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.sqlite")
			fill(t, path, n)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			page := info.Size() / pageBytes / 2 * pageBytes
			if _, err := f.WriteAt([]byte{0x5A, 0x5A, 0x5A, 0x5A}, page+at); err != nil {
				t.Fatal(err)
			}
			f.Close()
			s := mustOpen(t, path, testConfig())
			if got := count(t, s); got < n-40 || got == n {
				t.Errorf("%d of %d messages are left", got, n)
			}
			if aside := s.Health().SetAside; len(aside) != 1 {
				t.Errorf("set aside: %q", aside)
			}
			mustUpdate(t, s, func(tx storage.Tx) error { return tx.Put(storage.Meta, "k", []byte("1")) })
		})
	}
}

func TestCompactAtOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sqlite")
	cfg := testConfig()
	cfg.CompactMinBytes = 1 << 20
	fill(t, path, 10_000)
	s := mustOpen(t, path, cfg)
	mustUpdate(t, s, func(tx storage.Tx) error {
		for i := range 9_000 {
			if err := tx.Delete(storage.Transcripts, key(i)); err != nil {
				return err
			}
		}
		return nil
	})
	s.Close()
	before, _ := os.Stat(path)
	s = mustOpen(t, path, cfg)
	after, _ := os.Stat(path)
	if after.Size() > before.Size()/3 || count(t, s) != 1000 {
		t.Errorf("%d bytes before, %d after, %d messages", before.Size(), after.Size(), count(t, s))
	}
}

func TestMaxBytes(t *testing.T) {
	cfg := testConfig()
	cfg.MaxBytes = 2 << 20
	s := mustOpen(t, filepath.Join(t.TempDir(), "s.sqlite"), cfg)
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
	mustUpdate(t, s, func(tx storage.Tx) error { return tx.Delete(storage.Transcripts, key(0)) })
	if err := put(1); err != nil || s.Health().Degraded != "" {
		t.Fatalf("with room again: %v, %+v", err, s.Health())
	}
}

// TestReadableElsewhere: the sqlite3 tool's view of it, while the store is open.
func TestReadableElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a file?#%20.sqlite")
	s := mustOpen(t, path, testConfig())
	mustUpdate(t, s, func(tx storage.Tx) error {
		return tx.Put(storage.Sessions, "agent:main:main", []byte(`{"label":"hello"}`))
	})
	db, err := open(path, testConfig(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var label string
	if err := db.QueryRow(`SELECT json_extract(CAST(v AS TEXT), '$.label') FROM sessions WHERE k = 'agent:main:main'`).Scan(&label); err != nil || label != "hello" {
		t.Errorf("%q, %v", label, err)
	}
	var mode string
	var sync int
	w := <-s.writer
	defer func() { s.writer <- w }()
	err = errors.Join(
		w.conn.QueryRowContext(background, "PRAGMA journal_mode").Scan(&mode),
		w.conn.QueryRowContext(background, "PRAGMA synchronous").Scan(&sync))
	if err != nil || mode != "wal" || sync != 2 {
		t.Errorf("journal_mode=%s synchronous=%d: %v", mode, sync, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the name was mangled: %v", err)
	}
}

// TestBrokenSync: nothing is acknowledged on top of a commit in doubt.
func TestBrokenSync(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "s.sqlite"), testConfig())
	failed := errors.New("disk I/O error")
	s.breakWith(failed)
	if err := s.Update(context.Background(), func(storage.Tx) error { return nil }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	if s.Health().Degraded == "" {
		t.Error("health says nothing")
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Default()
	bad.Readers = 0
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "readers") {
		t.Errorf("%v", err)
	}
}
