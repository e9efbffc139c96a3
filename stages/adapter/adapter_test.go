package adapter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
)

func TestDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		var during []string
		ch := &fakeChannel{name: "webhook", limit: 10, send: func(_ context.Context, d *pipeline.Delivery) error {
			during = append(during, fmt.Sprintf("%s:%s:%d", d.Key, d.Text, len(store.keys())))
			return nil
		}}
		h := mustHarness(t, nil, store, ch)
		defer h.stop()
		d := &pipeline.Delivery{Channel: "Webhook", To: "ops", Text: "hello brave new world", Key: "k1"}
		o := h.one(d)
		if o.err != nil || d.Receipt == nil || d.Receipt.Chunks != 3 || d.Receipt.Attempts != 3 || d.Receipt.MessageID != "m:k1#3" || d.Receipt.AtMs == 0 {
			t.Fatalf("%v %+v %v", o.err, d.Receipt, d.Err)
		}
		if strings.Join(during, "|") != "k1#1:hello:1|k1#2:brave new:1|k1#3:world:1" {
			t.Errorf("sent %q: chunk, and the outbox row that must stand before it", during)
		}
		if got := store.keys(); len(got) != 1 || len(o.e.Effects) != 1 {
			t.Fatalf("rows %v, %d effects: the row goes with the effects", got, len(o.e.Effects))
		}
		h.persist(o.e)
		if got := store.keys(); len(got) != 0 || len(h.s.Unconfirmed()) != 0 {
			t.Errorf("rows %v", got)
		}
		if v := h.s.Channels()[0]; v.Queued != 0 || v.Stats.Delivered.Load() != 1 || v.Stats.Attempts.Load() != 3 {
			t.Errorf("view %+v", v)
		}
	})
}

func TestNothingToDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := mustHarness(t, nil, newMemStore(), &fakeChannel{name: "webhook"})
		defer h.stop()
		if _, v, err := h.process(); v != pipeline.Next || err != nil {
			t.Errorf("%d %v", v, err)
		}
		e, v, err := h.process(&pipeline.Delivery{Channel: "tg", To: "x", Text: "y"})
		if v != pipeline.Done || err == nil || !strings.Contains(err.Error(), `channel "telegram" is not available in this build; available: webhook`) ||
			code(e.Deliveries[0].Err) != "CHANNEL_NOT_AVAILABLE" {
			t.Errorf("%d %v", v, err)
		}
		if _, _, err := h.process(&pipeline.Delivery{Channel: "webhook", To: "x", Text: " "}); err == nil || !strings.Contains(err.Error(), "empty") {
			t.Errorf("%v", err)
		}
		e = pipeline.NewEnvelope(pipeline.SourceWire, nil)
		e.Deliveries = []*pipeline.Delivery{{Channel: "irc"}}
		e.OnDelivered = func(e *pipeline.Envelope) error { e.Answer([]byte("{}")); return nil }
		if v, err := h.s.Process(t.Context(), e); v != pipeline.Next || err != nil {
			t.Errorf("OnDelivered did not decide: %d %v", v, err)
		}
		none := mustHarness(t, nil, newMemStore())
		defer none.stop()
		if err := none.s.Unavailable("irc"); !strings.HasSuffix(err.Message, "none is configured") {
			t.Error(err)
		}
	})
}

func TestRetry(t *testing.T) {
	for _, c := range []struct {
		name       string
		errs       []error
		idempotent bool
		ok         bool
		attempts   int
		after      time.Duration
		code       string
		retryable  bool
		rows       int // after the effects
	}{
		{name: "temporary, then delivered", errs: []error{Temporary(0, "a"), Temporary(0, "b"), nil}, ok: true, attempts: 3, after: 3 * time.Second},
		{name: "retry-after is respected", errs: []error{Temporary(20*time.Second, "429"), nil}, ok: true, attempts: 2, after: 20 * time.Second},
		{name: "retry-after beyond the total", errs: []error{Temporary(90*time.Second, "429")}, attempts: 1, code: CodeDeliveryFailed, retryable: true},
		{name: "attempts are bounded", errs: repeat(Temporary(0, "no"), 9), attempts: 5, after: 15 * time.Second, code: CodeDeliveryFailed, retryable: true},
		{name: "permanent", errs: []error{Permanent("gone")}, attempts: 1, code: CodeDeliveryFailed},
		{name: "unknown is not repeated", errs: []error{Unknown("cut")}, attempts: 1, code: CodeDeliveryUnknown, rows: 1},
		{name: "an error of another type is unknown", errs: []error{errors.New("?")}, attempts: 1, code: CodeDeliveryUnknown, rows: 1},
		{name: "unknown is repeated when idempotent", errs: []error{Unknown("cut"), nil}, idempotent: true, ok: true, attempts: 2, after: time.Second},
		{name: "unknown to the end", errs: append(repeat(Unknown("cut"), 4), Temporary(0, "no")), idempotent: true, attempts: 5, after: 15 * time.Second, code: CodeDeliveryUnknown, rows: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var errs = c.errs
				ch := &fakeChannel{name: "webhook", idempotent: c.idempotent, send: func(context.Context, *pipeline.Delivery) error {
					err := errs[0]
					errs = errs[1:]
					return err
				}}
				store := newMemStore()
				h := mustHarness(t, nil, store, ch)
				defer h.stop()
				begin := time.Now()
				d := &pipeline.Delivery{Channel: "webhook", To: "ops", Text: "x", Key: "k"}
				o := h.one(d)
				if took := time.Since(begin); took != c.after {
					t.Errorf("took %s, want %s", took, c.after)
				}
				if c.ok {
					if o.err != nil || d.Receipt == nil || d.Receipt.Attempts != c.attempts {
						t.Fatalf("%v %+v", o.err, d.Receipt)
					}
				} else if d.Receipt != nil || o.err != error(d.Err) || code(d.Err) != c.code || d.Err.Retryable != c.retryable ||
					d.Err.Details.(map[string]any)["attempts"] != c.attempts {
					t.Fatalf("%v %+v", o.err, d.Err)
				}
				h.persist(o.e)
				if rows := store.keys(); len(rows) != c.rows || len(h.s.Unconfirmed()) != c.rows {
					t.Errorf("rows %v, unconfirmed %v", rows, h.s.Unconfirmed())
				}
			})
		})
	}
}

func repeat(err error, n int) []error {
	list := make([]error, n)
	for i := range list {
		list[i] = err
	}
	return list
}

// TestUnknownAfterKill: what a killed process left is reported and not repeated.
func TestUnknownAfterKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		started := make(chan struct{})
		first := mustHarness(t, nil, store, &fakeChannel{name: "webhook", send: func(ctx context.Context, _ *pipeline.Delivery) error {
			close(started)
			<-ctx.Done()
			return Unknown("cut")
		}})
		first.process(&pipeline.Delivery{Channel: "webhook", To: "ops", Text: "x", Key: "k"})
		<-started
		killed := &memStore{rows: map[string]string{"k": store.rows["k"], "old": `{"atMs":1}`, "bad": "{"}}
		first.stop()

		var sent int
		ch := &fakeChannel{name: "webhook", send: func(context.Context, *pipeline.Delivery) error { sent++; return nil }}
		h := mustHarness(t, nil, killed, ch)
		defer h.stop()
		open := h.s.Unconfirmed()
		if len(open) != 1 || open[0].Key != "k" || open[0].State != StateStarted || open[0].To != "ops" || !strings.Contains(h.log.String(), "unknown outcome") {
			t.Fatalf("%+v %s", open, h.log.String())
		}
		d := &pipeline.Delivery{Channel: "webhook", To: "ops", Text: "x", Key: "k"}
		if o := h.one(d); o.err == nil || code(d.Err) != CodeDeliveryUnknown || sent != 0 {
			t.Errorf("%v, sent %d", o.err, sent)
		}
		if len(killed.keys()) != 1 || len(h.s.Unconfirmed()) != 1 {
			t.Error("the refusal removed the row")
		}
		if err := h.s.Dismiss(t.Context(), "other"); !errors.Is(err, storage.ErrNotFound) {
			t.Error(err)
		}
		if err := h.s.Dismiss(t.Context(), "k"); err != nil || len(killed.keys()) != 0 {
			t.Errorf("%v %v", err, killed.keys())
		}
		if o := h.one(&pipeline.Delivery{Channel: "webhook", To: "ops", Text: "x", Key: "k"}); o.err != nil || sent != 1 {
			t.Errorf("%v, sent %d", o.err, sent)
		}
	})
}

// TestSameKeyTwice: while a delivery runs, the same key is refused, and the running
// one's row stays.
func TestSameKeyTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		store := newMemStore()
		h := mustHarness(t, nil, store, &fakeChannel{name: "webhook", send: func(context.Context, *pipeline.Delivery) error { <-release; return nil }})
		defer h.stop()
		h.process(&pipeline.Delivery{Channel: "webhook", To: "a", Text: "x", Key: "k"})
		synctest.Wait()
		second := &pipeline.Delivery{Channel: "webhook", To: "b", Text: "x", Key: "k"}
		if o := h.one(second); o.err == nil || code(second.Err) != CodeDeliveryUnknown || len(store.keys()) != 1 {
			t.Errorf("%v, rows %v", o.err, store.keys())
		}
		close(release)
		if o := <-h.back; o.err != nil {
			t.Error(o.err)
		}
	})
}

// TestOrderAndFairness: one recipient's messages stay in order; a recipient that waits
// for its next try, and a stuck channel, hold nobody else up.
func TestOrderAndFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		failed := map[string]bool{}
		h := mustHarness(t, func(c *Config) { c.Concurrency = 1 }, newMemStore(),
			&fakeChannel{name: "stuck", send: func(ctx context.Context, _ *pipeline.Delivery) error { <-ctx.Done(); return Temporary(0, "stuck") }},
			&fakeChannel{name: "webhook", send: func(_ context.Context, d *pipeline.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				if d.To == "slow" && !failed[d.Key] {
					failed[d.Key] = true
					return Temporary(0, "later")
				}
				got = append(got, d.To+d.Text)
				return nil
			}})
		defer h.stop()
		h.process(&pipeline.Delivery{Channel: "stuck", To: "x", Text: "x"})
		for i := range 3 {
			h.process(&pipeline.Delivery{Channel: "webhook", To: "slow", Text: fmt.Sprint(i)})
		}
		h.process(&pipeline.Delivery{Channel: "webhook", To: "fast", Text: "!"})
		for range 4 {
			if o := <-h.back; o.err != nil {
				t.Error(o.err)
			}
		}
		if order := strings.Join(got, " "); order != "fast! slow0 slow1 slow2" {
			t.Errorf("order %s", order)
		}
		if o := <-h.back; o.err == nil || !strings.Contains(o.err.Error(), "stuck") {
			t.Errorf("the stuck one: %v", o.err)
		}
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := mustHarness(t, func(c *Config) { c.Queue, c.MaxChunks = 2, 2 }, newMemStore(),
			&fakeChannel{name: "webhook", limit: 4, send: func(context.Context, *pipeline.Delivery) error { <-release; return nil }})
		d := func() *pipeline.Delivery { return &pipeline.Delivery{Channel: "webhook", To: "a", Text: "x"} }
		if _, v, _ := h.process(d()); v != pipeline.Parked {
			t.Fatal("not taken")
		}
		for _, list := range [][]*pipeline.Delivery{{d(), d()}, {d(), d(), d()}} {
			e, v, err := h.process(list...)
			var wire *frames.Error
			if v != pipeline.Done || !errors.As(err, &wire) || wire.RetryAfterMs == 0 || e.Deliveries[0].Receipt != nil {
				t.Errorf("%d deliveries over the bound: %d %v", len(list), v, err)
			}
		}
		if n := h.s.Channels()[0].Queued; n != 1 || h.s.Stats().Refused.Load() != 2 {
			t.Errorf("%d queued: refused deliveries hold a place", n)
		}
		if _, _, err := h.process(&pipeline.Delivery{Channel: "webhook", To: "a", Text: "aaaa bbbb cccc"}); err == nil || !strings.Contains(err.Error(), "adapter.maxChunks") {
			t.Errorf("%v", err)
		}
		// The one behind it waits longer than it may and is not begun.
		late := d()
		h.process(late)
		time.Sleep(61 * time.Second)
		close(release)
		<-h.back
		if o := <-h.back; o.err == nil || late.Receipt != nil || !late.Err.Retryable || code(late.Err) != CodeDeliveryFailed {
			t.Errorf("%v %+v", o.err, late.Err)
		}
		h.stop()
		if _, v, err := h.process(d()); v != pipeline.Done || err == nil {
			t.Errorf("a stopped stage took a delivery: %d %v", v, err)
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		h := mustHarness(t, func(c *Config) { c.MaxUnconfirmed = 2 }, store, &fakeChannel{name: "webhook", limit: 4,
			send: func(_ context.Context, d *pipeline.Delivery) error {
				switch d.Text {
				case "boom":
					panic("boom")
				case "cut":
					return Unknown("cut")
				case "bad":
					return Permanent("bad")
				}
				return nil
			}})
		defer h.stop()
		send := func(key, text string) *pipeline.Delivery {
			d := &pipeline.Delivery{Channel: "webhook", To: "a", Text: text, Key: key}
			h.one(d)
			return d
		}
		if d := send("1", "boom"); code(d.Err) != CodeDeliveryUnknown || strings.Contains(d.Err.Message, "boom") {
			t.Errorf("panic: %v", d.Err)
		}
		if d := send("2", "good bad"); code(d.Err) != CodeDeliveryUnknown || d.Err.Details.(map[string]any)["sentChunks"] != 1 {
			t.Errorf("half delivered: %v", d.Err)
		}
		time.Sleep(time.Second)
		send("3", "cut")
		if open := h.s.Unconfirmed(); len(open) != 2 || len(store.keys()) != 2 || open[1].Key != "3" || open[1].Reason != "cut" {
			t.Errorf("bound of the unconfirmed: %+v %v", open, store.keys())
		}
		store.fail = storage.ErrFull
		if d := send("4", "x"); d.Err == nil || d.Err.Code != frames.CodeUnavailable || !strings.Contains(d.Err.Message, "not begun") {
			t.Errorf("full disk: %v", d.Err)
		}
		store.fail = nil
		e := pipeline.NewEnvelope(pipeline.SourceWire, nil)
		e.Deliveries = []*pipeline.Delivery{{Channel: "webhook", To: "a", Text: "x", Key: "5"}}
		e.OnDelivered = func(*pipeline.Envelope) error { panic("handler") }
		if _, err := h.s.Process(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if o := <-h.back; o.err == nil || len(store.keys()) != 2 {
			t.Errorf("OnDelivered panicked: %v, rows %v", o.err, store.keys())
		}
	})
}

func TestStopCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := mustHarness(t, nil, newMemStore(), &fakeChannel{name: "webhook", send: func(ctx context.Context, _ *pipeline.Delivery) error {
			<-ctx.Done()
			return Unknown("cut: %w", ctx.Err())
		}})
		for range 3 {
			h.process(&pipeline.Delivery{Channel: "webhook", To: "a", Text: "x"})
		}
		synctest.Wait()
		h.stop()
		for i := range 3 {
			if o := <-h.back; o.err == nil || (i > 0) != o.err.(*frames.Error).Retryable {
				t.Errorf("%d: %v", i, o.err)
			}
		}
	})
}
