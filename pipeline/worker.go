package pipeline

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"
)

// runner runs one stage: its links, its workers, its timeout.
type runner struct {
	p       *Pipeline
	index   int
	stage   Stage
	timeout time.Duration
	// links[0] is the express lane: connect and health never queue behind other work
	// (law 9). The others share the rest by Envelope.Shard.
	links   []*link
	workers []*worker
	mu      sync.Mutex // guards workers
	stats   StageStats
}

func newRunner(p *Pipeline, index int, s Stage, workers int, cfg Config) *runner {
	r := &runner{p: p, index: index, stage: s, timeout: cfg.TimeoutsMs.of(s.Name())}
	for i := 0; i <= workers; i++ {
		r.links = append(r.links, newLink(cfg.QueueFrames))
	}
	return r
}

func (r *runner) linkFor(e *Envelope) *link {
	if e.express() {
		return r.links[0]
	}
	return r.links[1+int(e.Shard%uint32(len(r.links)-1))]
}

// express reports whether e takes the links of its own. Before decode a health request
// is known by its looks only: waiting behind what decode cannot pass on, it took 92 ms
// where it now takes 3. A frame that only looks like one gains a place at decode and
// nothing after it.
func (e *Envelope) express() bool {
	switch {
	case e.Frame.Spec != nil:
		return e.Frame.Spec.Express
	case e.Source != SourceWire:
		return false
	case e.Peer == nil:
		return true
	}
	b := e.Bytes()
	return e.stage == 0 && bytes.Contains(b[:min(len(b), expressBytes)], expressLooks)
}

// expressBytes is how much of a frame is looked at; clients write the method early.
const expressBytes = 160

var expressLooks = []byte(`"method":"health"`)

func (r *runner) start() {
	for _, l := range r.links {
		r.spawn(l)
	}
}

func (r *runner) spawn(l *link) {
	w := &worker{r: r, in: l}
	w.ctx.init(r.p.ctx)
	r.mu.Lock()
	r.workers = append(r.workers, w)
	r.mu.Unlock()
	r.p.workers.Go(w.run)
}

// The states of a worker, kept in one word with a sequence number that counts the
// envelopes, so that the watchdog can never expire an envelope that it did not look
// at. running -> expired is the watchdog's move and takes the answer away from the
// worker; running -> parked is Envelope.Park's and gives the envelope to someone else;
// every other change is the worker's own.
const (
	stateIdle uint64 = iota
	stateRunning
	stateParked
	stateExpired
	stateMask = 3
	stateBits = 2
)

// worker is one goroutine of a stage.
type worker struct {
	r     *runner
	in    *link
	ctx   stageContext
	state atomic.Uint64
	since atomic.Int64 // when running began, on the pipeline's clock
	cur   atomic.Pointer[Envelope]
	taken uint       // envelopes so far; the worker's own
	mu    sync.Mutex // held by the watchdog while it answers for cur
}

// become moves the worker from running to state, unless the watchdog was faster.
func (w *worker) become(state uint64) bool {
	s := w.state.Load()
	return s&stateMask == stateRunning && w.state.CompareAndSwap(s, s&^stateMask|state)
}

// begin makes the worker running with a new sequence number.
func (w *worker) begin(e *Envelope, now int64) {
	w.cur.Store(e)
	w.since.Store(now)
	w.state.Store((w.state.Load()>>stateBits+1)<<stateBits | stateRunning)
}

// run takes envelopes until the pipeline stops. A panic of the stage ends one
// iteration: it is answered, and the loop goes on. recover stands around the loop, not
// around each envelope, so that it costs nothing while nothing panics.
func (w *worker) run() {
	for !w.loop() {
	}
}

func (w *worker) loop() (stopped bool) {
	defer func() {
		if r := recover(); r != nil {
			w.panicked(r)
		}
	}()
	for {
		e := w.next()
		if e == nil {
			w.r.p.flush(w.in)
			return true
		}
		if !w.process(e) {
			return true
		}
	}
}

// yieldEvery is how many envelopes a worker takes before it lets other goroutines run.
// A worker with a long queue would keep its processor for the scheduler's 10 ms, and a
// handshake waits for nine such turns.
const yieldEvery = 16

// next waits for an envelope; nil means that the pipeline stops. The link is tried
// alone first: a select also locks the channel that all workers share.
func (w *worker) next() *Envelope {
	if w.taken++; w.taken%yieldEvery == 0 {
		if w.r.p.ctx.Err() != nil {
			return nil
		}
		runtime.Gosched()
	}
	select {
	case e := <-w.in.ch:
		return e
	default:
	}
	select {
	case e := <-w.in.ch:
		return e
	case <-w.r.p.ctx.Done():
		return nil
	}
}

// process runs the stage on e and passes it on; false means that the watchdog has
// replaced this worker meanwhile.
func (w *worker) process(e *Envelope) bool {
	r := w.r
	i := r.index
	begin := nowNanos()
	e.times[i].begin = begin
	e.worker.Store(w)
	w.ctx.arm(e, begin+int64(r.timeout))
	w.begin(e, begin)
	v, err := r.stage.Process(&w.ctx, e)
	w.ctx.disarm()
	if !w.become(stateIdle) {
		return w.lost(e)
	}
	end := nowNanos()
	e.times[i].end = end
	r.stats.record(end - begin)
	switch {
	case err != nil:
		r.p.fail(e, i, err)
		r.p.settle(e)
	case v == Next:
		r.p.forward(e, i)
	default:
		r.p.settle(e)
	}
	return true
}

// lost handles the two ways in which e stopped being this worker's during Process.
func (w *worker) lost(e *Envelope) bool {
	if w.state.Load()&stateMask == stateParked {
		w.r.stats.Parked.Add(1)
		return true // e is someone else's; it may already be gone
	}
	w.mu.Lock() // the watchdog has finished answering
	defer w.mu.Unlock()
	w.r.p.finishExpired(e)
	return false
}

func (w *worker) panicked(value any) {
	r := w.r
	r.stats.Panics.Add(1)
	r.p.log.LogAttrs(r.p.ctx, slog.LevelError, "stage panicked", slog.String("stage", r.stage.Name()),
		slog.Any("panic", value), slog.String("stack", string(debug.Stack())))
	w.ctx.disarm()
	e := w.cur.Load()
	if e == nil || !w.become(stateIdle) {
		return // parked: its new owner answers; expired: the watchdog did
	}
	e.times[r.index].end = nowNanos()
	e.Fail(errInternal)
	r.p.settle(e)
}

// Park hands e over to someone who will Resume it, and returns the verdict to return.
// give runs after the worker has let go of e; neither it nor Process may touch e after
// e was handed on. When the stage's timeout has already answered e, give does not run.
func (e *Envelope) Park(give func()) Verdict {
	w := e.worker.Load()
	if w != nil && !w.become(stateParked) {
		return Done
	}
	give()
	return Parked
}

// watch answers for envelopes whose stage overran its timeout without returning, and
// puts a fresh worker in place of the stuck one: one stuck handler must not take its
// stage down (law 10). Stages that honour ctx never get here.
func (p *Pipeline) watch() {
	const every, grace = 250 * time.Millisecond, 250 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		for _, r := range p.runners {
			r.expire(nowNanos() - int64(r.timeout+grace))
		}
	}
}

// expire ends the Process calls that began before limit.
func (r *runner) expire(limit int64) {
	r.mu.Lock()
	workers := append([]*worker(nil), r.workers...)
	r.mu.Unlock()
	for _, w := range workers {
		s := w.state.Load()
		if s&stateMask != stateRunning || w.since.Load() >= limit {
			continue
		}
		w.mu.Lock()
		e := w.cur.Load()
		if w.state.CompareAndSwap(s, s&^stateMask|stateExpired) {
			// Only what Process never writes is read here: it may still be running.
			if e.Client != nil {
				e.Client.Send(EncodeAnswer(e.Frame.ID, nil, r.timeoutError()))
			}
			r.countTimeout(e)
			r.replace(w)
		}
		w.mu.Unlock()
	}
}

func (r *runner) timeoutError() *frames.Error {
	return &frames.Error{Code: frames.CodeUnavailable, Retryable: true, RetryAfterMs: 1000,
		Message: fmt.Sprintf("%s took longer than %s; try again", r.stage.Name(), r.timeout)}
}

func (r *runner) countTimeout(e *Envelope) {
	r.stats.Timeouts.Add(1)
	r.p.log.LogAttrs(r.p.ctx, slog.LevelWarn, "stage timed out", slog.String("stage", r.stage.Name()),
		slog.String("id", string(e.Frame.ID)), slog.Duration("timeout", r.timeout))
}

func (r *runner) replace(w *worker) {
	r.mu.Lock()
	for i, x := range r.workers {
		if x == w {
			r.workers = append(r.workers[:i], r.workers[i+1:]...)
			break
		}
	}
	r.mu.Unlock()
	r.spawn(w.in)
}

// finishExpired settles an envelope whose answer the watchdog already sent.
func (p *Pipeline) finishExpired(e *Envelope) {
	e.Client = nil // answered
	e.timedOut = true
	e.Fail(p.runners[e.stage].timeoutError())
	p.settle(e)
}
