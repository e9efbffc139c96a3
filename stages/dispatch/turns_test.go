package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

func turn(t *testing.T, r *rig, w *pipelinetest.Work) chan *frames.Error {
	t.Helper()
	e := pipeline.NewEnvelope(pipeline.SourceTurn, nil)
	e.Work = w
	end := make(chan *frames.Error, 1)
	e.OnSettle(settler(func(e *pipeline.Envelope) {
		_, err, _ := e.Result()
		end <- err
	}))
	if !r.pipe.Inject(t.Context(), e, "dispatch") {
		t.Fatal("not taken")
	}
	return end
}

type settler func(*pipeline.Envelope)

func (s settler) Settle(e *pipeline.Envelope) { s(e) }

func TestTurns(t *testing.T) {
	t.Run("run beside the workers and are not bounded by the stage's timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Default())
			w := pipelinetest.NewWork("r", "main", "agent:main:main", "hi")
			w.OnRun = func(ctx context.Context, _ *pipeline.Envelope) error {
				if _, bounded := ctx.Deadline(); bounded {
					t.Error("a turn has a deadline of dispatch's")
				}
				time.Sleep(time.Hour) // synctest's clock
				return ctx.Err()
			}
			end := turn(t, r, w)
			synctest.Wait()
			if _, turns := r.Waiting(); turns != 1 {
				t.Errorf("turns: %d", turns)
			}
			if err := <-end; err != nil {
				t.Fatal(err)
			}
			if _, turns := r.Waiting(); turns != 0 {
				t.Errorf("turns: %d", turns)
			}
		})
	})
	for name, stop := range map[string]func(*rig) error{
		"Cancel": func(r *rig) error { r.Cancel(); return nil },
		"Stop":   func(r *rig) error { return r.Stage.Stop(context.Background()) },
	} {
		t.Run("end by "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Default(), Method{Name: "agent.wait", Long: true, Handle: func(ctx context.Context, _ *pipeline.Envelope) error {
					<-ctx.Done()
					return ctx.Err()
				}})
				w := pipelinetest.NewWork("r", "main", "agent:main:main", "hi")
				w.OnRun = func(ctx context.Context, _ *pipeline.Envelope) error { <-ctx.Done(); return ctx.Err() }
				end := turn(t, r, w)
				r.call(t, "agent.wait")
				synctest.Wait()
				if err := stop(r); err != nil {
					t.Fatal(err)
				}
				if err := <-end; err == nil || !err.Retryable {
					t.Errorf("the turn ended with %v", err)
				}
				if a := r.c.Next(t); a.OK || a.Error.Message != "gateway restart in progress" {
					t.Errorf("the handler ended with %+v", a.Error)
				}
			})
		})
	}
	t.Run("a panic is an end", func(t *testing.T) {
		r := newRig(t, Default())
		w := pipelinetest.NewWork("r", "main", "agent:main:main", "hi")
		w.OnRun = func(context.Context, *pipeline.Envelope) error { panic("boom") }
		if err := <-turn(t, r, w); err == nil || !strings.Contains(err.Message, "internal error") {
			t.Fatalf("ended with %v", err)
		}
	})
}

func TestStopWaitsAsLongAsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRig(t, Default(), Method{Name: "agent.wait", Long: true, Handle: func(_ context.Context, e *pipeline.Envelope) error {
			<-gate // deaf to its context
			return e.AnswerValue(1)
		}})
		r.call(t, "agent.wait")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Stage.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 handlers and 0 turns") {
			t.Fatalf("stop: %v", err)
		}
		close(gate)
		r.c.Next(t)
	})
}
