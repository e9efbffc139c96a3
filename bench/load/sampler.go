package load

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"sluice/bench/measure"
)

// maxPoints bounds a run's series; past it two neighbours become one.
const maxPoints = 600

// sampler looks at the server's process and at the run's counters, prints the progress
// line and keeps the series.
type sampler struct {
	run   *run
	proc  *measure.Process
	out   io.Writer
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
	mu    sync.Mutex // guards what follows
	srv   Server
	begin measure.Usage
	last  measure.Usage
	since time.Time // the measurement's begin; zero before it
	step  int       // seconds of one point
	line  int       // seconds since the last point
	prev  snapshot
	pts   []Point
	fit   slope
}

// snapshot is the counters at one moment.
type snapshot struct {
	at     time.Time
	tally  Tally
	counts measure.Counts
	cpu    time.Duration
}

func startSampler(r *run, out io.Writer) (*sampler, error) {
	s := &sampler{run: r, out: out, stop: make(chan struct{}), step: 1}
	if pid := r.cfg.PID; pid != 0 {
		p, err := measure.OpenProcess(pid)
		if err != nil {
			return nil, err
		}
		s.proc = p
		s.srv.PID = pid
	}
	s.look()
	s.wg.Go(s.loop)
	return s, nil
}

func (s *sampler) loop() {
	look := time.NewTicker(ms(s.run.cfg.SampleMs))
	defer look.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-look.C:
			s.look()
		case <-second.C:
			s.second()
		}
	}
}

// look reads the process once.
func (s *sampler) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || s.srv.Error != "" {
		return
	}
	u, err := s.proc.Read()
	if err != nil {
		s.srv.Error = err.Error()
		return
	}
	s.last = u
	s.srv.RSSMax = max(s.srv.RSSMax, u.RSS)
	if !s.since.IsZero() {
		s.fit.add(time.Since(s.since).Hours(), float64(u.RSS)/(1<<20))
	}
}

// measureFrom starts the measurement: what came before does not count.
func (s *sampler) measureFrom(now time.Time) {
	s.look()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.begin = now, s.last
	s.srv.RSSStart, s.srv.RSSMax = s.last.RSS, s.last.RSS
	if s.proc != nil {
		s.srv.FDsStart = s.proc.CountFDs()
	}
	s.prev = s.run.snapshot()
	s.prev.cpu = s.last.CPU()
}

// second prints the progress line and adds a point.
func (s *sampler) second() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return
	}
	if s.line++; s.line < s.step {
		return
	}
	s.line = 0
	now := s.run.snapshot()
	now.cpu = s.last.CPU()
	d := now.counts.Since(&s.prev.counts)
	wall := now.at.Sub(s.prev.at).Seconds()
	p := Point{T: now.at.Sub(s.since).Seconds(), PerSecond: float64(now.tally.Answered()-s.prev.tally.Answered()) / wall,
		P50: measure.Ms(d.Quantile(.5)), P99: measure.Ms(d.Quantile(.99)),
		Refused: now.tally.Refused - s.prev.tally.Refused, Failed: now.tally.Failed - s.prev.tally.Failed,
		InFlight: now.tally.Sent - now.tally.Answered(), RSS: s.last.RSS, Cores: (now.cpu - s.prev.cpu).Seconds() / wall}
	s.prev = now
	s.pts = append(s.pts, p)
	if len(s.pts) == maxPoints {
		s.halve()
	}
	fmt.Fprintln(s.out, p.line(now.tally, s.proc != nil))
}

// line is the progress line.
func (p Point) line(t Tally, process bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%5.0fs %9.0f/s  p50 %s  p99 %s  in flight %d", p.T, p.PerSecond, measure.Show(p.P50), measure.Show(p.P99), p.InFlight)
	if t.Refused > 0 {
		fmt.Fprintf(&b, "  refused %d", t.Refused)
	}
	if t.Failed > 0 {
		fmt.Fprintf(&b, "  failed %d", t.Failed)
	}
	if process {
		fmt.Fprintf(&b, "  rss %.1f MiB  cpu %.0f %%", mib(p.RSS), 100*p.Cores)
	}
	return b.String()
}

// halve makes one point of each two, so that a run of days fits.
func (s *sampler) halve() {
	for i := range len(s.pts) / 2 {
		a, b := s.pts[2*i], s.pts[2*i+1]
		b.PerSecond, b.Cores = (a.PerSecond+b.PerSecond)/2, (a.Cores+b.Cores)/2
		b.P50, b.P99, b.RSS = max(a.P50, b.P50), max(a.P99, b.P99), max(a.RSS, b.RSS)
		b.Refused, b.Failed = a.Refused+b.Refused, a.Failed+b.Failed
		s.pts[i] = b
	}
	s.pts = s.pts[:len(s.pts)/2]
	s.step *= 2
}

// halt ends the sampler's goroutine.
func (s *sampler) halt() {
	s.once.Do(func() { close(s.stop) })
	s.wg.Wait()
}

// end stops sampling and fills the result's server part.
func (s *sampler) end(res *Result) {
	s.halt()
	s.look()
	s.mu.Lock()
	defer s.mu.Unlock()
	res.Series = s.pts
	if s.proc == nil {
		return
	}
	srv := s.srv
	srv.RSSEnd, srv.ThreadsEnd = s.last.RSS, s.last.Threads
	srv.FDsEnd = s.proc.CountFDs()
	srv.UserSeconds = (s.last.User - s.begin.User).Seconds()
	srv.SysSeconds = (s.last.System - s.begin.System).Seconds()
	if n := res.Total.Answered(); n > 0 {
		srv.CPUPerCallUs = (srv.UserSeconds + srv.SysSeconds) * 1e6 / float64(n)
	}
	if res.Seconds > 0 {
		srv.Cores = (srv.UserSeconds + srv.SysSeconds) / res.Seconds
	}
	srv.GrowthMiBPerHour = s.fit.perUnit(res.Seconds / 3600 / 3)
	res.Server = &srv
}

// rss is the last reading.
func (s *sampler) rss() int64 {
	s.look()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.RSS
}

// slope fits a line through points; it keeps at most maxPoints of them.
type slope struct {
	x, y  []float64
	every int
	n     int
}

func (f *slope) add(x, y float64) {
	f.n++
	if f.every > 0 && f.n%f.every != 0 {
		return
	}
	f.x, f.y = append(f.x, x), append(f.y, y)
	if len(f.x) < maxPoints {
		return
	}
	f.every = max(f.every, 1) * 2
	for i := range len(f.x) / 2 {
		f.x[i], f.y[i] = f.x[2*i], f.y[2*i]
	}
	f.x, f.y = f.x[:len(f.x)/2], f.y[:len(f.y)/2]
}

// perUnit is the slope of the least squares line through the points from x = from on; 0
// if there are fewer than eight.
func (f *slope) perUnit(from float64) float64 {
	var n, sx, sy, sxx, sxy float64
	for i, x := range f.x {
		if x < from {
			continue
		}
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+f.y[i], sxx+x*x, sxy+x*f.y[i]
	}
	d := n*sxx - sx*sx
	if n < 8 || d <= 0 {
		return 0
	}
	return (n*sxy - sx*sy) / d
}

func mib(b int64) float64 { return float64(b) / (1 << 20) }
