package hooks

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/adapter/webhook"
)

func TestAuthentication(t *testing.T) {
	g := mustGateway(t, func(c *Config) { c.AuthFailures, c.AuthLockoutMs = 3, 1500 })
	bad := func() response { return g.do("POST", "/hooks/wake", `{}`, "Authorization", "Bearer x") }
	for range 3 {
		if r := bad(); r.StatusCode != 401 || r.body != "Unauthorized" {
			t.Fatalf("%d %s", r.StatusCode, r.body)
		}
	}
	if r := bad(); r.StatusCode != 429 || r.Header.Get("Retry-After") != "2" || r.body != "Too Many Requests" {
		t.Errorf("%d %v %s", r.StatusCode, r.Header, r.body)
	}
	// As upstream: the right token passes, and clears the failures.
	if r := g.post("/hooks/wake", `{"text":"x"}`); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if r := bad(); r.StatusCode != 401 {
		t.Errorf("%d", r.StatusCode)
	}
	if r := g.do("POST", "/hooks/wake", `{"text":"x"}`, "X-OpenClaw-Token", token); r.StatusCode != 200 {
		t.Errorf("%d", r.StatusCode)
	}
	if r := g.do("POST", "/hooks/wake", `{"text":"x"}`, "Authorization", "Bearer "); r.StatusCode != 401 {
		t.Errorf("%d", r.StatusCode)
	}
	for _, path := range []string{"/hooks", "/hooks/", "/hooksagent", "/other"} {
		if r := g.post(path, `{}`); r.StatusCode != 404 {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	cfg := config(func(c *Config) { c.Enabled = false })
	if err := g.h.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if r := g.post("/hooks/wake", `{"text":"x"}`); r.StatusCode != 404 {
		t.Errorf("switched off: %d", r.StatusCode)
	}
	cfg.Enabled, cfg.Token = true, " "
	if err := g.h.Reload(cfg); err == nil || !strings.Contains(err.Error(), "hooks.enabled requires hooks.token") {
		t.Errorf("%v", err)
	}
}

func TestBodies(t *testing.T) {
	g := mustGateway(t, func(c *Config) { c.BodyTimeoutMs = 100; c.MaxBodyBytes = 2048 })
	if r := g.post("/hooks/wake", `{"text":"`+strings.Repeat("x", 2048)+`"}`); r.StatusCode != 413 || r.body != `{"ok":false,"error":"payload too large"}` {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	// Raw sockets: a sender that stops, and one that goes away.
	for _, c := range []struct {
		body string
		cut  bool
		want string
	}{{`{"te`, false, "HTTP/1.1 408"}, {`{"te`, true, ""}} {
		conn, err := net.Dial("tcp", g.srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /hooks/wake HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n%s", token, c.body)
		if c.cut {
			_ = conn.Close()
			continue
		}
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.HasPrefix(got, []byte(c.want)) || !bytes.HasSuffix(got, []byte(`{"ok":false,"error":"request body timeout"}`)) {
			t.Errorf("%v %q", err, got)
		}
		_ = conn.Close()
	}
}

func TestSignatures(t *testing.T) {
	g := mustGateway(t, func(c *Config) { c.SigningSecret = "s" })
	body := `{"text":"x"}`
	good := webhook.Sign("s", time.Now(), []byte(body))
	for _, c := range []struct {
		path, header string
		status       int
	}{
		{"wake", "", 401}, {"wake", webhook.Sign("s", time.Now().Add(-time.Hour), []byte(body)), 401}, {"wake", webhook.Sign("k", time.Now(), []byte(body)), 401},
		{"wake", good, 200}, {"wake", good, 409}, {"wake", strings.ToUpper(good[:0]) + good + ",v1=00", 409},
		{"agent", good, 400}, // another target: the replay memory does not know it; the payload is refused
	} {
		if r := g.post("/hooks/"+c.path, body, webhook.SignatureHeader, c.header); r.StatusCode != c.status {
			t.Errorf("%s %s: %d %s", c.path, c.header, r.StatusCode, r.body)
		}
	}
}

func TestLimiter(t *testing.T) {
	cfg := Default()
	l := newLimiter(16)
	now := time.Unix(1_800_000_000, 0)
	for i := range 100 {
		if l.fail(clientKey(fmt.Sprintf("10.0.0.%d", i)), now.Add(time.Duration(i)*time.Millisecond), &cfg) != 0 {
			t.Error("a first failure is throttled")
		}
	}
	if len(l.by) > 16 {
		t.Errorf("%d addresses are remembered", len(l.by))
	}
	for range cfg.AuthFailures {
		l.fail("x", now, &cfg)
	}
	if l.fail("x", now.Add(30*time.Second), &cfg) != 30*time.Second || l.fail("x", now.Add(61*time.Second), &cfg) != 0 {
		t.Error("the lockout does not begin or end when it should")
	}
	if clientKey("2001:db8::1") != clientKey("2001:db8::ffff:2") || clientKey("::ffff:10.0.0.1") != "10.0.0.1" || clientKey("10.0.0.1") == clientKey("10.0.0.2") {
		t.Error("client keys")
	}
	r := newReplays(2)
	sum := func(b byte) (s [32]byte) { s[0] = b; return s }
	if r.use(sum(1), now, time.Minute) != replayFirst || r.use(sum(1), now, time.Minute) != replayUsed || r.use(sum(2), now, time.Minute) != replayFirst ||
		r.use(sum(3), now, time.Minute) != replayFull || r.use(sum(3), now.Add(2*time.Minute), time.Minute) != replayFirst {
		t.Error("replays")
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"hooks.token:":                       func(c *Config) { c.Token = "" },
		"hooks.path:":                        func(c *Config) { c.Path = "/" },
		"hooks.maxBodyBytes:":                func(c *Config) { c.MaxBodyBytes = 1 },
		"hooks.defaultSessionKey:":           func(c *Config) { c.AllowedSessionKeyPrefixes = []string{"hook:"}; c.DefaultSessionKey = "main" },
		"hooks.allowedSessionKeyPrefixes:":   func(c *Config) { c.AllowedSessionKeyPrefixes = []string{"ci:"} },
		"hooks.mappings[0].action:":          func(c *Config) { c.Mappings = []Mapping{{}} },
		"hooks.mappings[0].messageTemplate:": func(c *Config) { c.Mappings = []Mapping{Mapping{}.ConfigDefault().(Mapping)} },
		"hooks.mappings[0].sessionKey: hooks.": func(c *Config) {
			m := Mapping{}.ConfigDefault().(Mapping)
			m.MessageTemplate, m.SessionKey = "x", "hook:{{id}}"
			c.Mappings = []Mapping{m}
		},
	} {
		cfg := config(change)
		if _, err := New(cfg, Deps{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// FuzzHooks: any body is answered, and what is accepted is valid params.
func FuzzHooks(f *testing.F) {
	f.Add("agent", []byte(`{"message":"x","sessionKey":"hook:a","agentId":"main","timeoutSeconds":1e300}`))
	f.Add("wake", []byte("{\"text\":\"\xff\\ud800\",\"mode\":\"now\"}"))
	f.Add("ci", []byte(`{"a":{"b":[1,2]}}`))
	cfg := config(func(c *Config) {
		c.AllowRequestSessionKey = true
		m := Mapping{}.ConfigDefault().(Mapping)
		m.Path, m.MessageTemplate = "ci", "{{a.b[0]}} {{a}} {{x[99999999999999999999]}}"
		c.Mappings = []Mapping{m}
	})
	h, err := New(cfg, Deps{Pipeline: &pipeline.Pipeline{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sub string, body []byte) {
		p, problem := parsePayload(body)
		if problem != "" {
			return
		}
		r := httptest.NewRequest("POST", "/hooks/x", nil)
		req, problem := h.plan(&cfg, r, sub, p)
		if problem != "" || req == nil {
			return
		}
		params, err := frames.MarshalPayload(req.params)
		if err != nil {
			t.Fatal(err)
		}
		m := frames.LookupMethod([]byte(req.method))
		if err := m.Params.Validate(m.Name, params); err != nil {
			t.Fatalf("%s: %v", params, err)
		}
	})
}
