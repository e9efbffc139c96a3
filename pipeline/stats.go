package pipeline

import (
	"math/bits"
	"sync/atomic"
)

// Stats are the engine's counters. They are read by the metrics exporter; writing one
// is an atomic add.
type Stats struct {
	Frames  atomic.Uint64 // settled envelopes
	Refused atomic.Uint64 // Submit said busy
	Panics  atomic.Uint64 // panics in hooks
	Total   Histogram     // enter to answer
}

func (s *Stats) observe(e *Envelope) {
	s.Frames.Add(1)
	s.Total.Observe(nowNanos() - e.started)
}

// StageStats are one stage's counters.
type StageStats struct {
	Errors   atomic.Uint64
	Timeouts atomic.Uint64
	Panics   atomic.Uint64
	Parked   atomic.Uint64
	Process  Histogram
}

func (s *StageStats) record(nanos int64) { s.Process.Observe(nanos) }

// Histogram counts durations in buckets that double: bucket i holds values below
// 2^i microseconds (bucket 0 below 1 us, the last everything else). Observe does not
// allocate. The zero value is ready.
type Histogram struct {
	buckets [HistogramBuckets]atomic.Uint64
	sum     atomic.Uint64
}

// HistogramBuckets: 2^24 us is 16.7 s, longer than any stage may take.
const HistogramBuckets = 26

// Observe counts one duration in nanoseconds.
func (h *Histogram) Observe(nanos int64) {
	if nanos < 0 {
		nanos = 0
	}
	i := bits.Len64(uint64(nanos) / 1000)
	if i >= HistogramBuckets {
		i = HistogramBuckets - 1
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(nanos))
}

// Read returns the cumulative counts by upper bound in seconds, the total count and the
// sum in seconds.
func (h *Histogram) Read() (cumulative map[float64]uint64, count uint64, sum float64) {
	cumulative = make(map[float64]uint64, HistogramBuckets-1)
	for i := range HistogramBuckets {
		count += h.buckets[i].Load()
		if i < HistogramBuckets-1 {
			cumulative[float64(uint64(1)<<i)/1e6] = count
		}
	}
	return cumulative, count, float64(h.sum.Load()) / 1e9
}

// Stats returns the engine's counters.
func (p *Pipeline) Stats() *Stats { return &p.stats }

// InFlight is the number of envelopes that are somewhere in the pipeline, and the
// bytes of their frames.
func (p *Pipeline) InFlight() (envelopes, bytes int64) { return p.inflight.Load(), p.bytes.Load() }

// StageView is one stage for metrics and health.
type StageView struct {
	Name   string
	Stats  *StageStats
	Queued int
	Health string
}

// Stages returns a view of every stage, in order.
func (p *Pipeline) Stages() []StageView {
	views := make([]StageView, 0, len(p.runners))
	for _, r := range p.runners {
		v := StageView{Name: r.stage.Name(), Stats: &r.stats}
		for _, l := range r.links {
			v.Queued += l.depth()
		}
		if h, ok := r.stage.(Healther); ok {
			v.Health = h.Health()
		}
		views = append(views, v)
	}
	return views
}
