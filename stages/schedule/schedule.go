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
	"fmt"
	"hash/maphash"
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
	// Superseded is told of a request that a newer message made needless before it was
	// stored. May be nil.
	Superseded func(sessionKey, runID string)
	Log        *slog.Logger
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
	after   []func() // what waits for runAfter

	injecting sync.Mutex // held while a started turn goes into the pipeline
	wakeAfter chan struct{}
	seed      maphash.Seed
	ctx       context.Context
	cancel    context.CancelFunc
	work      sync.WaitGroup // the stage's own goroutines

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
		starts: make(chan *ticket, cfg.concurrent()), wakeAfter: make(chan struct{}, 1), seed: maphash.MakeSeed()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "schedule" }

// Start implements pipeline.Starter.
func (s *Stage) Start(context.Context) error {
	s.work.Go(s.injectTurns)
	s.work.Go(s.runAfter)
	return nil
}

// Hold starts no further turns: the gateway is stopping. What waits is stored and
// starts with the next process. When it returns, every turn that had been started is in
// the pipeline, for its Drain to see, or waits again.
func (s *Stage) Hold() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.injecting.Lock() // the one that is on its way
	s.injecting.Unlock()
}

// Stop implements pipeline.Stopper. Turns that wait, or were started and not yet taken
// by the pipeline, are left as they are stored: they start with the next process. Who
// was to be told of a turn's end still is. It may be called twice, and without Start.
func (s *Stage) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	for _, l := range s.lanes {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	s.mu.Unlock()
	s.cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.work.Wait()
		s.runAfter() // what came after the goroutine had ended
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("schedule: a turn is still being ended: %w", ctx.Err())
	}
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
		return pipeline.Done, unknownAgent(m.Name, target.given, target.agent)
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

// unknownAgent words the refusal as upstream does: an agent that was asked for by its
// id is unknown, one that only the session's key names has been removed.
func unknownAgent(method, given, fromKey string) *frames.Error {
	switch {
	case given != "" && method == "agent":
		return frames.Invalid("invalid agent params: unknown agent id %q", given)
	case given != "":
		return frames.Invalid("Unknown agent id %q", given)
	case method == "sessions.create" || method == "wake":
		return frames.Invalid("Unknown agent id %q", fromKey)
	}
	return frames.Invalid("Agent %q no longer exists in configuration", fromKey)
}

// Traced is Work that continues a trace: its request's.
type Traced interface {
	SpanContext() trace.SpanContext
}

// injectTurns hands started turns to the pipeline. It is one goroutine because Inject
// waits when the pipeline is full; starts holds as many as may run, so sending to it
// never blocks.
func (s *Stage) injectTurns() {
	for {
		select {
		case t := <-s.starts:
			s.inject(t)
		case <-s.ctx.Done():
			return
		}
	}
}

// inject gives a started turn to the pipeline. When the gateway is stopping the turn is
// as if it had not been started: its work is stored and is not told.
func (s *Stage) inject(t *ticket) {
	e := pipeline.NewEnvelope(pipeline.SourceTurn, nil)
	e.Work, e.SessionKey = t.work, t.lane.key
	e.Shard = uint32(maphash.String(s.seed, t.lane.key))
	if w, ok := t.work.(Traced); ok {
		e.Parent = w.SpanContext()
	}
	e.OnSettle(t)
	s.injecting.Lock()
	defer s.injecting.Unlock()
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if !stopped && s.deps.Inject(s.ctx, e, "defend") {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.leave(t)
}

// now is synctest's clock in tests.
func now() time.Time { return time.Now() }
