package connect

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/storage"
	"sluice/storage/auth"
)

// TestDeviceTokens: scopes on reconnect are at most the grant's (CVE-2026-35663); a
// token asks for no upgrade, a rotated one is dead.
func TestDeviceTokens(t *testing.T) {
	w := newWorld(t)
	d := newDevice(0)
	tok := w.connect(local(), cliParams(d, "operator.read", "operator.write")).hello(t).Auth.DeviceToken
	with := func(list []string, cred func(*frames.ConnectParams), dev *device) *frames.ConnectParams {
		return params("cli", "cli", scopes(list...), cred, dev.sign())
	}
	other := newDevice(1)
	w.connect(local(), cliParams(other, "operator.read"))
	for _, c := range []struct {
		name string
		p    *frames.ConnectParams
		hs   frames.Handshake
		code string
	}{
		{"explicit", with([]string{"operator.read"}, deviceToken(tok), d), remote(), ""},
		{"in the token field", with([]string{"operator.read"}, token(tok), d), remote(), ""},
		{"no scopes", with(nil, deviceToken(tok), d), remote(), ""},
		{"more scopes, elsewhere", with([]string{"operator.admin"}, deviceToken(tok), d), remote(), "AUTH_SCOPE_MISMATCH"},
		{"more scopes, here", with([]string{"operator.admin"}, deviceToken(tok), d), local(), "AUTH_SCOPE_MISMATCH"},
		{"another device's", with([]string{"operator.read"}, deviceToken(tok), other), remote(), "AUTH_DEVICE_TOKEN_MISMATCH"},
		{"cut", with([]string{"operator.read"}, deviceToken(tok[:20]), d), remote(), "AUTH_DEVICE_TOKEN_MISMATCH"},
		{"local backend, its own scopes only", params("gateway-client", "backend", scopes("operator.admin"), deviceToken(tok), d.sign()), local(), "AUTH_SCOPE_MISMATCH"},
		{"as node", params("node-host", "node", role("node"), deviceToken(tok), d.sign()), remote(), "AUTH_DEVICE_TOKEN_MISMATCH"},
	} {
		a := w.connect(c.hs, c.p)
		if a.code() != c.code {
			t.Errorf("%s: %.300s, want %q", c.name, a.raw, c.code)
		}
		if c.code == "" && (a.hello(t).Auth.Method != "device-token" || a.hello(t).Auth.DeviceToken != tok) {
			t.Errorf("%s: auth %+v", c.name, a.hello(t).Auth)
		}
	}
	w.update(func(tx storage.Tx, a *auth.Authority) error {
		_, err := a.Rotate(tx, auth.Rotation{DeviceID: d.id, Role: "operator", Caller: admin()}, time.Now().UnixMilli())
		return err
	})
	if a := w.connect(remote(), with([]string{"operator.read"}, deviceToken(tok), d)); a.code() != "AUTH_DEVICE_TOKEN_MISMATCH" {
		t.Errorf("after rotation: %s", a.raw)
	}
}

// TestRevokedStaysRevoked: CVE-2026-53852 and 53843, a revoked token does not come back
// by connecting again, with scopes or with none, here or elsewhere.
func TestRevokedStaysRevoked(t *testing.T) {
	w := newWorld(t)
	d := newDevice(0)
	w.connect(local(), cliParams(d, "operator.read"))
	w.update(func(tx storage.Tx, a *auth.Authority) error {
		_, err := a.Revoke(tx, d.id, "operator", admin(), time.Now().UnixMilli())
		return err
	})
	for _, hs := range []frames.Handshake{local(), remote()} {
		for _, list := range [][]string{nil, {"operator.read"}} {
			if det := w.connect(hs, cliParams(d, list...)).details(t); det.Reason != "role-upgrade" || det.RequestID == "" {
				t.Errorf("local %v, scopes %v: %+v", hs.Local, list, det)
			}
		}
	}
}

func TestNodes(t *testing.T) {
	w := newWorld(t)
	d := newDevice(0)
	node := func(cred func(*frames.ConnectParams), change ...func(*frames.ConnectParams)) *frames.ConnectParams {
		p := params("node-host", "node", role("node"), scopes(), cred, func(p *frames.ConnectParams) {
			p.Caps, p.Commands, p.Client.DeviceFamily = []string{"system"}, []string{"system.run"}, "Linux"
		})
		for _, f := range change {
			f(p)
		}
		d.sign()(p)
		return p
	}
	a := w.connect(local(), node(token(testSecret)))
	h := a.hello(t)
	if h.Auth.Role != "node" || h.Auth.DeviceToken == "" || len(h.Auth.Scopes) != 0 {
		t.Fatalf("auth %+v", h.Auth)
	}
	if p := a.c.Peer(); p.Role != frames.RoleNode || p.Scopes != 0 || p.Identity != "device:"+d.id {
		t.Errorf("peer %+v", p)
	}
	if a := w.connect(remote(), node(deviceToken(h.Auth.DeviceToken))); !a.OK {
		t.Errorf("by its token: %s", a.raw)
	}
	if a := w.connect(local(), node(token(testSecret), func(p *frames.ConnectParams) { p.Client.DeviceFamily = "" })); !a.OK {
		t.Errorf("without a device family, as old node hosts connect: %s", a.raw)
	}
	if det := w.connect(local(), node(token(testSecret), scopes("operator.admin"))).details(t); det.Reason != "scope-upgrade" {
		t.Errorf("a node that asks for operator scopes: %+v", det)
	}
}

func TestPairingBounds(t *testing.T) {
	w := newWorld(t, func(d *Deps) {
		cfg := auth.Default()
		cfg.MaxDevices, cfg.MaxPending = 2, 3
		a, err := auth.New(cfg, []byte(strings.Repeat("s", auth.SecretBytes)))
		if err != nil {
			t.Fatal(err)
		}
		d.Authority = a
	})
	for i := range byte(2) {
		if a := w.connect(local(), cliParams(newDevice(i), "operator.read")); !a.OK {
			t.Fatalf("device %d: %s", i, a.raw)
		}
	}
	w.take()
	a := w.connect(local(), cliParams(newDevice(2), "operator.read"))
	if a.Error == nil || a.Error.Code != "NOT_PAIRED" || !strings.Contains(a.message(), "too many devices are paired") || a.close.Code != 1008 {
		t.Errorf("third device: %s %v", a.raw, a.close)
	}
	for i := range byte(3) {
		w.connect(remote(), cliParams(newDevice(10+i), "operator.read")).details(t)
	}
	a = w.connect(remote(), cliParams(newDevice(14), "operator.read"))
	if a.Error == nil || !strings.Contains(a.message(), "too many pairing requests are waiting") || a.close.Code != 1008 {
		t.Errorf("fourth request: %s %v", a.raw, a.close)
	}
	if got := names(w.take()); len(got) != 3 {
		t.Errorf("events %v, want three requests", got)
	}
}

// TestSupersededPairings: a client that makes a new key for each run must not fill the
// list of devices.
func TestSupersededPairings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		busy := w.connect(local(), cliParams(newDevice(0), "operator.read")) // stays connected
		idle := w.connect(local(), cliParams(newDevice(1), "operator.read"))
		idle.c.Close(frames.Close{Code: 1000})
		time.Sleep(2 * time.Minute)
		w.connect(local(), cliParams(newDevice(2), "operator.read"))
		if w.device(newDevice(0)) == nil || w.device(newDevice(1)) != nil || w.device(newDevice(2)) == nil {
			t.Errorf("kept: %v %v %v, want the connected and the new one", w.device(newDevice(0)) != nil, w.device(newDevice(1)) != nil, w.device(newDevice(2)) != nil)
		}
		if busy.c.isClosed() {
			t.Error("the connected one was closed")
		}
	})
}
