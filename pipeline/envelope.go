package pipeline

import (
	"context"
	"sync"
	"sync/atomic"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"go.opentelemetry.io/otel/trace"
)

// Source says by which route an envelope entered. Every route goes through the same
// stages (law 4: no side door).
type Source uint8

// The routes.
const (
	// SourceWire is a frame of a client's WebSocket.
	SourceWire Source = iota
	// SourceTurn is an agent turn whose time has come in its session's lane.
	SourceTurn
	// SourceHook is an HTTP webhook, SourceChannel a message of a channel.
	SourceHook
	SourceChannel
	// SourceReplay is a recorded frame of `sluice replay`.
	SourceReplay
)

// String names the source in spans and logs.
func (s Source) String() string {
	return [...]string{"wire", "turn", "hook", "channel", "replay"}[s]
}

// Effect is one durable change. The persist stage runs Apply inside the write
// transaction of a batch; reads through tx see every earlier effect. A *frames.Error
// undoes this envelope's effects only and answers its request. Apply may set the
// envelope's answer; it must not block and must not keep tx.
type Effect interface {
	Apply(tx storage.Tx, e *Envelope) error
}

// EffectFunc makes a function an Effect.
type EffectFunc func(tx storage.Tx, e *Envelope) error

// Apply implements Effect.
func (f EffectFunc) Apply(tx storage.Tx, e *Envelope) error { return f(tx, e) }

// Claim is the hold of the first envelope on its idempotency key (package dedupe).
type Claim interface {
	// Row is what persist stores with the effects, so that the key survives a restart;
	// answer is the encoded payload that a duplicate gets.
	Row(answer []byte) storage.IdempotencyRow
	// Replace changes what later duplicates get: a run's end replaces "in_flight".
	Replace(payload []byte)
}

// Work is an agent turn: what a session's lane runs, one at a time. Package agent
// implements it; schedule orders it; dispatch runs it.
type Work interface {
	// ID is the run id, AgentID the agent that it belongs to, SessionKey its lane.
	ID() string
	AgentID() string
	SessionKey() string
	// Texts are the prompts of the turn, for defend. They do not change once queued,
	// except by Merge.
	Texts() []string
	// Merge takes another queued turn into this one (queue mode collect) and reports
	// whether it could; the other is then answered by its own Drop.
	Merge(other Work) bool
	// Run does the turn and puts its effects on e. It ends when ctx does.
	Run(ctx context.Context, e *Envelope) error
	// Abort asks a running turn to end; Drop ends a queued one that will never run,
	// and tells whoever waits for it why.
	Abort(reason string)
	Drop(err *frames.Error)
}

// Delivery is one message that must leave through a channel (package adapter).
type Delivery struct {
	Channel   string
	AccountID string
	To        string
	ThreadID  string
	Text      string
	// Key identifies the delivery across retries; the receiver can dedupe by it.
	Key string
	// Receipt is set by the adapter stage after the channel confirmed; Err otherwise.
	Receipt *Receipt
	Err     *frames.Error
}

// Receipt is a channel's confirmation.
type Receipt struct {
	MessageID string `json:"messageId"`
	Chunks    int    `json:"chunks"`
	Attempts  int    `json:"attempts"`
	AtMs      int64  `json:"atMs"`
}

// Action is what the defender decided.
type Action uint8

// The actions, ordered by severity.
const (
	Allow Action = iota
	Review
	Block
)

// String returns the action's wire name.
func (a Action) String() string { return [...]string{"allow", "review", "block"}[a] }

// Decision is defend's verdict on one envelope (first-runtime.md section 2.3).
type Decision struct {
	Action  Action
	Risk    int // 0..100
	Reasons []string
	Tags    []string
	// Defenders are the times of those who were asked, when the frame is traced.
	Defenders []DefenderTime
}

// DefenderTime is the time that one defender took, on the pipeline's clock.
type DefenderTime struct {
	Name       string
	Begin, End int64
}

// Envelope carries one frame through the stages. It has one owner at a time: the
// worker that processes it, or whoever it was parked with. All its memory goes back to
// pools when the pipeline settles it; nothing may keep it, or bytes of it, after that.
type Envelope struct {
	Source Source
	// Client is the connection to answer; nil for work without one.
	Client frames.Client
	// Peer is who asks, as granted by the server; nil before hello.
	Peer  *frames.Peer
	Frame frames.Frame
	// Shard keeps envelopes of one connection in order within a stage.
	Shard uint32

	// What the stages tell each other.
	SessionKey string
	Claim      Claim
	Work       Work
	Decision   *Decision
	// Foreign names the origin of the frame's content when it is not the owner's ("sender",
	// "tool", "web"); set by defend. A turn that it starts carries it on.
	Foreign    string
	Deliveries []*Delivery
	Effects    []Effect
	// OnDelivered builds the answer after the adapter stage is through.
	OnDelivered func(e *Envelope) error

	// Ctx carries the frame's root span; nil when the frame is not sampled.
	Ctx context.Context
	// Parent is the span that this envelope's trace continues, for work that Sluice
	// starts itself: a turn continues its request's. A client's traceparent is in Frame.
	Parent trace.SpanContext

	lease    *bufpool.Lease
	payload  []byte // answer, when err is nil
	scratch  *bufpool.Lease
	err      *frames.Error
	answered bool
	settlers [4]Settler
	nsettle  int
	after    []func(ok bool)
	pipe     *Pipeline
	worker   atomic.Pointer[worker]
	stage    int // index of the stage that owns it
	started  int64
	times    [MaxStages]span
	timedOut bool
	begun    bool // the tracer has decided
	detached bool // its bytes count as waiting, not as queued
}

// MaxStages bounds the number of stages of a Pipeline.
const MaxStages = 8

type span struct{ queued, begin, end int64 }

// Settler is told when an envelope has got its answer, before its memory is reused.
type Settler interface {
	Settle(e *Envelope)
}

var envelopes = sync.Pool{New: func() any { return new(Envelope) }}

// NewEnvelope returns an empty envelope that takes over lease (which may be nil).
func NewEnvelope(source Source, lease *bufpool.Lease) *Envelope {
	e := envelopes.Get().(*Envelope)
	e.Source = source
	e.lease = lease
	e.started = nowNanos()
	return e
}

// Bytes are the frame's raw bytes; they live as long as the envelope.
func (e *Envelope) Bytes() []byte {
	if e.lease == nil {
		return nil
	}
	return e.lease.B
}

// RetainBytes returns one more hold on the frame's bytes; the caller releases it.
func (e *Envelope) RetainBytes() *bufpool.Lease {
	if e.lease == nil {
		return nil
	}
	return e.lease.Retain()
}

// Answer sets the result. payload is encoded JSON that stays unchanged until the
// envelope is settled: a shared snapshot, or bytes of Scratch.
func (e *Envelope) Answer(payload []byte) {
	e.payload, e.err = payload, nil
	e.answered = true
}

// AnswerValue encodes v as the result.
func (e *Envelope) AnswerValue(v any) error {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	e.Answer(b)
	return nil
}

// Fail sets the error answer.
func (e *Envelope) Fail(err *frames.Error) {
	e.err = err
	e.answered = true
}

// Result returns the answer so far; ok is false while there is none.
func (e *Envelope) Result() (payload []byte, err *frames.Error, ok bool) {
	return e.payload, e.err, e.answered
}

// Scratch is a pooled buffer that lives as long as the envelope, for encoding answers.
func (e *Envelope) Scratch(n int) *bufpool.Lease {
	if e.scratch == nil {
		e.scratch = bufpool.Get(n)
	}
	return e.scratch
}

// OnSettle registers s to be told at the end, at most four an envelope.
func (e *Envelope) OnSettle(s Settler) {
	e.settlers[e.nsettle] = s
	e.nsettle++
}

// AfterAnswer runs fn after the answer was queued to the client; ok is false when it
// was an error. Events that announce a change go here: they never precede the
// durable commit or the answer.
func (e *Envelope) AfterAnswer(fn func(ok bool)) { e.after = append(e.after, fn) }

// Detach moves e's bytes from the budget of the queues to that of long waits, before e
// is parked for one: requests that wait must not keep others from being read. It
// reports false when that budget is full; e must then be refused.
func (e *Envelope) Detach() bool {
	p := e.pipe
	if p == nil || e.detached {
		return true
	}
	n := e.size()
	if total := p.waiting.Add(n); total > p.cfg.WaitingBytes && total > n {
		p.waiting.Add(-n)
		return false
	}
	p.bytes.Add(-n)
	e.detached = true
	return true
}

// StartedNanos is when the envelope was made, on the pipeline's monotonic clock.
func (e *Envelope) StartedNanos() int64 { return e.started }

// Timing returns when the i-th stage's queue took e, its Process began and ended, on
// the pipeline's monotonic clock; begin is 0 when the stage never saw it.
func (e *Envelope) Timing(i int) (queued, begin, end int64) {
	t := e.times[i]
	return t.queued, t.begin, t.end
}

// TimedOut reports whether a stage's timeout ended the envelope.
func (e *Envelope) TimedOut() bool { return e.timedOut }

// Stage names the stage that has the envelope, for logs.
func (e *Envelope) Stage() string {
	if e.pipe == nil {
		return ""
	}
	return e.pipe.runners[e.stage].stage.Name()
}

// recycle gives the envelope's memory back. Only settle calls it.
func (e *Envelope) recycle() {
	if e.lease != nil {
		e.lease.Release()
	}
	if e.scratch != nil {
		e.scratch.Release()
	}
	effects, after := e.Effects[:0], e.after[:0]
	clear(effects[:cap(effects)])
	clear(after[:cap(after)])
	e.reset(effects, after)
	envelopes.Put(e)
}

// reset zeroes all fields but keeps two slices' memory. Fields are named one by one
// because an Envelope holds an atomic and must not be copied.
func (e *Envelope) reset(effects []Effect, after []func(bool)) {
	e.Source, e.Client, e.Peer, e.Frame, e.Shard = 0, nil, nil, frames.Frame{}, 0
	e.SessionKey, e.Claim, e.Work, e.Decision, e.Foreign, e.Deliveries = "", nil, nil, nil, "", nil
	e.Effects, e.OnDelivered, e.Ctx, e.Parent = effects, nil, nil, trace.SpanContext{}
	e.lease, e.payload, e.scratch, e.err, e.answered = nil, nil, nil, nil, false
	e.settlers, e.nsettle, e.after = [4]Settler{}, 0, after
	e.pipe, e.stage, e.started, e.timedOut, e.begun, e.detached = nil, 0, 0, false, false, false
	e.worker.Store(nil)
	e.times = [MaxStages]span{}
}
