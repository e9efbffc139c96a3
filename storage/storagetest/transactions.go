package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sluice/storage"
)

func testRollback(t *testing.T, open Opener) {
	path := place(t)
	s := mustOpen(t, open, path)
	put(t, s, storage.Meta, "kept", "1")
	mine := errors.New("mine")
	change := func(tx storage.Tx) {
		err := errors.Join(tx.Put(storage.Meta, "kept", []byte("2")), tx.Put(storage.Runs, "new", []byte("{}")), tx.Delete(storage.Meta, "kept"))
		if err != nil {
			t.Error(err)
		}
	}
	check := func(why string, s storage.Store) {
		t.Helper()
		if a, b := get(t, s, storage.Meta, "kept"), get(t, s, storage.Runs, "new"); a != "1" || b != "<none>" {
			t.Fatalf("after %s: kept=%s new=%s", why, a, b)
		}
	}
	runs := 0
	err := s.Update(context.Background(), func(tx storage.Tx) error { runs++; change(tx); return mine })
	if !errors.Is(err, mine) || runs != 1 {
		t.Fatalf("%d runs, %v", runs, err)
	}
	check("an error", s)
	for _, verb := range []string{"update", "view"} {
		func() {
			defer func() {
				if p := recover(); p != "mine" {
					t.Errorf("the panic of fn in %s came out as %v", verb, p)
				}
			}()
			if verb == "update" {
				s.Update(context.Background(), func(tx storage.Tx) error { change(tx); panic("mine") })
			} else {
				s.View(context.Background(), func(storage.Reader) error { panic("mine") })
			}
		}()
		check("a panic in "+verb, s)
	}
	if s.Health().Degraded != "" {
		t.Errorf("a caller's error degrades the store: %+v", s.Health())
	}
	mustClose(t, s)
	check("reopening", mustOpen(t, open, path))
}

func testIsolation(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	for _, k := range []string{"a", "b", "c"} {
		put(t, s, storage.Sessions, k, "old-"+k)
	}
	old := []string{"a=old-a", "b=old-b", "c=old-c"}
	view(t, s, func(before storage.Reader) error {
		equal(t, "before", scan(t, before, storage.Sessions, storage.Range{}), old)
		for round := range 3 { // several generations of a value beside one open View
			update(t, s, func(tx storage.Tx) error {
				return errors.Join(
					tx.Put(storage.Sessions, "a", fmt.Appendf(nil, "new-%d", round)),
					tx.Delete(storage.Sessions, "b"), tx.Put(storage.Sessions, "d", []byte("new-d")))
			})
			equal(t, "the old view", scan(t, before, storage.Sessions, storage.Range{}), old)
			if got := read(t, before, storage.Sessions, "d"); got != "<none>" {
				t.Errorf("the old view sees a new key: %q", got)
			}
		}
		view(t, s, func(after storage.Reader) error {
			equal(t, "a new view", scan(t, after, storage.Sessions, storage.Range{}), []string{"a=new-2", "c=old-c", "d=new-d"})
			return nil
		})
		return nil
	})
	update(t, s, func(tx storage.Tx) error {
		if err := tx.Put(storage.Sessions, "a", []byte("uncommitted")); err != nil {
			return err
		}
		view(t, s, func(r storage.Reader) error {
			if got := read(t, r, storage.Sessions, "a"); got != "new-2" {
				t.Errorf("a view sees what is not committed: %q", got)
			}
			return nil
		})
		return nil
	})
}

func testContext(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	never := func() error { t.Error("fn ran although ctx was done"); return nil }
	if err := s.View(gone, func(storage.Reader) error { return never() }); !errors.Is(err, context.Canceled) {
		t.Errorf("view: %v", err)
	}
	if err := s.Update(gone, func(storage.Tx) error { return never() }); !errors.Is(err, context.Canceled) {
		t.Errorf("update: %v", err)
	}
	update(t, s, func(tx storage.Tx) error { // holds the writer's place
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := s.Update(ctx, func(storage.Tx) error { return never() }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an update that waits for its turn: %v", err)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	err := s.Update(ctx, func(tx storage.Tx) error {
		cancel()
		return tx.Put(storage.Meta, "late", []byte("1"))
	})
	if !errors.Is(err, context.Canceled) || get(t, s, storage.Meta, "late") != "<none>" {
		t.Errorf("cancelled before the commit: %v", err)
	}
}

func testClosed(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	put(t, s, storage.Meta, "k", "v")
	var leaked storage.Reader
	view(t, s, func(r storage.Reader) error { leaked = r; return nil })
	mustClose(t, s)
	if err := s.View(context.Background(), func(storage.Reader) error { return nil }); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("view: %v", err)
	}
	if err := s.Update(context.Background(), func(storage.Tx) error { return nil }); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if err := s.Close(); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if _, err := leaked.Get(storage.Meta, "k"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("a reader that outlived its View: %v", err)
	}
	s.Health() // must not panic
}

// testConcurrent: writers move units between two counters, readers see their sum.
func testConcurrent(t *testing.T, open Opener) {
	const writers, readers, rounds, total = 4, 4, 25, 1000
	s := mustOpen(t, open, place(t))
	load := func(r storage.Reader, key string) (n int) {
		fmt.Sscan(read(t, r, storage.Meta, key), &n)
		return n
	}
	put(t, s, storage.Meta, "left", fmt.Sprint(total))
	put(t, s, storage.Meta, "right", "0")
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				err := s.Update(context.Background(), func(tx storage.Tx) error {
					left, right := load(tx, "left"), load(tx, "right")
					return errors.Join(
						tx.Put(storage.Meta, "left", fmt.Append(nil, left-1)), tx.Put(storage.Meta, "right", fmt.Append(nil, right+1)),
						tx.Put(storage.Outbox, fmt.Sprintf("%d-%d", w, i), []byte("{}")))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range readers {
		wg.Go(func() {
			for range rounds * 4 {
				err := s.View(context.Background(), func(r storage.Reader) error {
					left, right := load(r, "left"), load(r, "right")
					if n := len(scan(t, r, storage.Outbox, storage.Range{})); left+right != total || n != right {
						t.Errorf("torn read: %d + %d, %d written", left, right, n)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := get(t, s, storage.Meta, "right"); got != fmt.Sprint(writers*rounds) {
		t.Errorf("%s updates counted, %d made", got, writers*rounds)
	}
}

// testOverlay: an effect that fails leaves nothing in a batch whose others commit.
func testOverlay(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	for _, k := range rangeKeys[:4] {
		put(t, s, storage.Sessions, k, "old")
	}
	put(t, s, storage.Sessions, "gone", "old")
	update(t, s, func(tx storage.Tx) error {
		o := storage.NewOverlay(tx)
		for _, k := range rangeKeys {
			if err := o.Put(storage.Sessions, k, []byte("v:"+k)); err != nil {
				return err
			}
		}
		if err := o.Delete(storage.Sessions, "gone"); err != nil {
			return err
		}
		checkRanges(t, o, storage.Sessions)
		if got := read(t, tx, storage.Sessions, "a"); got != "old" {
			t.Errorf("the lower transaction changed before Flush: %q", got)
		}
		if err := o.Flush(); err != nil {
			return err
		}
		o.Reset(tx)
		if err := o.Put(storage.Sessions, "dropped", []byte("x")); err != nil {
			return err
		}
		if err := o.Put(storage.Sessions, "", nil); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("an invalid key in an overlay: %v", err)
		}
		o.Reset(tx)
		return o.Flush()
	})
	view(t, s, func(r storage.Reader) error { checkRanges(t, r, storage.Sessions); return nil })
}
