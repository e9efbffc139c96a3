package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/frames/client"
)

const key = "agent:main:t"

func TestHello(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.dial()
	h := c.Hello()
	if h.Protocol != 4 || h.Server.Version != Version || h.Policy.TickIntervalMs <= 0 || h.Auth.Role != "operator" {
		t.Errorf("hello: %+v", h)
	}
	for _, m := range []string{"chat.send", "sessions.list", "agent", "health"} {
		if !slices.Contains(h.Features.Methods, m) {
			t.Errorf("hello does not advertise %s", m)
		}
	}
	var health struct{ OK bool }
	if c.call("health", nil, &health); !health.OK {
		t.Error("health is not ok")
	}
}

// TestTurn: the sender and a reader on another connection see the same turn, in order,
// without a gap.
func TestTurn(t *testing.T) {
	w := newWorld(t)
	w.conf["agent.deltaPaceMs"] = 0
	g := w.start()
	c, r := g.dial(), g.dial(readOnly)
	c.call("sessions.subscribe", obj{}, nil)
	r.call("sessions.messages.subscribe", obj{"key": key}, nil)
	if s := c.send(key, "run-1", "hello stream"); s.Status != "started" || s.RunID != "run-1" {
		t.Fatalf("answer: %+v", s)
	}
	c.until(0, "the end of the session's run", func(e event) bool { return e.Name == "sessions.changed" && e.P.Phase == "end" })
	r.end(0, "run-1")
	want := []string{"session.message user",
		"chat status preparing_workspace", "agent run_status preparing_workspace",
		"chat status preparing_context", "agent run_status preparing_context",
		"agent lifecycle start", "chat status starting_model", "agent run_status starting_model", "agent lifecycle model",
		"agent assistant", "chat delta", "agent usage", "session.message assistant",
		"agent lifecycle finishing", "agent lifecycle model", "agent lifecycle end", "chat final"}
	for name, conn := range map[string]*conn{"sender": c, "reader": r} {
		var got []string
		text, seq := "", int64(0)
		for _, e := range conn.since(0) {
			if e.Name != "chat" && e.Name != "agent" && e.Name != "session.message" {
				continue
			}
			if b := e.brief(); !slices.Contains(got[max(0, len(got)-2):], b) { // deltas come in pairs, many of them
				got = append(got, b)
			}
			if e.P.RunID == "run-1" {
				if e.P.Seq < seq {
					t.Errorf("%s: payload seq falls from %d to %d", name, seq, e.P.Seq)
				}
				seq = e.P.Seq
			}
			if e.P.State == "delta" {
				if text += e.P.DeltaText; e.P.Message.text() != text {
					t.Errorf("%s: delta message %q is not cumulative, want %q", name, e.P.Message.text(), text)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s saw\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		final := conn.end(0, "run-1")
		if text != "echo: hello stream" || final.P.Message.text() != text || final.P.StopReason != "stop" {
			t.Errorf("%s: deltas %q, final %q %s", name, text, final.P.Message.text(), final.P.StopReason)
		}
		conn.noGaps()
		conn.oneEnd(0, "run-1")
	}
	for _, e := range c.since(0) {
		if e.Name == "sessions.changed" && e.P.Phase == "end" {
			if e.P.Session["hasActiveRun"] != false || e.P.Session["status"] != "done" {
				t.Errorf("the row after the run: hasActiveRun %v, status %v", e.P.Session["hasActiveRun"], e.P.Session["status"])
			}
		}
	}
	for _, e := range r.since(0) {
		if e.Name == "sessions.changed" {
			t.Error("a reader that did not subscribe got sessions.changed")
		}
	}
}

// TestRestart: what was said is there after a restart, once, and the message's id is
// known.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.dial()
	c.send(key, "run-1", "remember me")
	c.end(0, "run-1")
	before := c.history(key)
	if got := before.texts(); !slices.Equal(got, []string{"user: remember me", "assistant: echo: remember me"}) {
		t.Fatalf("history: %q", got)
	}
	g.stop()
	c = w.start().dial()
	after := c.history(key)
	if !slices.Equal(after.texts(), before.texts()) || after.SessionID != before.SessionID || after.SessionInfo.HasActiveRun {
		t.Errorf("after the restart: %+v, before: %+v", after, before)
	}
	if s := c.send(key, "run-1", "remember me"); s.Status != "ok" {
		t.Errorf("the same id after a restart: %+v", s)
	}
	c.refused("chat.send", obj{"sessionKey": key, "message": "something else", "idempotencyKey": "run-1"}, "INVALID_REQUEST", "already used for different input")
	if n := len(w.model.requests()); n != 1 {
		t.Errorf("the model was asked %d times", n)
	}
}

// TestDuplicates: an id has one effect, whatever becomes of its run.
func TestDuplicates(t *testing.T) {
	w := newWorld(t)
	w.conf["agent.retries"] = 0
	g := w.start()
	c := g.dial()
	c.send(key, "held", "HOLD please")
	release := w.model.held(t)
	if s := c.send(key, "held", "HOLD please"); s.Status != "in_flight" || s.RunID != "held" {
		t.Errorf("in flight: %+v", s)
	}
	c.refused("chat.send", obj{"sessionKey": key, "message": "other", "idempotencyKey": "held"}, "INVALID_REQUEST", "already used")
	release()
	c.end(0, "held")
	if s := c.send(key, "held", "HOLD please"); s.Status != "ok" {
		t.Errorf("after the end: %+v", s)
	}
	c.send(key, "failed", "FAIL500")
	c.end(0, "failed")
	// The same while it runs, over a restart.
	c.send(key, "cut off", "HOLD again")
	w.model.held(t)
	c.until(0, "the first delta", chatState("cut off", "delta"))
	g.kill()
	c = w.start().dial()
	var s struct{ Status, Summary string }
	c.call("chat.send", obj{"sessionKey": key, "message": "HOLD again", "idempotencyKey": "cut off"}, &s)
	if s.Status != "error" || !strings.Contains(s.Summary, "restarted") {
		t.Errorf("a run that a crash interrupted: %+v", s)
	}
	c.call("chat.send", obj{"sessionKey": key, "message": "HOLD please", "idempotencyKey": "held"}, &s)
	if s.Status != "ok" {
		t.Errorf("after the restart: %+v", s)
	}
	if n := len(w.model.requests()); n != 3 {
		t.Errorf("the model was asked %d times, want 3", n)
	}
}

// TestManyDuplicatesAtOnce: twenty identical requests are one message and one turn.
func TestManyDuplicatesAtOnce(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	clients := []*conn{g.dial(), g.dial()}
	answers := make(chan string, 20)
	for i := range 20 {
		go func() {
			raw, err := clients[i%2].try("chat.send", obj{"sessionKey": key, "message": "once", "idempotencyKey": "run-1"})
			answers <- fmt.Sprint(string(raw), err)
		}()
	}
	started := 0
	for range 20 {
		if a := <-answers; strings.Contains(a, "started") {
			started++
		} else if !strings.Contains(a, "in_flight") && !strings.Contains(a, `"ok"`) {
			t.Error(a)
		}
	}
	clients[0].end(0, "run-1")
	if started != 1 || len(w.model.requests()) != 1 {
		t.Errorf("%d started, the model was asked %d times", started, len(w.model.requests()))
	}
	if h := clients[0].history(key); len(h.Messages) != 2 {
		t.Errorf("history: %q", h.texts())
	}
}

// TestAbort: what was said is kept, everyone is told, and the lane is free.
func TestAbort(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c, r := g.dial(), g.dial(readOnly)
	c.send(key, "slow", "SLOW one")
	c.until(0, "a delta", chatState("slow", "delta"))
	h := c.history(key)
	if h.InFlightRun == nil || h.InFlightRun.RunID != "slow" || !strings.HasPrefix(h.InFlightRun.Text, "word0") || !h.SessionInfo.HasActiveRun {
		t.Errorf("history during the run: %+v", h)
	}
	c.refused("chat.abort", obj{"sessionKey": "agent:main:other", "runId": "slow"}, "INVALID_REQUEST", "runId does not match sessionKey")
	var a struct {
		OK, Aborted bool
		RunIDs      []string
	}
	begin := time.Now()
	c.call("chat.abort", obj{"sessionKey": key, "runId": "slow"}, &a)
	if !a.OK || !a.Aborted || !slices.Equal(a.RunIDs, []string{"slow"}) {
		t.Errorf("chat.abort: %+v", a)
	}
	for _, conn := range []*conn{c, r} {
		e := conn.end(0, "slow")
		if e.P.State != "aborted" || e.P.StopReason != "rpc" || !strings.HasPrefix(e.P.Message.text(), "word0") {
			t.Errorf("the end: %s %s %q", e.P.State, e.P.StopReason, e.P.Message.text())
		}
		conn.oneEnd(0, "slow")
	}
	c.send(key, "next", "are you free")
	c.end(0, "next")
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("the lane was free after %s only", d)
	}
	if s := c.send(key, "slow", "SLOW one"); s.Status != "timeout" || s.Summary != "aborted" || s.StopReason != "rpc" {
		t.Errorf("duplicate of an aborted run: %+v", s)
	}
	var wait struct{ Status, Error, StopReason string }
	if c.call("agent.wait", obj{"runId": "slow"}, &wait); wait.Status != "error" || wait.Error != "aborted" || wait.StopReason != "rpc" {
		t.Errorf("agent.wait: %+v", wait)
	}
	h = c.history(key)
	if len(h.Messages) != 4 || !strings.HasPrefix(h.texts()[1], "assistant: word0") || !strings.Contains(string(h.Messages[1].Raw), `"openclawAbort"`) {
		t.Errorf("history: %q", h.texts())
	}
	for _, p := range []obj{{"sessionKey": key}, {"sessionKey": key, "runId": "nosuch"}, {"sessionKey": "agent:main:nosuch"}} {
		if c.call("chat.abort", p, &a); !a.OK || a.Aborted || len(a.RunIDs) != 0 {
			t.Errorf("chat.abort %v: %+v", p, a)
		}
	}
}

// TestModelFailure: temporary failures are tried again, and then told.
func TestModelFailure(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.dial()
	c.send(key, "fail", "FAIL500")
	e := c.end(0, "fail")
	if e.P.State != "error" || !strings.Contains(e.P.ErrorMessage, "500") || !strings.Contains(e.P.ErrorMessage, "the model fell over") {
		t.Errorf("the end: %+v", e.P)
	}
	retries := 0
	for _, e := range c.since(0) {
		if e.Name == "agent" && e.P.Data["phase"] == "retrying" {
			retries++
		}
	}
	if retries != 2 || len(w.model.requests()) != 3 {
		t.Errorf("%d retries announced, %d calls; want 2 and 3", retries, len(w.model.requests()))
	}
	for _, text := range []string{"ONCE503 hello", "ONCE429 hello"} {
		c.send(key, text, text)
		if e := c.end(0, text); e.P.State != "final" || e.P.Message.text() != "echo: "+text {
			t.Errorf("%s: %+v", text, e.P)
		}
	}
	for _, text := range []string{"CUT it", "GARBAGE please"} {
		c.send(key, text, text)
		if e := c.end(0, text); e.P.State != "error" || e.P.ErrorMessage == "" {
			t.Errorf("%s: %+v", text, e.P)
		}
		c.oneEnd(0, text)
	}
	var wait struct{ Status, Error string }
	if c.call("agent.wait", obj{"runId": "fail"}, &wait); wait.Status != "error" || !strings.Contains(wait.Error, "500") {
		t.Errorf("agent.wait: %+v", wait)
	}
	half := false
	for _, text := range c.history(key).texts() {
		half = half || text == "assistant: half an "
	}
	if !half {
		t.Errorf("what was said before the cut is not kept: %q", c.history(key).texts())
	}
}

// TestNoModel: without a model nothing is started, and the error says what to set.
func TestNoModel(t *testing.T) {
	w := newWorld(t)
	delete(w.conf, "agent.model.baseUrl")
	delete(w.conf, "agent.model.name")
	c := w.start().dial()
	re := c.refused("chat.send", obj{"sessionKey": key, "message": "hi", "idempotencyKey": "r"}, "UNAVAILABLE", "agent.model.baseUrl")
	if !strings.Contains(re.Message, "SLUICE_AGENT_MODEL_NAME") || !strings.Contains(string(re.Details), "MODEL_NOT_CONFIGURED") {
		t.Errorf("%s %s", re.Message, re.Details)
	}
	if h := c.history(key); len(h.Messages) != 0 || h.SessionInfo.HasActiveRun {
		t.Errorf("history: %+v", h)
	}
	c.refused("agent", obj{"message": "hi", "idempotencyKey": "a"}, "UNAVAILABLE", "agent.model.baseUrl")
}

// TestAgentAnswersTwice: accepted, then the result, under the same id.
func TestAgentAnswersTwice(t *testing.T) {
	w := newWorld(t)
	w.conf["agent.retries"] = 0
	g := w.start()
	c := g.dial()
	var accepted struct {
		RunID, Status, SessionKey, AgentID string
		AcceptedAt                         int64
	}
	var final struct {
		RunID, Status, Summary string
		Result                 struct {
			Payloads []struct{ Text string }
			Meta     struct {
				AgentMeta struct {
					SessionID string
					Usage     struct{ Input, Output, Total int64 }
				}
			}
		}
	}
	got := make(chan error, 1)
	params := obj{"message": "HOLD agent", "idempotencyKey": "a1", "sessionKey": "agent:main:ag"}
	go func() {
		raw, err := c.CallFinal(t.Context(), "agent", params, func(v jsonValue) { unmarshal(t, v, &accepted) })
		if err == nil {
			unmarshal(t, raw, &final)
		}
		got <- err
	}()
	release := w.model.held(t)
	var dup struct{ RunID, Status, SessionKey, AgentID string }
	c2 := g.dial()
	if c2.call("agent", params, &dup); dup.Status != "in_flight" || dup.SessionKey != "agent:main:ag" || dup.AgentID != "main" {
		t.Errorf("in flight: %+v", dup)
	}
	var wait struct{ Status string }
	if c2.call("agent.wait", obj{"runId": "a1", "timeoutMs": 20}, &wait); wait.Status != "timeout" {
		t.Errorf("agent.wait while it runs: %+v", wait)
	}
	release()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if accepted.Status != "accepted" || accepted.RunID != "a1" || accepted.AcceptedAt == 0 || accepted.SessionKey != "agent:main:ag" {
		t.Errorf("accepted: %+v", accepted)
	}
	if final.Status != "ok" || final.Summary != "completed" || final.Result.Payloads[0].Text != "word0 released" ||
		final.Result.Meta.AgentMeta.SessionID == "" || final.Result.Meta.AgentMeta.Usage.Input != 100 {
		t.Errorf("final: %+v", final)
	}
	if c2.call("agent.wait", obj{"runId": "a1"}, &wait); wait.Status != "ok" {
		t.Errorf("agent.wait: %+v", wait)
	}
	final.Status = ""
	if c2.call("agent", params, &final); final.Status != "ok" || final.Result.Payloads[0].Text != "word0 released" {
		t.Errorf("replay: %+v", final)
	}
	for _, e := range c.since(0) {
		if e.P.Stream == "run_status" || e.P.State == "status" {
			t.Errorf("a run of agent has no status events: %s", e.brief())
		}
	}
	_, err := c.CallFinal(t.Context(), "agent", obj{"message": "FAIL500", "idempotencyKey": "a2"}, nil)
	if re, ok := err.(*client.RemoteError); !ok || re.Code != "UNAVAILABLE" || !strings.Contains(re.Message, "500") {
		t.Errorf("a failed agent: %v", err)
	}
	c.refused("agent", obj{"message": "x", "idempotencyKey": "a3", "sessionKey": "agent:zz:main"}, "INVALID_REQUEST", `Agent "zz" no longer exists in configuration`)
	c.refused("agent", obj{"message": "x", "idempotencyKey": "a4", "agentId": "zz"}, "INVALID_REQUEST", `invalid agent params: unknown agent id "zz"`)
	c.refused("agent", obj{"message": "x", "idempotencyKey": "a5", "channel": "nosuch"}, "INVALID_REQUEST", `invalid agent params: unknown channel: nosuch`)
}

// TestTurnTimeout: a turn has an end even if the model has none.
func TestTurnTimeout(t *testing.T) {
	w := newWorld(t)
	w.conf["agent.turnTimeoutMs"] = 1000
	c := w.start().dial()
	c.send(key, "slow", "SLOW and long")
	e := c.end(0, "slow")
	if e.P.State != "error" || !strings.Contains(e.P.ErrorMessage, "agent.turnTimeoutMs") {
		t.Errorf("the end: %+v", e.P)
	}
	var wait struct{ Status, Error, StopReason string }
	if c.call("agent.wait", obj{"runId": "slow"}, &wait); wait.Status != "error" || wait.StopReason != "timeout" {
		t.Errorf("agent.wait: %+v", wait)
	}
	// The request's own bound, in seconds, is the shorter one.
	_, err := c.CallFinal(t.Context(), "agent", obj{"message": "SLOW agent", "idempotencyKey": "own", "timeout": 1, "sessionKey": "agent:main:own"}, nil)
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("agent with a timeout: %v", err)
	}
	c.send(key, "after", "still there?")
	c.end(0, "after")
}
