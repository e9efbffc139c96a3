package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
)

func parseLevel(text string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(text)); err != nil {
		return l, errors.New("must be debug, info, warn or error")
	}
	return l, nil
}

// redactHandler cleans every record before any sink sees it, and adds the ids of the
// span that it was logged in.
type redactHandler struct {
	next slog.Handler
	red  *Redactor
}

// Enabled implements slog.Handler.
func (h *redactHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.next.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h *redactHandler) Handle(ctx context.Context, r slog.Record) error {
	msg := h.red.String(r.Message)
	sc := trace.SpanContextFromContext(ctx)
	if msg == r.Message && !sc.IsSampled() && !h.dirty(r) {
		return h.next.Handle(ctx, r)
	}
	clean := slog.NewRecord(r.Time, r.Level, msg, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	if sc.IsSampled() {
		clean.AddAttrs(slog.String("traceId", sc.TraceID().String()), slog.String("spanId", sc.SpanID().String()))
	}
	return h.next.Handle(ctx, clean)
}

// dirty reports whether an attribute must be rewritten; most records need no copy.
func (h *redactHandler) dirty(r slog.Record) bool {
	found := false
	r.Attrs(func(a slog.Attr) bool {
		switch a.Value.Kind() {
		case slog.KindString:
			s := a.Value.String()
			found = SecretKey(a.Key) && s != "" || h.red.String(s) != s
		case slog.KindAny, slog.KindGroup, slog.KindLogValuer:
			found = true
		}
		return !found
	})
	return found
}

// WithAttrs implements slog.Handler.
func (h *redactHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return &redactHandler{next: h.next.WithAttrs(clean), red: h.red}
}

// WithGroup implements slog.Handler.
func (h *redactHandler) WithGroup(name string) slog.Handler {
	return &redactHandler{next: h.next.WithGroup(name), red: h.red}
}

// attr cleans one attribute. Values that are no simple kind are written as text first:
// the secret in a struct's field must not pass because a sink would print it later.
func (h *redactHandler) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		if SecretKey(a.Key) && v.String() != "" {
			return slog.String(a.Key, redacted)
		}
		return slog.String(a.Key, h.red.String(v.String()))
	case slog.KindGroup:
		group := make([]slog.Attr, 0, len(v.Group()))
		for _, g := range v.Group() {
			group = append(group, h.attr(g))
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(group...)}
	case slog.KindAny:
		return h.any(a.Key, v.Any())
	}
	return slog.Attr{Key: a.Key, Value: v}
}

func (h *redactHandler) any(key string, v any) slog.Attr {
	if v == nil {
		return slog.Any(key, nil)
	}
	if SecretKey(key) {
		return slog.String(key, redacted)
	}
	switch x := v.(type) {
	case error:
		return slog.String(key, h.red.String(x.Error()))
	case time.Time:
		return slog.Time(key, x)
	case []string:
		clean := make([]string, 0, min(len(x), maxListed))
		for _, s := range x[:min(len(x), maxListed)] {
			clean = append(clean, h.red.String(s))
		}
		return slog.Any(key, clean)
	case []byte:
		return slog.String(key, h.red.String(string(x)))
	}
	return slog.String(key, h.red.String(fmt.Sprintf("%+v", v)))
}

// maxListed bounds the entries of a list that are logged.
const maxListed = 64
