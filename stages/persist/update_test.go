package persist

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sluice/bufpool/bufpooltest"
	"sluice/pipeline"
	"sluice/storage"
	"sluice/storage/storagetest"
)

// An envelope's end may itself want to write: a turn that took other messages stores
// their ends. The writer must not wait for itself, however full it is.
func TestHooksMayUpdate(t *testing.T) {
	bufpooltest.NoLeaks(t)
	mem := storagetest.NewMemory()
	cfg := Config{QueueEnvelopes: 64, BatchEnvelopes: 4, QueueUpdates: 1}
	r := newRig(t, cfg, mem)
	var inHooks atomic.Int32
	const n = 40
	for i := range n {
		r.submit(func(e *pipeline.Envelope) {
			put(fmt.Sprint("k", i), "v")(e)
			e.AfterAnswer(func(bool) {
				err := r.Update(context.Background(), func(tx storage.Tx) error {
					inHooks.Add(1)
					return tx.Put(storage.Meta, fmt.Sprint("hook", i), []byte("v"))
				})
				if err != nil {
					t.Errorf("update in a hook: %v", err)
				}
			})
		})
	}
	for range n {
		if a := r.c.Next(t); !a.OK {
			t.Fatalf("answer: %+v", a.Error)
		}
	}
	r.pipe.Drain(context.Background())
	if inHooks.Load() != n || value(t, mem, "hook39") != "v" {
		t.Fatalf("%d of %d hooks wrote", inHooks.Load(), n)
	}
}

func TestUpdate(t *testing.T) {
	t.Run("is durable when it returns, or says why not", func(t *testing.T) {
		mem := storagetest.NewMemory()
		r := newRig(t, Default(), mem)
		if err := r.Update(t.Context(), func(tx storage.Tx) error { return tx.Put(storage.Meta, "k", []byte("v")) }); err != nil {
			t.Fatal(err)
		}
		if got := value(t, mem, "k"); got != "v" {
			t.Fatal(got)
		}
		boom := errors.New("boom")
		err := r.Update(t.Context(), func(tx storage.Tx) error { tx.Delete(storage.Meta, "k"); return boom })
		if !errors.Is(err, boom) || value(t, mem, "k") != "v" {
			t.Fatalf("%v, %q", err, value(t, mem, "k"))
		}
		if err := r.Update(t.Context(), func(storage.Tx) error { panic("x") }); err == nil {
			t.Fatal("a panic is no error")
		}
	})
	t.Run("leaves the queue when its context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			r := newRig(t, Default(), g)
			r.submit(put("k", "v")) // holds the writer
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			errs := make(chan error, 1)
			go func() {
				errs <- r.Update(ctx, func(storage.Tx) error { t.Error("a withdrawn update ran"); return nil })
			}()
			synctest.Wait()
			cancel()
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Fatalf("update: %v", err)
			}
			close(g.open)
			r.c.Next(t)
			synctest.Wait()
			if c := r.Stats.Commits.Load(); c != 1 {
				t.Errorf("%d commits", c)
			}
		})
	})
	t.Run("waits for its own transaction", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			r := newRig(t, Default(), g)
			ctx, cancel := context.WithCancel(t.Context())
			errs := make(chan error, 1)
			go func() {
				errs <- r.Update(ctx, func(tx storage.Tx) error { return tx.Put(storage.Meta, "k", []byte("v")) })
			}()
			synctest.Wait()
			cancel()
			synctest.Wait()
			close(g.open)
			if err := <-errs; err != nil || value(t, g, "k") != "v" {
				t.Fatalf("update: %v", err)
			}
		})
	})
	t.Run("waits for a slot", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			r := newRig(t, Config{QueueEnvelopes: 8, BatchEnvelopes: 8, QueueUpdates: 2}, g)
			errs := make(chan error, 5)
			for range 5 {
				go func() { errs <- r.Update(t.Context(), func(storage.Tx) error { return nil }) }()
			}
			synctest.Wait()
			if _, u := r.Waiting(); u != 2 {
				t.Fatalf("%d updates under way", u)
			}
			close(g.open)
			for range 5 {
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}

func TestStopWritesWhatIsQueued(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		cfg := Default()
		cfg.BatchEnvelopes = 3
		r := newRig(t, cfg, g)
		for i := range 10 {
			r.submit(put(fmt.Sprint("k", i), "v"))
		}
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- r.Stage.Stop(t.Context()) }()
		synctest.Wait()
		if len(stopped) != 0 {
			t.Fatal("stopped before what was queued was written")
		}
		close(g.open)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if a := r.c.Next(t); !a.OK {
				t.Fatalf("answer: %+v", a.Error)
			}
		}
		if err := r.Update(t.Context(), func(storage.Tx) error { return nil }); !errors.Is(err, storage.ErrClosed) {
			t.Fatalf("update after stop: %v", err)
		}
		r.submit(put("late", "v"))
		if a := r.c.Next(t); a.OK || !a.Error.Retryable {
			t.Fatalf("an effect after stop: %+v", a)
		}
		if err := r.Stage.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAStuckDiskDoesNotHoldStopBeyondItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, Default(), g)
		r.submit(put("k", "v"))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Stage.Stop(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("stop: %v", err)
		}
		close(g.open)
		r.c.Next(t)
	})
}
