package main

import (
	"strings"
	"testing"

	"sluice/frames/client"
)

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
