package telemetry

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// frameSpan is the root span of one frame. It is Sluice's own and not the SDK's, because
// every sampled frame has one: it and its children are encoded straight into an OTLP
// request, which costs a quarter of SDK spans. Spans that others
// start below it are the SDK's, with its id as their parent.
//
// It does less than the SDK's: events, links and errors are not kept (content never
// becomes an attribute, law 8), and attributes are bounded.
type frameSpan struct {
	noop.Span // of whatever is not below
	t         *Tracing
	sc        trace.SpanContext
	parent    trace.SpanContext // the client's; invalid without one
	name      string
	start     time.Time

	mu     sync.Mutex
	ended  bool
	end    time.Time
	attrs  []attribute.KeyValue
	status codes.Code
	reason string
}

var _ trace.Span = (*frameSpan)(nil)

// maxFrameAttrs bounds the attributes of a root span; more are left out.
const maxFrameAttrs = 16

// startFrame makes the root span that d asks for.
func (t *Tracing) startFrame(name string, start time.Time, d Decision, attrs []attribute.KeyValue) *frameSpan {
	f := &frameSpan{t: t, name: name, start: start}
	sc := trace.SpanContextConfig{TraceID: d.TraceID, SpanID: newSpanID(), TraceFlags: trace.TraceFlags(d.Flags) | trace.FlagsSampled}
	if d.Remote {
		f.parent = trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: d.TraceID, SpanID: d.SpanID, TraceFlags: trace.TraceFlags(d.Flags), Remote: true})
	} else {
		sc.TraceID, sc.TraceFlags = newTraceID(), trace.FlagsSampled
	}
	f.sc = trace.NewSpanContext(sc)
	f.attrs = make([]attribute.KeyValue, 0, len(attrs)+6)
	f.SetAttributes(attrs...)
	return f
}

// SpanContext implements trace.Span.
func (f *frameSpan) SpanContext() trace.SpanContext { return f.sc }

// IsRecording implements trace.Span.
func (f *frameSpan) IsRecording() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.ended
}

// TracerProvider implements trace.Span.
func (f *frameSpan) TracerProvider() trace.TracerProvider { return f.t.provider }

// SetName implements trace.Span.
func (f *frameSpan) SetName(name string) {
	f.mu.Lock()
	if !f.ended {
		f.name = name
	}
	f.mu.Unlock()
}

// SetAttributes implements trace.Span.
func (f *frameSpan) SetAttributes(attrs ...attribute.KeyValue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	n := len(f.attrs)
	f.attrs = append(f.attrs, attrs[:min(len(attrs), maxFrameAttrs-n)]...)
	limitAttrs(f.attrs[n:], f.t.maxAttr)
}

// SetStatus implements trace.Span.
func (f *frameSpan) SetStatus(code codes.Code, reason string) {
	f.mu.Lock()
	if !f.ended {
		f.status, f.reason = code, reason
	}
	f.mu.Unlock()
}

// End implements trace.Span: it queues the span. What comes later changes nothing.
func (f *frameSpan) End(options ...trace.SpanEndOption) {
	end := time.Time{}
	if len(options) > 0 {
		c := trace.NewSpanEndConfig(options...)
		end = c.Timestamp()
	}
	if end.IsZero() {
		end = time.Now()
	}
	f.mu.Lock()
	first := !f.ended
	if first {
		f.ended, f.end = true, end
	}
	f.mu.Unlock()
	if first {
		f.t.queue.root(f)
	}
}

// rootView shows an ended frameSpan to exporters that take SDK spans: the console and
// tests. The embedded interface is nil: it only gives the method that is private.
type rootView struct {
	sdktrace.ReadOnlySpan
	f *frameSpan
}

// Name implements sdktrace.ReadOnlySpan.
func (v rootView) Name() string { return v.f.name }

// SpanContext implements sdktrace.ReadOnlySpan.
func (v rootView) SpanContext() trace.SpanContext { return v.f.sc }

// Parent implements sdktrace.ReadOnlySpan.
func (v rootView) Parent() trace.SpanContext { return v.f.parent }

// SpanKind implements sdktrace.ReadOnlySpan.
func (v rootView) SpanKind() trace.SpanKind { return trace.SpanKindServer }

// StartTime implements sdktrace.ReadOnlySpan.
func (v rootView) StartTime() time.Time { return v.f.start }

// EndTime implements sdktrace.ReadOnlySpan.
func (v rootView) EndTime() time.Time { return v.f.end }

// Attributes implements sdktrace.ReadOnlySpan.
func (v rootView) Attributes() []attribute.KeyValue { return v.f.attrs }

// Links implements sdktrace.ReadOnlySpan.
func (v rootView) Links() []sdktrace.Link { return nil }

// Events implements sdktrace.ReadOnlySpan.
func (v rootView) Events() []sdktrace.Event { return nil }

// Status implements sdktrace.ReadOnlySpan.
func (v rootView) Status() sdktrace.Status {
	return sdktrace.Status{Code: v.f.status, Description: v.f.reason}
}

// InstrumentationScope implements sdktrace.ReadOnlySpan.
func (v rootView) InstrumentationScope() instrumentation.Scope {
	return instrumentation.Scope{Name: Scope}
}

// InstrumentationLibrary implements sdktrace.ReadOnlySpan.
func (v rootView) InstrumentationLibrary() instrumentation.Library { return v.InstrumentationScope() }

// Resource implements sdktrace.ReadOnlySpan.
func (v rootView) Resource() *resource.Resource { return v.f.t.resource }

// DroppedAttributes implements sdktrace.ReadOnlySpan.
func (v rootView) DroppedAttributes() int { return 0 }

// DroppedLinks implements sdktrace.ReadOnlySpan.
func (v rootView) DroppedLinks() int { return 0 }

// DroppedEvents implements sdktrace.ReadOnlySpan.
func (v rootView) DroppedEvents() int { return 0 }

// ChildSpanCount implements sdktrace.ReadOnlySpan.
func (v rootView) ChildSpanCount() int { return 0 }

// rootOf returns the frame's root span in ctx, nil when the frame is not traced.
func rootOf(ctx context.Context) *frameSpan {
	f, _ := trace.SpanFromContext(ctx).(*frameSpan)
	return f
}
