package badinput_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

var allScopes = []string{"operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"}

// object is a JSON object.
type object = map[string]any

// connectParams are the params of connect, before they are spoilt.
type connectParams struct {
	object
	key ed25519.PrivateKey // of the device; nil for none
}

// clientOf are the params of a client with the shared token.
func clientOf(id, mode string, scopes ...string) connectParams {
	if scopes == nil {
		scopes = []string{}
	}
	return connectParams{object: object{"minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": scopes, "caps": []string{},
		"client": object{"id": id, "version": "1.0.0", "platform": "linux", "mode": mode}, "auth": object{"token": token}}}
}

// backend is the client that needs no device on this machine.
func backend(scopes ...string) connectParams { return clientOf("gateway-client", "backend", scopes...) }

// with returns the params with one member replaced, or removed when v is nil.
func (c connectParams) with(name string, v any) connectParams {
	out := object{}
	for k, old := range c.object {
		out[k] = old
	}
	if out[name] = v; v == nil {
		delete(out, name)
	}
	c.object = out
	return c
}

// as adds a device that proves itself with key.
func (c connectParams) as(key ed25519.PrivateKey) connectParams {
	c.key = key
	return c
}

// device is a new device's key.
func newDevice(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func deviceID(key ed25519.PrivateKey) string {
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:])
}

// proof is the device block of wire.md 3.4, over v3.
func (c connectParams) proof(nonce string, ts int64) object {
	text := func(v any) string { s, _ := v.(string); return s }
	client, _ := c.object["client"].(object)
	auth, _ := c.object["auth"].(object)
	secret := text(auth["token"])
	for _, other := range []string{"deviceToken", "bootstrapToken"} {
		if secret == "" {
			secret = text(auth[other])
		}
	}
	scopes, _ := c.object["scopes"].([]string)
	payload := strings.Join([]string{"v3", deviceID(c.key), text(client["id"]), text(client["mode"]), text(c.object["role"]),
		strings.Join(scopes, ","), fmt.Sprint(ts), secret, nonce, text(client["platform"]), text(client["deviceFamily"])}, "|")
	return object{"id": deviceID(c.key), "publicKey": base64.RawURLEncoding.EncodeToString(c.key.Public().(ed25519.PublicKey)),
		"signature": base64.RawURLEncoding.EncodeToString(ed25519.Sign(c.key, []byte(payload))), "signedAt": ts, "nonce": nonce}
}

// encode are the params as JSON, signed for that challenge.
func (c connectParams) encode(p *peer) string {
	o := c.object
	if c.key != nil {
		o = c.with("device", c.proof(p.challenge.Nonce, p.challenge.TS)).object
	}
	b, err := json.Marshal(o, json.Deterministic(true))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// connect sends connect and returns its answer.
func (p *peer) connect(c connectParams) reply {
	p.t.Helper()
	return p.call("connect", c.encode(p))
}

// mustConnect is connect with hello as its answer.
func (p *peer) mustConnect(c connectParams) hello {
	p.t.Helper()
	r := p.connect(c)
	if !r.OK {
		p.t.Fatalf("connect: %s", r)
	}
	p.hello = r.Payload
	var h hello
	if err := json.Unmarshal(r.Payload, &h); err != nil {
		p.t.Fatal(err)
	}
	return h
}

// hello is what tests look at of hello-ok.
type hello struct {
	Protocol int `json:"protocol"`
	Features struct {
		Methods []string `json:"methods"`
	} `json:"features"`
	Auth struct {
		Method      string   `json:"method"`
		Role        string   `json:"role"`
		Scopes      []string `json:"scopes"`
		DeviceToken string   `json:"deviceToken"`
	} `json:"auth"`
}

// refusedConnect asserts that a connect is refused and the connection closed with the
// same text, as every refusal of the handshake is (wire.md 3.4).
func (p *peer) refusedConnect(c connectParams, code, message, detail string) reply {
	p.t.Helper()
	r := p.connect(c)
	r.refused(p.t, code, message)
	if detail != "" {
		r.details(p.t, detail)
	}
	p.wantClose("1008 " + cut(message))
	return r
}

// cut is what fits of a reason: 120 bytes.
func cut(s string) string { return s[:min(len(s), 120)] }
