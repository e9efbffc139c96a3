// Package defend is the fourth stage: it judges what a frame would make the assistant
// do, and enforces the verdict.
//
// Of every frame whose method can start work or let text leave (methods.go) it extracts
// one Action: all prompts, commands, addresses and files at any depth, by the same
// reading of JSON as the handlers. The defenders, a list that cmd gives, add what they
// find to Findings; the thresholds turn those into allow, review or block
// (first-runtime.md 6.2 and 6.3). A block ends the envelope with an error that names the
// decision and its quarantine file: no later stage sees it (law 4).
//
// Frames that carry nothing to judge pass at the cost of one table look-up. Small
// actions are judged on the stage's worker; large ones, defenders that do not promise to
// be quick, and everything that needs the disk run parked on a bounded set of slots, so
// that a slow defender or disk never holds up other frames (law 9).
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

// Deps are what the stage needs from outside.
type Deps struct {
	// Resume continues a parked envelope: the pipeline's Resume.
	Resume func(*pipeline.Envelope, error)
	// Broadcaster gets security.decision events; nil sends none.
	Broadcaster frames.Broadcaster
	// Log may be nil.
	Log *slog.Logger
}

// Stage implements pipeline.Stage. It is safe for concurrent use.
type Stage struct {
	cfg        atomic.Pointer[Config]
	defenders  []Defender
	quickBytes int // largest action that every defender is quick for; 0 = none
	deps       Deps
	judged     []bool // by Method.Index
	ledger     *quarantine

	slots  chan *job
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

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
	s := &Stage{defenders: defenders, deps: deps, judged: judgedMethods(),
		slots: make(chan *job, cfg.Queue), quickBytes: quickBytes(defenders)}
	s.cfg.Store(&cfg)
	s.ledger = newQuarantine(cfg.Quarantine, deps.Log, &s.stats)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

func quickBytes(defenders []Defender) int {
	least := maxQuickBytes
	for _, d := range defenders {
		q, ok := d.(Quick)
		if !ok {
			return 0
		}
		least = min(least, q.QuickBytes())
	}
	return least
}

// maxQuickBytes bounds what a worker judges itself even when no defender minds.
const maxQuickBytes = 64 << 10

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "defend" }

// Start implements pipeline.Starter: it reads the quarantine folder and starts the slots.
func (s *Stage) Start(context.Context) error {
	cfg := s.cfg.Load()
	if err := s.ledger.open(); err != nil {
		return err
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
	return nil
}

// Health implements pipeline.Healther: the quarantine cannot be written.
func (s *Stage) Health() string { return s.ledger.health() }

// Stats returns the stage's counters.
func (s *Stage) Stats() *Stats { return &s.stats }

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

// judge extracts the action of e and has it judged, here or on a slot.
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
	if a.size() > s.quickBytes {
		return s.park(cfg, e, a, nil, deadline), nil
	}
	d := s.quick(ctx, cfg, a, deadline)
	if d.Action == pipeline.Block && !cfg.AuditOnly && s.ledger.on() {
		return s.park(cfg, e, a, d, deadline), nil
	}
	err := s.conclude(cfg, e, a, d)
	a.free()
	if err != nil {
		return pipeline.Done, err
	}
	return pipeline.Next, nil
}

// quick judges on the worker, unless waiting before the stage took all the time.
func (s *Stage) quick(ctx context.Context, cfg *Config, a *Action, deadline time.Time) *pipeline.Decision {
	if !time.Now().Before(deadline) {
		return s.timeout()
	}
	return s.evaluate(ctx, cfg, a)
}

func unreadable(e *pipeline.Envelope, err error) *frames.Error {
	return frames.Invalid("invalid %s params: %s", e.Frame.Method, err)
}

// Evaluate judges one action by itself: no event, no quarantine, no error.
func (s *Stage) Evaluate(ctx context.Context, a *Action) pipeline.Decision {
	return *s.evaluate(ctx, s.cfg.Load(), a)
}

func (s *Stage) evaluate(ctx context.Context, cfg *Config, a *Action) *pipeline.Decision {
	begin := time.Now()
	f := newFindings()
	defer f.free()
	for _, d := range s.defenders {
		if err := d.Assess(ctx, a, f); err != nil {
			if ctx.Err() != nil {
				return s.timeout()
			}
			s.stats.Errors.Add(1)
			s.deps.Log.Error("defender failed; the action is reviewed", "defender", d.Name(), "source", a.Source, "err", err)
			f.Risk(max(0, runtimeErrorRisk-f.risk))
			f.Floor(pipeline.Review, "runtime_error", "the defender "+d.Name()+" failed")
		}
	}
	s.stats.Latency.Observe(int64(time.Since(begin)))
	return f.decide(cfg)
}

// runtimeErrorRisk is the first runtime's risk of an action that could not be judged.
const runtimeErrorRisk = 50

// timeout is the verdict on an action that was not judged in time (first-runtime.md 6.3).
func (s *Stage) timeout() *pipeline.Decision {
	s.stats.Timeouts.Add(1)
	return &pipeline.Decision{Action: pipeline.Review, Risk: 60, Tags: []string{"timeout"},
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
