package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/frames/client"
	"sluice/stages/defend"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// world is one machine: a state folder and a model endpoint, on which gateways run one
// after the other.
type world struct {
	tb    testing.TB
	state string
	model *fakeModel
	conf  map[string]any // dotted key -> value
	logs  lockedBuffer

	wrapStore func(storage.Store) storage.Store
	defenders func([]defend.Defender) []defend.Defender
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newWorld makes one with a configured model and short waits.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	bufpooltest.NoLeaks(tb)
	w := &world{tb: tb, state: filepath.Join(tb.TempDir(), "state"), model: newFakeModel(tb), conf: map[string]any{}}
	for k, v := range map[string]any{
		"agent.model.baseUrl": w.model.URL + "/v1", "agent.model.name": "fake-1", "agent.model.provider": "fake",
		"agent.retries": 2, "agent.retryDelayMs": 5, "agent.deltaPaceMs": 5, "schedule.debounceMs": 20,
		"pipeline.drainMs": 5000, "telemetry.logs.level": "warn",
	} {
		w.conf[k] = v
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of the gateway:\n%s", w.logs.String())
		}
	})
	return w
}

func (w *world) configPath() string { return filepath.Join(w.state, "sluice.json5") }

// writeConfig writes the file as a user's editor would: whole, by rename.
func (w *world) writeConfig() {
	w.tb.Helper()
	tree := map[string]any{}
	for key, v := range w.conf {
		at := tree
		parts := strings.Split(key, ".")
		for _, p := range parts[:len(parts)-1] {
			if at[p] == nil {
				at[p] = map[string]any{}
			}
			at = at[p].(map[string]any)
		}
		at[parts[len(parts)-1]] = v
	}
	b, err := json.Marshal(tree)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.writeConfigText(string(b))
}

func (w *world) writeConfigText(text string) {
	w.tb.Helper()
	if err := os.MkdirAll(w.state, 0o700); err != nil {
		w.tb.Fatal(err)
	}
	tmp := w.configPath() + ".new"
	if err := errors.Join(os.WriteFile(tmp, []byte(text), 0o600), os.Rename(tmp, w.configPath())); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) options() gatewayOptions {
	return gatewayOptions{location: location{state: w.state, config: w.configPath()},
		flags: map[string]string{"gateway.listen": "127.0.0.1:0"}, stderr: &w.logs,
		wrapStore: w.wrapStore, defenders: w.defenders}
}

// start runs a gateway until the test ends or stops it.
func (w *world) start() *running {
	w.tb.Helper()
	w.writeConfig()
	g, err := newGateway(w.tb.Context(), w.options())
	if err != nil {
		w.tb.Fatal(err)
	}
	r := &running{Gateway: g, w: w}
	w.tb.Cleanup(func() { r.stop() })
	if err := g.Start(w.tb.Context()); err != nil {
		w.tb.Fatal(err)
	}
	return r
}

// running is a gateway of a world.
type running struct {
	*Gateway
	w    *world
	once sync.Once
}

// stop ends the gateway in order.
func (r *running) stop() {
	r.w.tb.Helper()
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			r.w.tb.Errorf("stop: %v", err)
		}
	})
}

// kill ends the gateway as kill -9 would as far as the state can tell: from now on
// nothing more reaches the disk.
func (r *running) kill() {
	r.w.tb.Helper()
	r.once.Do(func() {
		r.store.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		r.stages.schedule.Hold()
		r.stages.schedule.AbortAll("killed")
		r.stages.dispatch.Cancel()
		r.Stop(ctx) // complains about the closed store, rightly
	})
}

// dial connects a client.
func (r *running) dial(change ...func(*client.Options)) *conn {
	tb := r.w.tb
	tb.Helper()
	o := client.Default()
	o.URL = "ws://" + r.Addr().String()
	o.Auth.Token = r.auth(r.conf.Current()).Secret
	o.EventBuffer = 4096
	for _, fn := range change {
		fn(&o)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	cl, err := client.Dial(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	c := &conn{Client: cl, tb: tb, more: make(chan struct{}, 1), ended: make(chan struct{})}
	go c.collect()
	tb.Cleanup(func() {
		cl.Close()
		<-c.ended
		if n := cl.Stats().DroppedEvents; n > 0 {
			tb.Errorf("the test's client was too slow for %d events", n)
		}
	})
	return c
}

// readOnly asks for operator.read only.
func readOnly(o *client.Options) { o.Scopes = []string{"operator.read"} }

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

// eventually polls for what no event announces.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); time.Now().Before(limit); <-tick.C {
		if ok() {
			return
		}
	}
	tb.Fatalf("not within %s: %s", patience, what)
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
