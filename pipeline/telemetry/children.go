package telemetry

import (
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Child is one finished span below a frame's root, known only by its times.
type Child struct {
	Name       string
	Start, End time.Time
	Status     codes.Code // Unset, Ok or Error
	Reason     string     // of an error: short, no content
	Attrs      []attribute.KeyValue
	// ID is the span's id where others must name it as their parent (NewSpanID makes
	// one); zero gets a new one.
	ID trace.SpanID
	// ParentID is the parent's id; zero is the root. A defender's span names the stage's.
	ParentID trace.SpanID
}

// NewSpanID makes an id for a Child that has children itself.
func NewSpanID() trace.SpanID { return newSpanID() }

// EmitChildren records the stages of a frame in one go: one allocation for all of them
// instead of the SDK's six for each, and one place in the queue. They inherit the root's
// trace, resource and scope. children is copied, its Attrs are kept. A root that is not
// recorded by this Tracing has no children.
func (t *Tracing) EmitChildren(root trace.Span, children []Child) {
	if t.tracer == nil || len(children) == 0 {
		return
	}
	ro, ok := root.(sdktrace.ReadOnlySpan)
	if !ok || !root.SpanContext().IsSampled() {
		return
	}
	spans := make([]childSpan, len(children))
	for i, c := range children {
		limitAttrs(c.Attrs, t.maxAttr)
		if !c.ID.IsValid() {
			c.ID = newSpanID()
		}
		spans[i] = childSpan{ReadOnlySpan: ro, c: c}
	}
	t.queue.put(queued{group: spans})
}

// limitAttrs cuts long texts, as the SDK does for spans that it makes.
func limitAttrs(attrs []attribute.KeyValue, most int) {
	for i, kv := range attrs {
		if kv.Value.Type() != attribute.STRING {
			continue
		}
		if s := kv.Value.AsString(); most > 0 && len(s) > most {
			for most > 0 && !utf8.RuneStart(s[most]) {
				most--
			}
			attrs[i] = kv.Key.String(strings.Clone(s[:most]))
		}
	}
}

// childSpan is what the exporter reads. The embedded root gives the interface's private
// method, the resource and the instrumentation scope; every other method is its own.
type childSpan struct {
	sdktrace.ReadOnlySpan
	c Child
}

var _ sdktrace.ReadOnlySpan = (*childSpan)(nil)

// Name implements sdktrace.ReadOnlySpan.
func (s *childSpan) Name() string { return s.c.Name }

// SpanContext implements sdktrace.ReadOnlySpan.
func (s *childSpan) SpanContext() trace.SpanContext {
	return s.ReadOnlySpan.SpanContext().WithSpanID(s.c.ID)
}

// Parent implements sdktrace.ReadOnlySpan.
func (s *childSpan) Parent() trace.SpanContext {
	root := s.ReadOnlySpan.SpanContext()
	if s.c.ParentID.IsValid() {
		return root.WithSpanID(s.c.ParentID)
	}
	return root
}

// SpanKind implements sdktrace.ReadOnlySpan.
func (s *childSpan) SpanKind() trace.SpanKind { return trace.SpanKindInternal }

// StartTime implements sdktrace.ReadOnlySpan.
func (s *childSpan) StartTime() time.Time { return s.c.Start }

// EndTime implements sdktrace.ReadOnlySpan.
func (s *childSpan) EndTime() time.Time { return s.c.End }

// Attributes implements sdktrace.ReadOnlySpan.
func (s *childSpan) Attributes() []attribute.KeyValue { return s.c.Attrs }

// Links implements sdktrace.ReadOnlySpan.
func (s *childSpan) Links() []sdktrace.Link { return nil }

// Events implements sdktrace.ReadOnlySpan.
func (s *childSpan) Events() []sdktrace.Event { return nil }

// Status implements sdktrace.ReadOnlySpan.
func (s *childSpan) Status() sdktrace.Status {
	return sdktrace.Status{Code: s.c.Status, Description: s.c.Reason}
}

// DroppedAttributes implements sdktrace.ReadOnlySpan.
func (s *childSpan) DroppedAttributes() int { return 0 }

// DroppedLinks implements sdktrace.ReadOnlySpan.
func (s *childSpan) DroppedLinks() int { return 0 }

// DroppedEvents implements sdktrace.ReadOnlySpan.
func (s *childSpan) DroppedEvents() int { return 0 }

// ChildSpanCount implements sdktrace.ReadOnlySpan.
func (s *childSpan) ChildSpanCount() int { return 0 }
