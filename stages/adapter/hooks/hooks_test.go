package hooks

import (
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json"
)

// TestCapture repeats what was recorded from the real gateway.
func TestCapture(t *testing.T) {
	raw, err := os.ReadFile("testdata/capture.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Method, URL, ContentType, Allow, Body string
			Headers                               map[string]string
			BodyBytes, Status, Len                int
		}
	}
	if err := json.Unmarshal(raw, &file, json.MatchCaseInsensitiveNames(true)); err != nil || len(file.Cases) < 9 {
		t.Fatal(err, len(file.Cases))
	}
	g := mustGateway(t, nil)
	for _, c := range file.Cases {
		body := map[int]string{31: `{"text":"hello from","mode":"now"}`, 2: `{}`, 12: `{"text":"x"}`, 38: `{"message":"hello"}`,
			61: `{"message":"hello","idempotencyKey":"k1"}`, 0: ""}[c.BodyBytes]
		var headers []string
		for k, v := range c.Headers {
			headers = append(headers, k, v)
		}
		r := g.do(c.Method, c.URL, body, headers...)
		if r.StatusCode != c.Status || r.Header.Get("Content-Type") != c.ContentType || r.Header.Get("Allow") != c.Allow || len(r.body) != c.Len {
			t.Errorf("%s %s: %d %s %q, want %d %s (%d bytes)", c.Method, c.URL, r.StatusCode, r.Header, r.body, c.Status, c.ContentType, c.Len)
		}
		if c.Body != "" && !strings.Contains(c.Body, "runId") && r.body != c.Body {
			t.Errorf("%s: %s, want %s", c.URL, r.body, c.Body)
		}
	}
}

func TestRuns(t *testing.T) {
	g := mustGateway(t, nil)
	first := g.post("/hooks/agent", `{"message":" do it ","name":"CI","agentId":"OPS","idempotencyKey":"k","model":"m","thinking":"low","timeoutSeconds":9.7,
		"channel":"Webhook","to":"alerts"}`)
	seen := g.last()
	for _, part := range []string{`agent {"message":"do it","agentId":"ops","sessionKey":"hook:`, `"model":"m"`, `"thinking":"low"`, `"timeout":9`,
		`"deliver":true,"channel":"webhook","to":"alerts"`, `"kind":"external_user"`, `"sourceTool":"hook:CI"`} {
		if !strings.Contains(seen, part) {
			t.Errorf("%s is not in %s", part, seen)
		}
	}
	again := g.post("/hooks/agent", `{"message":"do it","name":"CI","agentId":"ops","idempotencyKey":"k","model":"m","thinking":"low","timeoutSeconds":9,
		"channel":"webhook","to":"alerts"}`)
	if first.StatusCode != 200 || again.body != first.body || g.last() != seen {
		t.Errorf("a repetition is another run: %s %s", first.body, again.body)
	}
	if other := g.post("/hooks/agent", `{"message":"do that","idempotencyKey":"k"}`); other.body == first.body {
		t.Error("other content is the same run")
	}
	a, b := g.post("/hooks/agent", `{"message":"m"}`), g.post("/hooks/agent", `{"message":"m"}`)
	if a.body == b.body {
		t.Error("without a key two requests are one run")
	}
	c, d := g.post("/hooks/agent", `{"message":"m"}`, "Idempotency-Key", "h"), g.post("/hooks/agent", `{"message":"m","idempotencyKey":"other"}`, "X-OpenClaw-Idempotency-Key", "h")
	if c.body != d.body {
		t.Error("the headers' key does not come first")
	}
}

// TestBadPayloads: upstream's texts.
func TestBadPayloads(t *testing.T) {
	g := mustGateway(t, nil)
	for _, c := range [][3]string{
		{"wake", `{"text":" "}`, "text required"}, {"wake", `{"text":5}`, "text required"}, {"wake", `[1]`, "text required"}, {"wake", ``, "text required"},
		{"wake", `{"text":"a","agentId":""}`, "agentId must be a non-empty string"},
		{"wake", `{"text":"a","sessionKey":7}`, "sessionKey must be a non-empty string"},
		{"wake", `{"text":"a","sessionKey":"x","mode":"next-heartbeat"}`, "sessionKey requires mode=now"},
		{"wake", `{"text":"a","sessionKey":"x"}`, problemSessionKey},
		{"wake", `{"text":"a","agentId":"nobody"}`, `unknown agentId "nobody"`}, {"wake", `{"text":"a","agentId":"../x"}`, `unknown agentId "../x"`},
		{"agent", `{}`, "message required"}, {"agent", `{"message":"a","sessionMode":"x"}`, "sessionMode must be isolated or persistent"},
		{"agent", `{"message":"a","sessionMode":"persistent"}`, "sessionKey is required when sessionMode is persistent"},
		{"agent", `{"message":"a","sessionMode":"persistent","sessionKey":"hook:x"}`, "hooks.allowedSessionKeyPrefixes is required when direct hook sessionMode is persistent"},
		{"agent", `{"message":"a","channel":"telegram","to":"x"}`, "channel must be last|webhook"},
		{"agent", `{"message":"a","channel":"last","to":"x"}`, "channel must name a concrete channel for hook delivery"},
		{"agent", `{"message":"a","channel":"webhook"}`, "channel and to must be set together for hook delivery"},
		{"agent", `{"message":"a","to":""}`, "to must be a non-empty string for hook delivery"},
		{"agent", `{"message":"a","accountId":"x"}`, "accountId requires channel and to for hook delivery"},
		{"agent", `{"message":"a","model":""}`, "model required"}, {"agent", `{"message":"a","waitForCompletion":1}`, "waitForCompletion must be boolean"},
		{"agent", `{"message":"a","message":"b"}`, "invalid JSON: "}, {"agent", `{`, "invalid JSON"}, {"agent", strings.Repeat("[", 1000), "invalid JSON, or nested too deep"},
	} {
		r := g.post("/hooks/"+c[0], c[1])
		var a answer
		if err := json.Unmarshal([]byte(r.body), &a); err != nil || r.StatusCode != 400 || a.OK || !strings.HasPrefix(a.Error, c[2]) {
			t.Errorf("%s %.60s: %d %s, want %s", c[0], c[1], r.StatusCode, r.body, c[2])
		}
	}
	if g.count() != 0 {
		t.Errorf("a bad payload reached the pipeline: %v", g.seen)
	}
}

func TestSessions(t *testing.T) {
	g := mustGateway(t, func(c *Config) {
		c.AllowRequestSessionKey = true
		c.AllowedSessionKeyPrefixes = []string{"Hook:", "agent:ops:ci:"}
		c.AllowedAgentIDs = []string{"ops"}
	})
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"message":"a","agentId":"ops","sessionKey":"hook:mine"}`, 200, `"sessionKey":"hook:mine"`},
		{`{"message":"a","agentId":"ops","sessionKey":"agent:main:ci:x"}`, 200, `"sessionKey":"agent:ops:ci:x"`},
		{`{"message":"a","agentId":"ops","sessionKey":"agent:ops:main"}`, 400, "sessionKey must start with one of: Hook:, agent:ops:ci:"},
		{`{"message":"a","agentId":"ops","sessionKey":"hook:\u0001"}`, 400, "invalid sessionKey"},
		{`{"message":"a"}`, 400, "agentId is not allowed by hooks.allowedAgentIds"},
	} {
		r := g.post("/hooks/agent", c.body)
		if got := r.body + g.last(); r.StatusCode != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%s: %d %s", c.body, r.StatusCode, got)
		}
	}
}

func TestMappings(t *testing.T) {
	mapping := func(change func(*Mapping)) Mapping {
		m := Mapping{}.ConfigDefault().(Mapping)
		change(&m)
		return m
	}
	g := mustGateway(t, func(c *Config) {
		c.AllowRequestSessionKey = true
		c.AllowedSessionKeyPrefixes = []string{"hook:"}
		c.Mappings = []Mapping{
			mapping(func(m *Mapping) {
				m.Path = "/ci/"
				m.Source = "gh"
				m.Action = "wake"
				m.TextTemplate = "build {{ n }} {{missing}}"
			}),
			mapping(func(m *Mapping) {
				m.Path, m.MessageTemplate, m.SessionKey = "ci", "{{payload.a.b[1].c}} {{list}} {{headers.x-e}} {{headers.authorization}} {{query.q}} {{path}} {{__proto__.x}}", "hook:ci:{{id}}"
				m.Deliver, m.Channel, m.To = true, "webhook", "{{to}}"
			}),
		}
	})
	if r := g.post("/hooks/ci", `{"source":"gh","n":7}`); r.StatusCode != 200 || r.body != `{"ok":true,"mode":"now","eventOutcome":"queued"}` || !strings.Contains(g.last(), `"text":"build 7 "`) {
		t.Errorf("%d %s %s", r.StatusCode, r.body, g.last())
	}
	r := g.post("/hooks/ci?q=Q", `{"id":"9","to":"alerts","list":[1,"x"],"a":{"b":[{},{"c":true}]}}`, "X-E", "push")
	if r.StatusCode != 200 || !strings.Contains(g.last(), `"message":"true [1,\"x\"] push  Q ci ","agentId":"main","sessionKey":"hook:ci:9"`) || !strings.Contains(g.last(), `"to":"alerts"`) {
		t.Errorf("%d %s %s", r.StatusCode, r.body, g.last())
	}
	if r := g.post("/hooks/ci", `{"id":"9"}`); r.StatusCode != 400 || !strings.Contains(r.body, "channel and to") {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if r := g.post("/hooks/other", `{}`); r.StatusCode != 404 || r.body != "Not Found" {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

// TestAnswers: what the pipeline says becomes HTTP.
func TestAnswers(t *testing.T) {
	g := mustGateway(t, nil)
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{frames.Invalid("bad"), 400, `"error":"bad"`},
		{frames.Invalid("unknown method: agent"), 501, `unknown method`},
		{(&frames.Error{Code: frames.CodeForbidden, Message: "blocked by the defender: x"}).WithDetails(map[string]any{"code": "DEFENDER_BLOCKED"}), 403, `"details":{"code":"DEFENDER_BLOCKED"}`},
		{frames.Unavailable(2500, "busy"), 503, `"error":"busy"`},
		{errors.New("secret cause"), 503, `internal error`},
	} {
		g.answer = func(*pipeline.Envelope) (pipeline.Verdict, error) { return pipeline.Done, c.err }
		r := g.post("/hooks/agent", `{"message":"m"}`)
		if r.StatusCode != c.status || !strings.Contains(r.body, c.body) || strings.Contains(r.body, "secret") {
			t.Errorf("%v: %d %s", c.err, r.StatusCode, r.body)
		}
		if c.status == 503 && r.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	g.answer = func(e *pipeline.Envelope) (pipeline.Verdict, error) {
		e.Client.Send(pipeline.EncodeAnswer(e.Frame.ID, []byte(`{"status":"accepted"}`), nil))
		e.Answer([]byte(`{"status":"ok"}`))
		return pipeline.Done, nil
	}
	if r := g.post("/hooks/agent", `{"message":"m"}`); r.StatusCode != 200 {
		t.Errorf("two answers: %d", r.StatusCode)
	}
}

func TestAdmissionTimeout(t *testing.T) {
	release := make(chan struct{})
	g := mustGateway(t, func(c *Config) { c.AdmissionTimeoutMs = 100; c.MaxInFlight = 1 })
	g.answer = func(e *pipeline.Envelope) (pipeline.Verdict, error) {
		<-release
		e.Answer([]byte("{}"))
		return pipeline.Done, nil
	}
	var wg sync.WaitGroup
	statuses := make(chan int, 2)
	for range 2 {
		wg.Go(func() {
			r := g.post("/hooks/agent", `{"message":"m"}`)
			statuses <- r.StatusCode
			if !strings.Contains(r.body, "did not start before admission timeout") && !strings.Contains(r.body, "too many hook requests") {
				t.Errorf("%s", r.body)
			}
		})
	}
	wg.Wait()
	close(release)
	if a, b := <-statuses, <-statuses; a != 503 || b != 503 {
		t.Errorf("%d %d", a, b)
	}
}

func TestReloadMeanwhile(t *testing.T) {
	g := mustGateway(t, nil)
	reading := make(chan struct{})
	pr, pw := io.Pipe()
	go func() {
		<-reading
		if err := g.h.Reload(config(nil)); err != nil {
			t.Error(err)
		}
		_, _ = pw.Write([]byte(`{"text":"x"}`))
		_ = pw.Close()
	}()
	req := httptest.NewRequest("POST", "/hooks/wake", readFunc(func(p []byte) (int, error) {
		select {
		case <-reading:
		default:
			close(reading)
		}
		return pr.Read(p)
	}))
	req.Header.Set("Authorization", "bearer "+token)
	rec := httptest.NewRecorder()
	g.h.ServeHTTP(rec, req)
	if rec.Code != 409 || rec.Body.String() != `{"ok":false,"error":"hook configuration changed; retry request"}` {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
