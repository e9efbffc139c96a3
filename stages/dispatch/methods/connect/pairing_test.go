package connect

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/storage"
	"sluice/storage/auth"

	"github.com/go-json-experiment/json"
)

// cliParams are those of the CLI with a device and the shared secret.
func cliParams(d *device, list ...string) *frames.ConnectParams {
	return params("cli", "cli", scopes(list...), token(testSecret), d.sign())
}

func (w *world) device(d *device) *auth.PairedDevice {
	w.tb.Helper()
	var out *auth.PairedDevice
	err := w.store.View(context.Background(), func(r storage.Reader) error {
		rec, err := auth.GetDevice(r, d.id)
		if err == nil {
			out = &rec
		}
		return nil
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return out
}

func (w *world) update(fn func(tx storage.Tx, a *auth.Authority) error) {
	w.tb.Helper()
	if err := w.store.Update(context.Background(), func(tx storage.Tx) error { return fn(tx, w.h.deps.Authority) }); err != nil {
		w.tb.Fatal(err)
	}
}

func admin() auth.Caller { return auth.Caller{Scopes: []string{"operator.admin"}} }

// names lists event names with the payload's decision.
func names(events []event) (out []string) {
	for _, e := range events {
		s := e.name
		if d, ok := e.payload["decision"]; ok {
			s += fmt.Sprintf("=%v", d)
		}
		out = append(out, s)
	}
	return out
}

func (a answer) details(t *testing.T) pairingDetails {
	t.Helper()
	var d pairingDetails
	if a.Error == nil {
		t.Fatalf("not refused: %.200s", a.raw)
	}
	if err := json.Unmarshal(a.Error.Details, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSilentPairingHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := newDevice(0)
		first := w.connect(local(), cliParams(d, "operator.read")).hello(t)
		if got, want := names(w.take()), []string{"device.pair.resolved=approved", "connected"}; !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
		rec := w.device(d)
		if rec == nil || rec.ApprovedVia != auth.ViaSilent || rec.RemoteIP != "" || rec.LastSeenReason != "connect" {
			t.Fatalf("record %+v", rec)
		}
		written := w.persist.Stats.Written.Load()
		time.Sleep(time.Second)
		again := w.connect(local(), cliParams(d, "operator.read"))
		if got := again.hello(t); got.Auth.DeviceToken != first.Auth.DeviceToken || got.Auth.IssuedAtMs != first.Auth.IssuedAtMs {
			t.Errorf("another token on reconnect: %+v, first %+v", got.Auth, first.Auth)
		}
		if p := again.c.Peer(); p.Identity != "device:"+d.id || p.DeviceID != d.id {
			t.Errorf("peer %+v", p)
		}
		if n := w.persist.Stats.Written.Load(); n != written {
			t.Errorf("a reconnect wrote %d times", n-written)
		}
		if got := names(w.take()); !slices.Equal(got, []string{"connected"}) {
			t.Errorf("events of a reconnect: %v", got)
		}
		time.Sleep(time.Minute) // last seen is written at most once a minute
		w.connect(local(), cliParams(d, "operator.read"))
		w.connect(local(), cliParams(d, "operator.read"))
		if n := w.persist.Stats.Written.Load(); n != written+1 {
			t.Errorf("two reconnects after a minute wrote %d times, want 1", n-written)
		}
	})
}

// TestPendingPairing: CVE-2026-32042, an unpaired key is not let in by the shared secret.
func TestPendingPairing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := newDevice(0)
		a := w.connect(remote(), cliParams(d, "operator.write", "operator.read"))
		det := a.details(t)
		if a.Error.Code != "NOT_PAIRED" || det.Reason != "not-paired" || det.DeviceID != d.id || det.RequestedRole != "operator" ||
			!slices.Equal(det.RequestedScopes, []string{"operator.write", "operator.read"}) ||
			det.RemediationHint != "Approve this device from the pending pairing requests." || det.ApprovedRoles != nil || det.Retryable {
			t.Fatalf("got %s", a.raw)
		}
		// openclaw-node parses exactly this.
		if want := "pairing required: device is not approved yet (requestId: " + det.RequestID + ")"; a.close.Code != 1008 || a.close.Reason != want {
			t.Errorf("close %v, want 1008 %q", a.close, want)
		}
		ev := w.take()
		if !slices.Equal(names(ev), []string{"device.pair.requested"}) {
			t.Fatalf("events %v", names(ev))
		}
		for _, member := range []string{"requestId", "deviceId", "publicKey", "platform", "clientId", "clientMode", "role", "roles", "scopes", "remoteIp", "silent", "isRepair", "ts"} {
			if _, ok := ev[0].payload[member]; !ok {
				t.Errorf("device.pair.requested has no %s: %v", member, ev[0].payload)
			}
		}
		if again := w.connect(remote(), cliParams(d, "operator.read")).details(t); again.RequestID != det.RequestID {
			t.Errorf("asking for less made another request: %s, was %s", again.RequestID, det.RequestID)
		}
		if ev := w.take(); len(ev) != 0 {
			t.Errorf("a refreshed request announced %v", names(ev))
		}
		wider := w.connect(remote(), cliParams(d, "operator.admin")).details(t)
		if wider.RequestID == det.RequestID {
			t.Error("asking for more kept the request id: an approver would grant what it was not shown")
		}
		if got, want := names(w.take()), []string{"device.pair.resolved=rejected", "device.pair.requested"}; !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
		w.update(func(tx storage.Tx, a *auth.Authority) error {
			_, err := a.Approve(tx, auth.Approval{RequestID: wider.RequestID, Via: auth.ViaOwner, Caller: admin()}, time.Now().UnixMilli())
			return err
		})
		if h := w.connect(remote(), cliParams(d, "operator.read")).hello(t); h.Auth.DeviceToken == "" || !slices.Equal(h.Auth.Scopes, []string{"operator.read"}) {
			t.Errorf("after the approval: %+v", h.Auth)
		}
	})
}

func TestPendingExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := newDevice(0)
		first := w.connect(remote(), cliParams(d, "operator.read")).details(t)
		time.Sleep(5*time.Minute + time.Second)
		if second := w.connect(remote(), cliParams(d, "operator.read")).details(t); second.RequestID == first.RequestID {
			t.Error("a request lives longer than five minutes")
		}
	})
}

// TestUpgrades walks the reasons for which a paired device is asked again.
func TestUpgrades(t *testing.T) {
	page := local()
	page.Origin = "http://localhost:5173"
	app := func(platform string) func(*frames.ConnectParams) {
		return func(p *frames.ConnectParams) {
			p.Client.ID, p.Client.Mode, p.Client.Platform = "openclaw-macos", "ui", platform
		}
	}
	mac := func(p *frames.ConnectParams) { p.Client.Platform, p.Client.DeviceFamily = "darwin", "Mac" }
	for _, c := range []struct {
		name   string
		pair   []func(*frames.ConnectParams)
		hs     frames.Handshake
		then   []func(*frames.ConnectParams)
		reason string // "" = let in
		text   string
	}{
		{"more scopes, here, by the secret", nil, local(), []func(*frames.ConnectParams){scopes("operator.admin")}, "", ""},
		{"more scopes from elsewhere", nil, remote(), []func(*frames.ConnectParams){scopes("operator.admin")}, "scope-upgrade", "device is asking for more scopes than currently approved"},
		{"fewer scopes from elsewhere", nil, remote(), []func(*frames.ConnectParams){scopes()}, "", ""},
		{"implied scope from elsewhere", nil, remote(), []func(*frames.ConnectParams){scopes("operator.sessions.read")}, "", ""},
		{"another role here: not silent for a paired device", nil, local(), []func(*frames.ConnectParams){role("node"), scopes()}, "role-upgrade", "device is asking for a higher role than currently approved"},
		{"another platform, cli here", nil, local(), []func(*frames.ConnectParams){mac}, "metadata-upgrade", "device identity changed and must be re-approved"},
		{"an app's other platform here", []func(*frames.ConnectParams){app("macos 15.1")}, local(), []func(*frames.ConnectParams){app("linux")}, "", ""},
		{"an app's other platform elsewhere", []func(*frames.ConnectParams){app("macos 15.1")}, remote(), []func(*frames.ConnectParams){app("linux")}, "metadata-upgrade", "device identity changed and must be re-approved"},
		{"an app's update elsewhere", []func(*frames.ConnectParams){app("macos 15.1")}, remote(), []func(*frames.ConnectParams){app("macos 15.2")}, "", ""},
		{"more scopes from a page that is no UI", nil, page, []func(*frames.ConnectParams){scopes("operator.admin")}, "scope-upgrade", "device is asking for more scopes than currently approved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			d := newDevice(0)
			make := func(change []func(*frames.ConnectParams)) *frames.ConnectParams {
				p := params("cli", "cli", scopes("operator.read"), token(testSecret))
				for _, f := range append(slices.Clone(c.pair), change...) {
					f(p)
				}
				d.sign()(p)
				return p
			}
			if a := w.connect(local(), make(nil)); !a.OK {
				t.Fatalf("first: %s", a.raw)
			}
			w.take()
			a := w.connect(c.hs, make(c.then))
			if c.reason == "" {
				if !a.OK {
					t.Fatalf("refused: %s", a.raw)
				}
				return
			}
			det := a.details(t)
			if det.Reason != c.reason || a.message() != "pairing required: "+c.text || det.RequestID == "" {
				t.Fatalf("got %s, want %s %q", a.raw, c.reason, c.text)
			}
			if !slices.Equal(det.ApprovedRoles, []string{"operator"}) || !slices.Equal(det.ApprovedScopes, []string{"operator.read"}) {
				t.Errorf("approved %v %v, want what the device has", det.ApprovedRoles, det.ApprovedScopes)
			}
			if want := frames.CutReason(a.message() + " (requestId: " + det.RequestID + ")"); a.close.Reason != want || len(want) > 120 {
				t.Errorf("close %q, want %q", a.close.Reason, want)
			}
			if !slices.Equal(names(w.take()), []string{"device.pair.requested"}) {
				t.Error("the request was not announced")
			}
		})
	}
}

// TestWhoPairsSilently: only what the server saw itself counts, never what a client says
// of itself (CVE-2026-35656, CVE-2026-53817).
func TestWhoPairsSilently(t *testing.T) {
	page := local()
	page.Origin = "http://localhost:5173"
	proxied := frames.Handshake{Nonce: "nonce-1", Host: "127.0.0.1", RemoteIP: "127.0.0.1", PeerLoopback: true}
	for _, c := range []struct {
		name     string
		hs       frames.Handshake
		id, mode string
		auto     bool
		want     bool
	}{
		{"cli here", local(), "cli", "cli", true, true},
		{"cli here, not by policy", local(), "cli", "cli", false, false},
		{"cli elsewhere", remote(), "cli", "cli", true, false},
		{"cli behind a forwarding proxy of this machine", proxied, "cli", "cli", true, false},
		{"control ui page here", page, "openclaw-control-ui", "webchat", true, true},
		{"webchat page here", page, "webchat-ui", "webchat", true, true},
		{"cli claim from a page here", page, "cli", "cli", true, false},
		{"test claim from a page here", page, "test", "test", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(d *Deps) { d.Auth.AutoApproveLocal = c.auto })
			a := w.connect(c.hs, params(c.id, c.mode, scopes("operator.read"), token(testSecret), newDevice(0).sign()))
			if a.OK != c.want {
				t.Fatalf("let in: %v, want %v: %.300s", a.OK, c.want, a.raw)
			}
			if !a.OK && a.code() != "PAIRING_REQUIRED" {
				t.Fatalf("got %s", a.raw)
			}
		})
	}
}

func TestControlUIIsToldToWait(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.Auth.AllowedOrigins = []string{"https://ui.example"} })
	hs := remote()
	hs.Origin = "https://ui.example"
	a := w.connect(hs, params("openclaw-control-ui", "webchat", scopes("operator.read"), token(testSecret), newDevice(0).sign()))
	if det := a.details(t); det.RecommendedNextStep != "wait_then_retry" || !det.Retryable || det.PauseReconnect == nil || *det.PauseReconnect {
		t.Errorf("got %s", a.raw)
	}
}

func TestClientsThatNeedNoPairing(t *testing.T) {
	page := local()
	page.Origin = "http://localhost:5173"
	for _, c := range []struct {
		name   string
		auth   Auth
		hs     frames.Handshake
		p      func() *frames.ConnectParams
		ident  string
		method string
	}{
		{"local backend", defaultAuth(), local(), func() *frames.ConnectParams {
			return params("gateway-client", "backend", scopes("operator.admin"), token(testSecret), newDevice(0).sign())
		}, "shared", "token"},
		{"control ui in mode none", Auth{Mode: ModeNone}, page, func() *frames.ConnectParams {
			return params("openclaw-control-ui", "webchat", scopes("operator.admin"), newDevice(0).sign())
		}, "open", "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(d *Deps) { d.Auth = c.auth })
			a := w.connect(c.hs, c.p())
			h := a.hello(t)
			if h.Auth.DeviceToken != "" || h.Auth.Method != c.method || !slices.Equal(h.Auth.Scopes, []string{"operator.admin"}) {
				t.Errorf("auth %+v", h.Auth)
			}
			if p := a.c.Peer(); p.Identity != c.ident || p.DeviceID != newDevice(0).id {
				t.Errorf("peer %+v, want identity %s", p, c.ident)
			}
			if w.device(newDevice(0)) != nil || len(w.take()) != 1 {
				t.Error("something was paired")
			}
		})
	}
}
