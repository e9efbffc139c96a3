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

// EmitChildren records the stages of a frame in one go. It gives ids to those children
// that have none and keeps nothing of them but their Attrs, which must not change. A
// root that is not one of StartRoot has no children.
func (t *Tracing) EmitChildren(root trace.Span, children []Child) {
	f, ok := root.(*frameSpan)
	if !ok || len(children) == 0 {
		return
	}
	for i := range children {
		limitAttrs(children[i].Attrs, t.maxAttr)
		if !children[i].ID.IsValid() {
			children[i].ID = newSpanID()
		}
	}
	t.queue.children(f, children)
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

// childSpan shows a Child to exporters that take SDK spans. The embedded root gives the
// interface's private method, the resource and the instrumentation scope; every other
// method is its own.
type childSpan struct {
	rootView
	c *Child
}

var _ sdktrace.ReadOnlySpan = (*childSpan)(nil)

// Name implements sdktrace.ReadOnlySpan.
func (s *childSpan) Name() string { return s.c.Name }

// SpanContext implements sdktrace.ReadOnlySpan.
func (s *childSpan) SpanContext() trace.SpanContext {
	return s.rootView.SpanContext().WithSpanID(s.c.ID)
}

// Parent implements sdktrace.ReadOnlySpan.
func (s *childSpan) Parent() trace.SpanContext {
	root := s.rootView.SpanContext()
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

// Status implements sdktrace.ReadOnlySpan.
func (s *childSpan) Status() sdktrace.Status {
	return sdktrace.Status{Code: s.c.Status, Description: s.c.Reason}
}
