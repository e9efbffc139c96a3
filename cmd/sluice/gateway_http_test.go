package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"sluice/storage"
)

// get asks the gateway's HTTP side; token "" sends none.
func (r *running) get(path, token string) (status int, body string) {
	r.w.tb.Helper()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(r.w.tb.Context(), "GET", "http://"+r.Addr().String()+path, nil)
	if err != nil {
		r.w.tb.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		r.w.tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.w.tb.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestProbes: live while it lives, ready while requests are answered and writes reach
// the disk.
func TestHealthProbes(t *testing.T) {
	w := newWorld(t)
	disk := &faultyStore{}
	w.wrapStore = func(s storage.Store) storage.Store { disk.Store = s; return disk }
	g := w.start()
	for path, want := range map[string]string{"/healthz": `"status":"live"`, "/readyz": `"ready":true`, "/startupz": `"status":"started"`} {
		if status, body := g.get(path, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	disk.full.Store(true)
	if status, body := g.get("/readyz", g.token); status != 503 || !strings.Contains(body, `"storage"`) {
		t.Errorf("with a full disk: %d %s", status, body)
	}
	if status, _ := g.get("/healthz", ""); status != 200 {
		t.Errorf("a full disk is no reason to kill the process: %d", status)
	}
	disk.full.Store(false)
	if status, body := g.get("/readyz", ""); status != 200 {
		t.Errorf("after the recovery: %d %s", status, body)
	}
}

// TestMetrics: the numbers of a turn are at /metrics, and behind the secret at the real
// gateway's address.
func TestMetrics(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.dial()
	c.send(key, "r1", "hello")
	c.end(0, "r1")
	c.send(key, "r1", "hello")
	if status, body := g.get("/api/diagnostics/prometheus", "wrong"); status != 401 || strings.Contains(body, "sluice_") {
		t.Errorf("with a wrong secret: %d", status)
	}
	var body string
	has := func(metric string) bool {
		return regexp.MustCompile(`(?m)^` + metric + `$`).MatchString(body)
	}
	eventually(t, "the turn is counted", func() bool {
		var status int
		if status, body = g.get("/metrics", ""); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return has(`sluice_turns_total\{outcome="finished"\} 1`)
	})
	if status, body := g.get("/api/diagnostics/prometheus", g.token); status != 200 || !strings.Contains(body, "sluice_turns_total") {
		t.Errorf("with the secret: %d", status)
	}
	for _, metric := range []string{
		`openclaw_gateway_rpc_requests_total\{method="chat.send"\} 2`,
		`sluice_dedupe_total\{outcome="first"\} 1`, `sluice_dedupe_total\{outcome="replayed"\} 1`,
		`sluice_runs_total\{outcome="ok"\} 1`, `openclaw_tokens_total\{kind="input"\} 100`,
		`sluice_connections_authenticated 1`, `sluice_handshakes_total\{outcome="accepted"\} 1`,
	} {
		if !has(metric) {
			t.Errorf("no line %s", metric)
		}
	}
	// Whoever reads them finds a line that can be read.
	line := regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^}]*\})? [-+0-9.eEInfNa]+( # .*)?$`)
	for i, l := range strings.Split(strings.TrimSpace(body), "\n") {
		if !strings.HasPrefix(l, "#") && !line.MatchString(l) {
			t.Errorf("line %d: %q", i+1, l)
		}
	}
	if !strings.Contains(body, "# HELP") {
		t.Error("no metric explains itself")
	}
}
