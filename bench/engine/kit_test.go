package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/bench/backend"
	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/adapter"
	"sluice/stages/decode"
	"sluice/stages/dedupe"
	"sluice/stages/defend"
	"sluice/stages/defend/rules"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/chat"
	"sluice/stages/dispatch/methods/sessions"
	"sluice/stages/dispatch/methods/system"
	"sluice/stages/dispatch/sessionview"
	"sluice/stages/persist"
	"sluice/stages/schedule"
	"sluice/storage"
	"sluice/storage/bolt"
	"sluice/storage/jsonfile"
	"sluice/storage/sqlite"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The frames that are measured.
const (
	health   = `{"type":"req","id":"7","method":"health","params":{}}`
	presence = `{"type":"req","id":"7","method":"system-presence","params":{}}`
	patch    = `{"type":"req","id":"7","method":"sessions.patch","params":{"key":"agent:main:bench","label":"a label"}}`
)

// chatSend is a chat.send of about 1 KB, as a person writes it.
var chatSend = `{"type":"req","id":"7","method":"chat.send","params":{"sessionKey":"agent:main:bench","idempotencyKey":"0b5d3c1e-7f0e-4f0a-9a53-8c2f0f5e7a11","message":"` +
	repeat("Could you look at the figures of last week and tell me what changed? ", 880) + `"}}`

func repeat(s string, n int) string {
	b := make([]byte, 0, n+len(s))
	for len(b) < n {
		b = append(b, s...)
	}
	return string(b[:n])
}

// rig is the seven real stages, wired as cmd/sluice/wire.go wires them.
type rig struct {
	store    storage.Store
	path     string
	decode   *decode.Stage
	dedupe   *dedupe.Stage
	schedule *schedule.Stage
	defend   *defend.Stage
	dispatch *dispatch.Stage
	adapter  *adapter.Stage
	persist  *persist.Stage
	pipe     *pipeline.Pipeline
	runs     *agent.Registry
	system   *system.Family
	events   frames.Broadcaster
	tracer   pipeline.Tracer
	log      *slog.Logger
	client   *client
}

// nobody receives events: fan-out is measured by itself.
type nobody struct{}

func (nobody) Broadcast(frames.Event)    {}
func (nobody) Wanted(*frames.Event) bool { return false }

func mustStore(tb testing.TB, kind, path string) storage.Store {
	tb.Helper()
	var s storage.Store
	var err error
	switch kind {
	case "bolt":
		s, err = bolt.Open(path, bolt.Default())
	case "sqlite":
		s, err = sqlite.Open(path, sqlite.Default())
	case "jsonfile":
		s, err = jsonfile.Open(path, jsonfile.Default())
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// mustRig builds and starts a rig over bolt; the end of the test ends it.
func mustRig(tb testing.TB, tracer pipeline.Tracer) *rig {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "bench.db")
	r := &rig{store: mustStore(tb, "bolt", path), path: path, events: nobody{}, tracer: tracer,
		log: slog.New(slog.DiscardHandler), client: newClient()}
	for _, step := range []func(testing.TB) error{r.outer, r.inner, r.start} {
		if err := step(tb); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

func (r *rig) resume(e *pipeline.Envelope, err error) { r.pipe.Resume(e, err) }

// outer makes the stages that need no handler.
func (r *rig) outer(tb testing.TB) (err error) {
	if r.decode, err = decode.New(decode.Default(), func(m *frames.Method) bool { return r.dispatch.Native(m) }, r.log); err != nil {
		return err
	}
	if r.dedupe, err = dedupe.New(dedupe.Default(), r.store, func(e *pipeline.Envelope) { r.pipe.ResumeDone(e) }); err != nil {
		return err
	}
	if r.schedule, err = schedule.New(schedule.Default(), schedule.Deps{
		Inject: func(ctx context.Context, e *pipeline.Envelope, stage string) bool {
			return r.pipe.Inject(ctx, e, stage)
		},
		Policy:      func(context.Context, string) schedule.Policy { return schedule.Policy{} },
		AgentExists: func(id string) bool { return id == frames.DefaultAgent }, Log: r.log}); err != nil {
		return err
	}
	scorer, err := rules.New(rules.FirstRuntime())
	if err != nil {
		return err
	}
	cfg := defend.Default()
	cfg.Quarantine.Dir = tb.TempDir()
	if r.defend, err = defend.New(cfg, []defend.Defender{scorer}, defend.Deps{Resume: r.resume, Broadcaster: r.events, Log: r.log}); err != nil {
		return err
	}
	if r.adapter, err = adapter.New(adapter.Default(), nil, adapter.Deps{Store: r.store, Resume: r.resume, Log: r.log}); err != nil {
		return err
	}
	r.persist, err = persist.New(persist.Default(), r.store, r.resume, r.log)
	return err
}

// inner makes the handlers, over a model that answers at once.
func (r *rig) inner(tb testing.TB) (err error) {
	model := httptest.NewServer(&backend.Model{Chunks: 1})
	tb.Cleanup(model.Close)
	cfg := agent.Default()
	cfg.Model.BaseURL, cfg.Model.Name = model.URL+"/v1", "bench"
	live := func(string) sessionview.Live { return sessionview.Live{} }
	if r.runs, err = agent.NewRegistry(cfg, agent.Deps{Store: r.store, Update: r.persist.Update, Events: r.events, Live: live,
		Notices: func(string) []string { return nil }, HTTP: model.Client(), Log: r.log}); err != nil {
		return err
	}
	versions := &frames.Versions{}
	sys := system.Default()
	deps := system.Deps{Version: "bench", StorePath: r.path, Store: r.store, Runs: r.runs, Events: r.events, Lanes: func() system.Lanes { return system.Lanes{} },
		AgentIDs: r.runs.Config().AgentIDs, Channels: func() []system.Channel { return nil }, Warnings: func() []string { return nil },
		ConfigProblem: func() string { return "" }, Loop: system.NewLoopMeter(), Stability: system.NewStability()}
	r.system = system.New(sys, deps, system.NewPresence(sys, "bench", "bench", versions, r.events), system.NewHealth(sys, deps, versions))
	active := func(string) (string, []string) { return "", nil }
	methods := r.system.Methods()
	methods = append(methods, sessions.New(sessions.Deps{Store: r.store, StorePath: r.path, Runs: r.runs, Active: active,
		Live: live, AgentExists: func(string) bool { return true }}).Methods()...)
	methods = append(methods, chat.New(chat.Deps{Store: r.store, Runs: r.runs, Active: active, Live: live, Events: r.events}).Methods()...)
	r.dispatch, err = dispatch.New(dispatch.Default(), methods, r.resume, r.log)
	return err
}

func (r *rig) start(tb testing.TB) (err error) {
	if r.pipe, err = pipeline.New(pipeline.Default(), r.stages(), r.log, r.tracer); err != nil {
		return err
	}
	if err := r.pipe.Start(context.Background()); err != nil {
		return err
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if left := r.pipe.Drain(ctx); left > 0 {
			tb.Errorf("%d envelopes are left in the pipeline", left)
		}
		if err := r.pipe.Stop(ctx); err != nil {
			tb.Error(err)
		}
		if n := bufpool.Outstanding(); n != 0 {
			tb.Errorf("%d leases are held after the end", n)
		}
	})
	return nil
}

func (r *rig) stages() []pipeline.Stage {
	return []pipeline.Stage{r.decode, r.dedupe, r.schedule, r.defend, r.dispatch, r.adapter, r.persist}
}

// envelope makes what the edge submits for a frame.
func (r *rig) envelope(frame string) *pipeline.Envelope {
	l := bufpool.Get(len(frame))
	l.B = append(l.B, frame...)
	e := pipeline.NewEnvelope(pipeline.SourceWire, l)
	e.Client, e.Peer, e.Shard = r.client, r.client.peer, uint32(r.client.next.Add(1))
	return e
}

// ask sends a frame through the pipeline and waits for the answer, which must be ok.
func (r *rig) ask(tb testing.TB, frame string) {
	tb.Helper()
	r.submit(tb, frame)
	r.client.wait(1)
	if n := r.client.failed.Load(); n > 0 {
		tb.Fatalf("%s: %s", frame[:min(len(frame), 80)], *r.client.why.Load())
	}
}

// drop gives back an envelope that was not submitted.
func (r *rig) drop(e *pipeline.Envelope) {
	e.Client = nil
	r.pipe.Refuse(e, errEnough)
}

func (r *rig) submit(tb testing.TB, frame string) {
	if err := r.pipe.Submit(r.envelope(frame)); err != nil {
		tb.Fatal(err)
	}
}

// client is a connection without a socket that counts its answers.
type client struct {
	peer   *frames.Peer
	hs     frames.Handshake
	subs   frames.Subscriptions
	next   atomic.Uint32
	failed atomic.Int64
	why    atomic.Pointer[string]
	bytes  atomic.Int64

	mu       sync.Mutex
	cond     sync.Cond
	answered int
}

var _ frames.Client = (*client)(nil)

func newClient() *client {
	c := &client{peer: &frames.Peer{ConnID: "bench", Role: frames.RoleOperator, Scopes: frames.ParseScopes([]string{"operator.admin"}),
		Protocol: 4, Identity: "shared", Client: frames.ClientInfo{ID: "bench", Mode: "backend"}, Local: true, RemoteIP: "127.0.0.1"}}
	c.cond.L = &c.mu
	return c
}

func (c *client) ID() string                           { return "bench" }
func (c *client) Peer() *frames.Peer                   { return c.peer }
func (c *client) Handshake() *frames.Handshake         { return &c.hs }
func (c *client) Subscriptions() *frames.Subscriptions { return &c.subs }
func (c *client) Accept(*frames.Peer)                  {}
func (c *client) Close(cl frames.Close)                { panic(fmt.Sprintf("closed: %+v", cl)) }

// okAt is where an answer to a request with a short id says ok.
const okAt = len(`{"type":"res","id":"7","ok":`)

func (c *client) Send(b frames.Buffer) bool {
	p := b.Bytes()
	if len(p) <= okAt || p[okAt] != 't' {
		text := string(p)
		c.why.Store(&text)
		c.failed.Add(1)
	}
	c.bytes.Add(int64(len(p)))
	b.Release()
	c.mu.Lock()
	c.answered++
	c.mu.Unlock()
	c.cond.Signal()
	return true
}

// wait takes n answers.
func (c *client) wait(n int) {
	c.mu.Lock()
	for c.answered < n {
		c.cond.Wait()
	}
	c.answered -= n
	c.mu.Unlock()
}
