package connect

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/dispatch"
	"sluice/stages/persist"
	"sluice/storage"
	"sluice/storage/auth"
	"sluice/storage/bolt"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "correct-horse"

// world is a gateway of decode, dispatch and persist around one Handler.
type world struct {
	tb      testing.TB
	h       *Handler
	store   storage.Store
	pipe    *pipeline.Pipeline
	persist *persist.Stage
	ready   bool
	full    atomic.Bool // writes fail with storage.ErrFull

	mu      sync.Mutex
	clients map[string]*client
	events  []event
	nextID  int
}

type event struct {
	name    string
	payload map[string]any
}

func defaultAuth() Auth {
	return Auth{Mode: ModeToken, Secret: testSecret, AutoApproveLocal: true}
}

func newWorld(tb testing.TB, change ...func(*Deps)) *world {
	tb.Helper()
	store, err := bolt.Open(filepath.Join(tb.TempDir(), "state.db"), bolt.Default())
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{tb: tb, ready: true, clients: make(map[string]*client)}
	w.store = &fullStore{store, &w.full}
	w.start(change)
	tb.Cleanup(w.stop)
	return w
}

// fullStore is a store whose disk can be full.
type fullStore struct {
	storage.Store
	full *atomic.Bool
}

func (s *fullStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if s.full.Load() {
		return storage.ErrFull
	}
	return s.Store.Update(ctx, fn)
}

func (s *fullStore) Health() storage.Health {
	h := s.Store.Health()
	if s.full.Load() {
		h.Degraded = "no space left"
	}
	return h
}

func (w *world) start(change []func(*Deps)) {
	w.tb.Helper()
	log := slog.New(slog.DiscardHandler)
	var pipe *pipeline.Pipeline
	resume := func(e *pipeline.Envelope, err error) { pipe.Resume(e, err) }
	authority, err := auth.New(auth.Default(), []byte(strings.Repeat("s", auth.SecretBytes)))
	if err != nil {
		w.tb.Fatal(err)
	}
	deps := Deps{
		Config: Default(), Policy: Policy{TickIntervalMs: 30_000, MaxPayloadBytes: frames.MaxFrameBytes, MaxBufferedBytes: frames.MaxBufferedBytes}, Auth: defaultAuth(), Authority: authority, Store: w.store, Log: log,
		Server:     Server{Version: "0.1.0", BuildID: "test-build", BootID: "boot-1", ConfigPath: "/c/sluice.json5", StateDir: "/s", Started: time.Now()},
		Ready:      func() bool { return w.ready },
		Resume:     resume,
		Connected:  func(p *frames.Peer) { w.note("connected", map[string]any{"connId": p.ConnID}) },
		CloseWhere: w.closeWhere,
		DeviceConnected: func(id string) bool {
			found := false
			w.each(func(c *client) { p := c.Peer(); found = found || p != nil && p.DeviceID == id && !c.isClosed() })
			return found
		},
		Broadcaster:  w,
		Methods:      func() []string { return []string{"health", "status"} },
		Events:       []string{"connect.challenge", "tick"},
		Capabilities: []string{"published-model-catalog"},
		Presence:     func() []byte { return []byte(`[{"host":"gw","ts":1}]`) },
		Health:       func() []byte { return []byte(`{"ok":true,"ts":1}`) },
		Versions:     new(frames.Versions),
		ConfigHash:   func() string { return "hash-1" },
		SessionDefaults: func() SessionDefaults {
			return SessionDefaults{DefaultAgentID: "main", MainKey: "main", MainSessionKey: "agent:main:main", Scope: "per-sender"}
		},
	}
	for _, f := range change {
		f(&deps)
	}
	h, err := New(deps)
	if err != nil {
		w.tb.Fatal(err)
	}
	d, err := dispatch.New(dispatch.Default(), h.Methods(), resume, log)
	if err != nil {
		w.tb.Fatal(err)
	}
	dec, err := decode.New(decode.Default(), d.Native, log)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.persist, err = persist.New(persist.Default(), w.store, resume, log)
	if err != nil {
		w.tb.Fatal(err)
	}
	pipe, err = pipeline.New(pipeline.Default(), []pipeline.Stage{dec, d, w.persist}, log, nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	if err := pipe.Start(context.Background()); err != nil {
		w.tb.Fatal(err)
	}
	w.h, w.pipe = h, pipe
}

func (w *world) stop() {
	w.h.Close()
	if left := w.pipe.Drain(context.Background()); left != 0 {
		w.tb.Errorf("%d envelopes left after drain", left)
	}
	if err := w.pipe.Stop(context.Background()); err != nil {
		w.tb.Error(err)
	}
	if err := w.store.Close(); err != nil {
		w.tb.Error(err)
	}
}

func (w *world) note(name string, payload map[string]any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, event{name, payload})
}

// Broadcast implements frames.Broadcaster.
func (w *world) Broadcast(ev frames.Event) {
	var payload map[string]any
	if err := json.Unmarshal(ev.Payload, &payload); err != nil {
		w.tb.Errorf("event %s: %v", ev.Name, err)
	}
	w.note(ev.Name, payload)
}

// take returns and forgets the events so far.
func (w *world) take() []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.events
	w.events = nil
	return out
}

func (w *world) closeWhere(match func(*frames.Peer) bool, c frames.Close) {
	w.each(func(cl *client) {
		if p := cl.Peer(); p != nil && match(p) {
			cl.Close(c)
		}
	})
}

func (w *world) each(fn func(*client)) {
	w.mu.Lock()
	all := make([]*client, 0, len(w.clients))
	for _, cl := range w.clients {
		all = append(all, cl)
	}
	w.mu.Unlock()
	for _, cl := range all {
		fn(cl)
	}
}

// local is what the server sees of a client on this machine.
func local() frames.Handshake {
	return frames.Handshake{Nonce: "nonce-1", Host: "127.0.0.1:18789", RemoteIP: "127.0.0.1", PeerLoopback: true, Local: true}
}

// remote is what the server sees of a client elsewhere.
func remote() frames.Handshake {
	return frames.Handshake{Nonce: "nonce-1", Host: "gw.example:18789", RemoteIP: "203.0.113.7"}
}

func (w *world) client(hs frames.Handshake) *client {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextID++
	hs.TsMs = time.Now().UnixMilli()
	c := &client{w: w, id: fmt.Sprintf("conn-%d", w.nextID), hs: hs,
		settled: make(chan struct{})}
	w.clients[c.id] = c
	return c
}

// submit sends one connect without waiting.
func (w *world) submit(c *client, params any) {
	w.tb.Helper()
	raw, ok := params.(string)
	if !ok {
		b, err := json.Marshal(params)
		if err != nil {
			w.tb.Fatal(err)
		}
		raw = string(b)
	}
	lease := bufpool.Get(len(raw) + 100)
	lease.B = frames.AppendRequest(lease.B, "1", "connect", []byte(raw))
	e := pipeline.NewEnvelope(pipeline.SourceWire, lease)
	e.Client = c
	e.OnSettle(c)
	if err := w.pipe.Submit(e); err != nil {
		w.tb.Fatal(err)
	}
}

// await waits for the first answer of c and what follows from it.
func (w *world) await(c *client) answer {
	w.tb.Helper()
	wait := func(ch chan struct{}, what string) {
		select {
		case <-ch:
		case <-time.After(30 * time.Second):
			w.tb.Fatalf("%s: no %s", c.id, what)
		}
	}
	wait(c.settled, "answer")
	c.mu.Lock()
	defer c.mu.Unlock()
	a := answer{c: c, close: c.closed}
	if len(c.frames) > 0 {
		a.raw = string(c.frames[0])
		if err := json.Unmarshal(c.frames[0], &a); err != nil {
			w.tb.Fatalf("answer %s: %v", c.frames[0], err)
		}
	}
	if a.OK == (c.peer == nil) {
		w.tb.Fatalf("ok=%v but accepted=%v: %s", a.OK, c.peer != nil, a.raw)
	}
	return a
}

func (w *world) connect(hs frames.Handshake, params any) answer {
	w.tb.Helper()
	c := w.client(hs)
	w.submit(c, params)
	return w.await(c)
}
