package connect

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
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
	"github.com/go-json-experiment/json/jsontext"
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
		Config: Default(), Auth: defaultAuth(), Authority: authority, Store: w.store, Log: log,
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

// client is a connection of a test; it implements frames.Client.
type client struct {
	w    *world
	id   string
	hs   frames.Handshake
	subs frames.Subscriptions
	// onSend runs after the first frame was sent.
	onSend func()

	mu      sync.Mutex
	peer    *frames.Peer
	frames  [][]byte
	closed  *frames.Close
	settled chan struct{} // closed when the envelope is through, hooks included
}

// Settle implements pipeline.Settler.
func (c *client) Settle(*pipeline.Envelope) { close(c.settled) }

func (c *client) ID() string                           { return c.id }
func (c *client) Handshake() *frames.Handshake         { return &c.hs }
func (c *client) Subscriptions() *frames.Subscriptions { return &c.subs }

func (c *client) Peer() *frames.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

func (c *client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed != nil
}

func (c *client) Send(b frames.Buffer) bool {
	c.mu.Lock()
	c.frames = append(c.frames, append([]byte(nil), b.Bytes()...))
	c.mu.Unlock()
	b.Release()
	if c.onSend != nil {
		c.onSend()
	}
	return true
}

func (c *client) Close(cl frames.Close) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = &cl
	}
}

func (c *client) Accept(p *frames.Peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) == 0 {
		c.w.tb.Error("accepted before hello was sent")
	}
	c.peer = p
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

// answer is what a client got.
type answer struct {
	OK      bool           `json:"ok"`
	Payload jsontext.Value `json:"payload"`
	Error   *struct {
		Code         string         `json:"code"`
		Message      string         `json:"message"`
		Details      jsontext.Value `json:"details"`
		Retryable    bool           `json:"retryable"`
		RetryAfterMs int64          `json:"retryAfterMs"`
	} `json:"error"`
	raw   string
	close *frames.Close
	c     *client
}

func (a answer) code() string {
	if a.Error == nil {
		return ""
	}
	var d struct {
		Code string `json:"code"`
	}
	if len(a.Error.Details) > 0 {
		if err := json.Unmarshal(a.Error.Details, &d); err != nil {
			return err.Error()
		}
	}
	return d.Code
}

func (a answer) message() string {
	if a.Error == nil {
		return ""
	}
	return a.Error.Message
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

// params returns connect's params of a client.
func params(id, mode string, change ...func(*frames.ConnectParams)) *frames.ConnectParams {
	p := &frames.ConnectParams{MinProtocol: 4, MaxProtocol: 4, Role: "operator",
		Client: frames.ConnectClient{ID: id, Version: "1", Platform: "linux", Mode: mode}}
	for _, f := range change {
		f(p)
	}
	return p
}

func scopes(list ...string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { p.Scopes = list }
}

func token(s string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { authOf(p).Token = s }
}

func password(s string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { authOf(p).Password = s }
}

func deviceToken(s string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { authOf(p).DeviceToken = s }
}

func role(s string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { p.Role = s }
}

func authOf(p *frames.ConnectParams) *frames.ConnectAuth {
	if p.Auth == nil {
		p.Auth = &frames.ConnectAuth{}
	}
	return p.Auth
}

// device is a client's key.
type device struct {
	id  string
	key ed25519.PrivateKey
}

func newDevice(seed byte) *device {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return &device{id: hex.EncodeToString(sum[:]), key: key}
}

func (d *device) public() string {
	return base64.RawURLEncoding.EncodeToString(d.key.Public().(ed25519.PublicKey))
}

// sign adds the proof, as the last change: it covers all others.
func (d *device) sign(change ...func(*frames.ConnectDevice)) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) {
		dev := &frames.ConnectDevice{ID: d.id, PublicKey: d.public(), SignedAt: time.Now().UnixMilli(), Nonce: "nonce-1"}
		p.Device = dev
		secret := ""
		if p.Auth != nil {
			for _, s := range []string{p.Auth.BootstrapToken, p.Auth.DeviceToken, p.Auth.Token} {
				if s != "" {
					secret = s
				}
			}
		}
		text := strings.Join([]string{"v3", d.id, p.Client.ID, p.Client.Mode, p.Role, strings.Join(p.Scopes, ","),
			strconv.FormatInt(dev.SignedAt, 10), secret, dev.Nonce, strings.ToLower(p.Client.Platform), strings.ToLower(p.Client.DeviceFamily)}, "|")
		dev.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(d.key, []byte(text)))
		for _, f := range change {
			f(dev)
		}
	}
}
