//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// span is the part of Jaeger's JSON that the test reads.
type span struct {
	TraceID    string `json:"traceID"`
	SpanID     string `json:"spanID"`
	Name       string `json:"operationName"`
	References []struct {
		Type   string `json:"refType"`
		SpanID string `json:"spanID"`
	} `json:"references"`
	Tags []struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	} `json:"tags"`
	Start    int64 `json:"startTime"` // us
	Duration int64 `json:"duration"`  // us
}

func (s span) parent() string {
	for _, r := range s.References {
		if r.Type == "CHILD_OF" {
			return r.SpanID
		}
	}
	return ""
}

func (s span) tag(key string) string {
	for _, t := range s.Tags {
		if t.Key == key {
			return fmt.Sprint(t.Value)
		}
	}
	return ""
}

// stages are the children of sluice.frame, in the order in which a frame passes through them.
var stages = []string{"decode", "dedupe", "schedule", "defend", "dispatch", "adapter", "persist"}

// TestJaegerReceivesTurn: a chat turn's trace arrives in Jaeger over OTLP, in the trace that the client
// began: the frame as root with one child a stage, one below the defend stage for each defender, and a
// model call. So does a block's, of a text that is judged on the stage's worker and of one that is too
// large for that.
func TestJaegerReceivesTurn(t *testing.T) {
	if env.real {
		t.Log("the real gateway is not traced")
		return
	}
	otlp, query := startJaeger(t)
	g := startGateway(t, options{config: guarded(), environ: []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:" + strconv.Itoa(otlp),
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_TRACES_SAMPLER=always_on",
		"OTEL_BSP_SCHEDULE_DELAY=200",
	}})
	c := dial(t, g.url())
	traceID, parentID := "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	c.turn(t, "agent:main:traced", "hello trace", uuid.NewString(), map[string]any{"traceparent": "00-" + traceID + "-" + parentID + "-01"})

	var spans []span
	// The request's own frame continues the client's span; the turn that it starts, and its model call,
	// lie below that frame or beside it in the same trace.
	root := -1
	eventually(t, "sluice.frame and the model call of the trace in Jaeger", 20*time.Second, func() bool {
		spans = fetchTrace(t, query, traceID)
		root = slices.IndexFunc(spans, func(s span) bool { return s.Name == "sluice.frame" && s.parent() == parentID })
		return root >= 0 && slices.ContainsFunc(spans, isModelCall)
	})
	var children []span
	for _, s := range spans {
		if s.parent() == spans[root].SpanID && slices.Contains(stages, s.Name) {
			children = append(children, s)
		}
	}
	slices.SortStableFunc(children, func(a, b span) int {
		if a.Start != b.Start {
			return int(a.Start - b.Start)
		}
		return slices.Index(stages, a.Name) - slices.Index(stages, b.Name)
	})
	var names []string
	for _, s := range children {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, stages) {
		t.Errorf("children of sluice.frame by start: %q, want %q", names, stages)
	}
	checkDefenders(t, spans, children, "allow")
	model := spans[slices.IndexFunc(spans, isModelCall)]
	if got := model.tag("gen_ai.request.model"); got != "fake-1" {
		t.Errorf("gen_ai.request.model = %q, want fake-1", got)
	}
	if model.Duration < 300_000 { // the fake model streams 14 words at 30 ms
		t.Errorf("the model call took %d us in the trace; the model streams for about 420 ms", model.Duration)
	}
	for _, s := range spans {
		for _, tag := range s.Tags {
			if v := fmt.Sprint(tag.Value); strings.Contains(v, token) || strings.Contains(v, "fakekey") {
				t.Errorf("span %s carries a secret in %s", s.Name, tag.Key)
			}
		}
	}
	for i, text := range []string{forbidden, forbidden + strings.Repeat(" and a word", 20_000)} {
		traceID := fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e47%02d", i)
		ch, err := c.send("chat.send", map[string]any{"sessionKey": "agent:main:traced", "message": text, "idempotencyKey": uuid.NewString()},
			map[string]any{"traceparent": "00-" + traceID + "-" + parentID + "-01"})
		if err != nil {
			t.Fatal(err)
		}
		if r := <-ch; r.OK || r.Error.Code != "FORBIDDEN" {
			t.Fatalf("a forbidden message was answered %s %+v", r.Payload, r.Error)
		}
		eventually(t, "the blocked frame in Jaeger", 20*time.Second, func() bool {
			spans = fetchTrace(t, query, traceID)
			return slices.ContainsFunc(spans, func(s span) bool { return s.Name == "sluice.frame" && s.parent() == parentID })
		})
		if i := slices.IndexFunc(spans, func(s span) bool { return s.Name == "defend" }); i < 0 || spans[i].tag("error") != "true" {
			t.Error("the defend stage's span of a block does not say that it refused")
		}
		if slices.ContainsFunc(spans, func(s span) bool { return s.Name == "dispatch" || isModelCall(s) }) {
			t.Error("a blocked frame came further than defend")
		}
		checkDefenders(t, spans, spans, "block")
	}
}

// defenders are the children of the defend stage, in the order in which they are asked.
var defenders = []string{"defend.prompt", "defend.command", "defend.secrets", "defend.rules", "defend.policy", "defend.host", "defend.reputation"}

// checkDefenders: the defend stage's span has a child for each defender, within its time, and the frame
// says what they came to.
func checkDefenders(t *testing.T, spans, stages []span, action string) {
	t.Helper()
	i := slices.IndexFunc(stages, func(s span) bool { return s.Name == "defend" })
	if i < 0 {
		t.Fatal("no span of the stage defend")
	}
	stage := stages[i]
	var names []string
	for _, s := range spans {
		if s.parent() != stage.SpanID {
			continue
		}
		names = append(names, s.Name)
		const slack = 1 // us: times are cut to microseconds
		if s.Start < stage.Start-slack || s.Start+s.Duration > stage.Start+stage.Duration+slack {
			t.Errorf("%s took from %d to %d us, its stage from %d to %d", s.Name, s.Start, s.Start+s.Duration, stage.Start, stage.Start+stage.Duration)
		}
	}
	slices.Sort(names)
	if want := slices.Sorted(slices.Values(defenders)); !slices.Equal(names, want) {
		t.Errorf("children of the stage defend: %q, want %q", names, want)
	}
	frame := spans[slices.IndexFunc(spans, func(s span) bool { return s.SpanID == stage.parent() })]
	if frame.tag("sluice.defend.action") != action || frame.tag("sluice.defend.risk") == "" {
		t.Errorf("the frame says action %q, risk %q", frame.tag("sluice.defend.action"), frame.tag("sluice.defend.risk"))
	}
}

// isModelCall knows a model call by the GenAI conventions: "chat <model>" with gen_ai attributes.
func isModelCall(s span) bool { return s.tag("gen_ai.request.model") != "" }

func fetchTrace(tb testing.TB, query int, id string) []span {
	tb.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/traces/%s", query, id))
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	var body struct {
		Data []struct {
			Spans []span `json:"spans"`
		} `json:"data"`
	}
	if err := json.UnmarshalRead(resp.Body, &body); err != nil {
		tb.Fatalf("Jaeger's answer: %v", err)
	}
	var spans []span
	for _, d := range body.Data {
		spans = append(spans, d.Spans...)
	}
	return spans
}

// startJaeger starts Jaeger's all-in-one with memory storage on loopback ports only and returns its
// OTLP/HTTP port and its query port.
func startJaeger(tb testing.TB) (otlp, query int) {
	tb.Helper()
	otlp, query = freePort(tb), freePort(tb)
	args := []string{env.jaeger,
		"--collector.otlp.enabled=true",
		"--collector.otlp.http.host-port=127.0.0.1:" + strconv.Itoa(otlp),
		"--query.http-server.host-port=127.0.0.1:" + strconv.Itoa(query),
	}
	// Every other listener gets a loopback port too: the defaults are fixed ports on all interfaces.
	for _, name := range []string{
		"admin.http.host-port", "collector.grpc-server.host-port", "collector.http-server.host-port",
		"collector.otlp.grpc.host-port", "collector.zipkin.host-port", "query.grpc-server.host-port",
		"http-server.host-port", "processor.jaeger-binary.server-host-port",
		"processor.jaeger-compact.server-host-port", "processor.zipkin-compact.server-host-port",
	} {
		args = append(args, "--"+name+"=127.0.0.1:"+strconv.Itoa(freePort(tb)))
	}
	p := start(tb, "jaeger", []string{"SPAN_STORAGE_TYPE=memory"}, args...)
	p.waitFor(tb, "Jaeger's query API", 30*time.Second, func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/services", query))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	http.DefaultClient.CloseIdleConnections()
	return otlp, query
}
