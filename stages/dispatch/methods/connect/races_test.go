package connect

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/storage"
	"sluice/storage/auth"
)

// TestSecretRotation: GHSA-xmxx and CVE-2026-41916, connections on an old secret end,
// and it lets nobody in any more.
func TestSecretRotation(t *testing.T) {
	w := newWorld(t)
	d := newDevice(0)
	shared := w.connect(local(), params("gateway-client", "backend", token(testSecret)))
	paired := w.connect(local(), cliParams(d, "operator.read"))
	own := w.connect(remote(), params("cli", "cli", scopes("operator.read"), deviceToken(paired.hello(t).Auth.DeviceToken), d.sign()))
	if !own.OK {
		t.Fatal(own.raw)
	}
	settings := defaultAuth()
	settings.AutoApproveLocal = false
	if err := w.h.SetAuth(settings); err != nil {
		t.Fatal(err)
	}
	if shared.c.isClosed() {
		t.Fatal("a change of another setting closed a connection")
	}
	settings.Secret = "new-secret"
	if err := w.h.SetAuth(settings); err != nil {
		t.Fatal(err)
	}
	want := frames.Close{Code: 4001, Reason: "gateway auth changed"}
	for _, c := range []*client{shared.c, paired.c} {
		if !c.isClosed() || *c.closed != want {
			t.Errorf("%s: close %v, want %v", c.id, c.closed, want)
		}
	}
	if own.c.isClosed() {
		t.Error("a connection by its own device token was closed")
	}
	if a := w.connect(remote(), params("cli", "cli", token(testSecret))); a.code() != "AUTH_TOKEN_MISMATCH" {
		t.Errorf("the old secret: %.200s", a.raw)
	}
	if a := w.connect(remote(), params("cli", "cli", token("new-secret"))); !a.OK {
		t.Errorf("the new secret: %s", a.raw)
	}
	if err := w.h.SetAuth(Auth{Mode: ModeToken, Secret: " "}); err == nil {
		t.Error("an empty secret was accepted: that would fail open")
	}
	if err := w.h.SetAuth(Auth{Mode: "maybe"}); err == nil {
		t.Error("an unknown mode was accepted")
	}
}

func TestLeavingModeNone(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.Auth = Auth{Mode: ModeNone, AutoApproveLocal: true} })
	a := w.connect(local(), params("gateway-client", "backend", scopes("operator.admin")))
	if !a.OK {
		t.Fatal(a.raw)
	}
	if err := w.h.SetAuth(defaultAuth()); err != nil {
		t.Fatal(err)
	}
	if !a.c.isClosed() {
		t.Error("a connection from the time without a secret stays")
	}
}

// TestRotationDuringConnect: a connection whose hello is being made when the secret
// changes is closed as well.
func TestRotationDuringConnect(t *testing.T) {
	var w *world
	w = newWorld(t, func(d *Deps) {
		d.Health = func() []byte {
			if err := w.h.SetAuth(Auth{Mode: ModeToken, Secret: "new-secret"}); err != nil {
				t.Error(err)
			}
			return []byte(`{}`)
		}
	})
	a := w.connect(local(), params("gateway-client", "backend", token(testSecret)))
	if a.close == nil || a.close.Code != 4001 || a.close.Reason != "gateway auth changed" {
		t.Errorf("close %v", a.close)
	}
	if slices.Contains(names(w.take()), "connected") {
		t.Error("the connection was announced")
	}
}

// TestRemovalDuringConnect is the same for a device that is removed, or whose token is
// rotated or revoked, while its hello is being made.
func TestRemovalDuringConnect(t *testing.T) {
	for name, change := range map[string]func(storage.Tx, *auth.Authority, string) error{
		"remove": func(tx storage.Tx, a *auth.Authority, id string) error {
			_, err := a.Remove(tx, id, admin())
			return err
		},
		"rotate": func(tx storage.Tx, a *auth.Authority, id string) error {
			_, err := a.Rotate(tx, auth.Rotation{DeviceID: id, Role: "operator", Caller: admin()}, 1)
			return err
		},
		"revoke": func(tx storage.Tx, a *auth.Authority, id string) error {
			_, err := a.Revoke(tx, id, "operator", admin(), 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(0)
			var w *world
			armed := false
			w = newWorld(t, func(deps *Deps) {
				deps.Connected = func(*frames.Peer) {
					if armed {
						t.Error("the connection was announced")
					}
				}
			})
			w.connect(local(), cliParams(d, "operator.read"))
			armed = true
			c := w.client(local())
			c.onSend = func() { // hello is out, Accept has not run
				w.update(func(tx storage.Tx, a *auth.Authority) error { return change(tx, a, d.id) })
				w.h.Disconnect(d.id, frames.RoleNone)
			}
			w.submit(c, cliParams(d, "operator.read"))
			if a := w.await(c); a.close == nil || a.close.Code != 4001 || a.close.Reason != "device removed" {
				t.Errorf("close %v", a.close)
			}
		})
	}
}

func TestDisconnect(t *testing.T) {
	w := newWorld(t)
	d := newDevice(0)
	mine := w.connect(local(), cliParams(d, "operator.read"))
	other := w.connect(local(), cliParams(newDevice(1), "operator.read"))
	w.h.Disconnect(d.id, frames.RoleNode)
	if mine.c.isClosed() {
		t.Error("an operator's connection was closed for its node token")
	}
	w.h.Disconnect(d.id, frames.RoleOperator)
	if !mine.c.isClosed() || mine.c.closed.Code != 4001 || mine.c.closed.Reason != "device removed" {
		t.Errorf("close %v", mine.c.closed)
	}
	if other.c.isClosed() {
		t.Error("another device was disconnected")
	}
}

// TestTokenRotatedBeforeWrite: a device token that was good when the handshake began and
// is not when its write runs lets nobody in.
func TestTokenRotatedBeforeWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		gate := &gatedStore{}
		w = newWorld(t, func(d *Deps) { gate.Store = d.Store; d.Store = gate })
		d := newDevice(0)
		tok := w.connect(local(), cliParams(d, "operator.read")).hello(t).Auth.DeviceToken
		time.Sleep(2 * time.Minute) // so that last seen is due
		gate.afterViews(2, func() {
			w.update(func(tx storage.Tx, a *auth.Authority) error {
				_, err := a.Rotate(tx, auth.Rotation{DeviceID: d.id, Role: "operator", Caller: admin()}, time.Now().UnixMilli())
				return err
			})
		})
		a := w.connect(local(), params("cli", "cli", scopes("operator.read"), deviceToken(tok), d.sign()))
		if a.code() != "AUTH_DEVICE_TOKEN_MISMATCH" || a.close.Code != 1008 {
			t.Errorf("got %.300s %v", a.raw, a.close)
		}
	})
}

// gatedStore runs a function after a number of views, or fails them.
type gatedStore struct {
	storage.Store
	views int
	then  func()
	fail  error
}

func (g *gatedStore) afterViews(n int, fn func()) { g.views, g.then = n, fn }

func (g *gatedStore) View(ctx context.Context, fn func(storage.Reader) error) error {
	if g.fail != nil {
		return g.fail
	}
	err := g.Store.View(ctx, fn)
	if g.views--; g.views == 0 {
		g.then()
	}
	return err
}

func TestUnreadableRecords(t *testing.T) {
	gate := &gatedStore{fail: errors.New("disk on fire")}
	w := newWorld(t, func(d *Deps) { gate.Store = d.Store; d.Store = gate })
	a := w.connect(local(), cliParams(newDevice(0), "operator.read"))
	if a.Error == nil || a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable || a.close == nil || a.close.Code != 1011 {
		t.Errorf("got %s %v", a.raw, a.close)
	}
	if a := w.connect(local(), params("gateway-client", "backend", token(testSecret))); !a.OK {
		t.Errorf("a client without a device: %s", a.raw)
	}
}

// TestUnwritableStore: law 3, no hello and no event for what is not on disk; law 6, the
// client is told why.
func TestUnwritableStore(t *testing.T) {
	w := newWorld(t)
	d := newDevice(0)
	for _, hs := range []frames.Handshake{local(), remote()} {
		w.full.Store(true)
		a := w.connect(hs, cliParams(d, "operator.read"))
		if a.Error == nil || a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable || a.close == nil || a.close.Code != 1013 {
			t.Errorf("got %s %v", a.raw, a.close)
		}
		if ev := w.take(); len(ev) != 0 {
			t.Errorf("events %v for what was not written", names(ev))
		}
	}
	w.full.Store(false)
	if a := w.connect(local(), cliParams(d, "operator.read")); !a.OK {
		t.Errorf("with room again: %s", a.raw)
	}
}

// TestFullDiskKeepsNobodyOut: a paired device comes in although its last-seen time
// cannot be written.
func TestFullDiskKeepsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := newDevice(0)
		w.connect(local(), cliParams(d, "operator.read"))
		time.Sleep(2 * time.Minute)
		w.full.Store(true)
		if a := w.connect(local(), cliParams(d, "operator.read")); !a.OK {
			t.Errorf("got %s", a.raw)
		}
	})
}
