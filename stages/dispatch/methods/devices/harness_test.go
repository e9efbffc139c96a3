package devices

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
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

// world is a gateway of decode, dispatch and persist around one Handler.
type world struct {
	tb        testing.TB
	authority *auth.Authority
	store     storage.Store
	pipe      *pipeline.Pipeline
	loopback  bool
	log       []string // events and disconnects, in order
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb, loopback: true}
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	store, err := bolt.Open(filepath.Join(tb.TempDir(), "state.db"), bolt.Default())
	must(err)
	w.store = store
	w.authority, err = auth.New(auth.Default(), []byte(strings.Repeat("s", auth.SecretBytes)))
	must(err)
	log := slog.New(slog.DiscardHandler)
	h, err := New(Deps{Authority: w.authority, Store: store, Log: log, Broadcaster: w,
		Disconnect: func(id string, role frames.Role) {
			w.log = append(w.log, "disconnect "+id[:6]+" "+role.String())
		},
		DeviceConnected: func(id string) bool { return id == deviceID(0) },
		LoopbackOnly:    func() bool { return w.loopback },
	})
	must(err)
	resume := func(e *pipeline.Envelope, err error) { w.pipe.Resume(e, err) }
	d, err := dispatch.New(dispatch.Default(), h.Methods(), resume, log)
	must(err)
	dec, err := decode.New(decode.Default(), d.Native, log)
	must(err)
	per, err := persist.New(persist.Default(), store, resume, log)
	must(err)
	w.pipe, err = pipeline.New(pipeline.Default(), []pipeline.Stage{dec, d, per}, log, nil)
	must(err)
	must(w.pipe.Start(context.Background()))
	tb.Cleanup(func() {
		w.pipe.Drain(context.Background())
		must(w.pipe.Stop(context.Background()))
		must(store.Close())
	})
	return w
}

// Broadcast implements frames.Broadcaster.
func (w *world) Broadcast(ev frames.Event) {
	w.log = append(w.log, ev.Name+" "+string(ev.Payload))
}

// client is a connection that waits for one answer.
type client struct {
	frames.Client
	peer  *frames.Peer
	frame []byte
	done  chan struct{}
}

func (c *client) Peer() *frames.Peer        { return c.peer }
func (c *client) Close(frames.Close)        {}
func (c *client) Settle(*pipeline.Envelope) { close(c.done) }
func (c *client) Send(b frames.Buffer) bool {
	c.frame = append([]byte(nil), b.Bytes()...)
	b.Release()
	return true
}

type answer struct {
	OK      bool           `json:"ok"`
	Payload map[string]any `json:"payload"`
	Error   struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	raw string
}

// call sends one request as peer and returns the answer and what was announced.
func (w *world) call(peer *frames.Peer, method, params string) (answer, []string) {
	w.tb.Helper()
	w.log = nil
	lease := bufpool.Get(len(params) + 100)
	lease.B = frames.AppendRequest(lease.B[:0], "1", method, []byte(params))
	e := pipeline.NewEnvelope(pipeline.SourceWire, lease)
	c := &client{peer: peer, done: make(chan struct{})}
	e.Client, e.Peer = c, peer
	e.OnSettle(c)
	if err := w.pipe.Submit(e); err != nil {
		w.tb.Fatal(err)
	}
	<-c.done
	a := answer{raw: string(c.frame)}
	if err := json.Unmarshal(c.frame, &a); err != nil {
		w.tb.Fatalf("%s: %v", c.frame, err)
	}
	return a, w.log
}

func key(n int) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+n)), ed25519.SeedSize)))
}

func publicKey(n int) string {
	return base64.RawURLEncoding.EncodeToString(key(n).Public().(ed25519.PublicKey))
}

func deviceID(n int) string {
	id, err := auth.DeviceIDOf(publicKey(n))
	if err != nil {
		panic(err)
	}
	return id
}

// owner came in by the shared secret, with scopes.
func owner(scopes ...string) *frames.Peer {
	return &frames.Peer{ConnID: "c1", Role: frames.RoleOperator, Scopes: frames.ParseScopes(scopes), Protocol: 4, AuthMethod: "token", Identity: "shared"}
}

// self is the n-th device that came in by its own token.
func self(n int, scopes ...string) *frames.Peer {
	p := owner(scopes...)
	p.AuthMethod, p.DeviceID, p.Identity = "device-token", deviceID(n), "device:"+deviceID(n)
	return p
}

// request makes the n-th device ask; it returns the request's id.
func (w *world) request(n int, role string, scopes ...string) string {
	w.tb.Helper()
	var id string
	err := w.store.Update(context.Background(), func(tx storage.Tx) error {
		res, err := w.authority.RequestPairing(tx, auth.PairingRequest{DeviceID: deviceID(n), PublicKey: publicKey(n),
			Platform: "linux", ClientID: "test", ClientMode: "test", Role: role, Scopes: scopes}, time.Now().UnixMilli())
		id = res.Request.RequestID
		return err
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return id
}

// pair makes the n-th device a paired one.
func (w *world) pair(n int, role string, scopes ...string) {
	w.tb.Helper()
	id := w.request(n, role, scopes...)
	err := w.store.Update(context.Background(), func(tx storage.Tx) error {
		_, err := w.authority.Approve(tx, auth.Approval{RequestID: id, Via: auth.ViaOwner,
			Caller: auth.Caller{Scopes: []string{"operator.admin"}}}, time.Now().UnixMilli())
		return err
	})
	if err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) token(n int, role string) auth.Token {
	w.tb.Helper()
	var t auth.Token
	err := w.store.View(context.Background(), func(r storage.Reader) error {
		d, err := auth.GetDevice(r, deviceID(n))
		t = d.Tokens[role]
		return err
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return t
}

func id(n int) string { return fmt.Sprintf(`"deviceId":%q`, deviceID(n)) }
