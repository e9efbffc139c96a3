package measure

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBuckets(t *testing.T) {
	last := -1
	for ns := uint64(0); ns < 1<<maxBits; ns += 1 + ns/1000 {
		b := bucketOf(ns)
		if b < last || b >= buckets {
			t.Fatalf("%d ns is in bucket %d after %d", ns, b, last)
		}
		if u := upper(b); u < ns || (ns > 1<<minBits && float64(u-ns) > 0.008*float64(ns)) {
			t.Fatalf("bucket %d of %d ns ends at %d", b, ns, u)
		}
		last = b
	}
	if b := bucketOf(math.MaxUint64); b != buckets-1 {
		t.Errorf("the largest value is in bucket %d of %d", b, buckets)
	}
}

func TestQuantiles(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 50_000 {
		d := time.Duration(math.Exp(rnd.NormFloat64()*2) * float64(time.Millisecond))
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	var c Counts
	h.AddTo(&c)
	for _, q := range CurveQuantiles() {
		want := all[min(max(int(q*float64(len(all))+0.5), 1), len(all))-1]
		if got := c.Quantile(q); math.Abs(float64(got-want)) > 0.02*float64(want)+1000 {
			t.Errorf("quantile %v = %v, want about %v", q, got, want)
		}
	}
	if c.Quantile(1) != all[len(all)-1] {
		t.Errorf("maximum %v, want %v", c.Quantile(1), all[len(all)-1])
	}
}

func TestSince(t *testing.T) {
	var h Histogram
	h.Add(time.Second)
	var before, after Counts
	h.AddTo(&before)
	h.Add(time.Millisecond)
	h.Add(-time.Millisecond)
	h.AddTo(&after)
	d := after.Since(&before)
	if d.N() != 2 || d.Quantile(1) > 1010*time.Microsecond || d.Quantile(1) < time.Millisecond {
		t.Errorf("%d values up to %v", d.N(), d.Quantile(1))
	}
	if (&Counts{}).Quantile(.5) != 0 {
		t.Error("quantile of nothing")
	}
}

func TestProcess(t *testing.T) {
	p, err := OpenProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	self := Self()
	for end := time.Now().Add(time.Second); Self()-self < 50*time.Millisecond && time.Now().Before(end); {
		_ = make([]byte, 1<<16)
	}
	u, err := p.Read()
	if err != nil || u.RSS < 1<<20 || u.Threads < 1 || u.CPU() < 20*time.Millisecond || p.CountFDs() < 3 {
		t.Errorf("%+v, %v", u, err)
	}
	p.start = "0"
	if _, err := p.Read(); err == nil {
		t.Error("a reused pid was not noticed")
	}
	if _, err := OpenProcess(-1); err == nil {
		t.Error("process -1 exists")
	}
}

func BenchmarkHistogramAdd(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	for b.Loop() {
		h.Add(1234567)
	}
}
