package dedupe

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/stages/persist"
	"sluice/storage"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is dedupe, a handler and persist: a request that arrives at the handler has one
// effect, which counts.
type rig struct {
	*Stage
	t       testing.TB
	persist *persist.Stage
	pipe    *pipeline.Pipeline
	handle  func(e *pipeline.Envelope) error // nil: count

	mu   sync.Mutex
	runs map[string]int // identity and key -> effects
}

func newRig(t testing.TB, cfg Config, store storage.Store) *rig {
	t.Helper()
	r := &rig{t: t, runs: map[string]int{}}
	var err error
	if r.Stage, err = New(cfg, store, func(e *pipeline.Envelope) { r.pipe.ResumeDone(e) }); err != nil {
		t.Fatal(err)
	}
	r.persist, err = persist.New(persist.Default(), store, func(e *pipeline.Envelope, err error) { r.pipe.Resume(e, err) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	handler := pipelinetest.Stage{StageName: "dispatch", Fn: func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		if r.handle != nil {
			return pipeline.Next, r.handle(e)
		}
		return pipeline.Next, r.count(e)
	}}
	pc := pipeline.Default()
	pc.Workers, pc.QueueFrames = 4, 16384
	r.pipe = pipelinetest.Start(t, pc, r.Stage, handler, r.persist)
	return r
}

// count gives the request its effect; the answer says which one it was.
func (r *rig) count(e *pipeline.Envelope) error {
	key, _ := idempotencyKey(e.Frame.Params)
	id := e.Peer.Identity + "/" + key
	e.Effects = append(e.Effects, pipeline.EffectFunc(func(_ storage.Tx, e *pipeline.Envelope) error {
		r.mu.Lock()
		r.runs[id]++
		n := r.runs[id]
		r.mu.Unlock()
		return e.AnswerValue(fmt.Sprintf("%s #%d", strings.ToValidUTF8(id, "~"), n))
	}))
	return nil
}

func (r *rig) effects(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[id]
}

// as returns a client of that identity.
func as(identity string) *pipelinetest.Client {
	c := pipelinetest.NewClient()
	c.PeerInfo.Identity = identity
	return c
}

func (r *rig) submit(c *pipelinetest.Client, method, params string) {
	r.t.Helper()
	if err := r.pipe.Submit(pipelinetest.Request(r.t, c, method, params)); err != nil {
		r.t.Fatal(err)
	}
}

// call sends a request and returns its payload, or "CODE message".
func (r *rig) call(c *pipelinetest.Client, method, params string) string {
	r.t.Helper()
	r.submit(c, method, params)
	return text(c.Next(r.t))
}

func text(a pipelinetest.Answer) string {
	if a.OK {
		return string(a.Payload)
	}
	return a.Error.Code + " " + a.Error.Message
}

// params are chat.send's.
func params(key, message string) string {
	return fmt.Sprintf(`{"sessionKey":"main","message":%q,"idempotencyKey":%q}`, message, key)
}

const conflict = "INVALID_REQUEST This message ID was already used for different input. Check the conversation history and use a new message ID to send again."

// direct makes envelopes for Process without a pipeline.
func direct(t testing.TB, identity, method, params string) *pipeline.Envelope {
	t.Helper()
	e := pipeline.NewEnvelope(pipeline.SourceReplay, nil)
	e.Peer = &frames.Peer{Identity: identity, Role: frames.RoleOperator}
	raw := []byte(`{"type":"req","id":"1","method":"` + method + `","params":` + params + `}`)
	if err := frames.Decode(raw, &e.Frame); err != nil {
		t.Fatal(err)
	}
	return e
}
