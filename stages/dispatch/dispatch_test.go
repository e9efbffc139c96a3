package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func ok(_ context.Context, e *pipeline.Envelope) error { return e.AnswerValue("ok") }

// rig is a dispatch stage alone in a pipeline.
type rig struct {
	*Stage
	pipe *pipeline.Pipeline
	c    *pipelinetest.Client
}

func newRig(t testing.TB, cfg Config, methods ...Method) *rig {
	t.Helper()
	r := &rig{c: pipelinetest.NewClient()}
	var err error
	r.Stage, err = New(cfg, methods, func(e *pipeline.Envelope, err error) { r.pipe.Resume(e, err) }, quiet())
	if err != nil {
		t.Fatal(err)
	}
	r.pipe = pipelinetest.Start(t, pipeline.Default(), r.Stage)
	return r
}

func (r *rig) call(t testing.TB, method string) {
	t.Helper()
	if err := r.pipe.Submit(pipelinetest.Request(t, r.c, method, "{}")); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	pipelinetest.Conformance(t, func() pipeline.Stage {
		s, err := New(Default(), []Method{{Name: "health", Handle: ok}}, func(*pipeline.Envelope, error) {}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, pipelinetest.Features{Answers: true})
}

func TestNewRefusesMistakes(t *testing.T) {
	for want, tc := range map[string]struct {
		cfg     Config
		methods []Method
	}{
		`"no.such.method" is no method`: {Default(), []Method{{Name: "no.such.method", Handle: ok}}},
		`"health" is listed twice`:      {Default(), []Method{{Name: "health", Handle: ok}, {Name: "status", Handle: ok}, {Name: "health", Handle: ok}}},
		"longHandlers":                  {Config{LongTimeoutMs: 1000}, nil},
		"longTimeoutMs":                 {Config{LongHandlers: 1}, nil},
	} {
		if _, err := New(tc.cfg, tc.methods, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestWhatTheTableSays(t *testing.T) {
	s, err := New(Default(), []Method{{Name: "health", Handle: ok}, {Name: "connect", Handle: ok}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	native := 0
	for _, v := range s.Methods() {
		if v.State == "native" {
			native++
			if v.Name != "health" && v.Name != "connect" {
				t.Errorf("%s is native", v.Name)
			}
		}
	}
	if native != 2 || len(s.Methods()) != len(frames.Methods()) {
		t.Errorf("%d native of %d", native, len(s.Methods()))
	}
	for _, name := range s.Advertised() {
		if m := frames.LookupMethod([]byte(name)); !s.Native(m) || !m.Advertised {
			t.Errorf("%s is advertised", name)
		}
	}
	if s.Native(nil) || s.Native(frames.LookupMethod([]byte("status"))) {
		t.Error("what is not listed is native")
	}
}

func TestAnswers(t *testing.T) {
	bufpooltest.NoLeaks(t)
	fails := func(err error) Handler { return func(context.Context, *pipeline.Envelope) error { return err } }
	for name, tc := range map[string]struct {
		handle Handler
		want   string // "" is ok
	}{
		"an answer":             {ok, ""},
		"a protocol error":      {fails(frames.Invalid("no such session")), "no such session"},
		"a wrapped one":         {fails(fmt.Errorf("x: %w", frames.Invalid("no such session"))), "no such session"},
		"another error":         {fails(errors.New("open /etc/x")), "internal error"},
		"a panic":               {func(context.Context, *pipeline.Envelope) error { panic("boom") }, "internal error"},
		"nothing":               {fails(nil), "internal error"},
		"a deadline of its own": {fails(context.DeadlineExceeded), "took longer"},
	} {
		for _, long := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, long %v", name, long), func(t *testing.T) {
				r := newRig(t, Default(), Method{Name: "status", Handle: tc.handle, Long: long})
				r.call(t, "status")
				a := r.c.Next(t)
				if a.OK != (tc.want == "") || !a.OK && (!strings.Contains(a.Error.Message, tc.want) || strings.Contains(a.Error.Message, "/etc")) {
					t.Fatalf("answer: %+v %+v", a, a.Error)
				}
				r.pipe.Drain(t.Context())
				if h, turns := r.Waiting(); h != 0 || turns != 0 {
					t.Errorf("waiting: %d, %d", h, turns)
				}
			})
		}
	}
	t.Run("unknown, and known but not native", func(t *testing.T) {
		r := newRig(t, Default(), Method{Name: "status", Handle: ok})
		for _, m := range []string{"no.such.method", "health"} {
			r.call(t, m)
			if a := r.c.Next(t); a.OK || a.Error.Code != "INVALID_REQUEST" || a.Error.Message != "unknown method: "+m {
				t.Fatalf("%s: %+v", m, a.Error)
			}
		}
	})
}

func TestLongHandlersAreBounded(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.LongHandlers = 3
		gate := make(chan struct{})
		r := newRig(t, cfg, Method{Name: "agent.wait", Long: true, Handle: func(_ context.Context, e *pipeline.Envelope) error {
			<-gate
			return e.AnswerValue(1)
		}}, Method{Name: "status", Handle: ok})
		for range 10 {
			r.call(t, "agent.wait")
		}
		synctest.Wait()
		if n := len(r.c.Answers); n != 7 {
			t.Fatalf("%d refused of 10 with room for 3", n)
		}
		for range 7 {
			if a := r.c.Next(t); a.OK || a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable {
				t.Fatalf("refusal: %+v", a)
			}
		}
		r.call(t, "status") // the workers are free
		if a := r.c.Next(t); !a.OK {
			t.Fatalf("status: %+v", a)
		}
		if h, _ := r.Waiting(); h != 3 {
			t.Fatalf("waiting: %d", h)
		}
		close(gate)
		for range 3 {
			if a := r.c.Next(t); !a.OK {
				t.Fatalf("answer: %+v", a)
			}
		}
		r.call(t, "agent.wait")
		if a := r.c.Next(t); !a.OK {
			t.Fatalf("afterwards: %+v", a)
		}
	})
}

func TestALongHandlerHasItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.LongTimeoutMs = 60_000
		r := newRig(t, cfg, Method{Name: "agent.wait", Long: true, Handle: func(ctx context.Context, e *pipeline.Envelope) error {
			<-ctx.Done()
			return fmt.Errorf("waiting: %w", ctx.Err())
		}})
		begin := time.Now()
		r.call(t, "agent.wait")
		synctest.Wait()
		time.Sleep(59 * time.Second) // synctest's clock
		if len(r.c.Answers) != 0 {
			t.Fatal("answered early")
		}
		a := r.c.Next(t)
		if a.OK || !a.Error.Retryable || a.Error.Message != "agent.wait waited longer than 1m0s; try again" {
			t.Fatalf("answer: %+v", a.Error)
		}
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("after %s", d)
		}
	})
}

type key struct{}

func TestAHandlersContextCarriesTheFramesValues(t *testing.T) {
	got := make(chan any, 3)
	look := func(ctx context.Context, e *pipeline.Envelope) error {
		got <- ctx.Value(key{})
		sub, cancel := context.WithCancel(ctx) // the values' own cancellation must not leak in
		defer cancel()
		got <- sub.Err()
		return e.AnswerValue(1)
	}
	for _, long := range []bool{false, true} {
		r := newRig(t, Default(), Method{Name: "status", Handle: look, Long: long})
		ended, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "span"))
		cancel()
		e := pipelinetest.Request(t, r.c, "status", "{}")
		e.Ctx = ended
		if err := r.pipe.Submit(e); err != nil {
			t.Fatal(err)
		}
		r.c.Next(t)
		if v, err := <-got, <-got; v != "span" || err != nil {
			t.Errorf("long %v: value %v, err %v", long, v, err)
		}
	}
}

// held passes what it gets to a stage, but only after its pipeline has timed it out.
type held struct {
	pipeline.Stage
	release chan struct{}
	through chan struct{}
}

func (h *held) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	<-h.release
	defer close(h.through)
	return h.Stage.Process(ctx, e)
}

func TestAPlaceIsGivenBackWhenTheTimeoutWasFaster(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		ran := false
		s, err := New(Default(), []Method{{Name: "agent.wait", Long: true, Handle: func(context.Context, *pipeline.Envelope) error {
			ran = true
			return nil
		}}}, func(*pipeline.Envelope, error) { t.Error("resumed") }, quiet())
		if err != nil {
			t.Fatal(err)
		}
		h := &held{s, make(chan struct{}), make(chan struct{})}
		p := pipelinetest.Start(t, pipeline.Default(), h)
		c := pipelinetest.NewClient()
		p.Submit(pipelinetest.Request(t, c, "agent.wait", "{}"))
		time.Sleep(15 * time.Second) // synctest's clock; the stage's timeout is 10 s
		if a := c.Next(t); a.OK || !strings.Contains(a.Error.Message, "took longer") {
			t.Fatalf("answer: %+v", a)
		}
		close(h.release)
		<-h.through
		if n, _ := s.Waiting(); n != 0 || ran {
			t.Errorf("%d places taken, handler ran: %v", n, ran)
		}
	})
}
