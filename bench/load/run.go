package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"sluice/bench/measure"
	"sluice/frames/client"
)

// run is one Run under way.
type run struct {
	cfg     Config
	pool    *pool
	dial    dialer
	control *client.Client // setup and clean-up
	workers []*worker
	wg      sync.WaitGroup
	sampler *sampler
	res     *Result
	began   time.Time     // of the measurement
	self    time.Duration // this process's processor time then
}

// Run does one run and returns what it measured. progress gets a line a second. An
// error means that the run could not be done; what the gateway did wrong stands in the
// Result. When ctx ends, the measurement ends early and the Result covers what was.
func Run(ctx context.Context, cfg Config, progress io.Writer) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opt, err := cfg.options()
	if err != nil {
		return nil, err
	}
	if cfg.Name == "" {
		cfg.Name = cfg.URL
	}
	r := &run{cfg: cfg, dial: dialer{opt: opt, parallel: cfg.DialParallel}}
	if r.control, err = client.Dial(ctx, opt); err != nil {
		return nil, fmt.Errorf("bench load: %w", err)
	}
	defer r.control.Close()
	r.res = &Result{Version: 1, Name: cfg.Name, Started: time.Now().UTC().Truncate(time.Second), Loop: "closed", Settings: cfg,
		Gateway: r.control.Hello().Server.Version, Host: Host{runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()}}
	if cfg.RatePerSecond > 0 {
		r.res.Loop = "open"
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if r.sampler, err = startSampler(r, progress); err != nil {
		return nil, errors.Join(err, r.cleanUp())
	}
	defer r.sampler.halt()
	if err := r.measure(ctx); err != nil {
		return nil, errors.Join(err, r.cleanUp())
	}
	if err := r.cleanUp(); err != nil { // what was measured still stands
		r.res.Warnings = append(r.res.Warnings, err.Error())
	}
	return r.res, nil
}

// prepare compiles the mix and creates the sessions.
func (r *run) prepare(ctx context.Context) error {
	m, err := parseMix(r.cfg)
	if err != nil {
		return err
	}
	word := newRunWord()
	m.bind(word)
	r.pool = &pool{mix: m, base: time.Now(), stopped: make(chan struct{}), validate: r.cfg.ValidateEvery,
		drain: ms(r.cfg.DrainMs), stride: uint64(max(r.cfg.Connections, 1))}
	for i := range r.pool.hist {
		r.pool.hist[i] = make([]measure.Histogram, len(m.methods))
	}
	if r.cfg.Connections == 0 || !m.sessions {
		return nil
	}
	n := r.cfg.Sessions
	if n == 0 {
		n = r.cfg.Connections
	}
	r.pool.sessions, err = makeSessions(ctx, r.control, r.cfg, word, n)
	return err
}

func (r *run) cleanUp() error {
	if r.cfg.KeepSessions || len(r.pool.sessions) == 0 {
		return nil
	}
	// Not the run's context: an interrupted run cleans up too. Each call has its bound.
	return deleteSessions(context.Background(), r.control, r.cfg, r.pool.sessions)
}

// measure runs everything between setup and clean-up.
func (r *run) measure(ctx context.Context) error {
	held, err := r.idle(ctx)
	if err != nil {
		return err
	}
	if held != nil {
		defer func() { r.res.Idle.Dropped = held.release() }()
	}
	if r.cfg.SlowReaders > 0 {
		slow, err := startSlow(ctx, r.dial, r.cfg, r.pool.sessions)
		if err != nil {
			return err
		}
		defer func() { r.res.Slow = slow.release() }()
	}
	if r.cfg.Connections == 0 && r.cfg.ProbesPerSecond == 0 && held != nil {
		r.sampler.measureFrom(time.Now())
		r.sampler.end(r.res)
		return nil
	}
	return r.load(ctx)
}

// idle opens the idle holders and measures what they cost the server.
func (r *run) idle(ctx context.Context) (*holders, error) {
	if r.cfg.Idle == 0 {
		return nil, nil
	}
	pause(ctx, ms(r.cfg.IdleSettleMs))
	res := &Idle{Connections: r.cfg.Idle, RSSBefore: r.sampler.rss()}
	var hist measure.Histogram
	d := r.dial
	d.opt.ReadBufferBytes = 512
	conns, err := d.many(ctx, r.cfg.Idle, hist.Add)
	if err != nil {
		return nil, err
	}
	h := hold(conns)
	pause(ctx, ms(r.cfg.IdleSettleMs))
	var c measure.Counts
	hist.AddTo(&c)
	res.Open = c.Summary()
	res.RSSAfter = r.sampler.rss()
	res.BytesPerConnection = float64(res.RSSAfter-res.RSSBefore) / float64(r.cfg.Idle)
	r.res.Idle = res
	return h, nil
}

// load warms up, measures, stops and drains.
func (r *run) load(ctx context.Context) error {
	conns, err := r.dial.many(ctx, r.cfg.Connections, nil)
	if err != nil {
		return err
	}
	r.makeWorkers(conns)
	if r.cfg.WarmupMs == 0 { // then the very first request counts
		r.begin()
	}
	done := r.startWorkers()
	var fresh *probes
	if r.cfg.ProbesPerSecond > 0 {
		fresh = startProbes(ctx, r.dial, r.cfg.ProbesPerSecond)
	}
	if r.cfg.WarmupMs > 0 {
		pause(ctx, ms(r.cfg.WarmupMs))
		r.begin()
	}
	end := time.NewTimer(ms(r.cfg.DurationMs))
	defer end.Stop()
	if len(conns) == 0 {
		done = nil // probes alone run for the whole time
	}
	select {
	case <-done:
	case <-end.C:
	case <-ctx.Done():
	}
	r.stopWorkers()
	r.wg.Wait()
	r.res.Seconds = time.Since(r.began).Seconds()
	if fresh != nil {
		r.res.Hello = fresh.release()
	}
	r.collect()
	if n := r.res.Total.Answered(); n > 0 {
		cpu := measure.Self() - r.self
		r.res.PerSecond = float64(n) / r.res.Seconds
		r.res.Generator = Generator{CPUPerCallUs: float64(cpu.Nanoseconds()) / 1e3 / float64(n), Cores: cpu.Seconds() / r.res.Seconds}
	}
	r.sampler.end(r.res)
	return nil
}

// begin starts the measurement.
func (r *run) begin() {
	r.self, r.began = measure.Self(), time.Now()
	r.sampler.measureFrom(r.began)
	r.pool.recording.Store(true)
}

func (r *run) makeWorkers(conns []*client.Conn) {
	size := r.cfg.InFlight
	if r.cfg.RatePerSecond > 0 {
		size = r.cfg.MaxOutstanding
	}
	for i, c := range conns {
		w := newWorker(r.pool, i, size)
		w.conn = c
		if r.cfg.Count > 0 { // the first ones take the remainder
			w.quota = uint64(r.cfg.Count / len(conns))
			if i < r.cfg.Count%len(conns) {
				w.quota++
			}
		}
		r.workers = append(r.workers, w)
	}
}

// startWorkers returns a channel that is closed when all workers have ended.
func (r *run) startWorkers() <-chan struct{} {
	n := float64(len(r.workers))
	for _, w := range r.workers {
		if r.cfg.Count > 0 && w.quota == 0 {
			_ = w.conn.Close()
			continue
		}
		r.wg.Go(func() {
			if r.cfg.RatePerSecond > 0 {
				w.end(w.openLoop(r.cfg.RatePerSecond/n, float64(w.id)/n, ms(r.cfg.PaceMs)))
				return
			}
			w.end(w.closedLoop())
		})
	}
	done := make(chan struct{})
	go func() { r.wg.Wait(); close(done) }()
	return done
}

// stopWorkers ends the sending; whoever waits for an answer gets the drain time.
func (r *run) stopWorkers() {
	now := time.Now()
	patience := now.Add(ms(r.cfg.DrainMs) + ms(r.cfg.DurationMs))
	r.pool.patience.Store(&patience)
	r.pool.stopping.Store(true)
	close(r.pool.stopped)
	for _, w := range r.workers {
		_ = w.conn.NetConn().SetWriteDeadline(now.Add(r.pool.drain))
		if r.cfg.RatePerSecond == 0 {
			_ = w.conn.NetConn().SetReadDeadline(now.Add(r.pool.drain))
		}
	}
}

// snapshot adds the workers' counters up; they go on meanwhile.
func (r *run) snapshot() snapshot {
	s := snapshot{at: time.Now()}
	for _, w := range r.workers {
		for i := range w.methods {
			s.tally.add(w.methods[i].frozen())
		}
	}
	for i := range r.pool.hist {
		for j := range r.pool.hist[i] {
			r.pool.hist[i][j].AddTo(&s.counts)
		}
	}
	return s
}

func (t *tally) frozen() Tally {
	return Tally{OK: t.ok.Load(), Refused: t.refused.Load(), Failed: t.failed.Load(), Sent: t.sent.Load()}
}

// collect adds up the ended workers.
func (r *run) collect() {
	codes, closes := map[string]*Failure{}, map[string]*Failure{}
	all := r.snapshot()
	t := &r.res.Total
	r.res.Methods = make([]MethodResult, len(r.pool.mix.methods))
	for _, w := range r.workers {
		for i := range w.methods {
			one := w.methods[i].frozen()
			one.Lost, one.CutOff = w.methods[i].lost, w.methods[i].cutOff
			r.res.Methods[i].add(one)
			t.add(one)
		}
		t.Unsent += w.unsent.Load()
		t.Unexpected += w.unexpected.Load()
		t.Malformed += w.malformed.Load()
		t.Accepted += w.accepted.Load()
		t.Events += w.events.Load()
		for _, f := range w.codes {
			addFailure(codes, f)
		}
		if w.closed != nil {
			addFailure(closes, w.closed)
		}
	}
	t.Latency = all.counts.Summary()
	for i, m := range r.pool.mix.methods {
		var c measure.Counts
		for s := range r.pool.hist {
			r.pool.hist[s][i].AddTo(&c)
		}
		r.res.Methods[i].Method, r.res.Methods[i].Latency = m.name, c.Summary()
	}
	r.res.Failures, r.res.Closes = sorted(codes), sorted(closes)
}

func addFailure(m map[string]*Failure, f *Failure) {
	if have := m[f.Code]; have != nil {
		have.Count += f.Count
		return
	}
	if len(m) < maxCodes {
		c := *f
		m[f.Code] = &c
	}
}

func sorted(m map[string]*Failure) []Failure {
	var out []Failure
	for _, code := range slices.Sorted(maps.Keys(m)) {
		out = append(out, *m[code])
	}
	return out
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
