package main

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/telemetry"
	"sluice/stages/dispatch/agent/provider"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// tracer gives every sampled frame its trace: a root span sluice.frame and a child for
// each stage that saw it (design.md, law 8). The children are made at the end from the
// envelope's timings, so that an unsampled frame costs one draw.
type tracer struct {
	tracing *telemetry.Tracing
	names   []string // of the stages
	hide    func(text []byte) []byte
}

// maxSpanName bounds a name that a client chose, in an attribute.
const maxSpanName = 256

// name is a name that a client chose, without what looks like a secret.
func (t *tracer) name(text string) string {
	return string(t.hide([]byte(text[:min(len(text), maxSpanName)])))
}

var _ pipeline.Tracer = (*tracer)(nil)

// Begin implements pipeline.Tracer.
func (t *tracer) Begin(e *pipeline.Envelope) {
	var d telemetry.Decision
	switch {
	case e.Parent.IsSampled(): // work of a request that is traced
		d = telemetry.Decision{Sampled: true, Remote: true, Flags: byte(e.Parent.TraceFlags()),
			TraceID: e.Parent.TraceID(), SpanID: e.Parent.SpanID()}
	case e.Source == pipeline.SourceTurn && e.Work != nil && e.Parent.IsValid():
		return
	default:
		d = t.tracing.Decide(e.Frame.Traceparent)
	}
	if !d.Sampled {
		return
	}
	e.Ctx, _ = t.tracing.StartRoot(context.Background(), "sluice.frame", pipeline.WallTime(e.StartedNanos()), d,
		attribute.String("sluice.source", e.Source.String()))
}

// End implements pipeline.Tracer.
func (t *tracer) End(e *pipeline.Envelope) {
	if e.Ctx == nil {
		return
	}
	root := trace.SpanFromContext(e.Ctx)
	_, err, _ := e.Result()
	t.children(e, root)
	if e.Frame.Method != "" {
		root.SetAttributes(attribute.String("rpc.system.name", "openclaw"), attribute.String("rpc.method", t.name(e.Frame.Method)))
	}
	if e.SessionKey != "" {
		root.SetAttributes(attribute.String("sluice.session", t.name(e.SessionKey)))
	}
	if e.Work != nil {
		root.SetAttributes(attribute.String("sluice.run", t.name(e.Work.ID())))
	}
	if d := e.Decision; d != nil {
		root.SetAttributes(attribute.String("sluice.defend.action", d.Action.String()), attribute.Int("sluice.defend.risk", d.Risk))
	}
	if err != nil {
		root.SetAttributes(attribute.String("error.type", string(err.Code)))
		root.SetStatus(codes.Error, string(err.Code))
	}
	root.End()
}

// children makes the stage spans, in one go. The last stage that saw the envelope
// carries the error: it is the one that refused it.
func (t *tracer) children(e *pipeline.Envelope, root trace.Span) {
	_, err, _ := e.Result()
	var list [pipeline.MaxStages]telemetry.Child
	var queuedUs [pipeline.MaxStages]attribute.KeyValue
	n := 0
	for i, name := range t.names {
		queued, begin, end := e.Timing(i)
		if begin == 0 {
			continue
		}
		if end < begin {
			end = pipeline.Now()
		}
		queuedUs[n] = attribute.Int64("sluice.queued_us", (begin-queued)/1000)
		list[n] = telemetry.Child{Name: name, Start: pipeline.WallTime(begin), End: pipeline.WallTime(end)}
		n++
	}
	var defenders []telemetry.Child
	if d := e.Decision; d != nil && len(d.Defenders) > 0 {
		defenders = defenderSpans(d, list[:n])
	}
	if n > 0 && err != nil {
		list[n-1].Status, list[n-1].Reason = codes.Error, string(err.Code)
		if e.TimedOut() {
			list[n-1].Reason = "timeout"
		}
	}
	attrs := make([]attribute.KeyValue, n)
	copy(attrs, queuedUs[:n])
	for i := range list[:n] {
		list[i].Attrs = attrs[i : i+1 : i+1]
	}
	t.tracing.EmitChildren(root, append(list[:n:n], defenders...))
}

// defenderSpans are the spans of the defenders, below the one of their stage.
func defenderSpans(d *pipeline.Decision, stages []telemetry.Child) []telemetry.Child {
	var parent trace.SpanID
	for i := range stages {
		if stages[i].Name == "defend" {
			parent = telemetry.NewSpanID()
			stages[i].ID = parent
		}
	}
	out := make([]telemetry.Child, len(d.Defenders))
	for i, t := range d.Defenders {
		out[i] = telemetry.Child{Name: "defend." + t.Name, Start: pipeline.WallTime(t.Begin), End: pipeline.WallTime(t.End), ParentID: parent}
	}
	return out
}

// modelSpan traces one model call by the GenAI conventions.
func (t *tracer) modelSpan(ctx context.Context, name, model, baseURL string) (context.Context, func(provider.Result, error)) {
	call := telemetry.ModelCall{Operation: "chat", Provider: name, RequestModel: model, InputTokens: -1, OutputTokens: -1}
	if u, err := url.Parse(baseURL); err == nil {
		call.ServerAddress = u.Hostname()
		call.ServerPort, _ = strconv.Atoi(u.Port())
	}
	ctx, span := t.tracing.Start(ctx, call.SpanName(), trace.SpanKindClient, call.Attributes()...)
	return ctx, func(res provider.Result, err error) {
		call.ResponseModel, call.FinishReason = res.Model, res.StopReason
		if err == nil {
			call.InputTokens, call.OutputTokens = res.Usage.Input, res.Usage.Output
		} else {
			call.ErrorType = errorType(err)
			span.SetStatus(codes.Error, call.ErrorType)
		}
		span.SetAttributes(call.Attributes()...)
		span.End(trace.WithTimestamp(time.Now()))
	}
}

func errorType(err error) string {
	var pe *provider.Error
	switch {
	case errors.As(err, &pe) && pe.Status != 0:
		return strconv.Itoa(pe.Status)
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "network"
}
