package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	. "sluice/pipeline/pipelinetest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is pipelinetest's, in a form that is short to write here.
type stage struct {
	name string
	fn   func(context.Context, *pipeline.Envelope) (pipeline.Verdict, error)
}

func (s stage) Name() string { return s.name }

func (s stage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	return Stage{StageName: s.name, Fn: s.fn}.Process(ctx, e)
}

func answer(v any) func(context.Context, *pipeline.Envelope) (pipeline.Verdict, error) {
	return func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		return pipeline.Next, e.AnswerValue(v)
	}
}

func TestEveryStageSeesAFrameInOrderAndItIsAnsweredOnce(t *testing.T) {
	bufpooltest.NoLeaks(t)
	var mu sync.Mutex
	var seen []string
	see := func(name string) stage {
		return stage{name, func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
			mu.Lock()
			seen = append(seen, name)
			mu.Unlock()
			return pipeline.Next, nil
		}}
	}
	p := Start(t, pipeline.Default(), see("a"), see("b"), stage{"c", answer("done")})
	c := NewClient()
	if err := p.Submit(Request(t, c, "status", "{}")); err != nil {
		t.Fatal(err)
	}
	a := c.Next(t)
	if !a.OK || a.ID != "r1" || string(a.Payload) != `"done"` {
		t.Fatalf("answer: %+v", a)
	}
	if got := strings.Join(seen, ""); got != "ab" {
		t.Fatalf("stages saw %q", got)
	}
}

func TestARequestWithoutAnAnswerIsToldSo(t *testing.T) {
	p := Start(t, pipeline.Default(), stage{"forgets", nil})
	c := NewClient()
	p.Submit(Request(t, c, "status", "{}"))
	if a := c.Next(t); a.OK || a.Error.Code != "UNAVAILABLE" {
		t.Fatalf("answer: %+v", a)
	}
}

func TestErrors(t *testing.T) {
	wire := frames.Invalid("no such thing")
	for name, tc := range map[string]struct {
		err         error
		code, words string
	}{
		"a protocol error goes out as it is":      {wire, "INVALID_REQUEST", "no such thing"},
		"a wrapped one too":                       {fmt.Errorf("x: %w", wire), "INVALID_REQUEST", "no such thing"},
		"another error goes out without its text": {errors.New("secret path /etc"), "UNAVAILABLE", "internal error"},
		"a deadline is a timeout":                 {context.DeadlineExceeded, "UNAVAILABLE", "took longer"},
	} {
		t.Run(name, func(t *testing.T) {
			p := Start(t, pipeline.Default(), stage{"fails", func(context.Context, *pipeline.Envelope) (pipeline.Verdict, error) { return pipeline.Done, tc.err }})
			c := NewClient()
			p.Submit(Request(t, c, "status", "{}"))
			a := c.Next(t)
			if a.OK || a.Error.Code != tc.code || !strings.Contains(a.Error.Message, tc.words) || strings.Contains(a.Error.Message, "/etc") {
				t.Fatalf("answer: %+v", a.Error)
			}
		})
	}
}

func TestPanicIsAnsweredAndTheStageLivesOn(t *testing.T) {
	bufpooltest.NoLeaks(t)
	p := Start(t, pipeline.Default(), stage{"s", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		if e.Frame.Method == "status" {
			panic("boom")
		}
		return pipeline.Next, e.AnswerValue(1)
	}})
	c := NewClient()
	for range 10 {
		p.Submit(Request(t, c, "status", "{}"))
		if a := c.Next(t); a.OK {
			t.Fatal("a panic was answered with ok")
		}
	}
	p.Submit(Request(t, c, "health", "{}"))
	if a := c.Next(t); !a.OK {
		t.Fatalf("after panics: %+v", a)
	}
}

func TestStageTimeoutReachesAStageThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pipeline.Default()
		cfg.TimeoutsMs.Defend = 50
		p := Start(t, cfg, stage{"defend", func(ctx context.Context, _ *pipeline.Envelope) (pipeline.Verdict, error) {
			<-ctx.Done()
			return pipeline.Done, ctx.Err()
		}})
		c := NewClient()
		p.Submit(Request(t, c, "status", "{}"))
		if a := c.Next(t); a.OK || !a.Error.Retryable || !strings.Contains(a.Error.Message, "defend took longer than 50ms") {
			t.Fatalf("answer: %+v", a.Error)
		}
	})
}

func TestAStuckStageIsAnsweredForAndReplaced(t *testing.T) {
	cfg := pipeline.Default()
	cfg.Workers = 2
	cfg.TimeoutsMs.Dispatch = 50
	release := make(chan struct{})
	var calls atomic.Int32
	p := Start(t, cfg, stage{"dispatch", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		if calls.Add(1) == 1 {
			<-release // deaf to its context
			e.Fail(frames.Invalid("too late"))
		}
		return pipeline.Next, e.AnswerValue("fine")
	}})
	c := NewClient()
	p.Submit(Request(t, c, "status", "{}"))
	if a := c.Next(t); a.OK || !strings.Contains(a.Error.Message, "dispatch took longer") {
		t.Fatalf("answer: %+v", a)
	}
	p.Submit(Request(t, c, "status", "{}")) // same shard: the stuck worker was replaced
	if a := c.Next(t); !a.OK {
		t.Fatalf("the stage did not recover: %+v", a)
	}
	close(release)
	select {
	case a := <-c.Answers:
		t.Fatalf("a second answer: %+v", a)
	case <-time.After(100 * time.Millisecond): // nothing may come; there is no event to wait for
	}
}

func TestParkedEnvelopeIsResumed(t *testing.T) {
	bufpooltest.NoLeaks(t)
	parked := make(chan *pipeline.Envelope, 1)
	p := Start(t, pipeline.Default(),
		stage{"parks", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
			return e.Park(func() { parked <- e }), nil
		}}, stage{"answers", answer("woken")})
	c := NewClient()
	p.Submit(Request(t, c, "status", "{}"))
	e := <-parked
	if n, _ := p.InFlight(); n != 1 {
		t.Fatalf("in flight: %d", n)
	}
	p.Resume(e, nil)
	if a := c.Next(t); !a.OK || string(a.Payload) != `"woken"` {
		t.Fatalf("answer: %+v", a)
	}
	p.Submit(Request(t, c, "status", "{}"))
	p.Resume(<-parked, frames.Invalid("denied"))
	if a := c.Next(t); a.OK || a.Error.Message != "denied" {
		t.Fatalf("answer: %+v", a)
	}
}

func TestSettlersAndHooksRunAfterTheAnswer(t *testing.T) {
	var order []string
	done := make(chan struct{})
	p := Start(t, pipeline.Default(), stage{"s", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		e.AfterAnswer(func(ok bool) { order = append(order, fmt.Sprint("hook ", ok)) })
		e.AfterAnswer(func(bool) { panic("a hook's own") })
		e.OnSettle(settler(func(e *pipeline.Envelope) {
			b, _, _ := e.Result()
			order = append(order, "settled "+string(b))
			close(done)
		}))
		return pipeline.Next, e.AnswerValue(7)
	}})
	c := NewClient()
	p.Submit(Request(t, c, "status", "{}"))
	c.Next(t)
	<-done
	if got := strings.Join(order, ", "); got != "hook true, settled 7" {
		t.Fatal(got)
	}
}

type settler func(*pipeline.Envelope)

func (s settler) Settle(e *pipeline.Envelope) { s(e) }

func TestAFullQueueRefusesAndLosesNothing(t *testing.T) {
	bufpooltest.NoLeaks(t)
	cfg := pipeline.Default()
	cfg.Workers, cfg.QueueFrames = 1, 4
	gate := make(chan struct{})
	p := Start(t, cfg, stage{"slow", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		<-gate
		return pipeline.Next, e.AnswerValue(1)
	}})
	c := NewClient()
	const n = 50
	refused := 0
	for range n {
		e := Request(t, c, "status", "{}")
		if err := p.Submit(e); err != nil {
			refused++
			p.Refuse(e, pipeline.Refusal(err))
		}
	}
	if refused < n-6 {
		t.Fatalf("%d of %d refused with room for 4", refused, n)
	}
	close(gate)
	ok, busy := 0, 0
	for range n {
		if a := c.Next(t); a.OK {
			ok++
		} else if a.Error.Code == "UNAVAILABLE" && a.Error.Retryable {
			busy++
		}
	}
	if ok+busy != n || busy != refused {
		t.Fatalf("%d answered, %d refused of %d", ok, busy, n)
	}
}

func TestTheByteBudgetHoldsButOneLargeFramePasses(t *testing.T) {
	cfg := pipeline.Default()
	cfg.QueueBytes = 65536
	p := Start(t, cfg, stage{"s", answer(1)})
	c := NewClient()
	big := Request(t, c, "status", `{"x":"`+strings.Repeat("y", 100_000)+`"}`)
	if err := p.Submit(big); err != nil {
		t.Fatal("alone, a frame larger than the budget must pass:", err)
	}
	c.Next(t)
}

func TestConnectAndHealthPassABusyShard(t *testing.T) {
	cfg := pipeline.Default()
	cfg.Workers = 1
	gate := make(chan struct{})
	p := Start(t, cfg, stage{"dispatch", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		if e.Frame.Method == "status" {
			<-gate
		}
		return pipeline.Next, e.AnswerValue(e.Frame.Method)
	}})
	c := NewClient()
	p.Submit(Request(t, c, "status", "{}"))
	p.Submit(Request(t, c, "health", "{}"))
	if a := c.Next(t); string(a.Payload) != `"health"` {
		t.Fatalf("health waited behind status: %+v", a)
	}
	close(gate)
	c.Next(t)
}

func TestDrainRefusesNewFramesAndWaits(t *testing.T) {
	started, gate := make(chan struct{}), make(chan struct{})
	p := Start(t, pipeline.Default(), stage{"s", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		close(started)
		<-gate
		return pipeline.Next, e.AnswerValue(1)
	}})
	c := NewClient()
	p.Submit(Request(t, c, "status", "{}"))
	<-started
	drained := make(chan int64)
	go func() { drained <- p.Drain(context.Background()) }()
	for !p.Draining() {
		runtime.Gosched() // Drain has no event for its beginning
	}
	e := Request(t, c, "status", "{}")
	err := p.Submit(e)
	if !errors.Is(err, pipeline.ErrDraining) {
		t.Fatalf("Submit while draining: %v", err)
	}
	p.Refuse(e, pipeline.Refusal(err))
	if a := c.Next(t); a.OK || !a.Error.Retryable {
		t.Fatalf("refusal: %+v", a)
	}
	close(gate)
	if left := <-drained; left != 0 {
		t.Fatalf("%d left", left)
	}
}

func TestInjectEntersInTheMiddle(t *testing.T) {
	done := make(chan string, 1)
	p := Start(t, pipeline.Default(), stage{"first", func(context.Context, *pipeline.Envelope) (pipeline.Verdict, error) {
		t.Error("an injected envelope went through the first stage")
		return pipeline.Next, nil
	}}, stage{"second", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		done <- e.Source.String()
		return pipeline.Next, nil
	}})
	if !p.Inject(context.Background(), pipeline.NewEnvelope(pipeline.SourceTurn, nil), "second") {
		t.Fatal("not taken")
	}
	if got := <-done; got != "turn" {
		t.Fatal(got)
	}
}

func BenchmarkSevenStages(b *testing.B) {
	var stages []pipeline.Stage
	for _, n := range []string{"decode", "dedupe", "schedule", "defend", "dispatch", "adapter"} {
		stages = append(stages, stage{n, nil})
	}
	payload := []byte(`{"ok":true}`)
	stages = append(stages, stage{"persist", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		e.Answer(payload)
		return pipeline.Next, nil
	}})
	p := Start(b, pipeline.Default(), stages...)
	done := make(chan struct{}, 128)
	c := &countingClient{done: done}
	b.ReportAllocs()
	b.ResetTimer()
	inflight := 0
	for range b.N {
		if inflight == 128 {
			<-done
			inflight--
		}
		e := pipeline.NewEnvelope(pipeline.SourceReplay, nil)
		e.Client = c
		e.Frame.Kind, e.Frame.ID = frames.KindRequest, []byte(`"1"`)
		for p.Submit(e) != nil {
			<-done
			inflight--
		}
		inflight++
	}
	for ; inflight > 0; inflight-- {
		<-done
	}
}

type countingClient struct {
	Client
	done chan struct{}
}

func (c *countingClient) Send(b frames.Buffer) bool {
	b.Release()
	c.done <- struct{}{}
	return true
}
