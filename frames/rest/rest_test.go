package rest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/bufpool"
	"sluice/frames/rest"
	"sluice/frames/ws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

type closer struct{}

func (closer) Frame(_ *ws.Conn, l *bufpool.Lease) { l.Release() }
func (closer) Closed(*ws.Conn)                    {}

// mustEdge builds an edge whose secret is "secret"; change adjusts its parts.
func mustEdge(t *testing.T, change func(*rest.Deps)) *rest.Handler {
	t.Helper()
	w, err := ws.New(ws.Default(), closer{}, ws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = w.Shutdown(ctx, "gateway stopping")
	})
	d := rest.Deps{
		Config:  rest.Default(),
		WS:      w,
		Ready:   func() rest.Readiness { return rest.Readiness{Ready: true, UptimeMs: 1707919} },
		Startup: func() rest.Startup { return rest.Startup{Started: true, Version: "1.0.0", UptimeMs: 1707966} },
		Authorize: func(r *http.Request, _ ws.Ingress) rest.Verdict {
			switch rest.BearerToken(r) {
			case "secret":
				return rest.Verdict{OK: true}
			case "locked":
				return rest.Verdict{RetryAfterMs: 1500}
			}
			return rest.Verdict{}
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metric 1\n") }),
	}
	if change != nil {
		change(&d)
	}
	h, err := rest.New(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// ask makes one request from addr; headers are "Name: value".
func ask(h http.Handler, method, target, addr, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = addr
	for _, line := range headers {
		k, v, _ := strings.Cut(line, ": ")
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	local  = "127.0.0.1:9"
	remote = "192.0.2.7:9"
)

func TestProbes(t *testing.T) {
	h := mustEdge(t, nil)
	bearer := "Authorization: Bearer secret"
	for _, tc := range []struct {
		method, path, addr, header string
		status                     int
		body                       string
	}{
		{"GET", "/health", remote, "", 200, `{"ok":true,"status":"live"}`},
		{"GET", "/healthz", local, "", 200, `{"ok":true,"status":"live"}`},
		{"POST", "/healthz", local, "", 405, `Method Not Allowed`},
		{"DELETE", "/readyz", local, "", 405, `Method Not Allowed`},
		{"GET", "/ready", local, "", 200, `{"ready":true,"failing":[],"uptimeMs":1707919}`},
		{"GET", "/readyz", remote, "", 200, `{"ready":true}`},
		{"GET", "/readyz", remote, bearer, 200, `{"ready":true,"failing":[],"uptimeMs":1707919}`},
		{"GET", "/readyz", remote, "Authorization: Bearer wrong", 200, `{"ready":true}`},
		{"GET", "/readyz", local, "X-Forwarded-For: 1.2.3.4", 200, `{"ready":true}`},
		{"GET", "/startup", local, "", 200, `{"ok":true,"status":"started","version":"1.0.0","uptimeMs":1707966}`},
		{"GET", "/startupz", remote, "", 200, `{"ok":true,"status":"started"}`},
		{"GET", "/healthz/deep", local, "", 404, `Not Found`},
		{"GET", "/v1/models", local, bearer, 404, `Not Found`},
		{"GET", "/nothing", local, "", 404, `Not Found`},
	} {
		w := ask(h, tc.method, tc.path, tc.addr, "", tc.header)
		if w.Code != tc.status || w.Body.String() != tc.body {
			t.Errorf("%s %s from %s %q: %d %s, want %d %s", tc.method, tc.path, tc.addr, tc.header, w.Code, w.Body, tc.status, tc.body)
		}
		if w.Code == 200 && (w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" ||
			w.Header().Get("Content-Type") != "application/json; charset=utf-8") {
			t.Errorf("%s: headers %v", tc.path, w.Header())
		}
	}
	bad := mustEdge(t, func(d *rest.Deps) {
		d.Ready = func() rest.Readiness { return rest.Readiness{Failing: []string{"storage"}, UptimeMs: 5} }
		d.Startup = func() rest.Startup { return rest.Startup{PendingReason: "storage", Version: "1.0.0"} }
	})
	if w := ask(bad, "GET", "/readyz", local, ""); w.Code != 503 || w.Body.String() != `{"ready":false,"failing":["storage"],"uptimeMs":5}` {
		t.Errorf("not ready: %d %s", w.Code, w.Body)
	}
	if w := ask(bad, "GET", "/startupz", local, ""); w.Code != 503 || w.Body.String() != `{"ok":false,"status":"starting","version":"1.0.0","uptimeMs":0,"pendingReason":"storage"}` {
		t.Errorf("not started: %d %s", w.Code, w.Body)
	}
}

func TestMetrics(t *testing.T) {
	h := mustEdge(t, nil)
	for _, tc := range []struct {
		path, addr, header string
		status             int
		body               string
	}{
		{"/metrics", remote, "", 200, "metric 1\n"},
		{"/metrics?token=secret", local, "", 400, "The token must be provided via Authorization: Bearer <token> (query parameters are not allowed)."},
		{"/api/diagnostics/prometheus", local, "", 401, `{"error":{"message":"Unauthorized","type":"unauthorized"}}`},
		{"/api/diagnostics/prometheus?token=secret", local, "", 400, "The token must be provided via Authorization: Bearer <token> (query parameters are not allowed)."},
		{"/api/diagnostics/prometheus", remote, "Authorization: Bearer wrong", 401, `{"error":{"message":"Unauthorized","type":"unauthorized"}}`},
		{"/api/diagnostics/prometheus", remote, "Authorization: Bearer locked", 429, `{"error":{"message":"Too many failed authentication attempts. Please try again later.","type":"rate_limited"}}`},
		{"/api/diagnostics/prometheus", remote, "Authorization: bearer secret", 200, "metric 1\n"},
	} {
		if w := ask(h, "GET", tc.path, tc.addr, "", tc.header); w.Code != tc.status || w.Body.String() != tc.body {
			t.Errorf("%s %q: %d %s, want %d %s", tc.path, tc.header, w.Code, w.Body, tc.status, tc.body)
		}
	}
	if w := ask(h, "GET", "/api/diagnostics/prometheus", remote, "", "X-Forwarded-For: 1.2.3.4"); w.Code != 403 || !strings.Contains(w.Body.String(), "proxy_attribution_required") {
		t.Errorf("forwarded: %d %s", w.Code, w.Body)
	}
	closed := mustEdge(t, func(d *rest.Deps) { d.Config.MetricsAuth = true })
	if w := ask(closed, "GET", "/metrics", local, ""); w.Code != 401 {
		t.Errorf("metricsAuth: %d", w.Code)
	}
}

func TestHooks(t *testing.T) {
	h := mustEdge(t, func(d *rest.Deps) {
		d.HooksPath = "/in/hooks"
		d.Hooks = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/in/hooks/panic" {
				panic("secret detail")
			}
			_, _ = fmt.Fprint(w, r.URL.Path)
		})
	})
	for _, tc := range []struct {
		target string
		status int
		want   string
	}{
		{"/in/hooks/wake", 200, "/in/hooks/wake"},
		{"/in/hooks/panic", 500, "Internal Server Error"},
		{"/in/hooksy", 404, "Not Found"},
		{"/hooks/wake", 404, "Not Found"},
	} {
		if w := ask(h, "POST", tc.target, remote, "{}"); w.Code != tc.status || w.Body.String() != tc.want {
			t.Errorf("%s: %d %s, want %d %s", tc.target, w.Code, w.Body, tc.status, tc.want)
		}
	}
	if w := ask(mustEdge(t, nil), "POST", "/hooks/wake", local, "{}"); w.Code != 404 {
		t.Errorf("without hooks: %d", w.Code)
	}
}

func TestNoUI(t *testing.T) {
	w := ask(mustEdge(t, nil), "GET", "/", local, "")
	if w.Code != 404 || !strings.Contains(w.Body.String(), "--control-ui") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := rest.Default().Validate(); err != nil {
		t.Error(err)
	}
	for field, spoil := range map[string]func(*rest.Config){
		"maxHeaderBytes":     func(c *rest.Config) { c.MaxHeaderBytes = 0 },
		"maxHttpConnections": func(c *rest.Config) { c.MaxConnections = 0 },
	} {
		c := rest.Default()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// mustListen serves h on a loopback port through rest.Server until the test ends.
func mustListen(t *testing.T, cfg rest.Config, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := rest.NewServer(cfg, h, nil)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func dialRaw(t *testing.T, addr, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

const upgrade = "GET /x?token=ignored HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// TestServer: upgrades go to the WebSocket edge and free their place; a slow header
// ends by its timeout; connections past the bound wait.
func TestServer(t *testing.T) {
	cfg := rest.Default()
	cfg.MaxConnections = 2
	cfg.ReadHeaderTimeoutMs = 300
	h := mustEdge(t, func(d *rest.Deps) { d.Config = cfg })
	addr := mustListen(t, cfg, h)
	for range 5 { // more than two: an upgraded connection holds no place
		_, br := dialRaw(t, addr, upgrade)
		if line, err := br.ReadString('\n'); err != nil || !strings.Contains(line, "101") {
			t.Fatalf("%q %v", line, err)
		}
	}
	dialRaw(t, addr, "GET / HTTP/1.1\r\n") // never ends its header, and holds a place
	dialRaw(t, addr, "GET / HTTP/1.1\r\n")
	_, third := dialRaw(t, addr, "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if line, err := third.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("behind slow headers: %q %v", line, err)
	}
	_, big := dialRaw(t, addr, "GET / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	if line, err := big.ReadString('\n'); err != nil || !strings.Contains(line, "431") {
		t.Errorf("large header: %q %v", line, err)
	}
}
