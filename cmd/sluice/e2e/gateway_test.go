//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// gateway is a running server under test with a fake model behind it and, when asked for, a recording
// proxy before it.
type gateway struct {
	*proc
	port, proxyPort, modelPort int
	state                      string
	options                    options
}

type options struct {
	capture        string         // name of the capture; "" starts no proxy
	trustedProxies []string       // addresses whose forwarded headers count
	environ        []string       // more environment for the server
	flags          []string       // more flags for sluice
	config         map[string]any // more of sluice's configuration, by dotted key
	wrap           []string       // a command that runs the server; its $0 is the state folder
}

func (g *gateway) url() string { return "ws://127.0.0.1:" + strconv.Itoa(g.port) }

func (g *gateway) modelURL() string { return "http://127.0.0.1:" + strconv.Itoa(g.modelPort) + "/v1" }

// via is the URL that clients use: the proxy's, if there is one, so that their frames are recorded.
func (g *gateway) via() string {
	if g.proxyPort == 0 {
		return g.url()
	}
	return "ws://127.0.0.1:" + strconv.Itoa(g.proxyPort)
}

// startGateway starts the target on fresh state and waits until it accepts.
func startGateway(tb testing.TB, opt options) *gateway {
	tb.Helper()
	g := &gateway{port: freePort(tb), modelPort: startModel(tb), options: opt}
	state, err := os.MkdirTemp(env.work, "state-")
	if err != nil {
		tb.Fatal(err)
	}
	g.state = state
	g.launch(tb)
	if opt.capture != "" {
		g.proxyPort = startProxy(tb, g.port, opt.capture)
	}
	return g
}

// launch starts the server process on the gateway's port and state; a test calls it again to restart.
func (g *gateway) launch(tb testing.TB) {
	tb.Helper()
	if env.real {
		g.proc = launchOpenClaw(tb, g)
	} else {
		g.proc = launchSluice(tb, g)
	}
	g.waitFor(tb, "a ready probe", 90*time.Second, func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", g.port))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	http.DefaultClient.CloseIdleConnections()
}

func launchSluice(tb testing.TB, g *gateway) *proc {
	tb.Helper()
	sluiceConfig(tb, g)
	args := []string{env.sluice, "serve", "--listen", "127.0.0.1:" + strconv.Itoa(g.port), "--state", g.state, "--token", token}
	if len(g.options.wrap) > 0 {
		args = slices.Concat(g.options.wrap, []string{g.state}, args)
	}
	return start(tb, "sluice", g.options.environ, append(args, g.options.flags...)...)
}

func launchOpenClaw(tb testing.TB, g *gateway) *proc {
	tb.Helper()
	trusted := ""
	if len(g.options.trustedProxies) > 0 {
		trusted = `"trustedProxies": ["` + strings.Join(g.options.trustedProxies, `","`) + `"],`
	}
	config := filepath.Join(g.state, "openclaw.json")
	if _, err := os.Stat(config); err != nil {
		text := fmt.Sprintf(`{ "gateway": { "mode": "local", "bind": "loopback", "port": %d, %s "auth": { "mode": "token", "token": %q } },
  "agents": { "defaults": { "model": { "primary": "fake/fake-1" } } },
  "models": { "mode": "merge", "providers": { "fake": { "baseUrl": "%s", "apiKey": "fakekey", "api": "openai-completions",
    "models": [ { "id": "fake-1", "name": "Fake One", "reasoning": false, "input": ["text"], "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 }, "contextWindow": 128000, "maxTokens": 4096 } ] } } } }`,
			g.port, trusted, token, g.modelURL())
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return start(tb, "openclaw", []string{"OPENCLAW_STATE_DIR=" + g.state, "OPENCLAW_CONFIG_PATH=" + config, "HOME=" + g.state},
		env.node, filepath.Join(env.clients, "openclaw", "openclaw.mjs"), "gateway", "run")
}

// startModel starts the fake streaming model (tools/model.mjs) and returns its port.
func startModel(tb testing.TB) int {
	tb.Helper()
	port := freePort(tb)
	p := start(tb, "model", nil, env.node, filepath.Join(env.tools, "model.mjs"), strconv.Itoa(port))
	p.waitFor(tb, "the model's ready line", 20*time.Second, func() bool { return strings.Contains(p.output(), "model on") })
	return port
}

// startProxy starts the recording proxy and labels what it records.
func startProxy(tb testing.TB, target int, capture string) int {
	tb.Helper()
	port := freePort(tb)
	p := start(tb, "proxy", []string{"OC_MODULES=" + env.clients, "CAPTURES=" + env.captures}, env.node, filepath.Join(env.tools, "proxy.mjs"), strconv.Itoa(port), strconv.Itoa(target))
	p.waitFor(tb, "the proxy's ready line", 20*time.Second, func() bool { return strings.Contains(p.output(), "proxy") })
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/__label?name=%s", port, capture))
	if err != nil {
		tb.Fatalf("label the proxy: %v", err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	return port
}
