package telemetry

import (
	"context"
	"io"
	"sync"

	"github.com/go-json-experiment/json"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// consoleExporter is OTEL_TRACES_EXPORTER=console: one JSON line a span, to look at
// while developing.
type consoleExporter struct {
	mu sync.Mutex
	w  io.Writer
}

type consoleSpan struct {
	Trace  string         `json:"trace"`
	Span   string         `json:"span"`
	Parent string         `json:"parent,omitzero"`
	Name   string         `json:"name"`
	Start  string         `json:"start"`
	Us     int64          `json:"us"` // duration
	Status string         `json:"status,omitzero"`
	Reason string         `json:"reason,omitzero"`
	Attrs  map[string]any `json:"attrs,omitzero"`
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *consoleExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range spans {
		c := consoleSpan{
			Trace: s.SpanContext().TraceID().String(), Span: s.SpanContext().SpanID().String(), Name: s.Name(),
			Start: s.StartTime().UTC().Format("2006-01-02T15:04:05.000000Z"), Us: s.EndTime().Sub(s.StartTime()).Microseconds(),
			Reason: s.Status().Description,
		}
		if s.Parent().IsValid() {
			c.Parent = s.Parent().SpanID().String()
		}
		if code := s.Status().Code; code != 0 {
			c.Status = code.String()
		}
		if attrs := s.Attributes(); len(attrs) > 0 {
			c.Attrs = make(map[string]any, len(attrs))
			for _, kv := range attrs {
				c.Attrs[string(kv.Key)] = kv.Value.AsInterface()
			}
		}
		line, err := json.Marshal(c, json.Deterministic(true))
		if err != nil {
			return err
		}
		if _, err := e.w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *consoleExporter) Shutdown(context.Context) error { return nil }
