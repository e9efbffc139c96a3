package suite

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"sluice/bench/backend"
	"sluice/bench/compare"
	"sluice/bench/disk"
	"sluice/bench/load"
	"sluice/bench/measure"
	"sluice/bench/spawn"
)

// The targets (docs/bench.md says where each comes from).
const (
	maxHealthRatio     = 2.0
	maxOpenClawHealth  = 0.01
	maxOpenClawOther   = 1.0 / 12
	minDurable         = 8000
	maxDurableP99      = 20
	maxIdleRSS         = 25
	maxIdleConn        = 10
	maxHelloP99        = 50
	minTracedOnePart   = 0.95
	minTracedAllPart   = 0.50
	durableConnections = 64
)

// speed: what a call costs, beside the least that it could, and beside the original.
func (s *suite) speed(ctx context.Context) error {
	cfg := compare.Config{Rounds: s.cfg.Rounds, Reference: "limit", Targets: []compare.Target{
		{Name: "sluice", Command: spawn.Serve(s.cfg.Self)},
		{Name: "limit", Command: spawn.Limit(s.cfg.Self)},
		{Name: "limit-coalesce", Command: spawn.Limit(s.cfg.Self, "--coalesce")},
	}}
	real := s.cfg.OpenClaw.Name != ""
	if real {
		cfg.Targets = append(cfg.Targets, s.cfg.OpenClaw)
	}
	base := s.base()
	for _, text := range []string{"health", "system-presence", "health-alone:mix=health;inflight=1"} {
		sc, err := compare.ParseScenario(text, base)
		if err != nil {
			return err
		}
		cfg.Scenarios = append(cfg.Scenarios, sc)
	}
	res, err := compare.Run(ctx, cfg, s.out)
	if err != nil {
		return err
	}
	s.keep("speed", res)
	us := func(scenario, target string) float64 { return res.Median(scenario, target, "cpu") }
	s.row("health, 16 x 8 in flight", res.Median("health", "sluice", "rps"), "answers/s", "")
	s.row("health, server CPU a call", us("health", "sluice"), "µs", fmt.Sprintf("limit %.2f µs", us("health", "limit")))
	s.require(false, "health, CPU to limit", us("health", "sluice")/us("health", "limit"), "x", "<=", maxHealthRatio, "limit: one write an answer")
	s.row("health, CPU to a limit that coalesces writes", us("health", "sluice")/us("health", "limit-coalesce"), "x", fmt.Sprintf("%.2f µs", us("health", "limit-coalesce")))
	s.row("health, 16 x 1 in flight, CPU to limit", us("health-alone", "sluice")/us("health-alone", "limit"), "x",
		fmt.Sprintf("%.1f and %.1f µs", us("health-alone", "sluice"), us("health-alone", "limit")))
	s.row("system-presence, server CPU a call", us("system-presence", "sluice"), "µs", fmt.Sprintf("limit %.2f µs", us("system-presence", "limit")))
	if real {
		name := s.cfg.OpenClaw.Name
		s.require(false, "health, CPU to openclaw", us("health", "sluice")/us("health", name), "x", "<=", maxOpenClawHealth, fmt.Sprintf("openclaw %.0f µs", us("health", name)))
		s.require(false, "system-presence, CPU to openclaw", us("system-presence", "sluice")/us("system-presence", name), "x", "<=", maxOpenClawOther, fmt.Sprintf("openclaw %.0f µs", us("system-presence", name)))
	}
	s.require(false, "health, answers that were no result", res.Median("health", "sluice", "failed"), "", "<=", 0, "")
	return nil
}

// durable: acknowledged writes, beside what the disk itself can do.
func (s *suite) durable(ctx context.Context) error {
	d := disk.Default()
	d.Dir, d.DurationMs, d.Writers = s.cfg.StateDir, max(s.cfg.DurationMs/2, 10), durableConnections
	fsync, err := disk.Run(ctx, d)
	if err != nil {
		return err
	}
	s.res.Single["fsync"] = fsync
	disks := fmt.Sprintf("disk: %.0f fsyncs/s", fsync.Single.FsyncsPerSecond)
	g, err := s.gateway(ctx)
	if err != nil {
		return err
	}
	defer g.Stop()
	for _, c := range []struct {
		method   string
		inFlight int
		judged   bool
	}{{"sessions.patch", 1, true}, {"sessions.patch", 8, false}, {"chat.inject", 1, false}} {
		name := fmt.Sprintf("%s, 64 x %d", c.method, c.inFlight)
		res, err := s.load(ctx, g, fmt.Sprintf("durable-%s-%d", c.method, c.inFlight), func(l *load.Config) {
			l.Connections, l.InFlight, l.Mix = durableConnections, c.inFlight, c.method
		})
		if err != nil {
			return err
		}
		note := disks
		if res.Total.Events > res.Total.OK {
			note = fmt.Sprintf("each is also told to the other connections: %d events", res.Total.Events)
		}
		if bad := res.Total.Sent - res.Total.OK; bad > 0 {
			note += fmt.Sprintf("; %d of %d were no result", bad, res.Total.Sent)
		}
		if !c.judged {
			s.row(name, res.PerSecond, "writes/s", note)
			s.row(name+", p99", res.Total.Latency.P99, "ms", "")
			continue
		}
		s.require(true, name, res.PerSecond, "writes/s", ">=", minDurable, note)
		s.require(true, name+", p99", res.Total.Latency.P99, "ms", "<", maxDurableP99, fmt.Sprintf("p50 %.1f ms, server CPU %.0f µs a write", res.Total.Latency.P50, res.Server.CPUPerCallUs))
	}
	return nil
}

// memory: the process after its start, and an idle authenticated connection.
func (s *suite) memory(ctx context.Context) error {
	g, err := s.gateway(ctx)
	if err != nil {
		return err
	}
	defer g.Stop()
	if err := wait(ctx, time.Duration(s.cfg.SettleMs)*time.Millisecond); err != nil {
		return err
	}
	p, err := measure.OpenProcess(g.PID)
	if err != nil {
		return err
	}
	u, err := p.Read()
	if err != nil {
		return err
	}
	s.require(false, "RSS after start", float64(u.RSS)/(1<<20), "MiB", "<=", maxIdleRSS, "of it the program's own pages: see RssFile in /proc")
	res, err := s.load(ctx, g, "idle", func(l *load.Config) { l.Connections, l.Idle = 0, s.cfg.IdleConnections })
	if err != nil {
		return err
	}
	s.require(false, fmt.Sprintf("an idle connection of %d", s.cfg.IdleConnections), res.Idle.BytesPerConnection/1024, "KiB", "<=", maxIdleConn,
		fmt.Sprintf("RSS %.0f MiB with all of them", float64(res.Idle.RSSAfter)/(1<<20)))
	s.require(false, "idle connections that ended", float64(res.Idle.Dropped), "", "<=", 0, "")
	return nil
}

// hello: handshakes while health, durable writes and turns against a slow model keep
// every worker busy.
func (s *suite) hello(ctx context.Context) error {
	model := &backend.Model{Chunks: 20, Pause: 200 * time.Millisecond}
	url, stop, err := serve(ctx, model)
	if err != nil {
		return err
	}
	defer stop()
	g, err := s.gateway(ctx, "SLUICE_AGENT_MODEL_BASE_URL="+url+"/v1", "SLUICE_AGENT_MODEL_NAME=bench")
	if err != nil {
		return err
	}
	defer g.Stop()
	res, err := s.load(ctx, g, "hello", func(l *load.Config) {
		l.Connections, l.InFlight, l.Mix, l.ProbesPerSecond, l.KeepSessions = 64, 8, "health=8,sessions.patch=4,chat.send=1", 50, true
	})
	if err != nil {
		return err
	}
	h := res.Hello
	s.require(true, "hello beside a saturating load, p99", h.Latency.P99, "ms", "<", maxHelloP99, fmt.Sprintf("p50 %.1f ms of %d; %.0f answers/s beside it", h.Latency.P50, h.Latency.N, res.PerSecond))
	s.require(false, "hello, failed", float64(failures(h.Failures)), "", "<=", 0, "")
	for _, m := range res.Methods {
		if m.Method == "health" {
			s.row("health beside it, p99", m.Latency.P99, "ms", fmt.Sprintf("p50 %.1f ms", m.Latency.P50))
		}
	}
	return nil
}

func failures(list []load.Failure) (n uint64) {
	for _, f := range list {
		n += f.Count
	}
	return n
}

// flood: ten times the capacity.
func (s *suite) flood(ctx context.Context) error {
	g, err := s.gateway(ctx)
	if err != nil {
		return err
	}
	defer g.Stop()
	c := s.base()
	c.Name, c.URL, c.Token, c.PID = "flood", g.URL, g.Token, g.PID
	c.Mix, c.DurationMs, c.ProbesPerSecond = "health=8,system-presence=1,chat.inject=1", s.cfg.FloodMs, 20
	f := load.DefaultFlood()
	f.CapacityMs, f.MaxRSSMiB = max(s.cfg.DurationMs, 100), s.cfg.MaxFloodRSSMiB
	res, err := load.RunFlood(ctx, c, f, io.Discard)
	if err != nil {
		return err
	}
	s.keep("flood", res)
	t := res.Total
	s.row("flood offered", res.Flood.OfferedPerSecond, "requests/s", fmt.Sprintf("%.0f times the capacity of %.0f/s, for %d s", res.Flood.Factor, res.Flood.CapacityPerSecond, s.cfg.FloodMs/1000))
	s.row("flood answered with a result", float64(t.OK), "", fmt.Sprintf("refused %d of %d", t.Refused, t.Sent))
	s.require(false, "flood lost or cut off", float64(t.Lost+t.CutOff), "", "<=", 0, strings.Join(res.Flood.Broken, "; "))
	s.require(false, "flood broke", float64(len(res.Flood.Broken)), "", "<=", 0, "")
	if h := res.Hello; h != nil {
		s.row("hello during the flood, p99", h.Latency.P99, "ms", fmt.Sprintf("p50 %.1f ms of %d, %d failed", h.Latency.P50, h.Latency.N, failures(h.Failures)))
	}
	s.require(false, "flood RSS, maximum", float64(res.Server.RSSMax)/(1<<20), "MiB", "<=", s.cfg.MaxFloodRSSMiB, "")
	return nil
}

// tracing: what sampling costs of the throughput, spans going to a collector in this
// process.
func (s *suite) tracing(ctx context.Context) error {
	sink := &backend.Sink{}
	url, stop, err := serve(ctx, sink)
	if err != nil {
		return err
	}
	defer stop()
	traced := func(name, ratio string) compare.Target {
		return compare.Target{Name: name, Command: spawn.Serve(s.cfg.Self),
			Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=" + ratio}}
	}
	sc, err := compare.ParseScenario("health", s.base())
	if err != nil {
		return err
	}
	// Five per cent is less than one round's noise on a shared machine.
	res, err := compare.Run(ctx, compare.Config{Rounds: s.cfg.Rounds + 2, Reference: "off", Scenarios: []compare.Scenario{sc}, Targets: []compare.Target{
		{Name: "off", Command: spawn.Serve(s.cfg.Self)}, traced("traced-1", "0.01"), traced("traced-100", "1")}}, s.out)
	if err != nil {
		return err
	}
	s.keep("tracing", res)
	got := sink.Stats()
	off := res.Median("health", "off", "rps")
	cpu := func(t string) float64 { return res.Median("health", t, "cpu") }
	s.require(true, "throughput with 1 % traced", res.Median("health", "traced-1", "rps")/off, "of off", ">=", minTracedOnePart, fmt.Sprintf("CPU a call %.2f and %.2f µs", cpu("traced-1"), cpu("off")))
	s.require(true, "throughput with 100 % traced", res.Median("health", "traced-100", "rps")/off, "of off", ">=", minTracedAllPart, fmt.Sprintf("CPU a call %.2f µs", cpu("traced-100")))
	s.row("spans collected", float64(got.Spans), "", fmt.Sprintf("%d exports, %.0f MiB", got.Requests, float64(got.Bytes)/(1<<20)))
	s.require(false, "exports that were no OTLP", float64(got.Broken), "", "<=", 0, "")
	return nil
}

// serve runs a backend on a free port of this machine.
func serve(ctx context.Context, h http.Handler) (url string, stop func(), err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = backend.Serve(ctx, ln, h) }() // its failure shows in the figures
	return "http://" + ln.Addr().String(), func() { cancel(); <-done }, nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
