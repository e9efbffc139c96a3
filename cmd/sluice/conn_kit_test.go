package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/frames/client"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// conn is a connected client that keeps all its events.
type conn struct {
	*client.Client
	tb    testing.TB
	more  chan struct{}
	ended chan struct{}

	mu     sync.Mutex
	events []client.Event
}

func (c *conn) collect() {
	defer close(c.ended)
	for ev := range c.Events() {
		c.mu.Lock()
		c.events = append(c.events, ev)
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
	}
}

// seen returns the events so far.
func (c *conn) seen() []client.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// mark is a point in the events: only later ones count.
func (c *conn) mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}

// since decodes the events after a mark.
func (c *conn) since(mark int) []event {
	var out []event
	for _, ev := range c.seen()[mark:] {
		e := event{Event: ev}
		if err := json.Unmarshal(ev.Payload, &e.P, json.MatchCaseInsensitiveNames(true)); err != nil {
			c.tb.Fatalf("%s: %v in %s", ev.Name, err, ev.Payload)
		}
		out = append(out, e)
	}
	return out
}

// until waits for an event after mark.
func (c *conn) until(mark int, what string, want func(event) bool) event {
	c.tb.Helper()
	limit := time.After(patience)
	for {
		for _, e := range c.since(mark) {
			if want(e) {
				return e
			}
		}
		select {
		case <-c.more:
		case <-limit:
			c.tb.Fatalf("no event: %s; since the mark there were\n%s", what, lines(c.since(mark)))
		}
	}
}

// event is an event with the members that tests look at.
type event struct {
	client.Event
	P struct {
		RunID        string
		SessionKey   string
		Seq          int64
		State        string
		Phase        string
		Stream       string
		Reason       string
		StopReason   string
		DeltaText    string
		ErrorMessage string
		MessageSeq   int64
		Data         map[string]any
		Message      *message
		Session      map[string]any
		Presence     []map[string]any
		Warnings     []string
	}
}

// message is a message of a transcript or an event.
type message struct {
	Role    string
	Content jsontext.Value
	Raw     jsontext.Value `json:",embed"`
}

func (m *message) text() string {
	if m == nil {
		return ""
	}
	var s string
	if json.Unmarshal(m.Content, &s) == nil {
		return s
	}
	var blocks []struct{ Text string }
	json.Unmarshal(m.Content, &blocks, json.MatchCaseInsensitiveNames(true))
	for _, b := range blocks {
		s += b.Text
	}
	return s
}

// brief names an event and what it is about.
func (e *event) brief() string {
	p := &e.P
	switch e.Name {
	case "chat":
		return strings.TrimSpace("chat " + p.State + " " + p.Phase)
	case "agent":
		phase, _ := p.Data["phase"].(string)
		return strings.TrimSpace("agent " + p.Stream + " " + phase)
	case "session.message":
		return "session.message " + p.Message.Role
	case "sessions.changed":
		return strings.TrimSpace("sessions.changed " + p.Reason + p.Phase)
	}
	return e.Name
}

func lines(events []event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%4d %s %s\n", e.Seq, e.brief(), e.P.RunID)
	}
	return b.String()
}

// call is a request that must succeed; it decodes the answer into out, if that is not nil.
func (c *conn) call(method string, params, out any) jsontext.Value {
	c.tb.Helper()
	raw, err := c.try(method, params)
	if err != nil {
		c.tb.Fatalf("%s: %v", method, err)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out, json.MatchCaseInsensitiveNames(true)); err != nil {
			c.tb.Fatalf("%s: %v in %s", method, err, raw)
		}
	}
	return raw
}

// try is a request that may fail.
func (c *conn) try(method string, params any) (jsontext.Value, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.Call(ctx, method, params)
}

// refused is a request that must be refused with a message that contains text.
func (c *conn) refused(method string, params any, code, text string) *client.RemoteError {
	c.tb.Helper()
	raw, err := c.try(method, params)
	var re *client.RemoteError
	if !errors.As(err, &re) {
		c.tb.Fatalf("%s %v: answered %s, %v; want an error with %q", method, params, raw, err, text)
	}
	if re.Code != code || !strings.Contains(re.Message, text) {
		c.tb.Fatalf("%s %v: %s %q, want %s %q", method, params, re.Code, re.Message, code, text)
	}
	return re
}

type obj = map[string]any

// sent is the answer to chat.send.
type sent struct {
	RunID                string
	Status               string
	Summary              string
	StopReason           string
	InterruptedActiveRun bool
}

// send sends a message under the run id.
func (c *conn) send(key, runID, text string, more ...any) (s sent) {
	c.tb.Helper()
	p := obj{"sessionKey": key, "message": text, "idempotencyKey": runID}
	for i := 0; i+1 < len(more); i += 2 {
		p[more[i].(string)] = more[i+1]
	}
	c.call("chat.send", p, &s)
	return s
}

func chatState(runID, state string) func(event) bool {
	return func(e event) bool { return e.Name == "chat" && e.P.RunID == runID && e.P.State == state }
}

// terminal is a run's end as chat events tell it.
func terminal(runID string) func(event) bool {
	return func(e event) bool {
		return e.Name == "chat" && e.P.RunID == runID && slices.Contains([]string{"final", "aborted", "error"}, e.P.State)
	}
}

// end waits for a run's terminal event.
func (c *conn) end(mark int, runID string) event {
	c.tb.Helper()
	return c.until(mark, "the end of run "+runID, terminal(runID))
}

// history is what chat.history says.
type history struct {
	SessionID     string
	Messages      []message
	HasMore       bool
	TotalMessages int
	NextOffset    int
	DeltaCursor   string
	Kind          string
	PendingInputs struct {
		Total int
		Items []struct {
			RunID   string
			State   string
			Message message
		}
	}
	SessionInfo struct {
		HasActiveRun bool
		Status       string
		ActiveRunIDs []string
	}
	InFlightRun *struct{ RunID, Text string }
}

func (h history) texts() []string {
	var out []string
	for _, m := range h.Messages {
		out = append(out, m.Role+": "+m.text())
	}
	return out
}

func (c *conn) history(key string) (h history) {
	c.tb.Helper()
	c.call("chat.history", obj{"sessionKey": key}, &h)
	return h
}

// noGaps checks that the numbered events have every number from 1 in order.
func (c *conn) noGaps() {
	c.tb.Helper()
	next := int64(1)
	for _, ev := range c.seen() {
		if ev.Seq == 0 {
			continue
		}
		if ev.Seq != next {
			c.tb.Errorf("event %s has seq %d, want %d", ev.Name, ev.Seq, next)
			return
		}
		next++
	}
}

// oneEnd checks that each run has exactly one terminal chat event.
func (c *conn) oneEnd(mark int, runIDs ...string) {
	c.tb.Helper()
	for _, id := range runIDs {
		n := 0
		for _, e := range c.since(mark) {
			if terminal(id)(e) {
				n++
			}
		}
		if n != 1 {
			c.tb.Errorf("run %s has %d terminal chat events, want 1:\n%s", id, n, lines(c.since(mark)))
		}
	}
}

type jsonValue = jsontext.Value

func unmarshal(tb testing.TB, raw jsontext.Value, out any) {
	tb.Helper()
	if err := json.Unmarshal(raw, out, json.MatchCaseInsensitiveNames(true)); err != nil {
		tb.Errorf("%v in %s", err, raw)
	}
}
