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

func (s Status) open() bool { return s == Queued || s == Running }

// Input is one message that a run answers. It enters the transcript when the run reads
// it; until then it is pending (chat.history, pendingInputs) and kept with the run.
type Input struct {
	RunID     string `json:"runId"` // of the request that brought it
	Text      string `json:"text"`
	MessageID string `json:"messageId"`
	AtMs      int64  `json:"atMs"`
	// From is the client that sent it, when queue mode collect kept it waiting.
	From string `json:"from,omitzero"`
	// Foreign names where it comes from when it is not the owner's words.
	Foreign string `json:"foreign,omitzero"`
}

// Run is one agent turn. It implements pipeline.Work.
type Run struct {
	reg *Registry

	id         string
	kind       Kind
	sessionKey string
	agentID    string
	model      string // override of the request
	system     string
	timeout    time.Duration
	createdAt  time.Time
	claim      pipeline.Claim
	claimRow   *storage.IdempotencyRow // of a run that a restart brought back
	parent     trace.SpanContext       // of the request that started it

	mu        sync.Mutex
	sessionID string
	revision  string // the session's lifecycleRevision when the run read it; "" before
	override  string // the session's model
	inputs    []Input
	notes     []string // what the lane dropped, for the model
	status    Status
	steerable bool
	joined    []*Run // runs whose messages this one has read: they end with it
	steered   []*Run // runs whose messages wait to be read
	cancel    context.CancelCauseFunc
	aborted   bool
	abort     string // reason
	startedAt time.Time
	out       *streamer
	end       End
	replies   []reply
	done      chan struct{}
	seq       uint64
}

// End is how a run ended.
type End struct {
	Status     Status
	StopReason string // stop, length, rpc, aborted, restart, timeout, error
	Text       string // of the last answer
	Err        *frames.Error
	Model      string
	ResponseID string
	Input      int64 // tokens
	Output     int64
	StartedAt  time.Time
	EndedAt    time.Time
	// Joined: another run has told the answer.
	Joined bool
}

func (e End) joined() End {
	e.Joined = true
	return e
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

// Foreign implements defend's Foreign: where a message of the run comes from that is not
// its owner's; empty when all are.
func (r *Run) Foreign() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, in := range r.inputs {
		if in.Foreign != "" {
			return in.Foreign
		}
	}
	return ""
}

// SessionID is the session that the run's messages are stored under.
func (r *Run) SessionID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessionID
}

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
	if !ok || o.agentID != r.agentID || o.model != r.model || o.system != r.system {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != Queued || r.aborted {
		return false
	}
	r.inputs = append(r.inputs, o.inputs...)
	r.joined = append(r.joined, o)
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
	if !r.steerable || r.aborted {
		return false
	}
	r.steered = append(r.steered, o)
	return true
}

// next returns the runs that were steered in since the last answer, and their messages;
// none closes the run for steering.
func (r *Run) next() (runs []*Run, inputs []Input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.steered {
		inputs = append(inputs, o.inputs...)
	}
	runs, r.steered = r.steered, nil
	r.joined = append(r.joined, runs...)
	if len(runs) == 0 {
		r.steerable = false
	}
	return runs, inputs
}

// unread undoes next for messages that could not be stored: they are answered later.
func (r *Run) unread(runs []*Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined = r.joined[:len(r.joined)-len(runs)]
	r.steered = append(runs, r.steered...)
}

// release gives back steered runs that were not read yet: the one with the id, or with
// an empty id all.
func (r *Run) release(runID string) []*Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out, keep []*Run
	for _, o := range r.steered {
		if runID == "" || o.id == runID {
			out = append(out, o)
		} else {
			keep = append(keep, o)
		}
	}
	r.steered = keep
	return out
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
	if !r.aborted {
		r.aborted, r.abort = true, reason
	}
	r.steerable = false
	if r.cancel != nil {
		r.cancel(errAborted)
	}
}

// stopReason is how clients are told why a run was ended: rpc when they asked for it,
// aborted when a newer message did (captured), else the reason itself.
func (r *Run) stopReason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.abort {
	case "":
		return "rpc"
	case "interrupted":
		return "aborted"
	}
	return r.abort
}

// Drop implements pipeline.Work: the run never starts. Its end is stored so that a
// restart does not start it after all, and told when that is durable. It does not wait
// for that: it may be called on the goroutine that writes.
func (r *Run) Drop(err *frames.Error) {
	g := r.reg
	r.mu.Lock()
	dropped := r.status == Queued && !g.held.Load()
	if dropped {
		r.aborted = true // it must not begin any more
	}
	r.mu.Unlock()
	if !dropped {
		return
	}
	now := time.Now()
	end := End{Status: Failed, StopReason: "error", Err: err, StartedAt: now, EndedAt: now}
	if err != nil && err.Message == errDropped.Message {
		end.Status, end.StopReason, end.Err = Aborted, "rpc", nil
	}
	g.wg.Go(func() {
		g.storeEnd(r, end)
		g.finish(r, end)
	})
}

// begin moves the run to running; false means that it was aborted before.
func (r *Run) begin(cancel context.CancelCauseFunc, out *streamer, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.aborted {
		return false
	}
	r.status, r.startedAt, r.cancel, r.out, r.steerable = Running, at, cancel, out, true
	return true
}

func (r *Run) wasAborted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.aborted
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
