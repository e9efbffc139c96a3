// Package defend is the fourth stage: it judges what a frame would make the assistant
// do, and enforces the verdict.
//
// Of every frame whose method can start work or let text leave (methods.go) it extracts
// one Action: all prompts, commands, addresses and files at any depth, by the same
// reading of JSON as the handlers. The defenders, a list that cmd gives, add what they
// find to Findings; the thresholds turn those into allow, review or block
// (first-runtime.md 6.2 and 6.3). A block ends the envelope with an error that names the
// decision, its quarantine file and its line in the ledger: no later stage sees it (law
// 4). A review parks it until an operator has decided about exactly this content.
//
// Frames that carry nothing to judge pass at the cost of one table look-up. Small
// actions are judged on the stage's worker; large ones, defenders that do not promise to
// be quick, and everything above allow, which needs the disk, run parked on a bounded set
// of slots, so that a slow defender or disk never holds up other frames (law 9).
//
// Lifecycle: New, Start (the pipeline calls it), Process from any worker, Reload at any
// time, Stop.
package defend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
)

// A Defender finds what is suspicious in an action. Assess adds to f and returns; it
// never decides alone. It must respect ctx, must not change or keep a, and may be called
// from many goroutines. An error is not a pass: it raises the verdict to review.
type Defender interface {
	Name() string
	Assess(ctx context.Context, a *Action, f *Findings) error
}

// Quick is a Defender that promises to judge up to QuickBytes of text in a few
// milliseconds and to wait for nothing. An action runs on the stage's worker only if
// every defender is Quick for its size.
type Quick interface {
	QuickBytes() int
}

// Judged is Work whose every text came in by a request that this stage let pass: the
// turn of a chat.send. Judging it again would announce each decision twice.
type Judged interface {
	Judged() bool
}

// Deps are what the stage needs from outside. All but Resume may be nil.
type Deps struct {
	// Resume continues a parked envelope: the pipeline's Resume.
	Resume func(*pipeline.Envelope, error)
	// Broadcaster gets security.decision events.
	Broadcaster frames.Broadcaster
	// Journal makes a line about a decision above allow durable and returns its number.
	Journal func(ctx context.Context, r Record) (uint64, error)
	// Approve puts an action before the operators and calls done once: with nil when one
	// allowed exactly this content, else with the error that refuses it. It does not wait.
	// Without it actions that should be reviewed are refused.
	Approve func(ask Ask, done func(*frames.Error))
	// OnFailure is the least verdict on an action that could not be judged, which then
	// holds no texts but says by the lengths of its lists which there were; outbound says
	// that its text would leave. nil is review.
	OnFailure func(a *Action, outbound bool) pipeline.Action
	// Provenance is told what comes into a session.
	Provenance Provenance
	// Redact hides secrets in what is written down about an action.
	Redact func(text []byte) []byte
	// Log may be nil.
	Log *slog.Logger
}

// Provenance keeps which sessions have read content that is not their owner's.
type Provenance interface {
	Taint(session, origin string) error
	// BeginTurn says that a turn of the owner's own begins.
	BeginTurn(session string)
}

// Ask is an action that waits for an operator's decision. Content lives as long as its
// envelope is parked: until done is called.
type Ask struct {
	Title      string // the method, or "agent.turn"
	Content    []byte // exactly what goes on when it is allowed
	Text       string // all of it that means something, for people
	Command    string // of an action that is one command alone
	Argv       []string
	SessionKey string
	RunID      string // of the turn that it would start, when its request names one
	Decision   *pipeline.Decision
	By         *frames.Peer
}

// Record is what is kept of a decision above allow.
type Record struct {
	Decision   *pipeline.Decision
	Passed     bool // it went on: audit-only mode, review: "allow", or a method that asks itself
	Origin     string
	Sender     string
	Method     string
	SessionKey string
	RequestID  string
	File       string // of the quarantine
	Content    []byte // the judged texts
}

// Stage implements pipeline.Stage. It is safe for concurrent use.
type Stage struct {
	cfg    atomic.Pointer[Config]
	panel  *Judge
	deps   Deps
	judged []bool // by Method.Index
	ledger *quarantine

	slots   chan *job
	writers chan struct{} // holds one for each piece of evidence that is being written
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	late  atomic.Bool // the last evidence was not written in time
	stats Stats
}

var (
	_ pipeline.Stage    = (*Stage)(nil)
	_ pipeline.Starter  = (*Stage)(nil)
	_ pipeline.Stopper  = (*Stage)(nil)
	_ pipeline.Healther = (*Stage)(nil)
)

// New returns the stage over defenders, which are asked in order. The error names the
// configuration key that is wrong.
func New(cfg Config, defenders []Defender, deps Deps) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Resume == nil {
		return nil, errors.New("defend: Deps.Resume is missing: it is the pipeline's Resume")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	s := &Stage{panel: NewJudge(deps.Log, defenders...), deps: deps, judged: judgedMethods(),
		slots: make(chan *job, cfg.Queue), writers: make(chan struct{}, writersPerSlot*cfg.Concurrency)}
	s.cfg.Store(&cfg)
	s.ledger = newQuarantine(cfg.Quarantine, deps.Redact, deps.Log, &s.stats)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// writersPerSlot is how many pieces of evidence wait for the disk for each slot.
const writersPerSlot = 4

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "defend" }

// Start implements pipeline.Starter: it reads the quarantine folder and starts the slots.
func (s *Stage) Start(context.Context) error {
	cfg := s.cfg.Load()
	if err := s.ledger.open(); err != nil {
		return err
	}
	if s.ledger.on() {
		s.wg.Go(func() { s.ledger.watch(s.ctx) })
	}
	for range cfg.Concurrency {
		s.wg.Go(s.slot)
	}
	return nil
}

// Stop implements pipeline.Stopper. What still waits for a slot is refused.
func (s *Stage) Stop(ctx context.Context) error {
	s.cancel()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("defend: a defender is still judging: %w", ctx.Err())
	}
	s.flush()
	if err := s.written(ctx); err != nil {
		return fmt.Errorf("defend: evidence is still being written: %w", err)
	}
	return nil
}

// Health implements pipeline.Healther: evidence cannot be written. The journal's health is
// its owner's to say.
func (s *Stage) Health() string {
	if s.late.Load() {
		return "ledger: " + errSlowDisk.Error()
	}
	return s.ledger.health()
}

// Stats returns the stage's counters.
func (s *Stage) Stats() *Stats { return &s.stats }

// Defenders are the counters by defender.
func (s *Stage) Defenders() []DefenderStats { return s.panel.Stats() }

// Reload makes cfg valid from the next frame on. On an error the configuration in force
// stays. Concurrency, Queue and Quarantine.Dir need a restart.
func (s *Stage) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("defend: the configuration in force is kept: %w", err)
	}
	s.ledger.bound(cfg.Quarantine)
	s.cfg.Store(&cfg)
	return nil
}

// Process implements pipeline.Stage.
func (s *Stage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if w, ok := e.Work.(Judged); ok && w.Judged() {
		s.turn(e)
		return pipeline.Next, nil
	}
	if e.Work == nil {
		if m := e.Frame.Spec; m != nil && !s.judged[m.Index] || e.Frame.Kind != frames.KindRequest {
			return pipeline.Next, nil
		}
	}
	return s.judge(ctx, e)
}

// maxQuickParams bounds the params that are walked on the worker; reading 1 MiB takes a
// few milliseconds.
const maxQuickParams = 1 << 20

// judge extracts the action of e and has it judged, here or on a slot. Only what is
// allowed at once stays on the worker: evidence and approvals wait.
func (s *Stage) judge(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	cfg := s.cfg.Load()
	a := newAction()
	a.describe(e)
	deadline := arrival(e).Add(time.Duration(cfg.TimeoutMs) * time.Millisecond)
	if len(a.Raw) > maxQuickParams {
		return s.park(cfg, e, a, unread, deadline), nil
	}
	if err := a.extract(); err != nil {
		a.free()
		return pipeline.Done, s.refuse(e, unreadable(e, err))
	}
	if a.Empty() {
		a.free()
		s.stats.Empty.Add(1)
		return pipeline.Next, nil
	}
	if !s.panel.quickFor(a) {
		return s.park(cfg, e, a, nil, deadline), nil
	}
	d := s.quick(ctx, cfg, e, a, deadline)
	if d.Action != pipeline.Allow {
		return s.park(cfg, e, a, d, deadline), nil
	}
	s.pass(cfg, e, a, d)
	a.free()
	return pipeline.Next, nil
}

// quick judges on the worker, unless waiting before the stage took all the time.
func (s *Stage) quick(ctx context.Context, cfg *Config, e *pipeline.Envelope, a *Action, deadline time.Time) *pipeline.Decision {
	if !time.Now().Before(deadline) {
		return s.timeout(a)
	}
	return s.evaluate(ctx, cfg, a, e.Ctx != nil)
}

func unreadable(e *pipeline.Envelope, err error) *frames.Error {
	return frames.Invalid("invalid %s params: %s", e.Frame.Method, err)
}

// Evaluate judges one action by itself: no event, no evidence, no error.
func (s *Stage) Evaluate(ctx context.Context, a *Action) pipeline.Decision {
	return *s.evaluate(ctx, s.cfg.Load(), a, false)
}

// evaluate asks the defenders; with traced it keeps their times.
func (s *Stage) evaluate(ctx context.Context, cfg *Config, a *Action, traced bool) *pipeline.Decision {
	begin := pipeline.Now()
	f := newFindings()
	defer f.free()
	var list []pipeline.DefenderTime
	var times *[]pipeline.DefenderTime
	if traced {
		times = &list
	}
	if s.panel.Assess(ctx, a, f, s.onFailure, times) != nil {
		return s.timeout(a)
	}
	if a.crowded {
		f.Floor(pipeline.Review, "crowded", "it holds more texts than are looked at one by one")
	}
	s.stats.Latency.Observe(pipeline.Now() - begin)
	d := f.decide(cfg.Thresholds())
	if traced {
		d = &pipeline.Decision{Action: d.Action, Risk: d.Risk, Reasons: d.Reasons, Tags: d.Tags, Defenders: list}
	}
	return d
}

// onFailure is the verdict on what could not be judged.
func (s *Stage) onFailure(a *Action) pipeline.Action {
	if s.deps.OnFailure == nil {
		return pipeline.Review
	}
	return s.deps.OnFailure(a, outbound[a.Source])
}

// timeout is the verdict on an action that was not judged in time (first-runtime.md 6.3).
func (s *Stage) timeout(a *Action) *pipeline.Decision {
	s.stats.Timeouts.Add(1)
	return &pipeline.Decision{Action: s.onFailure(a), Risk: 60, Tags: []string{"timeout"},
		Reasons: []string{"the action was not judged within defend.timeoutMs"}}
}

// arrival is when e came to this stage; waiting in its queue counts.
func arrival(e *pipeline.Envelope) time.Time {
	for i := pipeline.MaxStages - 1; i >= 0; i-- {
		if queued, _, _ := e.Timing(i); queued != 0 {
			return pipeline.WallTime(queued)
		}
	}
	return time.Now()
}
