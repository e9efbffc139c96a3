package telemetry

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Scope is the instrumentation scope of every span and metric of Sluice.
const Scope = "sluice"

// Tracing decides which frames are traced and makes their spans. When tracing is off
// Decide costs two atomic loads and everything else nothing. Safe for concurrent use.
type Tracing struct {
	sampling sampling
	env      envSampler
	tracer   trace.Tracer // nil when tracing is off
	provider *sdktrace.TracerProvider
	resource *resource.Resource
	queue    *spanQueue
	exporter string // otlp, console, none: for health and doctor
	maxAttr  int
	shed     atomic.Uint64
}

// NewTracing returns tracing into the given exporter, or switched off when it is nil.
// Start makes the exporter; tests bring their own.
func NewTracing(c TracesConfig, res *resource.Resource, exporter sdktrace.SpanExporter, getenv func(string) string, log *slog.Logger) *Tracing {
	t := &Tracing{exporter: "none", env: readEnvSampler(getenv), maxAttr: c.MaxAttributeBytes}
	t.sampling.seed = maphash.MakeSeed()
	if exporter == nil {
		return t
	}
	t.exporter = "otlp"
	t.resource = res
	t.queue = newSpanQueue(exporter, res, c, log)
	limits := sdktrace.NewSpanLimits() // reads OTEL_ATTRIBUTE_… and OTEL_SPAN_…
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = c.MaxAttributeBytes
	}
	t.provider = sdktrace.NewTracerProvider(
		// Decide has decided; what reaches the SDK is recorded.
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithIDGenerator(randomIDs{}),
		sdktrace.WithSpanProcessor(t.queue),
		sdktrace.WithResource(res),
		sdktrace.WithRawSpanLimits(limits),
	)
	t.tracer = t.provider.Tracer(Scope)
	t.SetSampling(c)
	return t
}

// Enabled reports whether any frame may be traced.
func (t *Tracing) Enabled() bool { return t.tracer != nil }

// Exporter names where spans go: otlp, console or none.
func (t *Tracing) Exporter() string { return t.exporter }

// SetSampling takes sampleRatio and trustRemoteSampling of a reloaded configuration.
// OTEL_TRACES_SAMPLER, when set, keeps winning.
func (t *Tracing) SetSampling(c TracesConfig) {
	if t.tracer == nil {
		return
	}
	ratio, parentBased := c.SampleRatio, true
	if t.env.set {
		ratio, parentBased = t.env.ratio, t.env.parentBased
	}
	t.sampling.set(ratio, parentBased && c.TrustRemoteSampling)
}

// Decide says whether the frame with this traceparent (nil for none) is traced. It does
// not allocate and does not call OpenTelemetry. When the queue to the collector is full
// no new trace is begun: a whole trace less is better than spans missing from each, and
// spans that nobody will see cost nothing.
func (t *Tracing) Decide(traceparent []byte) Decision {
	d := t.sampling.decide(traceparent)
	if d.Sampled && t.queue != nil && t.queue.full() {
		t.shed.Add(1)
		return Decision{}
	}
	return d
}

// StartRoot starts the root span of a frame at a time in the past. It continues the
// remote parent in d. Without d.Sampled the context comes back as it was, with a span
// that does nothing.
func (t *Tracing) StartRoot(ctx context.Context, name string, start time.Time, d Decision, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	if !d.Sampled || t.tracer == nil {
		return ctx, noop.Span{}
	}
	f := t.startFrame(name, start, d, attrs)
	return trace.ContextWithSpan(ctx, f), f
}

// EmitChild records a finished span below the frame's root in ctx, from its two times.
// status is codes.Unset, codes.Ok or codes.Error with a short reason that is no content.
func (t *Tracing) EmitChild(ctx context.Context, name string, start, end time.Time, status codes.Code, reason string, attrs ...attribute.KeyValue) {
	if f := rootOf(ctx); f != nil {
		t.EmitChildren(f, []Child{{Name: name, Start: start, End: end, Status: status, Reason: reason, Attrs: attrs}})
	}
}

// Start starts a child span now, for work whose own callees need its context: a model
// call, an upstream request. On an unsampled frame it returns ctx and a span that does
// nothing.
func (t *Tracing) Start(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	if t.tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, noop.Span{}
	}
	return t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
}

// SpanStats counts spans since the start.
type SpanStats struct {
	Ended    uint64 // finished and meant for export
	Exported uint64
	Dropped  uint64 // did not fit into the queue
	Failed   uint64 // handed over, but the exporter gave up on them
	Queued   int    // waiting now
	Shed     uint64 // frames that were not traced because the queue was full
}

// Stats returns the counters; all zero when tracing is off.
func (t *Tracing) Stats() SpanStats {
	if t.queue == nil {
		return SpanStats{}
	}
	s := t.queue.stats()
	s.Shed = t.shed.Load()
	return s
}

// Flush exports what has ended so far.
func (t *Tracing) Flush(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	return t.provider.ForceFlush(ctx)
}

// Shutdown exports the rest and stops. ctx bounds it.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// NewIDs implements sdktrace.IDGenerator.
func (randomIDs) NewIDs(context.Context) (trace.TraceID, trace.SpanID) {
	return newTraceID(), newSpanID()
}

// NewSpanID implements sdktrace.IDGenerator.
func (randomIDs) NewSpanID(context.Context, trace.TraceID) trace.SpanID { return newSpanID() }

// signalURL completes an endpoint without a path. The environment variable gets the
// signal's path appended by the exporter, WithEndpointURL does not: it would post to "/"
// and get 404 (libraries.md 2.5, trap 3).
func signalURL(endpoint, path string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("telemetry: traces.endpoint %q is not an http:// or https:// URL", endpoint)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = path
	}
	return u.String(), nil
}

func wrapf(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
