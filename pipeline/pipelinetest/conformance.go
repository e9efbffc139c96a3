package pipelinetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"

	"go.uber.org/goleak"
)

// Features are what a stage does that others do not; the zero value is right for a
// stage that passes health on unanswered.
type Features struct {
	// Answers: the stage itself answers health (dispatch, with a handler for it).
	Answers bool
}

// Conformance is what every stage must do: pass on what is not its business without
// answering it, answer what it refuses exactly once, return when its context has ended,
// and keep nothing: no lease after an envelope was settled, no goroutine after Stop,
// which may be called without Start and more than once. build returns a new stage.
func Conformance(t *testing.T, build func() pipeline.Stage, features ...Features) {
	var f Features
	if len(features) > 0 {
		f = features[0]
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T, func() pipeline.Stage, Features)
	}{
		{"names itself", named},
		{"passes on a request that is not its business", passesOn},
		{"answers every request exactly once", answersOnce},
		{"returns when its context has ended", honoursContext},
		{"stops without having been started, and twice", stops},
	} {
		t.Run(c.name, func(t *testing.T) {
			noGoroutines(t)
			bufpooltest.NoLeaks(t)
			c.run(t, build, f)
		})
	}
}

// noGoroutines fails t when, after its other cleanups, goroutines run that did not
// before.
func noGoroutines(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if err := goleak.Find(before); err != nil {
			t.Error(err)
		}
	})
}

func named(t *testing.T, build func() pipeline.Stage, _ Features) {
	a, b := build(), build()
	defer halt(t, a)
	defer halt(t, b)
	if a.Name() == "" || a.Name() != b.Name() {
		t.Fatalf("a stage needs one name: %q, %q", a.Name(), b.Name())
	}
}

// last answers what comes to it, and reports what was answered before.
func last(t *testing.T, f Features) Stage {
	return Stage{StageName: "last", Fn: func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		if _, _, answered := e.Result(); answered {
			if !f.Answers {
				t.Errorf("%s was passed on with an answer", e.Frame.Method)
			}
			return pipeline.Done, nil
		}
		return pipeline.Done, e.AnswerValue("last")
	}}
}

func passesOn(t *testing.T, build func() pipeline.Stage, f Features) {
	s := build()
	p := Start(t, pipeline.Default(), s, last(t, f))
	c := NewClient()
	if err := p.Submit(Request(t, c, "health", "{}")); err != nil {
		t.Fatal(err)
	}
	if a := c.Next(t); !a.OK || !f.Answers && string(a.Payload) != `"last"` {
		t.Fatalf("health did not pass: %+v", a)
	}
	if h, ok := s.(pipeline.Healther); ok && h.Health() != "" {
		t.Errorf("a new stage says that it is unwell: %s", h.Health())
	}
}

// answersOnce sends requests from many connections at once, half of them of a method
// that does not exist: a stage may pass that on or refuse it.
func answersOnce(t *testing.T, build func() pipeline.Stage, f Features) {
	const conns, each = 8, 25
	cfg := pipeline.Default()
	cfg.QueueFrames = 2 * conns * each * 8 // no refusals: they are not the stage's
	p := Start(t, cfg, build(), last(t, f))
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			c := NewClient()
			for n := range each {
				method := "health"
				if n%2 == 1 {
					method = "no.such.method"
				}
				e := RequestID(t, c, fmt.Sprintf("%d-%d", i, n), method, "{}")
				e.Shard = uint32(i)
				if err := p.Submit(e); err != nil {
					t.Errorf("submit: %v", err)
					return
				}
			}
			seen := map[string]int{}
			for range each {
				a := c.Next(t)
				seen[a.ID]++
			}
			for id, n := range seen {
				if n != 1 {
					t.Errorf("request %s was answered %d times", id, n)
				}
			}
		})
	}
	wg.Wait()
}

// patience is how long a stage may take to notice that its context has ended.
const patience = 5 * time.Second

func honoursContext(t *testing.T, build func() pipeline.Stage, _ Features) {
	s := build()
	if st, ok := s.(pipeline.Starter); ok {
		if err := st.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	defer halt(t, s)
	p, err := pipeline.New(pipeline.Default(), []pipeline.Stage{s}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := NewClient()
	e := Request(t, c, "health", "{}")
	done := newSignal()
	go func() {
		defer done.raise()
		s.Process(ctx, e)
	}()
	if !done.wait(patience) {
		t.Fatalf("Process is still running %s after its context ended", patience)
	}
	p.Refuse(e, frames.Unavailable(0, "the test is over")) // gives its memory back
	c.Next(t)
}

func stops(t *testing.T, build func() pipeline.Stage, _ Features) {
	s := build()
	halt(t, s)
	halt(t, s)
}

// halt stops a stage that has something to stop.
func halt(t *testing.T, s pipeline.Stage) {
	t.Helper()
	st, ok := s.(pipeline.Stopper)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := st.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// signal is an event that happens once.
type signal chan struct{}

func newSignal() signal { return make(signal) }

func (s signal) raise() { close(s) }

func (s signal) wait(d time.Duration) bool {
	select {
	case <-s:
		return true
	case <-time.After(d):
		return false
	}
}
