package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// busy starts a turn that waits in the model, and returns what releases it.
func busy(t *testing.T, w *world, c *conn) (release func()) {
	t.Helper()
	c.send(key, "first", "HOLD first")
	return w.model.held(t)
}

// TestFollowup: a message that comes meanwhile waits, is shown as pending, and is put to
// the model after the first answer.
func TestFollowup(t *testing.T) {
	w := newWorld(t)
	c := w.start().dial()
	release := busy(t, w, c)
	if s := c.send(key, "second", "and this", "queueMode", "followup"); s.Status != "started" {
		t.Errorf("answer: %+v", s)
	}
	h := c.history(key)
	if p := h.PendingInputs; p.Total != 1 || p.Items[0].RunID != "second" || p.Items[0].State != "queued" || p.Items[0].Message.text() != "and this" {
		t.Errorf("pending: %+v", p)
	}
	if got := h.texts(); !slices.Equal(got, []string{"user: HOLD first"}) {
		t.Errorf("history while it waits: %q", got)
	}
	release()
	c.end(0, "second")
	h = c.history(key)
	want := []string{"user: HOLD first", "assistant: word0 released", "user: and this", "assistant: echo: and this"}
	if !slices.Equal(h.texts(), want) || h.PendingInputs.Total != 0 {
		t.Errorf("history: %q, pending %+v", h.texts(), h.PendingInputs)
	}
	calls := w.model.requests()
	if len(calls) != 2 || len(calls[0].Messages) != 1 || len(calls[1].Messages) != 3 {
		t.Errorf("the model saw %+v", calls)
	}
	c.oneEnd(0, "first", "second")
}

// TestSteer: a message is put to the model within the running turn.
func TestSteer(t *testing.T) {
	w := newWorld(t)
	c := w.start().dial()
	release := busy(t, w, c)
	c.until(0, "the first delta", chatState("first", "delta"))
	c.send(key, "second", "steer this") // the default mode
	if p := c.history(key).PendingInputs; p.Total != 1 || p.Items[0].RunID != "second" {
		t.Errorf("pending: %+v", p)
	}
	release()
	first, second := c.end(0, "first"), c.end(0, "second")
	if first.P.State != "final" || first.P.Message.text() != "echo: steer this" {
		t.Errorf("the first ends with %s %q", first.P.State, first.P.Message.text())
	}
	if second.P.State != "final" || second.P.Message != nil {
		t.Errorf("the second ends with %s %q; its answer was told by the first", second.P.State, second.P.Message.text())
	}
	want := []string{"user: HOLD first", "assistant: word0 released", "user: steer this", "assistant: echo: steer this"}
	if got := c.history(key).texts(); !slices.Equal(got, want) {
		t.Errorf("history: %q", got)
	}
	if calls := w.model.requests(); len(calls) != 2 || calls[1].last() != "steer this" {
		t.Errorf("the model saw %+v", calls)
	}
	c.oneEnd(0, "first", "second")
	if s := c.send(key, "second", "steer this"); s.Status != "ok" {
		t.Errorf("a duplicate of the steered message: %+v", s)
	}
}

// TestSteerOutlivesTheTurn: what was steered in and not read is answered although the
// turn that had it was aborted; an abort of the session takes it along.
func TestSteerOutlivesTheTurn(t *testing.T) {
	w := newWorld(t)
	c := w.start().dial()
	busy(t, w, c)
	c.until(0, "the first delta", chatState("first", "delta"))
	c.send(key, "second", "still here")
	c.call("chat.abort", obj{"sessionKey": key, "runId": "first"}, nil)
	if e := c.end(0, "second"); e.P.State != "final" || e.P.Message.text() != "echo: still here" {
		t.Errorf("the steered message ends with %s %q", e.P.State, e.P.Message.text())
	}
	c.oneEnd(0, "first", "second")

	mark := c.mark()
	c.send(key, "third", "HOLD third")
	w.model.held(t)
	c.until(mark, "a delta", chatState("third", "delta"))
	c.send(key, "fourth", "take me back")
	var a struct{ RunIDs []string }
	c.call("chat.abort", obj{"sessionKey": key}, &a)
	if slices.Sort(a.RunIDs); !slices.Equal(a.RunIDs, []string{"fourth", "third"}) {
		t.Errorf("aborted: %v", a.RunIDs)
	}
	for _, id := range []string{"third", "fourth"} {
		if e := c.end(mark, id); e.P.State != "aborted" {
			t.Errorf("%s: %s", id, e.P.State)
		}
	}
	c.oneEnd(mark, "third", "fourth")
	for _, call := range w.model.requests() {
		if call.last() == "take me back" {
			t.Error("an aborted message reached the model")
		}
	}
}

// TestCollect: messages that wait are put to the model together.
func TestCollect(t *testing.T) {
	w := newWorld(t)
	c := w.start().dial()
	release := busy(t, w, c)
	for i, text := range []string{"one", "two", "three"} {
		c.send(key, fmt.Sprint("c", i), text, "queueMode", "collect")
	}
	if p := c.history(key).PendingInputs; p.Total != 3 || p.Items[2].RunID != "c2" {
		t.Errorf("pending: %+v", p)
	}
	release()
	for i := range 3 {
		e := c.end(0, fmt.Sprint("c", i))
		if e.P.State != "final" || (e.P.Message != nil) != (i == 0) {
			t.Errorf("run c%d ends with %s %q", i, e.P.State, e.P.Message.text())
		}
	}
	c.oneEnd(0, "first", "c0", "c1", "c2")
	calls := w.model.requests()
	want := "[Queued messages while agent was busy]\n\n---\nQueued #1 (from gateway-client)\none\n\n---\nQueued #2 (from gateway-client)\ntwo\n\n---\nQueued #3 (from gateway-client)\nthree"
	if len(calls) != 2 || calls[1].last() != want {
		t.Errorf("the model saw %d calls, the last %q", len(calls), calls[len(calls)-1].last())
	}
	if h := c.history(key); len(h.Messages) != 4 || h.Messages[2].text() != want {
		t.Errorf("history: %q", h.texts())
	}
}

// TestInterrupt: a message ends what runs and what waits, and nothing stalls on that.
func TestInterrupt(t *testing.T) {
	w := newWorld(t)
	c := w.start().dial()
	busy(t, w, c)
	c.until(0, "the first delta", chatState("first", "delta"))
	c.send(key, "waiting", "never mind", "queueMode", "followup")
	s := c.send(key, "urgent", "now this", "queueMode", "interrupt")
	if s.Status != "started" || !s.InterruptedActiveRun {
		t.Errorf("answer: %+v", s)
	}
	if e := c.end(0, "first"); e.P.State != "aborted" || e.P.StopReason != "aborted" || e.P.Message.text() != "word0" {
		t.Errorf("the first: %+v", e.P)
	}
	if e := c.end(0, "waiting"); e.P.State != "error" || !strings.Contains(e.P.ErrorMessage, "superseded") {
		t.Errorf("the waiting one: %+v", e.P)
	}
	if e := c.end(0, "urgent"); e.P.State != "final" || e.P.Message.text() != "echo: now this" {
		t.Errorf("the urgent one: %+v", e.P)
	}
	c.oneEnd(0, "first", "waiting", "urgent")
	// Many at once: every run ends, once.
	var ids []string
	mark := c.mark()
	for i := range 12 {
		id := fmt.Sprint("r", i)
		ids = append(ids, id)
		c.send(key, id, "SLOW "+id, "queueMode", "interrupt")
	}
	c.send(key, "last", "the end", "queueMode", "interrupt")
	c.end(mark, "last")
	for _, id := range ids {
		c.end(mark, id)
	}
	c.oneEnd(mark, append(ids, "last")...)
	c.noGaps()
}

// TestTwoClientsOneSession: turns of one session run in the order in which they were
// accepted, one at a time.
func TestTwoClientsOneSession(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	clients := []*conn{g.dial(), g.dial()}
	var ids []string
	for i := range 10 {
		id := fmt.Sprintf("f%02d", i)
		ids = append(ids, id)
		clients[i%2].send(key, id, "message "+id, "queueMode", "followup")
	}
	for _, c := range clients {
		for _, id := range ids {
			c.end(0, id)
		}
		c.oneEnd(0, ids...)
	}
	var want []string
	for _, id := range ids {
		want = append(want, "user: message "+id, "assistant: echo: message "+id)
	}
	if got := clients[0].history(key).texts(); !slices.Equal(got, want) {
		t.Errorf("history: %q", got)
	}
	for i, call := range w.model.requests() {
		if call.last() != "message "+ids[i] {
			t.Errorf("call %d is %q", i, call.last())
		}
	}
}

// TestQueueCap: at the cap the oldest is dropped, told so, and named to the next turn.
func TestQueueCap(t *testing.T) {
	w := newWorld(t)
	w.conf["schedule.queueCap"] = 2
	c := w.start().dial()
	release := busy(t, w, c)
	for i := range 3 {
		c.send(key, fmt.Sprint("q", i), fmt.Sprint("queued ", i), "queueMode", "followup")
	}
	if e := c.end(0, "q0"); e.P.State != "error" || !strings.Contains(e.P.ErrorMessage, "queueCap") {
		t.Errorf("the dropped one: %+v", e.P)
	}
	release()
	c.end(0, "q1")
	c.end(0, "q2")
	c.oneEnd(0, "first", "q0", "q1", "q2")
	if calls := w.model.requests(); len(calls) < 2 || !strings.Contains(calls[1].Messages[0].Content, "queued 0") {
		t.Errorf("the model saw %+v", calls)
	}
}

// TestResetWhileRunning: what a turn still says belongs to the conversation that was
// reset, not to the new one.
func TestResetWhileRunning(t *testing.T) {
	w := newWorld(t)
	c := w.start().dial()
	busy(t, w, c)
	c.until(0, "the first delta", chatState("first", "delta"))
	c.send(key, "waiting", "never mind", "queueMode", "followup")
	before := c.history(key).SessionID
	c.call("sessions.reset", obj{"key": key}, nil)
	if e := c.end(0, "first"); e.P.State != "aborted" {
		t.Errorf("the running turn: %+v", e.P)
	}
	c.end(0, "waiting")
	h := c.history(key)
	if got := h.texts(); !slices.Equal(got, []string{"system: Reset"}) || h.SessionID != before {
		t.Errorf("after the reset: %q, session %s, before %s", got, h.SessionID, before)
	}
	mark := c.mark()
	c.send(key, "new", "/new a fresh start")
	c.end(mark, "new")
	if got := c.history(key).texts(); !slices.Equal(got, []string{"system: Reset", "user: a fresh start", "assistant: echo: a fresh start"}) {
		t.Errorf("after /new: %q", got)
	}
	if calls := w.model.requests(); len(calls[len(calls)-1].Messages) != 1 {
		t.Errorf("the model saw %+v", calls[len(calls)-1])
	}
}
