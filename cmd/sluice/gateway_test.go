package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/frames"
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

// TestKeyOfALongTurn: a turn may run longer than its key is remembered; a duplicate is
// still one.
func TestKeyOfALongTurn(t *testing.T) {
	w := newWorld(t)
	w.conf["dedupe.ttlMs"] = 1000
	g := w.start()
	c := g.dial()
	c.send(key, "long", "HOLD long")
	release := w.model.held(t)
	<-time.After(1100 * time.Millisecond) // the key's time
	if s := c.send(key, "long", "HOLD long"); s.Status != "in_flight" {
		t.Errorf("while it runs: %+v", s)
	}
	c.refused("chat.send", obj{"sessionKey": key, "message": "other", "idempotencyKey": "long"}, "INVALID_REQUEST", "already used")
	release()
	c.end(0, "long")
	<-time.After(1100 * time.Millisecond)
	if s := c.send(key, "long", "HOLD long"); s.Status != "ok" {
		t.Errorf("long after its end: %+v", s)
	}
	if n := len(w.model.requests()); n != 1 {
		t.Errorf("the model was asked %d times", n)
	}
}

// TestWanted: an event that needs a subscription is made for nobody until there is one.
func TestWanted(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	sessions, message := frames.Event{Reach: frames.ReachSessions}, frames.Event{Reach: frames.ReachSession, SessionKey: key}
	wanted := func() string { return fmt.Sprint(g.edge.Wanted(&sessions), g.edge.Wanted(&message)) }
	if wanted() != "false false" || g.edge.Wanted(&frames.Event{}) {
		t.Errorf("without connections: %s", wanted())
	}
	c := g.dial()
	if wanted() != "false false" || !g.edge.Wanted(&frames.Event{}) {
		t.Errorf("without subscriptions: %s", wanted())
	}
	if c.call("sessions.messages.subscribe", obj{"key": key}, nil); wanted() != "false true" {
		t.Errorf("with one session: %s", wanted())
	}
	c2 := g.dial()
	if c2.call("sessions.subscribe", obj{}, nil); wanted() != "true true" {
		t.Errorf("with all sessions: %s", wanted())
	}
	c2.Close()
	eventually(t, "the second is forgotten", func() bool { return wanted() == "false true" })
	c.Close()
	eventually(t, "the first is forgotten", func() bool { return wanted() == "false false" })
}
