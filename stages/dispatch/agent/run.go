package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"

	"go.opentelemetry.io/otel/trace"
)

// Kind says which method started a run; it decides how its end is told.
type Kind uint8

// The kinds.
const (
	// Chat runs answer chat.send and sessions.send; their readers follow chat events.
	Chat Kind = iota
	// Direct runs answer agent: the request gets a second response at the end.
	Direct
)

// Status is how far a run has come.
type Status string

// The statuses, as stored.
const (
	Queued      Status = "queued"
	Running     Status = "running"
	OK          Status = "ok"
	Failed      Status = "error"
	Aborted     Status = "aborted"
	Interrupted Status = "interrupted"
)

// Input is one message that a run answers.
type Input struct {
	Text      string `json:"text"`
	MessageID string `json:"messageId"`
}

// Run is one agent turn. It implements pipeline.Work.
type Run struct {
	reg *Registry

	id         string
	kind       Kind
	sessionKey string
	sessionID  string
	agentID    string
	model      string // override of this request, empty for the agent's
	createdAt  time.Time
	claim      pipeline.Claim
	claimRow   *storage.IdempotencyRow // of a run that a restart brought back
	parent     trace.SpanContext       // of the request that started it

	mu        sync.Mutex
	inputs    []Input
	notes     []string // what the lane dropped, for the model
	status    Status
	steerable bool
	steered   []*Run // runs whose message this one took
	pending   []Input
	cancel    context.CancelCauseFunc
	abort     string // reason, when Abort came before or while running
	startedAt time.Time
	end       End
	replies   []reply
	done      chan struct{}
	seq       uint64
}

// End is how a run ended.
type End struct {
	Status     Status
	StopReason string // stop, length, rpc, timeout, error
	Text       string // of the last answer
	Err        *frames.Error
	Model      string
	ResponseID string
	Input      int64 // tokens
	Output     int64
	StartedAt  time.Time
	EndedAt    time.Time
}

// reply is a request that waits for the run's end: the second response of agent.
type reply struct {
	client frames.Client
	id     []byte
}

// ID, AgentID and SessionKey implement pipeline.Work.
func (r *Run) ID() string         { return r.id }
func (r *Run) AgentID() string    { return r.agentID }
func (r *Run) SessionKey() string { return r.sessionKey }

// SpanContext is the span of the request that started the run; the turn continues it.
func (r *Run) SpanContext() trace.SpanContext { return r.parent }

// Judged implements defend's Judged: a run is made by a request that has passed defend,
// and takes in messages of such requests only.
func (r *Run) Judged() bool { return true }

// SessionID is the session that the run's messages are stored under.
func (r *Run) SessionID() string { return r.sessionID }

// Texts implements pipeline.Work.
func (r *Run) Texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	texts := make([]string, len(r.inputs))
	for i, in := range r.inputs {
		texts[i] = in.Text
	}
	return texts
}

// SetSession binds the run to the session's id once the transaction that made or found
// the session knows it.
func (r *Run) SetSession(sessionID string) { r.sessionID = sessionID }

// OnEnd makes the run send its end as a second response to a request.
func (r *Run) OnEnd(client frames.Client, id []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replies = append(r.replies, reply{client, append([]byte(nil), id...)})
}

// Merge implements pipeline.Work for queue mode collect: a run that has not started
// takes the other's message; the other ends when this one does.
func (r *Run) Merge(other pipeline.Work) bool {
	o, ok := other.(*Run)
	if !ok || o.agentID != r.agentID || o.model != r.model {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != Queued || r.abort != "" {
		return false
	}
	r.inputs = append(r.inputs, o.inputs...)
	r.steered = append(r.steered, o)
	return true
}

// Steer takes another run's message while this one runs: it is put to the model as
// soon as the answer that is being streamed has ended, within the same turn. It reports
// false when the turn is ending.
func (r *Run) Steer(other pipeline.Work) bool {
	o, ok := other.(*Run)
	if !ok || o.agentID != r.agentID {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.steerable || r.abort != "" {
		return false
	}
	r.pending = append(r.pending, o.inputs...)
	r.steered = append(r.steered, o)
	return true
}

// Note implements schedule's Noter.
func (r *Run) Note(lines []string) {
	r.mu.Lock()
	r.notes = append(r.notes, lines...)
	r.mu.Unlock()
}

// errAborted is the cause of an aborted run's context.
var errAborted = errors.New("aborted")

// Abort implements pipeline.Work. The run ends by itself soon after.
func (r *Run) Abort(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abort == "" {
		r.abort = reason
	}
	r.steerable = false
	if r.cancel != nil {
		r.cancel(errAborted)
	}
}

// Drop implements pipeline.Work: the run never starts. Its message stays in the
// session; its end is stored so that a restart does not start it after all.
func (r *Run) Drop(err *frames.Error) {
	r.mu.Lock()
	if r.status != Queued {
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	status := Failed
	if err != nil && err.Message == "aborted" {
		status = Aborted
	}
	now := time.Now()
	end := End{Status: status, StopReason: "rpc", Err: err, StartedAt: now, EndedAt: now}
	r.reg.storeEnd(r, end)
	r.reg.finish(r, end)
}

// begin moves the run to running; false means that it was aborted before.
func (r *Run) begin(cancel context.CancelCauseFunc, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abort != "" {
		return false
	}
	r.status, r.startedAt, r.cancel, r.steerable = Running, at, cancel, true
	return true
}

// nextInputs returns what was steered in since the last answer; none closes the run
// for steering.
func (r *Run) nextInputs() []Input {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.pending
	r.pending = nil
	if len(in) == 0 {
		r.steerable = false
	}
	return in
}

func (r *Run) abortReason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.abort
}

// nextSeq counts the run's events; agent and chat events share it (wire.md 3.11).
func (r *Run) nextSeq() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	return r.seq
}

func (r *Run) currentSeq() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq
}

// Snapshot is a run's state for agent.wait and the session rows.
func (r *Run) Snapshot() (Status, End) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := r.end
	if end.StartedAt.IsZero() {
		end.StartedAt = r.startedAt
	}
	return r.status, end
}
