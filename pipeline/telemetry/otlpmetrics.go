package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
)

// startMetrics exports the registry by OTLP over HTTP at an interval: what a scrape
// shows, sent instead. It runs only when OTEL_METRICS_EXPORTER=otlp.
func startMetrics(ctx context.Context, r *Registry, c MetricsConfig, res *resource.Resource, opts ...otlpmetrichttp.Option) (*sdkmetric.MeterProvider, error) {
	exporter, err := otlpmetrichttp.New(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTLP metrics: %w", err)
	}
	reader := sdkmetric.NewPeriodicReader(exporter,
		sdkmetric.WithInterval(time.Duration(c.ExportIntervalMs)*time.Millisecond),
		sdkmetric.WithProducer(&producer{gather: r.prom, start: time.Now()}))
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(res)), nil
}

// producer turns a Prometheus scrape into OpenTelemetry's data model.
type producer struct {
	gather prometheus.Gatherer
	start  time.Time
}

var _ sdkmetric.Producer = (*producer)(nil)

// Produce implements sdkmetric.Producer.
func (p *producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	families, err := p.gather.Gather()
	if len(families) == 0 && err != nil {
		return nil, err
	}
	now := time.Now()
	out := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: Scope}}
	for _, f := range families {
		m := metricdata.Metrics{Name: f.GetName(), Description: f.GetHelp(), Unit: unitOf(f.GetName())}
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			m.Data = metricdata.Sum[float64]{IsMonotonic: true, Temporality: metricdata.CumulativeTemporality, DataPoints: p.points(f, now)}
		case dto.MetricType_GAUGE, dto.MetricType_UNTYPED:
			m.Data = metricdata.Gauge[float64]{DataPoints: p.points(f, now)}
		case dto.MetricType_HISTOGRAM:
			m.Data = metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality, DataPoints: p.histograms(f, now)}
		default:
			continue // a summary of the Go collector: its quantiles do not aggregate
		}
		out.Metrics = append(out.Metrics, m)
	}
	return []metricdata.ScopeMetrics{out}, nil
}

func (p *producer) points(f *dto.MetricFamily, now time.Time) []metricdata.DataPoint[float64] {
	points := make([]metricdata.DataPoint[float64], 0, len(f.GetMetric()))
	for _, m := range f.GetMetric() {
		v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue() // one of them is there
		points = append(points, metricdata.DataPoint[float64]{Attributes: attributesOf(m), StartTime: p.start, Time: now, Value: v})
	}
	return points
}

func (p *producer) histograms(f *dto.MetricFamily, now time.Time) []metricdata.HistogramDataPoint[float64] {
	points := make([]metricdata.HistogramDataPoint[float64], 0, len(f.GetMetric()))
	for _, m := range f.GetMetric() {
		h := m.GetHistogram()
		pt := metricdata.HistogramDataPoint[float64]{Attributes: attributesOf(m), StartTime: p.start, Time: now, Count: h.GetSampleCount(), Sum: h.GetSampleSum()}
		below := uint64(0)
		for _, b := range h.GetBucket() {
			if math.IsInf(b.GetUpperBound(), 1) {
				break
			}
			pt.Bounds = append(pt.Bounds, b.GetUpperBound())
			pt.BucketCounts = append(pt.BucketCounts, b.GetCumulativeCount()-below)
			below = b.GetCumulativeCount()
		}
		pt.BucketCounts = append(pt.BucketCounts, h.GetSampleCount()-below)
		points = append(points, pt)
	}
	return points
}

func attributesOf(m *dto.Metric) attribute.Set {
	kv := make([]attribute.KeyValue, 0, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		kv = append(kv, attribute.String(l.GetName(), l.GetValue()))
	}
	return attribute.NewSet(kv...)
}

func unitOf(name string) string {
	name = strings.TrimSuffix(name, "_total")
	switch {
	case strings.HasSuffix(name, "_seconds"):
		return "s"
	case strings.HasSuffix(name, "_bytes"):
		return "By"
	}
	return ""
}

// registerTracing shows what became of spans.
func registerTracing(r *Registry, t *Tracing) error {
	const name, help = "sluice_trace_spans_total", "Finished spans by what became of them; dropped ones did not fit into the queue, failed ones were refused by the collector."
	for outcome, read := range map[string]func(SpanStats) uint64{
		"exported": func(s SpanStats) uint64 { return s.Exported },
		"dropped":  func(s SpanStats) uint64 { return s.Dropped },
		"failed":   func(s SpanStats) uint64 { return s.Failed },
	} {
		if err := r.RegisterCounterFunc(name, help, Labels{"outcome": outcome}, func() float64 { return float64(read(t.Stats())) }); err != nil {
			return err
		}
	}
	if err := r.RegisterCounterFunc("sluice_trace_frames_shed_total", "Frames that were to be traced and were not because the span queue was full.", nil,
		func() float64 { return float64(t.Stats().Shed) }); err != nil {
		return err
	}
	return r.RegisterGaugeFunc("sluice_trace_queue_spans", "Finished spans that wait for export.", nil, func() float64 { return float64(t.Stats().Queued) })
}

// registerLogs shows how many lines a slow sink lost.
func registerLogs(r *Registry, sinks map[string]*asyncWriter) error {
	for name, w := range sinks {
		if err := r.RegisterCounterFunc("sluice_log_lines_dropped_total", "Log lines that did not fit into the queue of a slow sink.",
			Labels{"sink": name}, func() float64 { return float64(w.lost.Load()) }); err != nil {
			return err
		}
	}
	return nil
}

// discard is a logger for those who gave none.
func discard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
