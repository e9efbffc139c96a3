package badinput_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRoutes: without credentials HTTP tells that the gateway lives, and nothing else.
// Upstream's routes that start tools or sessions are none here (CVE-2026-34512,
// CVE-2026-41375, GHSA-943q).
func TestRoutes(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.http.metricsAuth": true, "gateway.ws.trustedProxies": []string{"127.0.0.1"}})
	remote := []string{"X-Forwarded-For", "203.0.113.5"}
	for _, c := range []struct {
		method, path string
		status       int
		body         string // exactly, or a prefix that ends in …
	}{
		{"GET", "/healthz", 200, `{"ok":true,"status":"live"}`}, {"POST", "/healthz", 405, "Method Not Allowed"}, {"DELETE", "/readyz", 405, "Method Not Allowed"},
		{"GET", "/readyz", 200, `{"ready":true}`}, {"GET", "/startupz", 200, `{"ok":true,"status":"started"}`},
		{"GET", "/metrics", 401, `{"error":{"message":"Unauthorized","type":"unauthorized"}}`},
		{"GET", "/api/diagnostics/prometheus", 401, `{"error":{"message":"Unauthorized","type":"unauthorized"}}`},
		{"POST", "/tools/invoke", 404, "Not Found"}, {"POST", "/v1/chat/completions", 404, "Not Found"}, {"POST", "/v1/responses", 404, "Not Found"},
		{"GET", "/v1/models", 404, "Not Found"}, {"GET", "/sessions/main/history", 404, "Not Found"}, {"POST", "/sessions/main/kill", 404, "Not Found"},
		{"GET", "/control-ui-config.json", 404, "Not Found"}, {"GET", "/__openclaw__/control-ui-config.json", 404, "Not Found"}, {"POST", "/hooks/agent", 404, "Not Found"},
		{"GET", "/debug/pprof/", 404, "Not Found"}, {"GET", "/debug/vars", 404, "Not Found"}, {"GET", "/.env", 404, "Not Found"}, {"GET", "/token", 404, "Not Found"},
		{"GET", "/../token", 404, "Not Found"}, {"GET", "//healthz", 404, "Not Found"}, {"GET", "/healthz/", 404, "Not Found"}, {"GET", "/HEALTHZ", 404, "Not Found"},
		{"GET", "/%68ealthz", 200, `{"ok":true,"status":"live"}`}, {"GET", "/healthz%00", 404, "Not Found"}, {"TRACE", "/", 404, "Not Found"}, {"CONNECT", "/", 404, "Not Found"},
		{"OPTIONS", "*", 404, ""}, {"PROPFIND", "/", 404, "Not Found"},
	} {
		res := g.rawHTTP(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s: %s\r\nContent-Length: 2\r\n\r\n{}", c.method, c.path, remote[0], remote[1]))
		if c.method == "OPTIONS" || c.method == "CONNECT" { // net/http's own answer to the server as a whole is as good
			if res.StatusCode >= 500 {
				t.Errorf("%s %s: %s", c.method, c.path, res.Status)
			}
			continue
		}
		if res.StatusCode != c.status || res.body != c.body {
			t.Errorf("%s %s: %s %.200q, want %d %q", c.method, c.path, res.Status, res.body, c.status, c.body)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: no nosniff", c.method, c.path)
		}
		if res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: pages of other sites may read the answer", c.method, c.path)
		}
	}
}

// TestControlUIPaths: the folder of the Control UI is all that is served of the disk.
func TestControlUIPaths(t *testing.T) {
	t.Parallel()
	ui := t.TempDir()
	for name, text := range map[string]string{"dist/index.html": "<html><head></head>index</html>", "dist/app.js": "app", "secret.txt": "TOPSECRET", "dist/.hidden": "TOPSECRET"} {
		path := filepath.Join(ui, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret.txt", filepath.Join(ui, "dist", "link.js")); err != nil {
		t.Fatal(err)
	}
	g := start(t, settings{"gateway.http.controlUi": filepath.Join(ui, "dist")})
	if res := g.http(t, "GET", "/app.js", ""); res.body != "app" {
		t.Fatalf("%s %s", res.Status, res.body)
	}
	for _, path := range []string{"/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%2fsecret.txt", "/a/../../secret.txt", "/..\\secret.txt", "/%5c..%5csecret.txt",
		"/link.js", "/./link.js", "//etc/passwd", "/%2fetc%2fpasswd", "/app.js/../../secret.txt", "/%252e%252e/secret.txt", "/app.js%00.html", "/" + strings.Repeat("../", 50) + "etc/passwd"} {
		res := g.rawHTTP(t, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if strings.Contains(res.body, "TOPSECRET") || strings.Contains(res.body, "root:") || res.StatusCode >= 500 {
			t.Errorf("%s: %s %.200s", path, res.Status, res.body)
		}
	}
}

// hooked is a gateway with hooks.
func hooked(t testing.TB, set settings) *gateway {
	t.Helper()
	return start(t, settings{"hooks.enabled": true, "hooks.token": "hook-token-42", "hooks.bodyTimeoutMs": 300,
		"hooks.allowRequestSessionKey": true, "hooks.allowedSessionKeyPrefixes": []string{"hook:"}}.and(set))
}

// hook posts to a hook with the right token.
func (g *gateway) hook(t testing.TB, path, body string, headers ...string) response {
	t.Helper()
	return g.http(t, http.MethodPost, path, body, append([]string{"Authorization", "Bearer hook-token-42", "Content-Type", "application/json"}, headers...)...)
}

// TestHookBodies: bad webhooks get a client error each, and start nothing.
func TestHookBodies(t *testing.T) {
	t.Parallel()
	m := startModel(t)
	g := hooked(t, m.settings())
	for _, c := range []struct {
		name, path, body string
		status           int
	}{
		{"nothing", "/hooks/agent", ``, 400}, {"no JSON", "/hooks/agent", `{"message":`, 400}, {"two values", "/hooks/agent", `{} {}`, 400},
		{"a list", "/hooks/agent", `[]`, 400}, {"no message", "/hooks/agent", `{}`, 400}, {"a message of blanks", "/hooks/agent", `{"message":"  "}`, 400},
		{"a number for a message", "/hooks/agent", `{"message":7}`, 400}, {"a name twice", "/hooks/agent", `{"message":"a","message":"b"}`, 400},
		{"a name twice, escaped", "/hooks/agent", `{"message":"a","\u006dessage":"b"}`, 400},
		{"depth 10 000", "/hooks/agent", `{"message":"a","x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, 400},
		{"broken UTF-8", "/hooks/agent", "{\"message\":\"a\xff\",\"idempotencyKey\":\"\xff\",\"agentId\":\"nobody\"}", 400},
		{"a path for an agent", "/hooks/agent", `{"message":"a","agentId":"../../etc"}`, 400},
		{"a session of another prefix", "/hooks/agent", `{"message":"a","sessionKey":"agent:main:main"}`, 400},
		{"a session with a line break", "/hooks/agent", `{"message":"a","sessionKey":"hook:a\nb"}`, 400},
		{"no channel", "/hooks/agent", `{"message":"a","channel":"../x","to":"y"}`, 400},
		{"a wake without text", "/hooks/wake", `{"mode":"now"}`, 400}, {"an unknown hook", "/hooks/no-such", `{}`, 404},
		{"no hook at all", "/hooks", `{}`, 404}, {"a path in the path", "/hooks/../hooks/agent", `{}`, 404}, {"escaped path", "/hooks/%2e%2e/%2e%2e/x", `{}`, 404},
		{"256 KiB and more", "/hooks/agent", `{"message":"` + strings.Repeat("a", 256<<10) + `"}`, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			if res := g.hook(t, c.path, c.body); res.StatusCode != c.status {
				t.Errorf("%s %.300s, want %d", res.Status, res.body, c.status)
			}
		})
	}
	t.Run("a body that never ends", func(t *testing.T) {
		res := g.rawHTTP(t, "POST /hooks/agent HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hook-token-42\r\nContent-Length: 100\r\n\r\n{")
		if res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s %s", res.Status, res.body)
		}
	})
	t.Run("chunks without end", func(t *testing.T) {
		c := g.tcp(t)
		fmt.Fprint(c, "POST /hooks/agent HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hook-token-42\r\nTransfer-Encoding: chunked\r\n\r\n")
		stop := slowly(c, strings.Split(strings.Repeat("1\r\n{\r\n|", 1000), "|"), 10*time.Millisecond)
		defer stop()
		if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 4") {
			t.Errorf("%q", b)
		}
	})
	t.Run("other verbs", func(t *testing.T) {
		for _, verb := range []string{"GET", "PUT", "HEAD", "DELETE"} {
			if res := g.http(t, verb, "/hooks/agent", "", "Authorization", "Bearer hook-token-42"); res.StatusCode != 405 {
				t.Errorf("%s: %s", verb, res.Status)
			}
		}
	})
	if n := m.calls.Load(); n != 0 {
		t.Errorf("%d model calls", n)
	}
}

// TestHookPath: hooks are where hooks.path says, and as large and slow as their own
// section allows, whatever other sections say.
func TestHookPath(t *testing.T) {
	t.Parallel()
	m := startModel(t)
	g := hooked(t, m.settings().and(settings{"hooks.path": "/in", "hooks.maxBodyBytes": 1 << 20,
		"defend.auditOnly": true /* 20 KB of two words are suspicious */}))
	if res := g.hook(t, "/in/agent", `{"message":"`+strings.Repeat("a word ", 3_000)+`","pad":"`+strings.Repeat("a", 512<<10)+`"}`); res.StatusCode != 200 {
		t.Errorf("%s %s", res.Status, res.body)
	}
	if res := g.hook(t, "/hooks/agent", `{"message":"a"}`); res.StatusCode != 404 {
		t.Errorf("/hooks: %s", res.Status)
	}
}

// TestHookTokens: no token, a wrong one, the gateway's own, one in the address; and an
// address that guesses is shut out (CVE-2026-33580: 20 in 60 s).
func TestHookTokens(t *testing.T) {
	t.Parallel()
	g := hooked(t, behindProxy)
	post := func(headers ...string) response {
		return g.http(t, http.MethodPost, "/hooks/agent", `{"message":"x"}`, headers...)
	}
	for _, h := range [][]string{{}, {"Authorization", "Bearer"}, {"Authorization", "Bearer "}, {"Authorization", "Bearer wrong"}, {"Authorization", "hook-token-42"},
		{"Authorization", "Basic aG9vay10b2tlbi00Mg=="}, {"Authorization", "Bearer " + token}, {"X-OpenClaw-Token", ""}, {"Cookie", "token=hook-token-42"}} {
		if res := post(append(h, "X-Forwarded-For", "203.0.113.20")...); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v: %s", h, res.Status)
		}
	}
	if res := g.hook(t, "/hooks/agent?token=hook-token-42", `{"message":"x"}`); res.StatusCode != 400 {
		t.Errorf("a token in the address: %s", res.Status)
	}
	last := response{}
	for range 21 {
		last = post("Authorization", "Bearer wrong", "X-Forwarded-For", "203.0.113.21")
	}
	if last.StatusCode != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" {
		t.Errorf("the 21st guess: %s", last.Status)
	}
	if res := post("Authorization", "Bearer wrong", "X-Forwarded-For", "203.0.113.22"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("another address: %s", res.Status)
	}
	// The hook's token opens nothing else.
	p := g.dial(t, from("203.0.113.23"))
	if r := p.connect(clientOf("test", "test").with("auth", object{"token": "hook-token-42"})); r.OK {
		t.Error("the hook's token connects")
	}
	p.wantGone()
	if res := g.http(t, "GET", "/api/diagnostics/prometheus", "", "Authorization", "Bearer hook-token-42", "X-Forwarded-For", "203.0.113.24"); res.StatusCode != 401 {
		t.Errorf("the hook's token reads metrics: %s", res.Status)
	}
}
