package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// quietHeap keeps the garbage collector out of the measured times: it collects between
// texts. It is for one goroutine.
type quietHeap struct {
	sample [1]metrics.Sample
	since  uint64 // bytes allocated in all, at the last collection
	texts  int
}

const (
	// quietBytes are allocated between two collections: few enough to stay in the cache
	// (with 128 MiB, the median command took 9.9 us instead of 8.4).
	quietBytes = 4 << 20
	// quietTexts are judged between two looks at what was allocated; a text of more than
	// quietText bytes is followed by one at once.
	quietTexts = 64
	quietText  = 64 << 10
	// quietLimit is where the collector runs by itself all the same.
	quietLimit = 2 << 30
)

// begin puts the collector off; the returned function puts it back.
func (q *quietHeap) begin() (end func()) {
	q.sample[0].Name = "/gc/heap/allocs:bytes"
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(quietLimit)
	q.since = q.allocated()
	return func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}
}

func (q *quietHeap) allocated() uint64 {
	metrics.Read(q.sample[:])
	return q.sample[0].Value.Uint64()
}

// judged collects when it is time. A collection empties the defenders' pools, so they are
// warmed up again.
func (q *quietHeap) judged(size int, judge *scanJudge) {
	if q.texts++; q.texts < quietTexts && size < quietText {
		return
	}
	q.texts = 0
	if q.allocated()-q.since < quietBytes {
		return
	}
	runtime.GC()
	judge.warm(context.Background(), 1)
	q.since = q.allocated()
}
