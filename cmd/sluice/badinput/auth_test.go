package badinput_test

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// from is the header by which a trusted proxy names its client.
func from(ip string) string { return "X-Forwarded-For: " + ip }

// behindProxy makes a gateway trust this machine as a proxy, so that a test can be any
// client of the world.
var behindProxy = settings{"gateway.ws.trustedProxies": []string{"127.0.0.1"}}

// and returns s with further settings.
func (s settings) and(more settings) settings {
	out := settings{}
	for _, m := range []settings{s, more} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

const (
	tokenMissing = "unauthorized: gateway token missing (provide gateway auth token)"
	rateLimited  = "unauthorized: too many failed authentication attempts (retry later)"
)

// TestCredentials: missing, wrong, misplaced and odd secrets, each with its code.
func TestCredentials(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.handshake.failureDelayMs": 1, "gateway.handshake.failureDelayMaxMs": 1})
	base := backend("operator.read")
	const deviceRequired = "device identity required"
	for _, c := range []struct {
		name                  string
		params                connectParams
		code, message, detail string
	}{
		{"no auth", base.with("auth", nil), "NOT_PAIRED", deviceRequired, `{"code":"DEVICE_IDENTITY_REQUIRED"}`},
		{"an empty token", base.with("auth", object{"token": ""}), "NOT_PAIRED", deviceRequired, `{"code":"DEVICE_IDENTITY_REQUIRED"}`},
		{"a token of blanks", base.with("auth", object{"token": "  \t"}), "NOT_PAIRED", deviceRequired, `{"code":"DEVICE_IDENTITY_REQUIRED"}`},
		{"no auth, a device", base.with("auth", nil).as(newDevice(t)), "INVALID_REQUEST", tokenMissing,
			`{"code":"AUTH_TOKEN_MISSING","authReason":"token_missing","canRetryWithDeviceToken":false,"recommendedNextStep":"update_auth_configuration"}`},
		{"a wrong token", base.with("auth", object{"token": "wrong"}), "INVALID_REQUEST", tokenMismatch,
			`{"code":"AUTH_TOKEN_MISMATCH","authReason":"token_mismatch","canRetryWithDeviceToken":false,"recommendedNextStep":"update_auth_credentials"}`},
		{"a wrong token, a device", base.with("auth", object{"token": "wrong"}).as(newDevice(t)), "INVALID_REQUEST", tokenMismatch,
			`{"code":"AUTH_TOKEN_MISMATCH","canRetryWithDeviceToken":true,"recommendedNextStep":"retry_with_device_token"}`},
		{"the token and a byte", base.with("auth", object{"token": token + "x"}), "INVALID_REQUEST", tokenMismatch, ""},
		{"the token but a byte", base.with("auth", object{"token": token[1:]}), "INVALID_REQUEST", tokenMismatch, ""},
		{"the token in capitals", base.with("auth", object{"token": strings.ToUpper(token)}), "INVALID_REQUEST", tokenMismatch, ""},
		{"the token and a null", base.with("auth", object{"token": token + "\x00"}), "INVALID_REQUEST", tokenMismatch, ""},
		{"60 KB of token", base.with("auth", object{"token": strings.Repeat("x", 60_000)}), "INVALID_REQUEST", "*", ""},
		{"a token that is no text", base.with("auth", object{"token": 7}), "INVALID_REQUEST", "invalid connect params: at /auth/token: must be string", ""},
		{"a stray credential", base.with("auth", object{"token": token, "admin": true}), "INVALID_REQUEST", "invalid connect params: at /auth: unexpected property 'admin'", ""},
		{"a wrong device token", base.with("auth", object{"deviceToken": "wrong"}).as(newDevice(t)), "INVALID_REQUEST",
			"unauthorized: device token mismatch (rotate/reissue device token)", `{"code":"AUTH_DEVICE_TOKEN_MISMATCH","authReason":"device_token_mismatch"}`},
		{"a setup code", base.with("auth", object{"bootstrapToken": "000000"}).as(newDevice(t)), "INVALID_REQUEST", "*", `{"code":"AUTH_BOOTSTRAP_TOKEN_INVALID"}`},
		{"an agent's token", base.with("auth", object{"token": token, "agentRuntimeIdentityToken": "x"}), "INVALID_REQUEST", "invalid agent runtime identity token", ""},
		{"a node without a device", base.with("role", "node"), "NOT_PAIRED", deviceRequired, ""},
		{"a Control UI without a device", clientOf("openclaw-control-ui", "webchat"), "INVALID_REQUEST", "*", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := g.dial(t)
			if c.message != "*" {
				p.refusedConnect(c.params, c.code, c.message, c.detail)
				return
			}
			r := p.connect(c.params)
			if r.OK || r.Error.Code != c.code {
				t.Errorf("%s", r)
			}
			if c.detail != "" {
				r.details(t, c.detail)
			}
			p.wantClose("1008 " + cut(r.Error.Message))
		})
	}
	t.Run("the token as password", func(t *testing.T) {
		p := g.dial(t)
		p.mustConnect(base.with("auth", object{"password": token}))
		p.bye()
	})
}

// TestTokenInAddress: an address ends up in logs and histories; a token in it is no
// credential, nor is one in a header or cookie (CVE-2026-25253).
func TestTokenInAddress(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	p, res := g.upgrade(t, upgradeRequest("/?token="+token+"&gatewayUrl=ws://evil.example", "Authorization: Bearer "+token, "Cookie: token="+token, "X-OpenClaw-Token: "+token))
	if p == nil {
		t.Fatal(res.Status)
	}
	p.frame()
	p.refusedConnect(backend("operator.read").with("auth", nil), "NOT_PAIRED", "device identity required", "")
	for _, path := range []string{"/metrics?token=" + token, "/api/diagnostics/prometheus?token=" + token} {
		if res := g.http(t, http.MethodGet, path, ""); res.StatusCode != 400 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if strings.Contains(g.out.String(), token) {
		t.Error("the token is in the log")
	}
}

// TestFailureDelays: a guesser of this machine waits 250 ms·2^n, up to a bound, and
// blocks nobody else (wire.md 3.8).
func TestFailureDelays(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.handshake.failureDelayMaxMs": 1000})
	right := g.operator(t)
	for _, least := range []time.Duration{250, 500, 1000, 1000} {
		least *= time.Millisecond
		p := g.dial(t)
		began := time.Now()
		id := p.request("connect", backend("operator.read").with("auth", object{"token": "wrong"}).encode(p))
		right.mustHealth()
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("others waited %s", took)
		}
		p.answer(id).refused(t, "INVALID_REQUEST", tokenMismatch)
		if took := time.Since(began); took < least || took > least+700*time.Millisecond {
			t.Errorf("a refusal after %s, want %s", took, least)
		}
		p.wantClose("1008 " + tokenMismatch)
	}
	right.bye()
	g.operator(t).bye() // the right secret is not delayed
}

// TestLockout: ten failures lock an address out, also with the right token and on
// another kind of client; other addresses and other credentials are free
// (CVE-2026-62220).
func TestLockout(t *testing.T) {
	t.Parallel()
	g := start(t, behindProxy.and(settings{"gateway.handshake.failureDelayMs": 0}))
	wrong := clientOf("test", "test").with("auth", object{"token": "wrong"})
	const guesser, victim = "203.0.113.7", "203.0.113.8"
	for range 10 {
		g.dial(t, from(guesser)).refusedConnect(wrong, "INVALID_REQUEST", tokenMismatch, "")
	}
	for _, c := range []connectParams{wrong, clientOf("test", "test"), clientOf("cli", "cli"), clientOf("openclaw-ios", "ui")} {
		r := g.dial(t, from(guesser)).refusedConnect(c, "INVALID_REQUEST", rateLimited,
			`{"code":"AUTH_RATE_LIMITED","authReason":"rate_limited","recommendedNextStep":"wait_then_retry"}`)
		if !r.Error.Retryable || r.Error.RetryAfterMs < 290_000 || r.Error.RetryAfterMs > 300_000 {
			t.Errorf("retry: %s", r)
		}
	}
	// What such a client puts before its own address changes nothing.
	g.dial(t, from("198.51.100.1, "+guesser)).refusedConnect(clientOf("test", "test"), "INVALID_REQUEST", rateLimited, "")
	p := g.dial(t, from(victim))
	p.mustConnect(clientOf("test", "test"))
	p.bye()
}

// TestLockoutOverHTTP: the gateway's secret can be guessed over HTTP no faster than over
// a WebSocket (CVE-2026-62220: the limiter is on both paths).
func TestLockoutOverHTTP(t *testing.T) {
	t.Parallel()
	g := start(t, behindProxy)
	ask := func(path, secret string) response {
		return g.http(t, http.MethodGet, path, "", "Authorization", "Bearer "+secret, "X-Forwarded-For", "203.0.113.9")
	}
	const path = "/api/diagnostics/prometheus"
	for range 10 {
		if res := ask(path, "wrong"); res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a wrong secret: %s", res.Status)
		}
	}
	for _, secret := range []string{"wrong", token} {
		if res := ask(path, secret); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
			t.Errorf("after 10 wrong secrets of one address: %s %.200s", res.Status, res.body)
		}
	}
	if res := ask("/readyz", token); strings.Contains(res.body, "uptimeMs") {
		t.Errorf("/readyz tells a locked-out address that its guess was right: %s", res.body)
	}
	if res := g.http(t, http.MethodGet, path, "", "Authorization", "Bearer "+token, "X-Forwarded-For", "203.0.113.10"); res.StatusCode != 200 {
		t.Errorf("another address: %s", res.Status)
	}
}

// TestForwardedHeaders: nobody becomes local, or somebody else, by saying so
// (CVE-2026-35656, CVE-2026-53817).
func TestForwardedHeaders(t *testing.T) {
	t.Parallel()
	t.Run("no proxy is trusted", func(t *testing.T) {
		g := start(t, nil)
		for _, h := range []string{from("127.0.0.1"), from("1.2.3.4"), "X-Forwarded-Proto: https", "X-Forwarded-Host: localhost", "Forwarded: for=127.0.0.1",
			"X-Real-IP: 127.0.0.1", "x-real-ip: ::1", "Tailscale-User-Login: owner@example.com"} {
			p, res := g.upgrade(t, upgradeRequest("/", h))
			if p != nil || res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, `"type":"proxy_attribution_required"`) {
				t.Errorf("%s: %s %s", h, res.Status, res.body)
			}
			name, value, _ := strings.Cut(h, ": ")
			if res := g.http(t, http.MethodGet, "/readyz", "", name, value); strings.Contains(res.body, "uptimeMs") {
				t.Errorf("%s: /readyz tells %s", h, res.body)
			}
			if res := g.http(t, http.MethodGet, "/api/diagnostics/prometheus", "", name, value, "Authorization", "Bearer "+token); res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: metrics: %s", h, res.Status)
			}
		}
	})
	t.Run("behind a trusted proxy nobody is local", func(t *testing.T) {
		g := start(t, behindProxy)
		for _, h := range []string{from("127.0.0.1"), from("::1"), from("localhost"), from(""), "X-Forwarded-Proto: https", "X-Real-IP: 127.0.0.1"} {
			if p, res := g.upgrade(t, upgradeRequest("/", h)); p != nil || res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %s", h, res.Status)
			}
		}
		for _, h := range []string{"203.0.113.1", "127.0.0.1, 203.0.113.1", "203.0.113.1, 127.0.0.1", "[2001:db8::1]:443", "::ffff:203.0.113.1"} {
			p := g.dial(t, from(h))
			// A client of this machine would keep its scopes.
			if hello := p.mustConnect(backend(allScopes...)); len(hello.Auth.Scopes) != 0 {
				t.Errorf("%s: scopes %v", h, hello.Auth.Scopes)
			}
			p.bye()
		}
	})
}

// TestOrigins: a page of another site gets nothing, whatever client it claims to be and
// whatever secret it has (CVE-2026-25253).
func TestOrigins(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.controlUi.allowedOrigins": []string{"https://ui.example"}})
	const refused = "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)"
	for _, origin := range []string{"https://evil.example", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://evil.example:18789", "null", "file://",
		"http://", "https://ui.example.evil.example", "https://ui.example@evil.example", "https://evil.example/https://ui.example", "http://ui.example",
		"https://ui.example:8443", "javascript:alert(1)", "http://[::ffff:203.0.113.1]", "*", "http://localhost@evil.example", "http://127.0.0.1\\@evil.example"} {
		for _, c := range []connectParams{backend("operator.admin"), clientOf("cli", "cli", "operator.admin"), clientOf("openclaw-control-ui", "webchat", "operator.admin").as(newDevice(t)),
			clientOf("node-host", "node").with("role", "node").as(newDevice(t))} {
			p := g.dial(t, "Origin: "+origin)
			r := p.refusedConnect(c, "INVALID_REQUEST", refused, `{"code":"CONTROL_UI_ORIGIN_NOT_ALLOWED"}`)
			if r.OK {
				t.Errorf("%s was let in", origin)
			}
		}
	}
	// A client that must be in a browser and sends no Origin is none.
	g.dial(t).refusedConnect(clientOf("openclaw-control-ui", "webchat").as(newDevice(t)), "INVALID_REQUEST", refused, `{"reason":"origin missing or invalid"}`)
	for _, origin := range []string{"https://ui.example", "http://localhost:5173", "http://127.0.0.1:1", "https://UI.example:443"} {
		p := g.dial(t, "Origin: "+origin)
		p.mustConnect(clientOf("openclaw-control-ui", "webchat", "operator.read").as(newDevice(t)))
		p.bye()
	}
	// A page of this machine must not be able to guess as fast as a program: it counts
	// by its origin, and is locked out.
	for range 10 {
		g.dial(t, "Origin: http://localhost:9999").connect(backend().with("auth", object{"token": "wrong"}))
	}
	g.dial(t, "Origin: http://localhost:9999").refusedConnect(backend(), "INVALID_REQUEST", rateLimited, "")
}

// TestDeviceProofs: a device that does not prove its key, in the order of wire.md 3.4.
func TestDeviceProofs(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.handshake.failureDelayMs": 0})
	key, other := newDevice(t), newDevice(t)
	c := clientOf("cli", "cli", "operator.read").as(key)
	for _, x := range spoiltProofs(c, other) {
		t.Run(x.name, func(t *testing.T) {
			p := g.dial(t)
			params := x.spoil(p, c.proof(p.challenge.Nonce, p.challenge.TS))
			params.key = nil
			p.refusedConnect(params, "INVALID_REQUEST", x.reason, fmt.Sprintf(`{"code":%q}`, x.code))
		})
	}
	t.Run("a proof is good for one connection", func(t *testing.T) {
		p := g.dial(t)
		used := p.g.dial(t)
		text := c.encode(used)
		used.send(requestFrame("c", "connect", text))
		if r := used.answer("c"); !r.OK {
			t.Fatal(r)
		}
		used.bye()
		p.send(requestFrame("c", "connect", text))
		if r := p.answer("c"); r.Error.Message != "device nonce mismatch" {
			t.Error(r)
		}
		p.wantGone()
	})
}

// spoiltProof changes a device's proof; code and reason are those of the refusal.
type spoiltProof struct {
	name   string
	spoil  func(p *peer, proof object) connectParams
	code   string
	reason string
}

func spoiltProofs(c connectParams, other ed25519.PrivateKey) []spoiltProof {
	key := c.key
	return []spoiltProof{
		{"another's id", func(p *peer, d object) connectParams { d["id"] = deviceID(other); return c.with("device", d) }, "DEVICE_AUTH_DEVICE_ID_MISMATCH", "device identity mismatch"},
		{"an id in capitals", func(p *peer, d object) connectParams {
			d["id"] = strings.ToUpper(deviceID(key))
			return c.with("device", d)
		}, "DEVICE_AUTH_DEVICE_ID_MISMATCH", "device identity mismatch"},
		{"a path as id", func(p *peer, d object) connectParams {
			d["id"] = "../../" + deviceID(key)
			return c.with("device", d)
		}, "DEVICE_AUTH_DEVICE_ID_MISMATCH", "device identity mismatch"},
		{"no key", func(p *peer, d object) connectParams { d["publicKey"] = "AAAA"; return c.with("device", d) }, "DEVICE_AUTH_DEVICE_ID_MISMATCH", "device identity mismatch"},
		{"an old proof", func(p *peer, d object) connectParams {
			return c.with("device", c.proof(p.challenge.Nonce, p.challenge.TS-121_000))
		}, "DEVICE_AUTH_SIGNATURE_EXPIRED", "device signature expired"},
		{"a proof of tomorrow", func(p *peer, d object) connectParams {
			return c.with("device", c.proof(p.challenge.Nonce, p.challenge.TS+130_000))
		}, "DEVICE_AUTH_SIGNATURE_EXPIRED", "device signature expired"},
		{"another challenge's nonce", func(p *peer, d object) connectParams {
			return c.with("device", c.proof("00000000-0000-4000-8000-000000000000", p.challenge.TS))
		}, "DEVICE_AUTH_NONCE_MISMATCH", "device nonce mismatch"},
		{"a nonce of blanks", func(p *peer, d object) connectParams { return c.with("device", c.proof("  ", p.challenge.TS)) }, "DEVICE_AUTH_NONCE_REQUIRED", "device nonce required"},
		{"a signature of other scopes", func(p *peer, d object) connectParams {
			return c.with("device", d).with("scopes", []string{"operator.admin"})
		}, "DEVICE_AUTH_SIGNATURE_INVALID", "device signature invalid"},
		{"a signature of another role", func(p *peer, d object) connectParams { return c.with("device", d).with("role", "node") }, "DEVICE_AUTH_SIGNATURE_INVALID", "device signature invalid"},
		{"a signature over another token", func(p *peer, d object) connectParams {
			return c.with("device", d).with("auth", object{"token": token + " "})
		}, "DEVICE_AUTH_SIGNATURE_INVALID", "device signature invalid"},
		{"another's signature", func(p *peer, d object) connectParams {
			d["signature"] = c.as(other).proof(p.challenge.Nonce, p.challenge.TS)["signature"]
			return c.with("device", d)
		}, "DEVICE_AUTH_SIGNATURE_INVALID", "device signature invalid"},
		{"no signature", func(p *peer, d object) connectParams { d["signature"] = "x"; return c.with("device", d) }, "DEVICE_AUTH_SIGNATURE_INVALID", "device signature invalid"},
	}
}

// TestStartRefusals: what would admit everybody does not start (GHSA-xh72: a missing key
// must not fail open).
func TestStartRefusals(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]settings{
		"password without a password":   {"gateway.auth.mode": "password"},
		"a password of blanks":          {"gateway.auth.mode": "password", "gateway.auth.password": "  "},
		"none for everybody":            {"gateway.auth.mode": "none", "gateway.listen": "0.0.0.0:0"},
		"an unknown mode":               {"gateway.auth.mode": "open"},
		"hooks without a token":         {"hooks.enabled": true},
		"hooks with a token of blanks":  {"hooks.enabled": true, "hooks.token": " "},
		"a key that does not exist":     {"gateway.auth.mod": "none"},
		"a proxy that is no address":    {"gateway.ws.trustedProxies": []string{"everyone"}},
		"an unbounded frame":            {"gateway.ws.maxFrameBytes": 1 << 40},
		"a session prefix of templates": {"hooks.enabled": true, "hooks.token": "t", "hooks.mappings": []object{{"path": "x", "messageTemplate": "{{a}}", "sessionKey": "{{b}}"}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := spawn(t, set)
			if !poll(func() bool { return !g.alive() }) || g.err == nil {
				t.Errorf("it started:\n%s", g.out)
				g.kill()
			}
			if strings.Contains(g.out.String(), "ready\n") {
				t.Error("it said that it is ready")
			}
		})
	}
}
