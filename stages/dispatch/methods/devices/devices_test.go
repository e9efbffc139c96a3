package devices

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/storage/auth"
)

// TestRefusals compares the error texts with those of openclaw 2026.9.6.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.pair(0, "operator", "operator.read", "operator.pairing")
	w.pair(1, "operator", "operator.read")
	w.pair(2, "node")
	foreign := w.request(3, "operator", "operator.read")
	big := w.request(4, "operator", "operator.admin")
	node := w.request(5, "node")
	admin, pairing := owner("operator.admin"), owner("operator.pairing", "operator.read")
	for _, c := range []struct {
		name, method, params, want string
		peer                       *frames.Peer
	}{
		{"no scope", "device.pair.list", `{}`, "missing scope: operator.pairing", owner("operator.write")},
		{"bad params", "device.pair.list", `{"x":1}`, "invalid device.pair.list params: at root: unexpected property 'x'", admin},
		{"no request id", "device.pair.approve", `{}`, "invalid device.pair.approve params: must have required property 'requestId'", admin},
		{"unknown request", "device.pair.approve", `{"requestId":"nosuch"}`, "unknown requestId", admin},
		{"unknown request, no admin", "device.pair.approve", `{"requestId":"nosuch"}`, "device pairing approval denied", pairing},
		{"approving more than one has", "device.pair.approve", `{"requestId":"` + big + `"}`, "missing scope: operator.admin", pairing},
		{"approving a node without admin", "device.pair.approve", `{"requestId":"` + node + `"}`, "device pairing approval denied", pairing},
		{"approving another device's", "device.pair.approve", `{"requestId":"` + foreign + `"}`, "device pairing approval denied", self(0, "operator.pairing", "operator.read")},
		{"rejecting unknown", "device.pair.reject", `{"requestId":"nosuch"}`, "unknown requestId", admin},
		{"rejecting another device's", "device.pair.reject", `{"requestId":"` + foreign + `"}`, "device pairing rejection denied", self(0, "operator.pairing")},
		{"removing unknown", "device.pair.remove", `{"deviceId":"nosuch"}`, "unknown deviceId", admin},
		{"removing a path", "device.pair.remove", `{"deviceId":"../../etc/passwd"}`, "unknown deviceId", admin},
		{"removing another", "device.pair.remove", `{` + id(1) + `}`, "device pairing removal denied", self(0, "operator.pairing")},
		{"renaming unknown", "device.pair.rename", `{"deviceId":"nosuch","label":"z"}`, "unknown deviceId", admin},
		{"renaming to blank", "device.pair.rename", `{` + id(1) + `,"label":" "}`, "label required", admin},
		{"renaming to empty", "device.pair.rename", `{` + id(1) + `,"label":""}`, "invalid device.pair.rename params: at /label: must not have fewer than 1 characters", admin},
		{"renaming another", "device.pair.rename", `{` + id(1) + `,"label":"z"}`, "device pairing rename denied", self(0, "operator.pairing")},
		{"rotating unknown", "device.token.rotate", `{"deviceId":"nosuch","role":"operator"}`, "device token rotation denied", admin},
		{"rotating a role it has not", "device.token.rotate", `{` + id(1) + `,"role":"node"}`, "device token rotation denied", admin},
		{"rotating to more than approved", "device.token.rotate", `{` + id(1) + `,"role":"operator","scopes":["operator.admin"]}`, "device token rotation denied", admin},
		{"rotating to more than the caller has", "device.token.rotate", `{` + id(0) + `,"role":"operator"}`, "device token rotation denied", owner("operator.pairing")},
		{"rotating another's", "device.token.rotate", `{` + id(1) + `,"role":"operator"}`, "device token rotation denied", self(0, "operator.pairing", "operator.read")},
		{"rotating a node's without admin", "device.token.rotate", `{` + id(2) + `,"role":"node"}`, "device token rotation denied", pairing},
		{"revoking unknown", "device.token.revoke", `{"deviceId":"nosuch","role":"operator"}`, "device token revocation denied", admin},
		{"revoking another's", "device.token.revoke", `{` + id(1) + `,"role":"operator"}`, "device token revocation denied", self(0, "operator.pairing")},
		{"setup code without admin", "device.pair.setupCode", `{}`, "missing scope: operator.admin", pairing},
		{"setup code", "device.pair.setupCode", `{}`, "Gateway is only bound to loopback. Set gateway.bind=lan, enable tailscale serve, or configure plugins.entries.device-pair.config.publicUrl.", admin},
		{"join url", "device.pair.setupCode", `{"joinUrl":true,"bootstrapProfile":"voice-node"}`, "Join URLs require bootstrapProfile=node.", admin},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, log := w.call(c.peer, c.method, c.params)
			if a.OK || a.Error.Message != c.want {
				t.Errorf("got %s, want %q", a.raw, c.want)
			}
			if code := "INVALID_REQUEST"; !strings.HasPrefix(c.want, "missing scope: operator.pairing") && c.name != "setup code without admin" && a.Error.Code != code {
				t.Errorf("code %s, want %s", a.Error.Code, code)
			}
			if len(log) != 0 {
				t.Errorf("a refusal did %v", log)
			}
		})
	}
	w.loopback = false
	if a, _ := w.call(admin, "device.pair.setupCode", `{}`); a.OK || !strings.Contains(a.Error.Message, "issues no setup codes") {
		t.Errorf("setup code, reachable from elsewhere: %s", a.raw)
	}
	if a, _ := w.call(admin, "device.pair.setupStatus", `{"setupId":"nosuch"}`); !a.OK || len(a.Payload) != 0 {
		t.Errorf("setup status: %s", a.raw)
	}
}

func TestApprove(t *testing.T) {
	w := newWorld(t)
	req := w.request(0, "operator", "operator.read")
	a, log := w.call(owner("operator.admin"), "device.pair.approve", `{"requestId":" `+req+` "}`)
	if !a.OK || a.Payload["requestId"] != req {
		t.Fatal(a.raw)
	}
	dev, _ := a.Payload["device"].(map[string]any)
	for _, member := range []string{"deviceId", "publicKey", "platform", "clientId", "clientMode", "role", "roles", "scopes", "approvedVia", "createdAtMs", "approvedAtMs", "tokens"} {
		if _, ok := dev[member]; !ok {
			t.Errorf("device has no %s: %v", member, dev)
		}
	}
	for _, secret := range []string{"hash", "generation", "token\"", "approvedScopes"} {
		if strings.Contains(a.raw, secret) {
			t.Errorf("the answer shows %s: %s", secret, a.raw)
		}
	}
	if len(log) != 1 || !strings.HasPrefix(log[0], "device.pair.resolved ") || !strings.Contains(log[0], `"decision":"approved"`) ||
		!strings.Contains(log[0], req) || !strings.Contains(log[0], deviceID(0)) {
		t.Errorf("events %v", log)
	}
	if a, _ := w.call(owner("operator.admin"), "device.pair.approve", `{"requestId":"`+req+`"}`); a.Error.Message != "unknown requestId" {
		t.Errorf("twice: %s", a.raw)
	}
}

// TestApproveNeedsItsScopes: CVE-2026-35639, an approver must hold every scope that the
// device ends up with.
func TestApproveNeedsItsScopes(t *testing.T) {
	w := newWorld(t)
	req := w.request(0, "operator", "operator.read", "operator.approvals")
	for _, c := range []struct {
		peer *frames.Peer
		ok   bool
	}{
		{owner("operator.pairing"), false},
		{owner("operator.pairing", "operator.read"), false},
		{owner("operator.pairing", "operator.write"), false}, // write implies read, not approvals
		{owner("operator.pairing", "operator.write", "operator.approvals"), true},
	} {
		if a, _ := w.call(c.peer, "device.pair.approve", `{"requestId":"`+req+`"}`); a.OK != c.ok {
			t.Errorf("%v: %s", c.peer.Scopes.Names(), a.raw)
		}
	}
}

func TestReject(t *testing.T) {
	w := newWorld(t)
	req := w.request(0, "operator", "operator.read")
	a, log := w.call(owner("operator.pairing"), "device.pair.reject", `{"requestId":"`+req+`"}`)
	if !a.OK || a.Payload["requestId"] != req || a.Payload["deviceId"] != deviceID(0) || len(a.Payload) != 2 {
		t.Fatal(a.raw)
	}
	if len(log) != 1 || !strings.Contains(log[0], `"decision":"rejected"`) {
		t.Errorf("events %v", log)
	}
}

func TestPendingExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		req := w.request(0, "operator", "operator.read")
		time.Sleep(5*time.Minute + time.Second)
		if a, _ := w.call(owner("operator.admin"), "device.pair.list", `{}`); len(a.Payload["pending"].([]any)) != 0 {
			t.Errorf("listed: %s", a.raw)
		}
		if a, _ := w.call(owner("operator.admin"), "device.pair.approve", `{"requestId":"`+req+`"}`); a.Error.Message != "unknown requestId" {
			t.Errorf("approved: %s", a.raw)
		}
	})
}

func TestList(t *testing.T) {
	w := newWorld(t)
	if a, _ := w.call(owner("operator.pairing"), "device.pair.list", `{}`); !strings.Contains(a.raw, `"payload":{"pending":[],"paired":[]}`) {
		t.Errorf("empty: %s", a.raw)
	}
	w.pair(0, "operator", "operator.read")
	w.pair(1, "operator", "operator.pairing")
	w.request(1, "operator", "operator.write")
	w.request(2, "operator", "operator.read")
	count := func(p *frames.Peer) (pending, paired int) {
		a, _ := w.call(p, "device.pair.list", `{}`)
		return len(a.Payload["pending"].([]any)), len(a.Payload["paired"].([]any))
	}
	for _, c := range []struct {
		name            string
		peer            *frames.Peer
		pending, paired int
	}{
		{"holder of the secret", owner("operator.pairing"), 2, 2},
		{"a device, no admin", self(1, "operator.pairing"), 1, 1},
		{"a device, admin", self(1, "operator.admin"), 2, 2},
	} {
		if pending, paired := count(c.peer); pending != c.pending || paired != c.paired {
			t.Errorf("%s sees %d pending and %d paired, want %d and %d", c.name, pending, paired, c.pending, c.paired)
		}
	}
	a, _ := w.call(owner("operator.pairing"), "device.pair.list", `{}`)
	connected := map[any]any{}
	for _, d := range a.Payload["paired"].([]any) {
		m := d.(map[string]any)
		connected[m["deviceId"]] = m["connected"]
	}
	if connected[deviceID(0)] != true || connected[deviceID(1)] != false {
		t.Errorf("connected: %v", connected)
	}
	if strings.Contains(a.raw, w.token(0, "operator").Hash) || strings.Contains(a.raw, w.token(0, "operator").Generation) {
		t.Error("the list shows what tokens are made of")
	}
}

func TestRemoveAndRename(t *testing.T) {
	w := newWorld(t)
	w.pair(0, "operator", "operator.read", "operator.pairing")
	a, log := w.call(self(0, "operator.pairing"), "device.pair.rename", `{`+id(0)+`,"label":" My dev "}`)
	if !a.OK || a.Payload["label"] != "My dev" || a.Payload["deviceId"] != deviceID(0) || !slices.Equal(log, []string{"device.pair.changed {}"}) {
		t.Errorf("rename: %s %v", a.raw, log)
	}
	a, log = w.call(self(0, "operator.pairing"), "device.pair.remove", `{`+id(0)+`}`)
	if !a.OK || a.Payload["deviceId"] != deviceID(0) || !slices.Equal(log, []string{"disconnect " + deviceID(0)[:6] + " none"}) {
		t.Errorf("remove: %s %v", a.raw, log)
	}
	if a, _ := w.call(owner("operator.admin"), "device.pair.remove", `{`+id(0)+`}`); a.Error.Message != "unknown deviceId" {
		t.Errorf("twice: %s", a.raw)
	}
}

// TestRotate: GHSA-4jpw and CVE-2026-42422, a rotated token has at most what its caller
// has and what was approved; only the device itself gets to see it.
func TestRotate(t *testing.T) {
	w := newWorld(t)
	w.pair(0, "operator", "operator.read", "operator.pairing")
	before := w.token(0, "operator")
	a, log := w.call(owner("operator.admin"), "device.token.rotate", `{`+id(0)+`,"role":"operator"}`)
	if !a.OK || a.Payload["tokenDelivery"] != "withheld-cross-device" || a.Payload["token"] != nil || a.Payload["role"] != "operator" {
		t.Fatal(a.raw)
	}
	if after := w.token(0, "operator"); after.Hash == before.Hash {
		t.Error("the token is the same")
	}
	if want := []string{"disconnect " + deviceID(0)[:6] + " operator"}; !slices.Equal(log, want) {
		t.Errorf("did %v, want %v", log, want)
	}
	a, _ = w.call(self(0, "operator.pairing", "operator.read"), "device.token.rotate", `{`+id(0)+`,"role":"operator","scopes":["operator.read"]}`)
	tok, _ := a.Payload["token"].(string)
	if !a.OK || a.Payload["tokenDelivery"] != "in-band" || auth.HashToken(tok) != w.token(0, "operator").Hash {
		t.Fatalf("by itself: %s", a.raw)
	}
	if got := w.token(0, "operator").Scopes; !slices.Equal(got, []string{"operator.read"}) {
		t.Errorf("scopes %v", got)
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	w.pair(0, "operator", "operator.read")
	a, log := w.call(owner("operator.admin"), "device.token.revoke", `{`+id(0)+`,"role":"operator"}`)
	if !a.OK || a.Payload["deviceId"] != deviceID(0) || a.Payload["role"] != "operator" || a.Payload["revokedAtMs"] == nil {
		t.Fatal(a.raw)
	}
	if want := []string{"disconnect " + deviceID(0)[:6] + " operator"}; !slices.Equal(log, want) {
		t.Errorf("did %v, want %v", log, want)
	}
	if a, _ := w.call(owner("operator.admin"), "device.token.rotate", `{`+id(0)+`,"role":"operator"}`); a.OK {
		t.Errorf("a revoked token came back by rotation: %s", a.raw)
	}
}

// TestReapprovedNode: a node is what its token says, so its connection on the old one
// ends; an operator's stays, as upstream's does.
func TestReapprovedNode(t *testing.T) {
	w := newWorld(t)
	w.pair(0, "node")
	w.pair(1, "operator", "operator.read")
	_, log := w.call(owner("operator.admin"), "device.pair.approve", `{"requestId":"`+w.request(0, "node")+`"}`)
	if len(log) != 2 || log[1] != "disconnect "+deviceID(0)[:6]+" node" {
		t.Errorf("node: %v", log)
	}
	_, log = w.call(owner("operator.admin"), "device.pair.approve", `{"requestId":"`+w.request(1, "operator", "operator.write")+`"}`)
	if len(log) != 1 {
		t.Errorf("operator: %v", log)
	}
}

func TestNewRefusesHoles(t *testing.T) {
	if _, err := New(Deps{}); err == nil {
		t.Error("New took empty Deps")
	}
}
