package telemetry

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/resource"
	colmetric "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func mustScrape(tb testing.TB, r *Registry) string {
	tb.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		tb.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, l+"\n") {
			t.Errorf("missing %q in\n%s", l, grep(text, strings.FieldsFunc(l, func(r rune) bool { return r == '{' || r == ' ' })[0]))
		}
	}
}

func grep(text, word string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestBucketBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(0, 20_000_000_000).Draw(t, "ns")
		i := bucketOf(n)
		s := float64(n) / 1e9
		if i < HistogramBuckets-1 && s > bound(i)+1e-15 {
			t.Fatalf("%d ns is above the bound %g of its bucket %d", n, bound(i), i)
		}
		if i > 0 && s <= bound(i-1)-1e-15 {
			t.Fatalf("%d ns fits bucket %d with bound %g already", n, i-1, bound(i-1))
		}
	})
	if bound(HistogramBuckets-2) != 1.6777216e+01 {
		t.Errorf("last bound %g", bound(HistogramBuckets-2))
	}
}

func TestHistogram(t *testing.T) {
	h := NewHistogram(3)
	if len(h.shards) != 4 {
		t.Errorf("%d shards", len(h.shards))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				h.Observe(int64(i) * 1000)
				h.ObserveShard(w, -5)
			}
		})
	}
	wg.Wait()
	h.Observe(math.MaxInt64)
	cumulative, count, _ := h.Read()
	if count != 16001 || cumulative[bound(0)] != 8000+8*2 || cumulative[bound(HistogramBuckets-2)] != 16000 {
		t.Errorf("count %d first %d", count, cumulative[bound(0)])
	}
	var zero Histogram
	zero.Observe(1500)
	if c, n, sum := zero.Read(); n != 1 || sum != 1.5e-6 || c[1.5e-6] != 0+1 && c[2e-6] != 1 {
		t.Errorf("%v %d %g", c, n, sum)
	}
}

func TestRegistry(t *testing.T) {
	c := Default().Metrics
	r := NewRegistry(c)
	var h Histogram
	h.Observe(3_000_000)
	calls, err := r.NewCounters("openclaw_gateway_rpc_requests_total", "Requests by method.", 2, "method")
	if err != nil {
		t.Fatal(err)
	}
	calls.With("health").Add(2)
	calls.With("status").Add(1)
	calls.With("evil\xff").Add(3) // over the bound
	calls.With("worse").Add(4)
	for _, err := range []error{
		r.RegisterGaugeFunc("sluice_queue_frames", "Waiting frames.", Labels{"stage": "decode"}, func() float64 { return 5 }),
		r.RegisterGaugeFunc("sluice_queue_frames", "Waiting frames.", Labels{"stage": "persist"}, func() float64 { return 6 }),
		r.RegisterHistogramFunc("openclaw_gateway_rpc_handler_seconds", "Time in handlers.", nil, h.Read),
		r.RegisterGauges("openclaw_queue_lane_size", "Waiting turns.", []string{"lane"}, func(emit Emit) { emit(3, "main") }),
		r.RegisterGaugeFunc("sluice_broken", "Panics.", nil, func() float64 { panic("no") }),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	text := mustScrape(t, r)
	wantLines(t, text,
		`openclaw_gateway_rpc_requests_total{method="health"} 2`,
		`openclaw_gateway_rpc_requests_total{method="status"} 1`,
		`openclaw_gateway_rpc_requests_total{method="other"} 7`,
		`sluice_queue_frames{stage="decode"} 5`,
		`sluice_queue_frames{stage="persist"} 6`,
		`openclaw_gateway_rpc_handler_seconds_bucket{le="0.003072"} 1`,
		`openclaw_gateway_rpc_handler_seconds_bucket{le="0.002048"} 0`,
		`openclaw_gateway_rpc_handler_seconds_count 1`,
		`openclaw_gateway_rpc_handler_seconds_sum 0.003`,
		`openclaw_queue_lane_size{lane="main"} 3`,
		`openclaw_prometheus_series_dropped_total 0`,
	)
	if !strings.Contains(text, "go_goroutines") || !strings.Contains(text, "process_resident_memory_bytes") {
		t.Error("the runtime's metrics are missing")
	}
	for what, err := range map[string]error{
		"the same series twice": r.RegisterGaugeFunc("sluice_queue_frames", "Waiting frames.", Labels{"stage": "decode"}, nil),
		"another type":          r.RegisterCounterFunc("sluice_queue_frames", "Waiting frames.", Labels{"stage": "x"}, nil),
		"other labels":          r.RegisterGaugeFunc("sluice_queue_frames", "Waiting frames.", Labels{"lane": "x"}, nil),
		"a bad name":            r.RegisterGaugeFunc("sluice-queue", "x", nil, nil),
		"a bad label":           r.RegisterGaugeFunc("sluice_x", "x", Labels{"a-b": ""}, nil),
	} {
		if err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func TestSeriesAreBounded(t *testing.T) {
	c := Default().Metrics
	c.MaxSeries = 64
	r := NewRegistry(c)
	if err := r.RegisterGauges("sluice_many", "Many.", []string{"n"}, func(emit Emit) {
		for i := range 1000 {
			emit(1, fmt.Sprint(i))
		}
	}); err != nil {
		t.Fatal(err)
	}
	text := mustScrape(t, r)
	if n := strings.Count(text, "sluice_many{"); n != 63 {
		t.Errorf("%d series", n)
	}
	wantLines(t, mustScrape(t, r), "openclaw_prometheus_series_dropped_total 937")
}

func TestMetricsByOTLP(t *testing.T) {
	var mu sync.Mutex
	got := map[string]*metricpb.Metric{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		m := &colmetric.ExportMetricsServiceRequest{}
		if err := proto.Unmarshal(body, m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rm := range m.GetResourceMetrics() {
			for _, sm := range rm.GetScopeMetrics() {
				for _, one := range sm.GetMetrics() {
					got[one.GetName()] = one
				}
			}
		}
	}))
	defer srv.Close()
	r := NewRegistry(Default().Metrics)
	var h Histogram
	h.Observe(3_000_000)
	if err := r.RegisterHistogramFunc("x_seconds", "X.", Labels{"a": "b"}, h.Read); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	p, err := startMetrics(ctx, r, Default().Metrics, resource.Empty(), otlpmetrichttp.WithEndpointURL(srv.URL+"/v1/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Shutdown(ctx); err != nil { // a shutdown exports once more
		t.Fatal(err)
	}
	x := got["x_seconds"].GetHistogram().GetDataPoints()
	if len(x) != 1 || x[0].GetCount() != 1 || x[0].GetSum() != 0.003 || got["x_seconds"].GetUnit() != "s" || x[0].GetAttributes()[0].GetValue().GetStringValue() != "b" {
		t.Errorf("x_seconds %v", got["x_seconds"])
	}
	if len(x) == 1 && len(x[0].GetBucketCounts()) != len(x[0].GetExplicitBounds())+1 {
		t.Errorf("%d counts for %d bounds", len(x[0].GetBucketCounts()), len(x[0].GetExplicitBounds()))
	}
	if s := got["openclaw_prometheus_series_dropped_total"].GetSum(); s == nil || !s.GetIsMonotonic() {
		t.Error("the counter is no sum")
	}
	if got["go_goroutines"].GetGauge() == nil {
		t.Error("go_goroutines is missing")
	}
}

func BenchmarkHistogram(b *testing.B) {
	for _, shards := range []int{1, 8} {
		h := NewHistogram(shards)
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				h.Observe(i & 0xfffff)
			}
		})
		b.Run(fmt.Sprintf("shards=%d/parallel", shards), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := int64(0); pb.Next(); i++ {
					h.Observe(i & 0xfffff)
				}
			})
		})
	}
}

func BenchmarkCounters(b *testing.B) {
	c, err := NewRegistry(Default().Metrics).NewCounters("x_total", "X.", 100, "method")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.With("health").Add(1)
	}
}
