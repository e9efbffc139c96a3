package telemetry

import (
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// This file writes spans as OTLP protobuf (opentelemetry-proto trace.proto and
// common.proto, v1). A test reads what it writes back with the generated types.

// Field numbers of Span, Status, KeyValue, AnyValue, and of spans in ScopeSpans.
const (
	scopeSpansSpans = 2

	spanTraceID    = 1
	spanSpanID     = 2
	spanParentID   = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanStatus     = 15
	spanFlags      = 16

	statusMessage = 2
	statusCode    = 3

	resourceAttributes = 1

	keyValueKey   = 1
	keyValueValue = 2

	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
	anyArray  = 5

	arrayValues = 1
)

// Values of Span.kind and of Status.code.
const (
	kindInternal = 1
	kindServer   = 2
	wireOK       = 1
	wireError    = 2
)

// Bits of Span.flags above the W3C ones: whether it is known, and true, that the parent
// is remote.
const (
	flagKnowsRemote = 0x100
	flagIsRemote    = 0x200
)

// appendRoot appends the root span of a frame as a field of ScopeSpans.
func appendRoot(b []byte, f *frameSpan) []byte {
	b, at := open(b, scopeSpansSpans)
	parent := trace.SpanID{}
	flags := uint32(f.sc.TraceFlags()) | flagKnowsRemote
	if f.parent.IsValid() {
		parent = f.parent.SpanID()
		flags |= flagIsRemote
	}
	b = appendHead(b, f.sc, f.sc.SpanID(), parent, f.name, kindServer, f.start, f.end)
	b = appendAttrs(b, spanAttributes, f.attrs)
	b = appendStatus(b, f.status, f.reason)
	b = appendFlags(b, flags)
	return closeAt(b, at)
}

// appendChild appends a child span of a frame as a field of ScopeSpans.
func appendChild(b []byte, f *frameSpan, c *Child) []byte {
	b, at := open(b, scopeSpansSpans)
	parent := c.ParentID
	if !parent.IsValid() {
		parent = f.sc.SpanID()
	}
	b = appendHead(b, f.sc, c.ID, parent, c.Name, kindInternal, c.Start, c.End)
	b = appendAttrs(b, spanAttributes, c.Attrs)
	b = appendStatus(b, c.Status, c.Reason)
	b = appendFlags(b, uint32(f.sc.TraceFlags())|flagKnowsRemote)
	return closeAt(b, at)
}

func appendHead(b []byte, sc trace.SpanContext, id, parent trace.SpanID, name string, kind uint64, start, end time.Time) []byte {
	traceID := sc.TraceID()
	b = protowire.AppendTag(b, spanTraceID, protowire.BytesType)
	b = protowire.AppendBytes(b, traceID[:])
	b = protowire.AppendTag(b, spanSpanID, protowire.BytesType)
	b = protowire.AppendBytes(b, id[:])
	if parent.IsValid() {
		b = protowire.AppendTag(b, spanParentID, protowire.BytesType)
		b = protowire.AppendBytes(b, parent[:])
	}
	b = appendText(b, spanName, name)
	b = protowire.AppendTag(b, spanKind, protowire.VarintType)
	b = protowire.AppendVarint(b, kind)
	b = protowire.AppendTag(b, spanStart, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, unixNano(start))
	b = protowire.AppendTag(b, spanEnd, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, unixNano(end))
}

// unixNano: times before 1970 are 0, as the format has no sign.
func unixNano(t time.Time) uint64 { return uint64(max(0, t.UnixNano())) }

func appendStatus(b []byte, code codes.Code, reason string) []byte {
	var wire uint64
	switch code {
	case codes.Ok:
		wire = wireOK
	case codes.Error:
		wire = wireError
	default:
		return b
	}
	b, at := open(b, spanStatus)
	if reason != "" && code == codes.Error {
		b = appendText(b, statusMessage, reason)
	}
	b = protowire.AppendTag(b, statusCode, protowire.VarintType)
	b = protowire.AppendVarint(b, wire)
	return closeAt(b, at)
}

func appendFlags(b []byte, flags uint32) []byte {
	b = protowire.AppendTag(b, spanFlags, protowire.Fixed32Type)
	return protowire.AppendFixed32(b, flags)
}

// appendText appends a string. One that is not UTF-8 would make a collector refuse all
// that it came with.
func appendText(b []byte, field protowire.Number, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// appendAttrs appends each attribute as a repeated KeyValue of that field.
func appendAttrs(b []byte, field protowire.Number, attrs []attribute.KeyValue) []byte {
	for i := range attrs {
		var at int
		b, at = open(b, field)
		b = appendText(b, keyValueKey, string(attrs[i].Key))
		b = appendAny(b, keyValueValue, attrs[i].Value)
		b = closeAt(b, at)
	}
	return b
}

func appendAny(b []byte, field protowire.Number, v attribute.Value) []byte {
	b, at := open(b, field)
	switch v.Type() {
	case attribute.STRING:
		b = appendText(b, anyString, v.AsString())
	case attribute.INT64:
		b = protowire.AppendTag(b, anyInt, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(v.AsInt64()))
	case attribute.BOOL:
		b = protowire.AppendTag(b, anyBool, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeBool(v.AsBool()))
	case attribute.FLOAT64:
		b = protowire.AppendTag(b, anyDouble, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, math.Float64bits(v.AsFloat64()))
	case attribute.STRINGSLICE:
		var list int
		b, list = open(b, anyArray)
		for _, s := range v.AsStringSlice() {
			b = appendAny(b, arrayValues, attribute.StringValue(s))
		}
		b = closeAt(b, list)
	default: // other slices: as text
		b = appendText(b, anyString, v.Emit())
	}
	return closeAt(b, at)
}

// open begins a message of unknown length in a field; closeAt(b, at) ends it.
func open(b []byte, field protowire.Number) ([]byte, int) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return append(b, 0), len(b) + 1
}

// closeAt writes the length of the message that begins at at before it. One byte is
// there; a message of 128 bytes or more moves to make room for the rest.
func closeAt(b []byte, at int) []byte {
	n := len(b) - at
	if n < 0x80 {
		b[at-1] = byte(n)
		return b
	}
	var length [10]byte
	l := protowire.AppendVarint(length[:0], uint64(n))
	return slices.Replace(b, at-1, at, l...)
}
