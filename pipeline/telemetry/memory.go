package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"time"
)

// Memory samples the process's resident memory and warns above a bound. It does not act;
// shedding load is for whoever subscribes.
type Memory struct {
	rss      atomic.Int64
	warn     atomic.Int64 // bound in bytes, 0 for none
	high     atomic.Bool
	warnings atomic.Uint64
	interval time.Duration
	log      *slog.Logger
	onChange func(MemoryState)
	read     func() (int64, error)
}

// MemoryState is what health shows.
type MemoryState struct {
	RSSBytes  int64 `json:"rssBytes"`
	WarnBytes int64 `json:"warnBytes"`
	// High is true from crossing the bound until a tenth below it, so that a value near
	// the bound does not flap.
	High bool `json:"high"`
}

// NewMemory returns a sampler. onChange, which may be nil, is called by Run when High
// changes.
func NewMemory(c MemoryConfig, log *slog.Logger, onChange func(MemoryState)) *Memory {
	m := &Memory{interval: time.Duration(c.SampleIntervalMs) * time.Millisecond, log: discard(log), onChange: onChange, read: readRSS}
	m.warn.Store(c.WarnBytes)
	return m
}

// SetWarnBytes takes memory.warnBytes of a reloaded configuration.
func (m *Memory) SetWarnBytes(n int64) { m.warn.Store(n) }

// State returns the last sample.
func (m *Memory) State() MemoryState {
	return MemoryState{RSSBytes: m.rss.Load(), WarnBytes: m.warn.Load(), High: m.high.Load()}
}

// Run samples until ctx ends. Where there is no /proc it ends at once: the Go runtime's
// own figures remain.
func (m *Memory) Run(ctx context.Context) {
	if m.Sample() != nil {
		return
	}
	t := time.NewTicker(m.interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = m.Sample() // the last figure stays; the next tick tries again
		}
	}
}

// Sample takes one sample now.
func (m *Memory) Sample() error {
	rss, err := m.read()
	if err != nil {
		return err
	}
	m.rss.Store(rss)
	bound := m.warn.Load()
	switch was := m.high.Load(); {
	case bound > 0 && !was && rss > bound:
		m.high.Store(true)
		m.warnings.Add(1)
		m.log.Warn("resident memory is above its bound", "rssBytes", rss, "warnBytes", bound)
		m.changed()
	case was && (bound == 0 || rss < bound-bound/10):
		m.high.Store(false)
		m.log.Info("resident memory is below its bound again", "rssBytes", rss, "warnBytes", bound)
		m.changed()
	}
	return nil
}

func (m *Memory) changed() {
	if m.onChange != nil {
		m.onChange(m.State())
	}
}

// readRSS reads the second field of /proc/self/statm, in pages.
func readRSS() (int64, error) {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(raw)
	if len(fields) < 2 {
		return 0, errors.New("telemetry: /proc/self/statm has another form")
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// softLimit is the Go runtime's memory limit, 0 for none.
func softLimit() float64 {
	if v := debug.SetMemoryLimit(-1); v != math.MaxInt64 {
		return float64(v)
	}
	return 0
}

// registerMemory shows openclaw_memory_bytes{kind}: rss as last sampled, and what the Go
// runtime says at the scrape.
func registerMemory(r *Registry, m *Memory) error {
	const name, help = "openclaw_memory_bytes", "Memory of the gateway process by kind."
	runtimeKind := func(metric string) func() float64 {
		return func() float64 {
			s := []metrics.Sample{{Name: metric}}
			metrics.Read(s)
			if s[0].Value.Kind() != metrics.KindUint64 {
				return 0
			}
			return float64(s[0].Value.Uint64())
		}
	}
	for kind, read := range map[string]func() float64{
		"rss":        func() float64 { return float64(m.rss.Load()) },
		"rss_warn":   func() float64 { return float64(m.warn.Load()) },
		"heap_used":  runtimeKind("/memory/classes/heap/objects:bytes"),
		"heap_total": runtimeKind("/memory/classes/total:bytes"),
		"stacks":     runtimeKind("/memory/classes/heap/stacks:bytes"),
		"limit":      softLimit,
	} {
		if err := r.RegisterGaugeFunc(name, help, Labels{"kind": kind}, read); err != nil {
			return err
		}
	}
	return r.RegisterCounterFunc("openclaw_memory_pressure_total", "How often resident memory rose above its bound.", nil,
		func() float64 { return float64(m.warnings.Load()) })
}
