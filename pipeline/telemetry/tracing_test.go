package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func noEnv(string) string { return "" }

func env(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }

// mustTrace returns tracing into memory.
func mustTrace(tb testing.TB, change func(*TracesConfig)) (*Tracing, *tracetest.InMemoryExporter) {
	tb.Helper()
	c := Default().Traces
	if change != nil {
		change(&c)
	}
	mem := tracetest.NewInMemoryExporter()
	t := NewTracing(c, resource.Empty(), mem, noEnv, slog.New(slog.DiscardHandler))
	tb.Cleanup(func() { _ = t.Shutdown(context.Background()) })
	return t, mem
}

func mustFlush(tb testing.TB, t *Tracing) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := t.Flush(ctx); err != nil {
		tb.Fatal(err)
	}
}

func TestParseTraceparent(t *testing.T) {
	for text, want := range map[string]bool{
		parent:                                 true,
		strings.Replace(parent, "01", "00", 1): false, // the length is right, but see below
		"":                                     false,
		parent[:54]:                            false,
		parent + "-x":                          false, // version 00 ends here
		"01" + parent[2:] + "-future":          true,
		"01" + parent[2:] + "future":           false,
		"ff" + parent[2:]:                      false,
		strings.ToUpper(parent):                false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": false,
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": false,
	} {
		if strings.HasPrefix(text, "00-0af") && strings.HasSuffix(text, "-00") {
			want = true
		}
		var d Decision
		if got := parseTraceparent([]byte(text), &d); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A valid traceparent is written again as it was read.
func FuzzTraceparent(f *testing.F) {
	f.Add([]byte(parent))
	f.Add([]byte("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var d Decision
		if !parseTraceparent(in, &d) {
			return
		}
		sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: d.TraceID, SpanID: d.SpanID, TraceFlags: trace.TraceFlags(d.Flags)})
		if out := AppendTraceparent(nil, sc); string(out[2:]) != string(in[2:55]) {
			t.Fatalf("%q became %q", in, out)
		}
	})
}

func TestDecide(t *testing.T) {
	notSampled := parent[:53] + "00"
	for _, c := range []struct {
		name        string
		ratio       float64
		trust       bool
		traceparent string
		sampled     bool
		remote      bool
	}{
		{"always", 1, false, "", true, false},
		{"always, continued", 1, false, parent, true, true},
		{"always, the client says no", 1, false, notSampled, true, true},
		{"always, trusted client says no", 1, true, notSampled, false, false},
		{"never, the client says yes", 0, false, parent, false, false},
		{"never, trusted client says yes", 0, true, parent, true, true},
		{"never", 0, true, "", false, false},
		{"broken traceparent is no parent", 1, true, parent[:54] + "x", true, false},
	} {
		tr, _ := mustTrace(t, func(tc *TracesConfig) { tc.SampleRatio, tc.TrustRemoteSampling = c.ratio, c.trust })
		if d := tr.Decide([]byte(c.traceparent)); d.Sampled != c.sampled || d.Remote != c.remote {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
	off := NewTracing(Default().Traces, nil, nil, noEnv, nil)
	if off.Enabled() || off.Decide([]byte(parent)).Sampled {
		t.Error("tracing that is off samples")
	}
}

func TestRatio(t *testing.T) {
	tr, _ := mustTrace(t, func(c *TracesConfig) { c.SampleRatio = 0.1 })
	const n = 200_000
	for name, next := range map[string]func(i int) []byte{
		"without a parent": func(int) []byte { return nil },
		"with one":         func(int) []byte { return AppendTraceparent(nil, randomContext()) },
	} {
		hits := 0
		for i := range n {
			if tr.Decide(next(i)).Sampled {
				hits++
			}
		}
		if share := float64(hits) / n; math.Abs(share-0.1) > 0.01 {
			t.Errorf("%s: %.3f sampled, want 0.1", name, share)
		}
	}
	// All frames of one trace are decided alike, whatever their span.
	id := randomContext()
	first := tr.Decide(AppendTraceparent(nil, id)).Sampled
	for range 100 {
		if tr.Decide(AppendTraceparent(nil, id.WithSpanID(newSpanID()))).Sampled != first {
			t.Fatal("one trace, two decisions")
		}
	}
}

func randomContext() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: newTraceID(), SpanID: newSpanID(), TraceFlags: trace.FlagsSampled})
}

func TestEnvSampler(t *testing.T) {
	for _, c := range []struct {
		sampler, arg string
		want         envSampler
	}{
		{"", "", envSampler{}},
		{"nonsense", "", envSampler{}},
		{"always_on", "", envSampler{true, 1, false}},
		{"parentbased_always_off", "", envSampler{true, 0, true}},
		{"traceidratio", "0.25", envSampler{true, 0.25, false}},
		{"parentbased_traceidratio", "x", envSampler{true, 1, true}},
	} {
		if got := readEnvSampler(env(map[string]string{"OTEL_TRACES_SAMPLER": c.sampler, "OTEL_TRACES_SAMPLER_ARG": c.arg})); got != c.want {
			t.Errorf("%s %s: %+v", c.sampler, c.arg, got)
		}
	}
}

func TestSpans(t *testing.T) {
	tr, mem := mustTrace(t, func(c *TracesConfig) { c.MaxAttributeBytes = 16 })
	d := tr.Decide([]byte(parent))
	start := time.Now().Add(-time.Second)
	ctx, root := tr.StartRoot(context.Background(), "sluice.frame", start, d, attribute.String("rpc.method", "health"), attribute.String("long", strings.Repeat("x", 100)))
	tr.EmitChild(ctx, "decode", start, start.Add(time.Millisecond), codes.Unset, "")
	tr.EmitChild(ctx, "dispatch", start.Add(time.Millisecond), start.Add(3*time.Millisecond), codes.Error, "timeout")
	call := ModelCall{Operation: "chat", Provider: "openai", RequestModel: "gpt-x", ServerAddress: "127.0.0.1", InputTokens: 7, OutputTokens: -1}
	_, model := tr.Start(ctx, call.SpanName(), trace.SpanKindClient, call.Attributes()...)
	model.End()
	next := string(AppendTraceparent(nil, root.SpanContext()))
	root.End()
	mustFlush(t, tr)
	spans := map[string]tracetest.SpanStub{}
	for _, s := range mem.GetSpans() {
		spans[s.Name] = s
	}
	r := spans["sluice.frame"]
	if len(spans) != 4 || r.SpanContext.TraceID().String() != parent[3:35] || r.Parent.SpanID().String() != parent[36:52] || !r.Parent.IsRemote() {
		t.Fatalf("root %+v of %d spans does not continue the client's trace", r, len(spans))
	}
	if !r.StartTime.Equal(start) || len(r.Attributes[1].Value.AsString()) != 16 {
		t.Errorf("root %+v", r)
	}
	for name, s := range spans {
		if name != "sluice.frame" && s.Parent.SpanID() != r.SpanContext.SpanID() {
			t.Errorf("%s is no child of the root", name)
		}
	}
	if s := spans["dispatch"]; s.Status.Code != codes.Error || s.Status.Description != "timeout" || s.EndTime.Sub(s.StartTime) != 2*time.Millisecond {
		t.Errorf("dispatch %+v", s)
	}
	if len(spans["chat gpt-x"].Attributes) != 5 {
		t.Errorf("model call %+v", spans["chat gpt-x"].Attributes)
	}
	if !strings.HasPrefix(next, "00-"+parent[3:35]+"-") || !strings.HasSuffix(next, "-01") {
		t.Errorf("the next hop gets %q", next)
	}
	// What is not sampled leaves no span.
	ctx, span := tr.StartRoot(context.Background(), "x", start, Decision{})
	tr.EmitChild(ctx, "y", start, start, codes.Unset, "")
	_, z := tr.Start(ctx, "z", trace.SpanKindInternal)
	span.End()
	z.End()
	mustFlush(t, tr)
	if st := tr.Stats(); st.Ended != 4 || st.Exported != 4 {
		t.Errorf("stats %+v", st)
	}
}

// stuckExporter blocks until it is let go.
type stuckExporter struct {
	release chan struct{}
	entered chan struct{}
	once    sync.Once
}

func (e *stuckExporter) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	e.once.Do(func() { close(e.entered) })
	select {
	case <-e.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *stuckExporter) Shutdown(context.Context) error { return nil }

func TestAStuckCollectorLosesSpansAndNothingElse(t *testing.T) {
	c := Default().Traces
	c.QueueSpans, c.BatchSpans, c.ScheduleDelayMs = 64, 1, 10
	e := &stuckExporter{release: make(chan struct{}), entered: make(chan struct{})}
	tr := NewTracing(c, resource.Empty(), e, noEnv, slog.New(slog.DiscardHandler))
	end := func() {
		_, s := tr.StartRoot(context.Background(), "x", time.Now(), Decision{Sampled: true})
		s.End()
	}
	end()
	<-e.entered
	for range 100 {
		end()
	}
	if st := tr.Stats(); st.Ended != 101 || st.Dropped != 37 || st.Queued != 64 {
		t.Errorf("stats %+v, want 64 waiting or being exported and 37 dropped", st)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := tr.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("shutdown took %v", took)
	}
	if st := tr.Stats(); st.Dropped+st.Failed != 101 || st.Exported != 0 {
		t.Errorf("after shutdown %+v: every span is accounted for", st)
	}
}

func TestWhenTracingIsOn(t *testing.T) {
	for _, c := range []struct {
		name, endpoint string
		env            map[string]string
		want           string
	}{
		{"nothing", "", nil, "none"},
		{"config", "http://127.0.0.1:1", nil, "otlp"},
		{"endpoint", "", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, "otlp"},
		{"none wins", "http://127.0.0.1:1", map[string]string{"OTEL_TRACES_EXPORTER": "none"}, "none"},
		{"console", "", map[string]string{"OTEL_TRACES_EXPORTER": "console"}, "console"},
		{"disabled", "http://127.0.0.1:1", map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, "none"},
	} {
		got, err := tracesExporter(TracesConfig{Endpoint: c.endpoint}, env(c.env))
		if err != nil || got != c.want {
			t.Errorf("%s: %s %v", c.name, got, err)
		}
	}
	if _, err := tracesExporter(TracesConfig{}, env(map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"})); err == nil {
		t.Error("an unknown exporter is not an error")
	}
	c := overrideBatch(Default().Traces, env(map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_SCHEDULE_DELAY": "x"}))
	if c.QueueSpans != 100 || c.BatchSpans != 100 || c.ScheduleDelayMs != 1000 {
		t.Errorf("%+v", c)
	}
}

func TestChildren(t *testing.T) {
	tr, mem := mustTrace(t, func(c *TracesConfig) { c.MaxAttributeBytes = 16 })
	now := time.Now()
	_, root := tr.StartRoot(context.Background(), "sluice.frame", now, Decision{Sampled: true})
	root.End()
	inner := NewSpanID()
	tr.EmitChildren(root, []Child{
		{Name: "decode", Start: now, End: now.Add(time.Millisecond)},
		{Name: "defend", ID: inner, Start: now, End: now},
		{Name: "defend.prompt", ParentID: inner, Start: now, End: now},
		{Name: "dispatch", Start: now, End: now.Add(time.Second), Status: codes.Error, Reason: "timeout", Attrs: []attribute.KeyValue{attribute.String("a", "0123456789abcde\u00fcx")}},
	})
	_, off := tr.StartRoot(context.Background(), "x", now, Decision{})
	tr.EmitChildren(off, []Child{{Name: "none"}})
	mustFlush(t, tr)
	spans := mem.GetSpans()
	if len(spans) != 5 {
		t.Fatalf("%d spans", len(spans))
	}
	if spans[2].SpanContext.SpanID() != inner || spans[3].Parent.SpanID() != inner || spans[3].SpanContext.SpanID() == inner {
		t.Errorf("the defender's span is not below its stage: %+v", spans[3])
	}
	r, d := spans[0], spans[4]
	if d.Name != "dispatch" || d.Parent.SpanID() != r.SpanContext.SpanID() || d.SpanContext.TraceID() != r.SpanContext.TraceID() ||
		d.SpanContext.SpanID() == r.SpanContext.SpanID() || d.SpanContext.SpanID() == spans[1].SpanContext.SpanID() {
		t.Errorf("%+v", d)
	}
	if d.Status.Description != "timeout" || d.Attributes[0].Value.AsString() != "0123456789abcde" || d.EndTime.Sub(d.StartTime) != time.Second || d.InstrumentationScope.Name != Scope {
		t.Errorf("%+v", d)
	}
	if st := tr.Stats(); st.Exported != 5 || st.Queued != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAFullQueueShedsWholeTraces(t *testing.T) {
	c := Default().Traces
	c.QueueSpans, c.BatchSpans = 64, 1
	e := &stuckExporter{release: make(chan struct{}), entered: make(chan struct{})}
	tr := NewTracing(c, resource.Empty(), e, noEnv, slog.New(slog.DiscardHandler))
	now := time.Now()
	traced := 0
	for range 100 {
		d := tr.Decide(nil)
		if d.Sampled {
			traced++
		}
		_, root := tr.StartRoot(context.Background(), "x", now, d)
		root.End()
		tr.EmitChildren(root, make([]Child, 7))
	}
	st := tr.Stats()
	if st.Dropped != 0 || st.Shed != uint64(100-traced) || st.Shed == 0 || traced < 4 {
		t.Errorf("%d traced, %+v", traced, st)
	}
	close(e.release)
	if err := tr.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st := tr.Stats(); st.Exported != uint64(traced*8) {
		t.Errorf("%+v", st)
	}
}
