package decode

import (
	"context"
	"log/slog"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func all(*frames.Method) bool { return true }

func newStage(t testing.TB, cfg Config, native func(*frames.Method) bool) *Stage {
	t.Helper()
	s, err := New(cfg, native, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rig is a decode stage before one that answers "passed".
type rig struct {
	*Stage
	pipe *pipeline.Pipeline
}

func newRig(t testing.TB, s *Stage) *rig {
	t.Helper()
	return &rig{s, pipelinetest.Start(t, pipeline.Default(), s, pipelinetest.Stage{StageName: "last",
		Fn: func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
			return pipeline.Done, e.AnswerValue("passed")
		}})}
}

// outcome is what a client saw of one frame.
type outcome struct {
	answer *pipelinetest.Answer
	close  *frames.Close
}

// send sends one frame and waits until it is settled.
func (r *rig) send(t testing.TB, c *pipelinetest.Client, raw string) (o outcome) {
	t.Helper()
	e := pipelinetest.Raw(c, raw)
	settled := make(chan struct{})
	e.OnSettle(settler(func(*pipeline.Envelope) { close(settled) }))
	if err := r.pipe.Submit(e); err != nil {
		t.Fatal(err)
	}
	<-settled
	select {
	case a := <-c.Answers:
		o.answer = &a
	default:
	}
	select {
	case cl := <-c.Closed:
		o.close = &cl
	default:
	}
	return o
}

type settler func(*pipeline.Envelope)

func (s settler) Settle(e *pipeline.Envelope) { s(e) }

// client returns one of the given role and scopes; none for a connection before hello.
func client(role frames.Role, scopes ...string) *pipelinetest.Client {
	c := pipelinetest.NewClient()
	if role == frames.RoleNone {
		c.PeerInfo = nil
		return c
	}
	c.PeerInfo.Role, c.PeerInfo.Scopes = role, frames.ParseScopes(scopes)
	return c
}

func req(id, method, params string) string {
	if params != "" {
		params = `,"params":` + params
	}
	return `{"type":"req","id":"` + id + `","method":"` + method + `"` + params + `}`
}
