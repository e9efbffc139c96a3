package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func BenchmarkDecide(b *testing.B) {
	for name, c := range map[string]TracesConfig{
		"off":      {SampleRatio: 0},
		"ratio=1%": {SampleRatio: 0.01},
		"trusted":  {SampleRatio: 0.01, TrustRemoteSampling: true},
	} {
		tr, _ := mustTrace(b, func(tc *TracesConfig) { tc.SampleRatio, tc.TrustRemoteSampling = c.SampleRatio, c.TrustRemoteSampling })
		for kind, tp := range map[string][]byte{"noparent": nil, "parent": []byte(parent[:53] + "00")} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					tr.Decide(tp)
				}
			})
		}
	}
}

// nothing is a collector that is as fast as can be.
type nothing struct{}

func (nothing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nothing) Shutdown(context.Context) error                             { return nil }

// BenchmarkExport is what a sampled frame costs in all: its spans, and the collector's
// protocol in the background.
func BenchmarkExport(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	c := Default().Traces
	c.Endpoint, c.QueueSpans = srv.URL, 1<<20
	e, _, err := openExporter(context.Background(), c, noEnv, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	tr := NewTracing(c, resource.Empty(), e, noEnv, slog.New(slog.DiscardHandler))
	children := make([]Child, 7)
	for i := range children {
		children[i] = Child{Name: "stage", Start: time.Now(), End: time.Now()}
	}
	b.ReportAllocs()
	for b.Loop() {
		_, root := tr.StartRoot(context.Background(), "sluice.frame", time.Now(), Decision{Sampled: true}, attribute.String("rpc.method", "health"))
		root.End()
		tr.EmitChildren(root, children)
	}
	if err := tr.Shutdown(context.Background()); err != nil {
		b.Fatal(err)
	}
	if st := tr.Stats(); st.Dropped+st.Failed > 0 {
		b.Logf("%+v", st)
	}
}

func BenchmarkFrame(b *testing.B) {
	tr := NewTracing(Default().Traces, resource.Empty(), nothing{}, noEnv, slog.New(slog.DiscardHandler))
	defer tr.Shutdown(context.Background())
	now := time.Now()
	var stages [7]Child
	for i := range stages {
		stages[i] = Child{Name: "stage", Start: now, End: now}
	}
	for name, d := range map[string]Decision{"unsampled": {}, "sampled": {Sampled: true}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, root := tr.StartRoot(context.Background(), "sluice.frame", now, d)
				if d.Sampled {
					tr.EmitChildren(root, stages[:])
				}
				root.End()
			}
		})
	}
}
