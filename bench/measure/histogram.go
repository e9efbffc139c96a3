package measure

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// The buckets: below 2^minBits ns they are 8 ns wide, above it each power of two is cut
// into 128, so a value is known to 0.8 %. The last one takes everything beyond 2^maxBits
// ns (137 s).
const (
	minBits = 10
	maxBits = 37
	subBits = 7
	buckets = (maxBits-minBits)<<subBits + 1<<subBits
)

// Histogram counts durations in fixed buckets. Add may be called from many goroutines;
// it costs one atomic addition and no allocation. The zero value is empty.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Uint64
	max    atomic.Uint64
}

func bucketOf(ns uint64) int {
	if ns < 1<<minBits {
		return int(ns >> (minBits - subBits))
	}
	e := bits.Len64(ns) - 1
	if e >= maxBits {
		return buckets - 1
	}
	return (e-minBits+1)<<subBits + int(ns>>(e-subBits))&(1<<subBits-1)
}

// upper is the largest value of a bucket.
func upper(b int) uint64 {
	if b < 1<<subBits {
		return uint64(b+1)<<(minBits-subBits) - 1
	}
	e := b>>subBits - 1 + minBits
	return 1<<e + uint64(b&(1<<subBits-1)+1)<<(e-subBits) - 1
}

// Add counts one duration; a negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	ns := uint64(max(d, 0))
	h.counts[bucketOf(ns)].Add(1)
	h.sum.Add(ns)
	for {
		m := h.max.Load()
		if ns <= m || h.max.CompareAndSwap(m, ns) {
			return
		}
	}
}

// Counts is a frozen Histogram; it can be merged, subtracted and asked.
type Counts struct {
	n   [buckets]uint64
	all uint64
	sum uint64
	max uint64
}

// AddTo adds the histogram's present content to c. With writers at work the parts may
// differ by the few values that arrive meanwhile.
func (h *Histogram) AddTo(c *Counts) {
	for i := range h.counts {
		if v := h.counts[i].Load(); v > 0 {
			c.n[i] += v
			c.all += v
		}
	}
	c.sum += h.sum.Load()
	c.max = max(c.max, h.max.Load())
}

// Since returns what c has more than before, an earlier reading of the same histograms.
// Its maximum is the top of its highest bucket.
func (c *Counts) Since(before *Counts) *Counts {
	d := &Counts{sum: c.sum - before.sum}
	for i := range c.n {
		if v := c.n[i] - before.n[i]; v > 0 {
			d.n[i], d.max = v, min(upper(i), c.max)
			d.all += v
		}
	}
	return d
}

// N is how many values were counted.
func (c *Counts) N() uint64 { return c.all }

// Quantile returns the value below which the share q (0..1) of all values lies, to the
// bucket's upper edge and never above the maximum; 0 if there are none.
func (c *Counts) Quantile(q float64) time.Duration {
	if c.all == 0 {
		return 0
	}
	rank := uint64(q*float64(c.all) + 0.5)
	rank = min(max(rank, 1), c.all)
	var seen uint64
	for i, v := range c.n {
		if seen += v; seen >= rank {
			if i == buckets-1 {
				break
			}
			return time.Duration(min(upper(i), c.max))
		}
	}
	return time.Duration(c.max)
}

// Latency is a summary in milliseconds, as it stands in the JSON results.
type Latency struct {
	N    uint64  `json:"n"`
	Mean float64 `json:"meanMs"`
	P50  float64 `json:"p50Ms"`
	P90  float64 `json:"p90Ms"`
	P99  float64 `json:"p99Ms"`
	P999 float64 `json:"p999Ms"`
	Max  float64 `json:"maxMs"`
	// Curve is the latency at each of CurveQuantiles, for plots.
	Curve []float64 `json:"curveMs,omitempty"`
}

// CurveQuantiles are the points of Latency.Curve.
func CurveQuantiles() []float64 {
	return []float64{0, .1, .25, .5, .75, .9, .95, .98, .99, .995, .998, .999, .9995, .9998, .9999, 1}
}

// Summary returns the figures; the curve only if there are values.
func (c *Counts) Summary() Latency {
	l := Latency{N: c.all, P50: Ms(c.Quantile(.5)), P90: Ms(c.Quantile(.9)), P99: Ms(c.Quantile(.99)), P999: Ms(c.Quantile(.999)), Max: Ms(time.Duration(c.max))}
	if c.all > 0 {
		l.Mean = Ms(time.Duration(c.sum / c.all))
		for _, q := range CurveQuantiles() {
			l.Curve = append(l.Curve, Ms(c.Quantile(q)))
		}
	}
	return l
}

// String is the summary on one line.
func (l Latency) String() string {
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  p99.9 %s  max %s", Show(l.P50), Show(l.P90), Show(l.P99), Show(l.P999), Show(l.Max))
}

// Ms converts to milliseconds with a microsecond's tenth as the last digit.
func Ms(d time.Duration) float64 { return float64(d.Round(100*time.Nanosecond)) / 1e6 }

// Show prints milliseconds with the unit that fits.
func Show(ms float64) string {
	switch {
	case ms < 1:
		return fmt.Sprintf("%.0f µs", ms*1000)
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f s", ms/1000)
}
