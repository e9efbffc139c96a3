package engine

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"

	"sluice/bench/backend"
	"sluice/pipeline"
	"sluice/pipeline/telemetry"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// BenchmarkTracing is health through the pipeline with a part of the frames traced, the
// spans going to an OTLP collector in this process. What the queue has no room for is
// not traced; frames/traced says how much was.
func BenchmarkTracing(b *testing.B) {
	for _, c := range []struct {
		name  string
		ratio float64
	}{{"off", -1}, {"1%", 0.01}, {"100%", 1}} {
		b.Run(c.name, func(b *testing.B) {
			if c.ratio < 0 {
				r := mustRig(b, nil)
				r.ask(b, health)
				r.load(b, health)
				return
			}
			sink := &backend.Sink{}
			t := mustTracer(b, sink, c.ratio)
			r := mustRig(b, t)
			t.stages = r.stages()
			r.ask(b, health)
			r.load(b, health)
			if err := t.tracing.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(t.tracing.Stats().Exported)/8/float64(b.N), "traced/frame")
		})
	}
}

// TestTracesArrive keeps BenchmarkTracing honest.
func TestTracesArrive(t *testing.T) {
	sink := &backend.Sink{}
	tr := mustTracer(t, sink, 1)
	r := mustRig(t, tr)
	tr.stages = r.stages()
	for range 10 {
		r.ask(t, health)
	}
	if left := r.pipe.Drain(t.Context()); left > 0 {
		t.Fatalf("%d frames are left", left)
	}
	if err := tr.tracing.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sink.Stats(); got.Spans != 80 || got.Broken != 0 {
		t.Errorf("%+v, want 80 spans of 10 frames", got)
	}
}

// tracer makes the spans of cmd/sluice/tracing.go.
type tracer struct {
	tracing *telemetry.Tracing
	stages  []pipeline.Stage
}

var _ pipeline.Tracer = (*tracer)(nil)

func mustTracer(tb testing.TB, sink *backend.Sink, ratio float64) *tracer {
	tb.Helper()
	srv := httptest.NewServer(sink)
	cfg := telemetry.Default()
	cfg.Traces.Endpoint, cfg.Traces.SampleRatio, cfg.Logs.File = srv.URL, ratio, false
	tel, err := telemetry.Start(context.Background(), telemetry.Options{Config: cfg, Version: "bench", Getenv: func(string) string { return "" }})
	if err != nil {
		tb.Fatal(err)
	}
	tel.Logs.Logger = slog.New(slog.DiscardHandler)
	tb.Cleanup(func() {
		if err := tel.Shutdown(context.Background()); err != nil {
			tb.Error(err)
		}
		srv.Close()
	})
	return &tracer{tracing: tel.Tracing}
}

// Begin implements pipeline.Tracer.
func (t *tracer) Begin(e *pipeline.Envelope) {
	if d := t.tracing.Decide(e.Frame.Traceparent); d.Sampled {
		e.Ctx, _ = t.tracing.StartRoot(context.Background(), "sluice.frame", pipeline.WallTime(e.StartedNanos()), d,
			attribute.String("sluice.source", e.Source.String()))
	}
}

// End implements pipeline.Tracer.
func (t *tracer) End(e *pipeline.Envelope) {
	if e.Ctx == nil {
		return
	}
	root := trace.SpanFromContext(e.Ctx)
	var list [pipeline.MaxStages]telemetry.Child
	attrs := make([]attribute.KeyValue, len(t.stages))
	for i, s := range t.stages {
		queued, begin, end := e.Timing(i)
		attrs[i] = attribute.Int64("sluice.queued_us", (begin-queued)/1000)
		list[i] = telemetry.Child{Name: s.Name(), Start: pipeline.WallTime(begin), End: pipeline.WallTime(end), Attrs: attrs[i : i+1 : i+1]}
	}
	t.tracing.EmitChildren(root, list[:len(t.stages)])
	root.SetAttributes(attribute.String("rpc.system.name", "openclaw"), attribute.String("rpc.method", e.Frame.Method))
	root.End()
}
