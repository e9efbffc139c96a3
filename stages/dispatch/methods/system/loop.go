package system

import (
	"context"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// LoopMeter measures how late this process's timers fire, once a second, over the last
// minute.
type LoopMeter struct {
	started time.Time
	snap    atomic.Pointer[EventLoop]
}

const (
	loopInterval = time.Second
	loopWindow   = 60
	// loopDegraded is from when clients are told that the gateway runs late.
	loopDegraded = 500 * time.Millisecond
)

// NewLoopMeter returns a meter that has measured nothing yet; Run measures.
func NewLoopMeter() *LoopMeter {
	m := &LoopMeter{started: time.Now()}
	m.snap.Store(&EventLoop{Reasons: []string{}, IntervalMs: loopInterval.Milliseconds()})
	return m
}

// Uptime is how long the process has run.
func (m *LoopMeter) Uptime() time.Duration { return time.Since(m.started) }

// Snapshot returns the last measurement.
func (m *LoopMeter) Snapshot() EventLoop { return *m.snap.Load() }

// Run measures until ctx ends.
func (m *LoopMeter) Run(ctx context.Context) {
	tick := time.NewTicker(loopInterval)
	defer tick.Stop()
	var delays [loopWindow]time.Duration
	due := time.Now().Add(loopInterval)
	lastCPU := cpuSeconds()
	var degradedSince int64
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		late := max(0, now.Sub(due))
		due = now.Add(loopInterval)
		delays[i%loopWindow] = late
		worst := time.Duration(0)
		for _, d := range delays {
			worst = max(worst, d)
		}
		cpu := cpuSeconds()
		used := (cpu - lastCPU) / loopInterval.Seconds()
		lastCPU = cpu
		e := &EventLoop{Reasons: []string{}, IntervalMs: loopInterval.Milliseconds(), DelayP99Ms: millis(worst),
			DelayMaxMs: millis(worst), Utilization: used, CPUCoreRatio: used}
		if late > loopDegraded {
			if degradedSince == 0 {
				degradedSince = now.UnixMilli()
			}
			e.Degraded, e.DegradedSinceMs, e.Reasons = true, &degradedSince, []string{"timer_delay"}
		} else {
			degradedSince = 0
		}
		m.snap.Store(e)
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// cpuSeconds is the CPU time that Go code and the collector have used.
func cpuSeconds() float64 {
	s := []metrics.Sample{{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64() - s[1].Value.Float64()
}
