// Package schedule is the third stage: it orders agent turns.
//
// Every session has a lane, and a lane runs one turn at a time, first in, first out. A
// request that starts a turn takes a place in its lane here, goes on to be defended
// and stored, and when its acknowledgement is durable the place becomes real: the turn
// enters the pipeline by itself (pipeline.SourceTurn) when the lane is free, the main
// lane has room and it is its agent's share. A request that fails on the way gives its
// place back. The lane is released when the turn's own envelope is settled, whatever
// ended it, so there is no lock to forget and no stuck session to recover.
//
// All other requests take no place and pass at the cost of one comparison.
package schedule

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sluice/frames"
	"sluice/pipeline"

	"go.opentelemetry.io/otel/trace"
)

// Policy is what a session's own settings say; empty fields leave it to Config.
type Policy struct {
	QueueMode       Mode
	GroupActivation string
}

// Deps are what the stage needs from outside.
type Deps struct {
	// Inject is the pipeline's Inject.
	Inject func(ctx context.Context, e *pipeline.Envelope, stage string) bool
	// Policy reads a session's settings.
	Policy func(ctx context.Context, sessionKey string) Policy
	// AgentExists reports whether the agent is configured.
	AgentExists func(id string) bool
	Log         *slog.Logger
}

// Stage implements pipeline.Stage. One mutex guards all lanes: it is taken only for
// requests that start a turn, and held for a few map operations.
type Stage struct {
	cfg  Config
	deps Deps

	mu      sync.Mutex
	lanes   map[string]*lane
	agents  map[string]*agentQueue
	ring    []*agentQueue // agents with startable lanes, in the order of their next turn
	running int
	stopped bool
	starts  chan *ticket

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	Stats Stats
}

var (
	_ pipeline.Stage   = (*Stage)(nil)
	_ pipeline.Starter = (*Stage)(nil)
	_ pipeline.Stopper = (*Stage)(nil)
	_ pipeline.Settler = (*ticket)(nil)
)

// New returns the stage.
func New(cfg Config, deps Deps) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Stage{cfg: cfg, deps: deps, lanes: make(map[string]*lane), agents: make(map[string]*agentQueue),
		starts: make(chan *ticket, cfg.concurrent()), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "schedule" }

// Start implements pipeline.Starter.
func (s *Stage) Start(context.Context) error {
	go s.injectTurns()
	return nil
}

// Hold starts no further turns: the gateway is stopping. What waits is stored and
// starts with the next process.
func (s *Stage) Hold() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
}

// Stop implements pipeline.Stopper. Turns that still wait are dropped with an error;
// they are stored and start again with the next process.
func (s *Stage) Stop(context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	<-s.done
	return nil
}

// Process implements pipeline.Stage.
func (s *Stage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	m := e.Frame.Spec
	if m == nil || !m.Turn || e.Source == pipeline.SourceTurn || e.Peer == nil {
		return pipeline.Next, nil
	}
	target, err := targetOf(m.Name, e.Frame.Params)
	if err != nil {
		return pipeline.Done, err
	}
	if !s.deps.AgentExists(target.agent) {
		return pipeline.Done, unknownAgent(m.Name, target.agent)
	}
	e.SessionKey = target.key
	if !target.turn {
		return pipeline.Next, nil
	}
	policy := s.deps.Policy(ctx, target.key)
	if ignored(s.cfg, policy, e.Source, e.Frame.Params, target) {
		s.Stats.Ignored.Add(1)
		return pipeline.Done, e.AnswerValue(map[string]any{"status": "ignored", "reason": "group message without a mention"})
	}
	t, refused := s.reserve(target, s.mode(target, policy))
	if refused != nil {
		return pipeline.Done, refused
	}
	e.OnSettle(t)
	return pipeline.Next, nil
}

// mode applies the precedence of openclaw.md 3.2: the request, the session, the config.
func (s *Stage) mode(t target, p Policy) Mode {
	switch {
	case t.mode.valid():
		return t.mode
	case p.QueueMode.valid():
		return p.QueueMode
	}
	return s.cfg.QueueMode
}

func unknownAgent(method, agent string) *frames.Error {
	if method == "chat.send" || method == "sessions.send" || method == "agent" {
		return frames.Invalid("Agent %q no longer exists in configuration", agent)
	}
	return frames.Invalid("Unknown agent id %q", agent)
}

// Traced is Work that continues a trace: its request's.
type Traced interface {
	SpanContext() trace.SpanContext
}

// injectTurns hands started turns to the pipeline. It is one goroutine because Inject
// waits when the pipeline is full; starts holds as many as may run, so sending to it
// never blocks.
func (s *Stage) injectTurns() {
	defer close(s.done)
	for {
		select {
		case t := <-s.starts:
			e := pipeline.NewEnvelope(pipeline.SourceTurn, nil)
			e.Work, e.SessionKey = t.work, t.lane.key
			if w, ok := t.work.(Traced); ok {
				e.Parent = w.SpanContext()
			}
			e.OnSettle(t)
			if !s.deps.Inject(s.ctx, e, "defend") {
				t.work.Drop(errStopping)
				s.finish(t)
			}
		case <-s.ctx.Done():
			return
		}
	}
}

var errStopping = frames.Unavailable(1000, "gateway restart in progress")

// now is replaced in tests by synctest's clock only; it exists for one call site less.
func now() time.Time { return time.Now() }
