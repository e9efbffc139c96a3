package dedupe

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/storage"
	"sluice/storage/storagetest"
)

func TestTheTableIsBoundedAndTheStoreRemembers(t *testing.T) {
	cfg := Default()
	cfg.MaxEntries = 16
	r := newRig(t, cfg, storagetest.NewMemory())
	c := as("a")
	const n = 100
	for round := range 2 {
		for i := range n {
			k := fmt.Sprint("k", i)
			if got, want := r.call(c, "chat.send", params(k, "x")), fmt.Sprintf(`"a/%s #1"`, k); got != want {
				t.Fatalf("round %d: %s, want %s", round, got, want)
			}
			if r.Size() > 16 {
				t.Fatalf("%d keys", r.Size())
			}
		}
	}
	if got := r.call(c, "chat.send", params("k3", "other")); got != conflict {
		t.Fatalf("an evicted key with other content: %s", got)
	}
}

func TestTheTableIsBoundedInBytes(t *testing.T) {
	cfg := Default()
	cfg.MaxBytes = 65536
	r := newRig(t, cfg, storagetest.NewMemory())
	big := strings.Repeat("y", 20_000)
	r.handle = func(e *pipeline.Envelope) error {
		e.Effects = append(e.Effects, pipeline.EffectFunc(func(_ storage.Tx, e *pipeline.Envelope) error {
			key, _ := idempotencyKey(e.Frame.Params)
			return e.AnswerValue(key + big)
		}))
		return nil
	}
	c := as("a")
	for round := range 2 {
		for i := range 10 {
			k := fmt.Sprint("k", i)
			if got := r.call(c, "chat.send", params(k, "x")); got != `"`+k+big+`"` {
				t.Fatalf("round %d: %.20s", round, got)
			}
			if b := r.Bytes(); b > 65536 || b < 0 {
				t.Fatalf("%d bytes", b)
			}
		}
	}
	if first := r.Stats.First.Load(); first != 10 {
		t.Fatalf("%d were first", first)
	}
	big = strings.Repeat("y", 100_000) // one answer that is larger than the whole budget
	for range 2 {
		if got := r.call(c, "chat.send", params("big", "x")); len(got) != len(big)+5 {
			t.Fatalf("%d bytes", len(got))
		}
	}
	if b := r.Bytes(); b > 65536 {
		t.Fatalf("%d bytes", b)
	}
}

func TestARequestInFlightIsNeverForgotten(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.MaxEntries = 16
		r := newRig(t, cfg, storagetest.NewMemory())
		gate := make(chan struct{})
		parked := make(chan *pipeline.Envelope, 100)
		r.handle = func(e *pipeline.Envelope) error { // keeps none of the workers
			parked <- e
			<-gate
			return r.count(e)
		}
		clients := map[string]*pipelinetest.Client{}
		for i := range 4 { // as many as there are workers
			k := fmt.Sprint("k", i)
			clients[k] = as("a")
			e := pipelinetest.Request(t, clients[k], "chat.send", params(k, "x"))
			e.Shard = uint32(i)
			if err := r.pipe.Submit(e); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for i := range 12 { // the rest, in flight without a worker
			if v, err := r.Process(t.Context(), direct(t, "a", "chat.send", params(fmt.Sprint("d", i), "x"))); v != pipeline.Next || err != nil {
				t.Fatal(v, err)
			}
		}
		time.Sleep(time.Hour) // synctest's clock: not even then
		_, err := r.Process(t.Context(), direct(t, "a", "chat.send", params("one too many", "x")))
		if err != errTableFull || r.Size() != 16 {
			t.Fatalf("%v; %d keys", err, r.Size())
		}
		if v, err := r.Process(t.Context(), direct(t, "a", "chat.send", params("d3", "x"))); v != pipeline.Parked || err != nil {
			t.Fatalf("a duplicate at the bound: %v, %v", v, err)
		}
		close(gate)
	})
}

func TestWaitersAreBounded(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.MaxWaiters = 3
		r := newRig(t, cfg, storagetest.NewMemory())
		gate := make(chan struct{})
		r.handle = func(e *pipeline.Envelope) error { <-gate; return r.count(e) }
		c := as("a")
		for range 10 {
			r.submit(c, "chat.send", params("k", "x"))
		}
		synctest.Wait()
		if n := len(c.Answers); n != 6 {
			t.Fatalf("%d refused of 9 duplicates with room for 3", n)
		}
		close(gate)
		ok := 0
		for range 10 {
			if a := c.Next(t); a.OK {
				ok++
			} else if a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable {
				t.Fatalf("refusal: %+v", a.Error)
			}
		}
		if ok != 4 || r.effects("a/k") != 1 {
			t.Fatalf("%d answered, %d effects", ok, r.effects("a/k"))
		}
	})
}

// slowReads is a store whose Views wait.
type slowReads struct {
	*storagetest.Memory
	gate    chan struct{}
	waiting chan struct{}
}

func (s *slowReads) View(ctx context.Context, fn func(storage.Reader) error) error {
	s.waiting <- struct{}{}
	<-s.gate
	return s.Memory.View(ctx, fn)
}

// A slow read of one key must not hold up the others, nor the writer, which asks the
// table for rows while the store waits for it.
func TestNoLockIsHeldWhileTheStoreIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowReads{storagetest.NewMemory(), make(chan struct{}), make(chan struct{}, 10)}
		s, err := New(Default(), store, func(*pipeline.Envelope) {})
		if err != nil {
			t.Fatal(err)
		}
		verdicts := make(chan pipeline.Verdict, 2)
		for range 2 { // two of the same key: one of them is first in the end
			e := direct(t, "a", "chat.send", params("slow", "x"))
			go func() {
				v, _ := s.Process(context.Background(), e)
				verdicts <- v
			}()
		}
		synctest.Wait()
		en := &entry{stage: s, key: "other"}
		en.Row([]byte(`1`))
		en.Replace([]byte(`2`))
		if s.Size() != 0 {
			t.Error("a key that is only being looked for is in the table")
		}
		close(store.gate)
		if a, b := <-verdicts, <-verdicts; a == b || a+b != pipeline.Next+pipeline.Parked {
			t.Errorf("verdicts %v and %v", a, b)
		}
	})
}

// Many connections repeat few keys while the table is far too small: every key still
// has one effect, and everybody is told that one.
func TestOneEffectAKeyUnderPressure(t *testing.T) {
	bufpooltest.NoLeaks(t)
	cfg := Default()
	cfg.MaxEntries, cfg.MaxWaiters = 16, 1000
	r := newRig(t, cfg, storagetest.NewMemory())
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			c := as("a")
			for i := range 300 {
				k := fmt.Sprint("k", (i*7+g)%100)
				e := pipelinetest.Request(t, c, "chat.send", params(k, "x"))
				e.Shard = uint32(g)
				if err := r.pipe.Submit(e); err != nil {
					t.Error(err)
					return
				}
				a := c.Next(t)
				if want := fmt.Sprintf(`"a/%s #1"`, k); text(a) != want && !(a.Error != nil && a.Error.Retryable) {
					t.Errorf("%s, want %s", text(a), want)
				}
			}
		})
	}
	wg.Wait()
	for i := range 100 {
		if n := r.effects(fmt.Sprint("a/k", i)); n != 1 {
			t.Errorf("k%d has %d effects", i, n)
		}
	}
}

// An envelope that the stage's timeout has answered is not among the waiters: its
// memory belongs to somebody else by then.
func TestATimedOutDuplicateDoesNotWait(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Default(), storagetest.NewMemory(), func(*pipeline.Envelope) { t.Error("resumed") })
		if err != nil {
			t.Fatal(err)
		}
		first := direct(t, "shared", "chat.send", params("k", "x"))
		if v, err := s.Process(t.Context(), first); v != pipeline.Next || err != nil {
			t.Fatal(v, err)
		}
		release, through := make(chan struct{}), make(chan struct{})
		p := pipelinetest.Start(t, pipeline.Default(), pipelinetest.Stage{StageName: "dedupe", Fn: func(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
			<-release
			defer close(through)
			return s.Process(ctx, e)
		}})
		c := as("shared")
		p.Submit(pipelinetest.Request(t, c, "chat.send", params("k", "x")))
		if a := c.Next(t); a.OK || !strings.Contains(a.Error.Message, "took longer") {
			t.Fatalf("answer: %+v", a)
		}
		close(release)
		<-through
		first.Answer([]byte(`1`))
		first.Claim.(*entry).Settle(first)
	})
}
