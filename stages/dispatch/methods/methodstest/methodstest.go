// Package methodstest runs families of methods as the gateway does: behind decode,
// dedupe, schedule, dispatch and persist, over a store in memory and a model without a
// socket. Every answer and event is checked against the protocol's schemas, where those
// are at hand. It is imported by tests only.
package methodstest

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/bufpool"
	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/stages/decode"
	"sluice/stages/dedupe"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/sessionview"
	"sluice/stages/persist"
	"sluice/stages/schedule"
	"sluice/storage"
	"sluice/storage/storagetest"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Options change a World before it starts.
type Options struct {
	// Store is used instead of one in memory.
	Store storage.Store
	// Agent is the configuration of runs; nil has one model, fake/fake-1.
	Agent *agent.Config
}

// World is a small gateway. Its fields are for reading.
type World struct {
	tb       testing.TB
	Store    storage.Store
	Runs     *agent.Registry
	Model    *Model
	Events   *Events
	Schedule *schedule.Stage
	Dispatch *dispatch.Stage
	Persist  *persist.Stage
	// Notices are given to the next turn.
	Notices func(sessionKey string) []string

	pipe    *pipeline.Pipeline
	schemas *Schemas
}

// AgentConfig is a configuration with a model and without waits.
func AgentConfig() agent.Config {
	c := agent.Default()
	c.Model.BaseURL, c.Model.Name, c.Model.Provider = "http://model.test/v1", "fake-1", "fake"
	c.Retries, c.RetryDelayMs, c.DeltaPaceMs = 1, 1, 0
	return c
}

// New starts a world with the families that make returns; it ends with the test, which
// fails when anything is left behind.
func New(tb testing.TB, o Options, make func(w *World) []dispatch.Method) *World {
	tb.Helper()
	bufpooltest.NoLeaks(tb)
	w := &World{tb: tb, Store: o.Store, Model: newModel(), Events: &Events{}, schemas: LoadSchemas(tb)}
	if w.Store == nil {
		w.Store = storagetest.NewMemory()
	}
	w.build(o, make)
	if err := w.pipe.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(w.stop)
	return w
}

func (w *World) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

func (w *World) build(o Options, make func(w *World) []dispatch.Method) {
	w.tb.Helper()
	log := slog.New(slog.DiscardHandler)
	resume := func(e *pipeline.Envelope, err error) { w.pipe.Resume(e, err) }
	var err error
	w.Persist, err = persist.New(persist.Default(), w.Store, resume, log)
	w.must(err)
	cfg := schedule.Default()
	cfg.DebounceMs = 0
	w.Schedule, err = schedule.New(cfg, schedule.Deps{Log: log, AgentExists: w.AgentExists,
		Inject: func(ctx context.Context, e *pipeline.Envelope, _ string) bool {
			return w.pipe.Inject(ctx, e, "dispatch")
		},
		Policy: func(context.Context, string) schedule.Policy { return schedule.Policy{} }})
	w.must(err)
	runs := AgentConfig()
	if o.Agent != nil {
		runs = *o.Agent
	}
	w.Runs, err = agent.NewRegistry(runs, agent.Deps{Store: w.Store, Update: w.Persist.Update, Events: w.Events, Live: w.Live,
		Lanes: w.Schedule, HTTP: &http.Client{Transport: w.Model}, Log: log,
		Notices: func(key string) []string {
			if w.Notices == nil {
				return nil
			}
			return w.Notices(key)
		}})
	w.must(err)
	w.Dispatch, err = dispatch.New(dispatch.Default(), make(w), resume, log)
	w.must(err)
	dec, err := decode.New(decode.Default(), w.Dispatch.Native, log)
	w.must(err)
	ded, err := dedupe.New(dedupe.Default(), w.Store, func(e *pipeline.Envelope) { w.pipe.ResumeDone(e) })
	w.must(err)
	w.pipe, err = pipeline.New(pipeline.Default(), []pipeline.Stage{dec, ded, w.Schedule, w.Dispatch, w.Persist}, log, nil)
	w.must(err)
}

func (w *World) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w.Schedule.Hold()
	w.Runs.Hold()
	w.Schedule.AbortAll("restart")
	w.Dispatch.Cancel()
	w.pipe.Drain(ctx)
	for _, err := range []error{w.pipe.Stop(ctx), w.Runs.Close(ctx), w.Store.Close()} {
		if err != nil {
			w.tb.Error(err)
		}
	}
}

// AgentExists knows the configured agents.
func (w *World) AgentExists(id string) bool {
	_, ok := w.Runs.Config().Agent(id)
	return ok
}

// Live is what the lanes say about a session.
func (w *World) Live(key string) sessionview.Live {
	holder, waiting := w.Schedule.Active(key)
	l := sessionview.Live{QueueMode: "steer"}
	if holder != "" && w.Runs.Open(holder) {
		l.ActiveRunIDs = append(l.ActiveRunIDs, holder)
	}
	l.ActiveRunIDs = append(l.ActiveRunIDs, waiting...)
	return l
}

// With returns the same world for a part of the test, such as a fuzz case.
func (w *World) With(tb testing.TB) *World {
	part := *w
	part.tb = tb
	return &part
}

// Client returns a new connection with scopes; none gives all.
func (w *World) Client(scopes ...string) *pipelinetest.Client {
	c := pipelinetest.NewClient()
	if len(scopes) > 0 {
		c.PeerInfo.Scopes = frames.ParseScopes(scopes)
	}
	return c
}

// As sends one request of a client and returns the first answer. params is JSON; "" sends
// none.
func (w *World) As(c *pipelinetest.Client, method, params string) pipelinetest.Answer {
	w.tb.Helper()
	w.Send(c, method, params)
	a := c.Next(w.tb)
	if a.OK {
		w.schemas.Result(w.tb, method, jsontext.Value(a.Payload))
	}
	return a
}

// Send sends one request and does not wait.
func (w *World) Send(c *pipelinetest.Client, method, params string) {
	w.tb.Helper()
	if params == "" {
		params = "{}"
	}
	l := bufpool.Get(len(params) + 128)
	l.B = frames.AppendRequest(l.B, "1", method, []byte(params))
	e := pipeline.NewEnvelope(pipeline.SourceWire, l)
	e.Client, e.Peer = c, c.Peer()
	w.must(w.pipe.Submit(e))
}

// OK sends a request that must succeed and decodes its payload into out, if not nil.
func (w *World) OK(method, params string, out any) jsontext.Value {
	w.tb.Helper()
	a := w.As(w.Client(), method, params)
	if !a.OK {
		w.tb.Fatalf("%s %s: %s %s", method, params, a.Error.Code, a.Error.Message)
	}
	if out != nil {
		if err := json.Unmarshal(a.Payload, out, json.MatchCaseInsensitiveNames(true)); err != nil {
			w.tb.Fatalf("%s %s: %v in %s", method, params, err, a.Payload)
		}
	}
	return jsontext.Value(a.Payload)
}

// Refused sends requests that must be refused: METHOD PARAMS => the message.
func (w *World) Refused(cases [][3]string) {
	w.tb.Helper()
	for _, tc := range cases {
		method, params, want := tc[0], tc[1], tc[2]
		code := "INVALID_REQUEST"
		if before, after, ok := strings.Cut(want, ": "); ok && before == strings.ToUpper(before) && strings.Contains(before, "_") || before == "UNAVAILABLE" {
			code, want = before, after
		}
		a := w.As(w.Client(), method, params)
		switch {
		case a.OK:
			w.tb.Errorf("%s %s: answered %s, want the error %q", method, params, a.Payload, want)
		case a.Error.Code != code || a.Error.Message != want:
			w.tb.Errorf("%s %s:\n got %s %s\nwant %s %s", method, params, a.Error.Code, a.Error.Message, code, want)
		}
	}
}

// Eventually polls for what no event announces.
func (w *World) Eventually(what string, ok func() bool) {
	w.tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(5 * time.Second); time.Now().Before(limit); <-tick.C {
		if ok() {
			return
		}
	}
	w.tb.Fatalf("not within 5 s: %s", what)
}

// Idle waits until no turn runs and everything is settled.
func (w *World) Idle() {
	w.tb.Helper()
	w.Eventually("no turn runs", func() bool {
		v := w.Schedule.View()
		n, _ := w.pipe.InFlight()
		return v.Running == 0 && v.Queued == 0 && n == 0
	})
}

// Events collects what is broadcast.
type Events struct {
	mu   sync.Mutex
	list []frames.Event
}

// Broadcast implements frames.Broadcaster.
func (b *Events) Broadcast(ev frames.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, ev)
}

// Take returns the events since the last Take.
func (b *Events) Take() []frames.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	return list
}

// Check validates the events so far against their schemas and returns them.
func (w *World) Check() []frames.Event {
	w.tb.Helper()
	list := w.Events.Take()
	for _, ev := range list {
		w.schemas.Event(w.tb, ev.Name, ev.Payload)
	}
	return list
}
