package adapter

import (
	"sync/atomic"

	"sluice/pipeline"
)

// Stats are the stage's counters.
type Stats struct {
	// Refused counts envelopes that found no place for their deliveries.
	Refused atomic.Uint64
}

// ChannelStats are one channel's counters.
type ChannelStats struct {
	Attempts  atomic.Uint64
	Retries   atomic.Uint64
	Delivered atomic.Uint64
	// Failed counts deliveries that surely did not arrive, Unknown those that may have.
	Failed  atomic.Uint64
	Unknown atomic.Uint64
	// Latency is the time from a delivery's first try to its receipt.
	Latency pipeline.Histogram
}
