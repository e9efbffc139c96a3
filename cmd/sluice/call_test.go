package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

func TestCall(t *testing.T) {
	c := newCLI(t)
	addr := c.serve()
	c.want(0, []string{"call", "health"}, "{\n  \"ok\": true")
	if info, err := os.Stat(filepath.Join(c.state, deviceFile)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("device identity: %v %v", info, err)
	}
	out := c.want(0, []string{"call", "sessions.list", "--json", "--params", `{ "limit": 1 }`})
	var res struct {
		OK      bool           `json:"ok"`
		Payload map[string]any `json:"payload"`
	}
	if err := json.Unmarshal([]byte(out), &res); err != nil || !res.OK || res.Payload["limitApplied"] != 1.0 {
		t.Errorf("sessions.list = %s, %v", out, err)
	}
	params := c.write("params.json", `{"limit":1}`)
	c.want(0, []string{"call", "sessions.list", "--params", "@" + params}, `"limitApplied": 1`)
	c.in = `{"limit":2}`
	c.want(0, []string{"call", "sessions.list", "--params", "-"}, `"limitApplied": 2`)
	c.want(0, []string{"call", "health", "--protocol", "3"}, `"ok": true`)
	c.want(0, []string{"call", "health", "--url", "ws://" + addr}, `"ok": true`)

	c.want(1, []string{"call", "no.such"}, "INVALID_REQUEST: unknown method: no.such", "sluice methods")
	c.want(1, []string{"call", "skills.bins"}, "unauthorized role: operator")
	c.want(1, []string{"call", "cron.list"}, "the protocol has this method, but this gateway does not answer it")
	c.want(1, []string{"call", "config.set", "--params", `{"raw":"{}"}`, "--scopes", "operator.read"}, "missing scope: operator.admin", "--scopes", "details: {")
	out = c.want(1, []string{"call", "sessions.list", "--params", `{"limt":1}`, "--json"}, `{"error":{"code":"INVALID_REQUEST"`, `"ok":false`)
	if strings.Count(out, "\n") != 1 {
		t.Errorf("--json is one line: %q", out)
	}
	c.want(1, []string{"call", "health", "--token", "wrong"}, "AUTH_TOKEN_MISMATCH", "--token")
	// The second gateway's token is not sent: the address was named by hand.
	other := newCLI(t)
	other.write(tokenFile, "not this gateway's")
	other.want(1, []string{"call", "health", "--url", "ws://" + addr}, "AUTH_TOKEN_MISMATCH")
	other.env = append(other.env, "SLUICE_TOKEN="+strings.TrimSpace(readText(t, filepath.Join(c.state, tokenFile))), "SLUICE_URL=ws://"+addr)
	other.want(0, []string{"call", "health"}, `"ok": true`)
}

func readText(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestCallUsage(t *testing.T) {
	c := newCLI(t)
	for want, args := range map[string][]string{
		"call needs one METHOD":      {"call"},
		"--params is no JSON":        {"call", "health", "--params", "{"},
		"is not a WebSocket address": {"call", "health", "--url", "ftp://127.0.0.1", "--token", "t"},
		"--protocol is 5":            {"call", "health", "--protocol", "5"},
		"--timeout is 0s":            {"call", "health", "--timeout", "0"},
		"unknown flag":               {"call", "health", "--prams", "{}"},
		"invalid argument \"soon\"":  {"call", "health", "--timeout", "soon"},
	} {
		c.want(2, args, want)
	}
	c.want(1, []string{"call", "health", "--params", "@" + filepath.Join(c.state, "none")}, "--params", "none")
	c.want(1, []string{"call", "health", "--url", "ws://127.0.0.1:1", "--token", "t"}, "is a gateway running at ws://127.0.0.1:1?", "sluice serve")
	c.write("sluice.json5", "{gateway:{listen:'127.0.0.1:0'}}")
	c.want(1, []string{"call", "health"}, "port 0", "--url")
	c.write("sluice.json5", "{")
	c.want(1, []string{"call", "health"}, "SyntaxError", "give --url and --token")
}

// TestSecretStaysHere: the local gateway's secret goes to this machine only.
func TestSecretStaysHere(t *testing.T) {
	c := newCLI(t)
	c.write(tokenFile, "local\n")
	p := &process{environ: c.env}
	for url, want := range map[string]string{
		"": "local", "ws://127.0.0.1:9": "local", "ws://localhost:9": "local", "ws://[::1]:9": "local",
		"wss://gw.example": "", "ws://127.0.0.1.example:9": "", "ws://10.0.0.1:9": "",
	} {
		o := callOptions{url: url, timeout: 1, scopes: []string{"operator.read"}}
		opt, err := o.client(p)
		if err != nil || opt.Auth.Token != want {
			t.Errorf("%q: token %q, want %q (%v)", url, opt.Auth.Token, want, err)
		}
	}
	c.write("sluice.json5", "{gateway:{listen:'0.0.0.0:7',auth:{mode:'password',password:'pw'}}}")
	o := callOptions{timeout: 1}
	opt, err := o.client(p)
	if err != nil || opt.Auth.Password != "pw" || opt.Auth.Token != "" || opt.URL != "ws://127.0.0.1:7" {
		t.Errorf("%+v, %v", opt, err)
	}
}

// TestCallFinal: a turn is accepted first and answered when it has ended.
func TestCallFinal(t *testing.T) {
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"model":"m","choices":[{"index":0,"delta":{"content":"fine"}}]}`+"\n\n"+
			`data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(model.Close) // after the gateway has stopped: its drain lets the turn end
	c := newCLI(t)
	c.env = append(c.env, "OPENAI_BASE_URL="+model.URL, "OPENAI_MODEL=m")
	c.serve()
	args := []string{"call", "agent", "--params", `{"message":"how are you?","agentId":"main","idempotencyKey":"once"}`}
	c.want(0, append(args, "--final"), "accepted: {", `"status": "ok"`, "fine")
	c.want(0, []string{"call", "agent", "--params", `{"message":"and now?","agentId":"main","idempotencyKey":"twice"}`}, `"status": "accepted"`)
}
