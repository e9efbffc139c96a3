package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"sluice/frames"

	"github.com/sourcegraph/conc"
)

// Pipeline runs envelopes through a fixed list of stages.
type Pipeline struct {
	cfg     Config
	log     *slog.Logger
	tracer  Tracer
	runners []*runner
	stats   Stats

	ctx      context.Context
	cancel   context.CancelFunc
	workers  conc.WaitGroup
	started  bool
	draining atomic.Bool
	inflight atomic.Int64
	bytes    atomic.Int64
	waiting  atomic.Int64  // bytes of detached envelopes
	idle     chan struct{} // signalled when inflight falls to 0 while draining
}

// Errors of Submit. The caller answers the client with Refusal.
var (
	// ErrBusy: the first link or the byte budget is full.
	ErrBusy = errors.New("pipeline: queue is full")
	// ErrDraining: the gateway is stopping.
	ErrDraining = errors.New("pipeline: draining")
)

// Refusals, prepared: the flood that they answer must not allocate.
var (
	errBusy = &frames.Error{Code: frames.CodeUnavailable, Message: "The server is busy. Please try again in a moment.",
		Retryable: true, RetryAfterMs: 500}
	errDraining = &frames.Error{Code: frames.CodeUnavailable, Message: "gateway restart in progress",
		Retryable: true, RetryAfterMs: 1000}
	errInternal = &frames.Error{Code: frames.CodeUnavailable, Message: "internal error; the gateway's log has the cause under this request's id"}
)

// Refusal turns an error of Submit into what the client is told (wire.md 3.8).
func Refusal(err error) *frames.Error {
	if errors.Is(err, ErrDraining) {
		return errDraining
	}
	return errBusy
}

// New returns a pipeline over stages, in order. log and tracer may be nil.
func New(cfg Config, stages []Stage, log *slog.Logger, tracer Tracer) (*Pipeline, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("pipeline config: %w", err)
	}
	if len(stages) == 0 || len(stages) > MaxStages {
		return nil, fmt.Errorf("pipeline: %d stages; 1 to %d", len(stages), MaxStages)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Pipeline{cfg: cfg, log: log, tracer: tracer, idle: make(chan struct{}, 1)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	workers := cfg.Workers
	if workers == 0 {
		workers = max(2, runtime.GOMAXPROCS(0))
	}
	for i, s := range stages {
		p.runners = append(p.runners, newRunner(p, i, s, workers, cfg))
	}
	return p, nil
}

// Start starts the stages in order, then the workers. On an error the stages that had
// started are stopped again.
func (p *Pipeline) Start(ctx context.Context) error {
	for i, r := range p.runners {
		if s, ok := r.stage.(Starter); ok {
			if err := s.Start(ctx); err != nil {
				p.stopStages(ctx, i)
				return fmt.Errorf("stage %s: %w", r.stage.Name(), err)
			}
		}
	}
	p.started = true
	for _, r := range p.runners {
		r.start()
	}
	p.workers.Go(p.watch)
	return nil
}

// Submit takes e in at the first stage. On an error e still belongs to the caller, who
// refuses it with Refuse. Submit never blocks.
func (p *Pipeline) Submit(e *Envelope) error {
	if p.draining.Load() {
		return ErrDraining
	}
	n := e.size()
	// A frame larger than the whole budget may pass when it is alone. What is small and
	// takes the express links passes as well: connect and health are answered while large
	// frames fill the queues (law 9); the express links' own length bounds them.
	total := p.bytes.Add(n)
	if total > p.cfg.QueueBytes && total > n && !(n <= frames.MaxPreAuthFrameBytes && e.express()) {
		p.bytes.Add(-n)
		p.stats.Refused.Add(1)
		return ErrBusy
	}
	p.admit(e, 0)
	l := p.runners[0].linkFor(e)
	// Half of the express link is for those who are not yet in: a flood of health must
	// not take the place of handshakes.
	crowded := e.Peer != nil && l == p.runners[0].links[0] && l.depth() > cap(l.ch)/2
	if crowded || !l.offer(e) {
		p.bytes.Add(-n)
		p.inflight.Add(-1)
		e.pipe = nil
		p.stats.Refused.Add(1)
		return ErrBusy
	}
	return nil
}

// Inject takes e in before the named stage: work that Sluice starts itself. It waits
// for room and reports false when ctx ends or the pipeline stops first; e then still
// belongs to the caller. A draining pipeline still takes it: the work was accepted.
func (p *Pipeline) Inject(ctx context.Context, e *Envelope, stage string) bool {
	for i, r := range p.runners {
		if r.stage.Name() != stage {
			continue
		}
		p.bytes.Add(e.size())
		p.admit(e, i)
		p.trace(e)
		if r.linkFor(e).push(ctx, e) {
			return true
		}
		p.bytes.Add(-e.size())
		p.leave()
		return false
	}
	panic("pipeline: no stage " + stage)
}

func (p *Pipeline) admit(e *Envelope, stage int) {
	p.inflight.Add(1)
	e.pipe, e.stage = p, stage
	e.times[stage].queued = nowNanos()
}

// trace lets the tracer decide once it can: a wire frame's traceparent is known after
// decode, everything else's at once.
func (p *Pipeline) trace(e *Envelope) {
	if p.tracer != nil && !e.begun {
		e.begun = true
		p.tracer.Begin(e)
	}
}

// Refuse settles an envelope that Submit did not take: its sender gets err. The
// frame's id must have been decoded.
func (p *Pipeline) Refuse(e *Envelope, err *frames.Error) {
	e.Fail(err)
	p.answer(e)
	e.recycle()
}

// forward passes e to the stage after i, or settles it.
func (p *Pipeline) forward(e *Envelope, i int) {
	p.trace(e)
	if i+1 == len(p.runners) {
		p.settle(e)
		return
	}
	r := p.runners[i+1]
	e.stage = i + 1
	e.times[i+1].queued = e.times[i].end
	if !r.linkFor(e).push(p.ctx, e) {
		e.Fail(errDraining)
		p.settle(e)
	}
}

// Resume continues a parked envelope after the stage that parked it. err is treated as
// Process's. The caller must not touch e afterwards.
func (p *Pipeline) Resume(e *Envelope, err error) {
	i := e.stage
	e.times[i].end = nowNanos()
	if err != nil {
		p.fail(e, i, err)
		p.settle(e)
		return
	}
	p.forward(e, i)
}

// ResumeDone settles a parked envelope without the stages that are left.
func (p *Pipeline) ResumeDone(e *Envelope) {
	e.times[e.stage].end = nowNanos()
	p.settle(e)
}

// fail makes err the answer; errors that are not the protocol's stay in the log.
func (p *Pipeline) fail(e *Envelope, i int, err error) {
	var wire *frames.Error
	r := p.runners[i]
	if errors.As(err, &wire) {
		if !wire.Silent {
			r.stats.Errors.Add(1)
		}
		e.Fail(wire)
		return
	}
	r.stats.Errors.Add(1)
	if errors.Is(err, context.DeadlineExceeded) {
		r.countTimeout(e)
		e.timedOut = true
		e.Fail(r.timeoutError())
		return
	}
	p.log.LogAttrs(p.ctx, slog.LevelError, "stage failed", slog.String("stage", r.stage.Name()),
		slog.String("method", e.Frame.Method), slog.String("id", string(e.Frame.ID)), slog.Any("err", err))
	e.Fail(errInternal)
}

// settle ends e: the one answer, then everyone who wanted to know, then its memory.
func (p *Pipeline) settle(e *Envelope) {
	p.trace(e)
	p.answer(e)
	ok := e.err == nil
	for _, fn := range e.after {
		p.guard("after answer", func() { fn(ok) })
	}
	for i := 0; i < e.nsettle; i++ {
		p.settleOne(e.settlers[i], e)
	}
	if p.tracer != nil {
		p.tracer.End(e)
	}
	if e.detached {
		p.waiting.Add(-e.size())
	} else {
		p.bytes.Add(-e.size())
	}
	p.stats.observe(e)
	e.recycle()
	p.leave()
}

func (p *Pipeline) leave() {
	if p.inflight.Add(-1) == 0 && p.draining.Load() {
		select {
		case p.idle <- struct{}{}:
		default:
		}
	}
}

// Drain refuses new frames and waits until nothing is in flight, ctx ends, or the
// configured drain time is over; it reports how many envelopes were left.
func (p *Pipeline) Drain(ctx context.Context) int64 {
	p.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.cfg.DrainMs)*time.Millisecond)
	defer cancel()
	for p.inflight.Load() > 0 {
		select {
		case <-p.idle:
		case <-ctx.Done():
			return p.inflight.Load()
		}
	}
	return 0
}

// Draining reports whether Drain was called.
func (p *Pipeline) Draining() bool { return p.draining.Load() }

// Stop ends the workers and stops the stages in reverse order. Envelopes that are
// still queued are answered with a refusal. Call it after Drain.
func (p *Pipeline) Stop(ctx context.Context) error {
	p.draining.Store(true)
	p.cancel()
	if p.started {
		if err := p.join(ctx); err != nil {
			return errors.Join(err, p.stopStages(ctx, len(p.runners)))
		}
	}
	err := p.stopStages(ctx, len(p.runners))
	p.flushAll() // what a stage has resumed while it stopped
	return err
}

// join waits for the workers, at most as long as ctx, then answers what they left.
func (p *Pipeline) join(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r := p.workers.WaitAndRecover(); r != nil {
			p.log.Error("worker ended by panic", "panic", r.Value)
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("pipeline: a worker is still in its stage: %w", ctx.Err())
	}
	p.flushAll()
	return nil
}

func (p *Pipeline) flushAll() {
	for _, r := range p.runners {
		for _, l := range r.links {
			p.flush(l)
		}
	}
}

// flush answers what is still queued when the pipeline stops.
func (p *Pipeline) flush(l *link) {
	for {
		select {
		case e := <-l.ch:
			e.Fail(errDraining)
			p.settle(e)
		default:
			return
		}
	}
}

func (p *Pipeline) stopStages(ctx context.Context, n int) error {
	var errs []error
	for i := n - 1; i >= 0; i-- {
		if s, ok := p.runners[i].stage.(Stopper); ok {
			if err := s.Stop(ctx); err != nil {
				errs = append(errs, fmt.Errorf("stage %s: %w", p.runners[i].stage.Name(), err))
			}
		}
	}
	return errors.Join(errs...)
}

var epoch = time.Now()

// Now is the monotonic clock that all timings of an envelope are read from, in
// nanoseconds since the process started.
func Now() int64 { return nowNanos() }

// nowNanos is the pipeline's monotonic clock.
func nowNanos() int64 { return int64(time.Since(epoch)) }

// WallTime converts a reading of the pipeline's clock.
func WallTime(nanos int64) time.Time { return epoch.Add(time.Duration(nanos)) }
