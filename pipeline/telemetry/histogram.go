package telemetry

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// HistogramBuckets is the number of buckets: two to an octave from 1 us, so the last
// bound is 2^24 us = 16.8 s, longer than any stage may take, and everything above.
const HistogramBuckets = 2*24 + 2

// Histogram counts durations on hot paths. Observe is two atomic adds and does not
// allocate. Bounds grow by 1.5 and 1.33 in turn (1, 1.5, 2, 3, 4, 6, 8 … us), so a
// quantile read from it is at most a half off. The zero value has one shard; use
// NewHistogram where many goroutines observe at once.
type Histogram struct {
	first  histogramShard
	shards []histogramShard // a power of two; empty means first alone
}

// histogramShard is a multiple of 64 bytes long, so that shards share no cache line
// except at their ends.
type histogramShard struct {
	sum     atomic.Uint64 // ns
	buckets [HistogramBuckets]atomic.Uint64
	_       [5]uint64
}

// NewHistogram returns a histogram with at least the given number of shards. One shard
// is 448 bytes; more than 64 are not made.
func NewHistogram(shards int) *Histogram {
	h := &Histogram{}
	if shards > 1 {
		n := 1 << bits.Len(uint(min(shards, 64)-1))
		h.shards = make([]histogramShard, n)
	}
	return h
}

// Observe counts one duration in nanoseconds; a negative one counts as 0.
func (h *Histogram) Observe(nanos int64) {
	s := &h.first
	if len(h.shards) > 0 {
		s = &h.shards[rand.Uint32()&uint32(len(h.shards)-1)]
	}
	s.observe(nanos)
}

// ObserveShard is Observe for a caller that knows its worker's number, which spares the
// random draw.
func (h *Histogram) ObserveShard(worker int, nanos int64) {
	s := &h.first
	if len(h.shards) > 0 {
		s = &h.shards[worker&(len(h.shards)-1)]
	}
	s.observe(nanos)
}

func (s *histogramShard) observe(nanos int64) {
	if nanos < 0 {
		nanos = 0
	}
	s.buckets[bucketOf(uint64(nanos))].Add(1)
	s.sum.Add(uint64(nanos))
}

// bucketOf finds the first bucket whose bound is not below the value: bucket 2k has the
// bound 2^k us, bucket 2k+1 the bound 1.5*2^k us.
func bucketOf(nanos uint64) int {
	half := (nanos + 499) / 500 // half microseconds, up: a value equal to a bound belongs below it
	if half <= 2 {
		return 0
	}
	// half is in (2^(k+1), 2^(k+2)].
	k := bits.Len64(half-1) - 2
	i := 2*k + 1
	if half > 3<<k {
		i++
	}
	return min(i, HistogramBuckets-1)
}

// bound is the upper bound of a bucket in seconds.
func bound(i int) float64 {
	b := float64(uint64(1) << (i / 2))
	if i%2 == 1 {
		b *= 1.5
	}
	return b / 1e6
}

// Read returns the cumulative counts by upper bound in seconds, the number of
// observations and their sum in seconds: what HistogramFunc wants. Observations that
// arrive while it reads may be in one number and not yet in another.
func (h *Histogram) Read() (cumulative map[float64]uint64, count uint64, sum float64) {
	var counts [HistogramBuckets]uint64
	var nanos uint64
	add := func(s *histogramShard) {
		nanos += s.sum.Load()
		for i := range counts {
			counts[i] += s.buckets[i].Load()
		}
	}
	add(&h.first)
	for i := range h.shards {
		add(&h.shards[i])
	}
	cumulative = make(map[float64]uint64, HistogramBuckets-1)
	for i, n := range counts {
		count += n
		if i < HistogramBuckets-1 {
			cumulative[bound(i)] = count
		}
	}
	return cumulative, count, float64(nanos) / 1e9
}
