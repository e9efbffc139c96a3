package badinput_test

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// Each test here is a row of the published advisories that concerns the door, over the
// whole gateway; doc.go has the table.

// TestScopesAreNotSelfDeclared: CVE-2026-22172 GHSA-rqpp. The shared secret without a
// device gives no scopes, whatever is asked for, except to this machine's own tools.
func TestScopesAreNotSelfDeclared(t *testing.T) {
	t.Parallel()
	g := start(t, behindProxy)
	const remote = "203.0.113.30"
	for _, c := range []struct {
		params  connectParams
		headers []string
	}{
		{clientOf("test", "test", allScopes...), nil}, {clientOf("cli", "probe", allScopes...), nil}, {clientOf("webchat", "ui", allScopes...), nil},
		{clientOf("openclaw-ios", "ui", allScopes...), nil}, {clientOf("gateway-client", "cli", allScopes...), nil}, {clientOf("cli", "backend", allScopes...), nil},
		{backend(allScopes...), []string{from(remote)}}, {clientOf("cli", "cli", allScopes...), []string{from(remote)}},
		{backend(allScopes...), []string{"Origin: http://localhost:1"}},
	} {
		p := g.dial(t, c.headers...)
		if h := p.mustConnect(c.params); len(h.Auth.Scopes) != 0 {
			t.Errorf("%v %v: scopes %v", c.params.object["client"], c.headers, h.Auth.Scopes)
		}
		if r := p.call("config.get", ""); r.Error.Code != "FORBIDDEN" {
			t.Errorf("%v: config.get: %s", c.params.object["client"], r)
		}
		p.bye()
	}
	p := g.dial(t)
	unknown := append(slices.Clone(allScopes), "operator.root", "system", "*")
	p.mustConnect(backend(unknown...))
	p.mustHealth()
	p.bye()
}

// remoteDevice pairs a device that comes from elsewhere: it asks, an admin approves.
func (g *gateway) remoteDevice(t testing.TB, admin *peer, ip string, key ed25519.PrivateKey, scopes ...string) hello {
	t.Helper()
	p := g.dial(t, from(ip))
	r := p.connect(clientOf("cli", "cli", scopes...).as(key))
	r.refused(t, "NOT_PAIRED", "pairing required: device is not approved yet")
	var d struct {
		Code      string `json:"code"`
		RequestID string `json:"requestId"`
	}
	if err := json.Unmarshal(r.Error.Details, &d); err != nil || d.Code != "PAIRING_REQUIRED" {
		t.Fatal(r)
	}
	p.wantClose(cut("1008 pairing required: device is not approved yet (requestId: " + d.RequestID + ")"))
	if r := admin.call("device.pair.approve", fmt.Sprintf(`{"requestId":%q}`, d.RequestID)); !r.OK {
		t.Fatal(r)
	}
	p = g.dial(t, from(ip))
	h := p.mustConnect(clientOf("cli", "cli", scopes...).as(key))
	p.bye()
	if h.Auth.DeviceToken == "" {
		t.Fatal("no device token")
	}
	return h
}

// TestUnpairedDevice: CVE-2026-32042. A key that nobody approved is not let in by the
// shared secret, and its request is what an admin sees.
func TestUnpairedDevice(t *testing.T) {
	t.Parallel()
	g := start(t, behindProxy)
	admin := g.operator(t)
	g.remoteDevice(t, admin, "203.0.113.31", newDevice(t), "operator.read")
	admin.bye()
}

// TestReconnectKeepsGrant: CVE-2026-35663. A paired device that asks for more on a later
// connect gets at most its grant, until somebody approves.
func TestReconnectKeepsGrant(t *testing.T) {
	t.Parallel()
	g := start(t, behindProxy.and(settings{"gateway.handshake.failureDelayMs": 0}))
	admin := g.operator(t)
	key, ip := newDevice(t), "203.0.113.32"
	h := g.remoteDevice(t, admin, ip, key, "operator.read")
	for _, auth := range []object{{"token": token}, {"deviceToken": h.Auth.DeviceToken}, {"token": h.Auth.DeviceToken}} {
		p := g.dial(t, from(ip))
		if r := p.connect(clientOf("cli", "cli", "operator.read", "operator.admin").with("auth", auth).as(key)); r.OK {
			t.Errorf("%v: %s", auth, r)
		}
		p.wantGone()
		p = g.dial(t, from(ip))
		got := p.mustConnect(clientOf("cli", "cli", "operator.read").with("auth", auth).as(key)).Auth
		if slices.Contains(got.Scopes, "operator.admin") || slices.Contains(got.Scopes, "operator.write") {
			t.Errorf("%v: %v", auth, got)
		}
		p.bye()
	}
	// Nor as another role, nor by another's key.
	p := g.dial(t, from(ip))
	if r := p.connect(clientOf("node-host", "node").with("role", "node").with("auth", object{"deviceToken": h.Auth.DeviceToken}).as(key)); r.OK {
		t.Error(r)
	}
	p.wantGone()
	p = g.dial(t, from(ip))
	p.refusedConnect(clientOf("cli", "cli", "operator.read").with("auth", object{"deviceToken": h.Auth.DeviceToken}).as(newDevice(t)), "INVALID_REQUEST",
		"unauthorized: device token mismatch (rotate/reissue device token)", "")
	admin.bye()
}

// pairedDevice is a device of elsewhere with the scopes read and pairing.
type pairedDevice struct {
	g     *gateway
	admin *peer
	key   ed25519.PrivateKey
	ip    string
}

func (g *gateway) pairedDevice(t testing.TB) (d pairedDevice, secret string) {
	t.Helper()
	d = pairedDevice{g: g, admin: g.operator(t), key: newDevice(t), ip: "203.0.113.33"}
	return d, g.remoteDevice(t, d.admin, d.ip, d.key, "operator.read", "operator.pairing").Auth.DeviceToken
}

// params are its connect with a credential.
func (d pairedDevice) params(auth object) connectParams {
	return clientOf("cli", "cli", "operator.read", "operator.pairing").with("auth", auth).as(d.key)
}

// mustConnect connects it.
func (d pairedDevice) mustConnect(t testing.TB, auth object) (*peer, hello) {
	t.Helper()
	p := d.g.dial(t, from(d.ip))
	return p, p.mustConnect(d.params(auth))
}

// mismatch asserts that a device token opens nothing any more.
func (d pairedDevice) mismatch(t testing.TB, secret string) {
	t.Helper()
	d.g.dial(t, from(d.ip)).refusedConnect(d.params(object{"deviceToken": secret}), "INVALID_REQUEST",
		"unauthorized: device token mismatch (rotate/reissue device token)", `{"code":"AUTH_DEVICE_TOKEN_MISMATCH"}`)
}

// TestNoMoreThanGranted: GHSA-4jpw, CVE-2026-42422 (rotate mints no more than its caller
// and its device have), CVE-2026-35639 (an approver holds what it approves).
func TestNoMoreThanGranted(t *testing.T) {
	t.Parallel()
	g := start(t, behindProxy.and(settings{"gateway.handshake.failureDelayMs": 0}))
	d, secret := g.pairedDevice(t)
	p, _ := d.mustConnect(t, object{"deviceToken": secret})
	id := deviceID(d.key)
	for _, params := range []object{
		{"deviceId": id, "role": "operator", "scopes": []string{"operator.admin"}}, {"deviceId": id, "role": "operator", "scopes": []string{"operator.read", "operator.write"}},
		{"deviceId": id, "role": "node"}, {"deviceId": id, "role": "admin"}, {"deviceId": " " + id + " ", "role": "node"}, {"deviceId": "../" + id, "role": "operator"},
	} {
		if r := p.call("device.token.rotate", string(mustJSON(t, params))); r.OK || r.Error.Code != "INVALID_REQUEST" {
			t.Errorf("rotate %v: %s", params, r)
		}
	}
	stranger := g.dial(t, from("203.0.113.34"))
	asked := stranger.connect(clientOf("cli", "cli", "operator.admin").as(newDevice(t)))
	stranger.wantGone()
	var request struct {
		ID string `json:"requestId"`
	}
	if err := json.Unmarshal(asked.Error.Details, &request); err != nil || request.ID == "" {
		t.Fatal(asked)
	}
	if r := p.call("device.pair.approve", fmt.Sprintf(`{"requestId":%q}`, request.ID)); r.OK {
		t.Errorf("approved without the scope: %s", r)
	}
	for _, id := range []string{"../" + request.ID, request.ID + "/..", strings.ToUpper(request.ID), ""} {
		if r := d.admin.call("device.pair.approve", fmt.Sprintf(`{"requestId":%q}`, id)); r.OK {
			t.Errorf("approved by %q: %s", id, r)
		}
	}
	p.bye()
	d.admin.bye()
}

// TestTokensEnd: GHSA-xmxx, CVE-2026-53852, CVE-2026-53843. What was rotated, revoked or
// removed is closed at once and stays so.
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	g := start(t, behindProxy.and(settings{"gateway.handshake.failureDelayMs": 0}))
	d, secret := g.pairedDevice(t)
	p, _ := d.mustConnect(t, object{"deviceToken": secret})
	id := deviceID(d.key)
	if r := d.admin.call("device.token.rotate", fmt.Sprintf(`{"deviceId":%q,"role":"operator"}`, id)); !r.OK || strings.Contains(r.raw, `"token":`) {
		t.Error(r)
	}
	p.wantClose("4001 device removed")
	d.mismatch(t, secret)
	// With the shared secret it learns its new token; revoking that ends the role.
	p, h := d.mustConnect(t, object{"token": token})
	if r := d.admin.call("device.token.revoke", fmt.Sprintf(`{"deviceId":%q,"role":"operator"}`, id)); !r.OK {
		t.Error(r)
	}
	p.wantClose("4001 device removed")
	d.mismatch(t, h.Auth.DeviceToken)
	for _, scopes := range [][]string{{}, {"operator.read"}, {"operator.read", "operator.pairing"}} {
		p := g.dial(t, from(d.ip))
		if r := p.connect(clientOf("cli", "cli", scopes...).as(d.key)); r.OK {
			t.Errorf("back after a revocation, asking for %v: %s", scopes, r)
		}
		p.wantGone()
	}
	if r := d.admin.call("device.pair.remove", fmt.Sprintf(`{"deviceId":%q}`, id)); !r.OK {
		t.Error(r)
	}
	d.mismatch(t, h.Auth.DeviceToken)
	d.admin.bye()
}
