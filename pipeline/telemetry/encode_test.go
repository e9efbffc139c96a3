package telemetry

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// viewsOnly hides that an exporter takes encoded spans, so that OpenTelemetry's own
// encoder does the work.
type viewsOnly struct{ sdktrace.SpanExporter }

// sent makes the same trace each time and returns what the collector got: by our
// encoder, or by OpenTelemetry's.
func sent(t *testing.T, encoded bool) (*collector, []*tracepb.Span) {
	t.Helper()
	col := &collector{}
	srv := httptest.NewServer(col)
	defer srv.Close()
	c := Default().Traces
	c.Endpoint, c.MaxAttributeBytes = srv.URL, 4096
	e, _, err := openExporter(t.Context(), c, noEnv, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !encoded {
		e = viewsOnly{e}
	}
	res := resource.NewWithAttributes("https://schema", attribute.String("service.name", "enc"), attribute.StringSlice("args", []string{"a", "", strings.Repeat("b", 300)}),
		attribute.Int64Slice("n", []int64{1, 2}), attribute.Float64("f", -1.5), attribute.Bool("b", true))
	tr := NewTracing(c, res, e, noEnv, slog.New(slog.DiscardHandler))
	at := time.Unix(1_700_000_000, 123)
	d := tr.Decide([]byte(parent))
	ctx, root := tr.StartRoot(context.Background(), "sluice.frame", at, d, attribute.String("rpc.method", "health"), attribute.Int64("minus", -7))
	root.SetAttributes(attribute.String("long", strings.Repeat("ü", 1000)), attribute.Bool("no", false))
	tr.EmitChildren(root, []Child{
		{Name: "decode", ID: trace.SpanID{1}, Start: at, End: at.Add(time.Millisecond), Attrs: []attribute.KeyValue{attribute.Int64("sluice.queued_us", 3)}},
		{Name: "defend", ID: trace.SpanID{2}, Start: at, End: at, Status: codes.Ok},
		{Name: "defend.prompt", ID: trace.SpanID{3}, ParentID: trace.SpanID{2}, Start: time.Unix(-5, 0), End: at, Status: codes.Error, Reason: strings.Repeat("r", 200)},
	})
	_, call := tr.Start(ctx, "chat gpt-x", trace.SpanKindClient)
	call.End()
	root.SetStatus(codes.Error, "UNAVAILABLE")
	root.End(trace.WithTimestamp(at.Add(time.Second)))
	root.End()
	root.SetStatus(codes.Ok, "")
	root.SetAttributes(attribute.Bool("late", true))
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := tr.Stats(); st.Exported != 5 || st.Queued != 0 {
		t.Errorf("%+v", st)
	}
	return col, col.spans
}

// TestEncodedAsByOpenTelemetry holds our encoder against OpenTelemetry's.
func TestEncodedAsByOpenTelemetry(t *testing.T) {
	ours, a := sent(t, true)
	theirs, b := sent(t, false)
	if ours.service != "enc" || theirs.service != "enc" {
		t.Errorf("services %q and %q", ours.service, theirs.service)
	}
	byName := map[string]*tracepb.Span{}
	for _, s := range b {
		byName[s.GetName()] = s
	}
	rootID := ""
	for _, s := range a {
		if s.GetName() == "sluice.frame" {
			rootID = string(s.GetSpanId())
		}
	}
	if len(a) != 5 || len(byName) != 5 {
		t.Fatalf("%d and %d spans, want 5", len(a), len(b))
	}
	for _, s := range a {
		want := byName[s.GetName()]
		switch s.GetName() {
		case "chat gpt-x": // times and ids differ from run to run
			if string(s.GetParentSpanId()) != rootID || s.GetFlags() != want.GetFlags() {
				t.Errorf("%v is not below the root", s)
			}
			continue
		case "sluice.frame":
			want.SpanId = s.SpanId
		case "decode", "defend":
			want.ParentSpanId = []byte(rootID)
		}
		if want.GetStatus().GetCode() == 0 {
			want.Status = nil // ours leaves an unset one out
		}
		if !proto.Equal(s, want) {
			t.Errorf("ours   %v\ntheirs %v", s, want)
		}
	}
}

// TestEncodedResource: every kind of attribute arrives.
func TestEncodedResource(t *testing.T) {
	ours, _ := sent(t, true)
	theirs, _ := sent(t, false)
	for k, v := range theirs.resource {
		if got := ours.resource[k]; got != v && k != "n" { // lists of numbers are sent as text
			t.Errorf("%s is %q, want %q", k, got, v)
		}
	}
	if len(ours.resource) != len(theirs.resource) || len(ours.resource) != 5 {
		t.Errorf("%v", ours.resource)
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("name", "reason", "key", "value", int64(1), 1)
	f.Fuzz(func(t *testing.T, name, reason, key, value string, n int64, repeat int) {
		fs := &frameSpan{t: &Tracing{}, name: name, start: time.Unix(0, n), end: time.Unix(0, n), status: codes.Error, reason: reason,
			attrs: []attribute.KeyValue{attribute.String(key, strings.Repeat(value, repeat&255)), attribute.Int64("n", n)}}
		b := appendRoot(nil, fs)
		b = appendChild(b, fs, &Child{Name: name, Attrs: fs.attrs})
		var s tracepb.ScopeSpans
		if err := proto.Unmarshal(b, &s); err != nil {
			t.Fatal(err)
		}
		if len(s.Spans) != 2 || s.Spans[0].GetName() != strings.ToValidUTF8(name, "\ufffd") || s.Spans[0].GetAttributes()[1].GetValue().GetIntValue() != n {
			t.Fatalf("%v", &s)
		}
	})
}
