//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestControlUI serves the Control UI of the installed openclaw package, opens it in headless Chromium
// and chats. E2E_NO_UI=1 leaves it out on a machine without a browser; nothing else does.
func TestControlUI(t *testing.T) {
	if leftOut(t, "E2E_NO_UI") {
		return
	}
	g := startGateway(t, options{capture: "control_ui", flags: []string{"--control-ui", filepath.Join(env.clients, "openclaw", "dist", "control-ui")}})
	p := openPage(t)
	p.navigate(t, fmt.Sprintf("http://127.0.0.1:%d/chat?session=main#token=%s", g.proxyPort, token))
	p.typeMessage(t, "hello from the browser")
	p.wait(t, "the reply on the page", 60*time.Second, pageText+`.includes("streamed reply with several tokens")`)
	p.screenshot(t, "control-ui-chat.png")
	for _, bad := range []string{"unknown method", "protocol mismatch", "unauthorized"} {
		if strings.Contains(p.eval(t, pageText), bad) {
			t.Errorf("the page says %q; see %s", bad, filepath.Join(env.work, "control-ui-chat.png"))
		}
	}
	c := dial(t, g.url())
	var h history
	c.call(t, "chat.history", map[string]any{"sessionKey": "main"}, &h)
	if got := strings.Join(h.texts(), "\n"); !strings.Contains(got, "user: hello from the browser") || !strings.Contains(got, "assistant: "+reply) {
		t.Errorf("chat.history after the browser's turn:\n%s", got)
	}
}

// page is one browser tab, driven over the DevTools protocol.
type page struct {
	mu      sync.Mutex
	n       int
	pending map[int]chan jsontext.Value
	send    func([]byte) error
}

func openPage(tb testing.TB) *page {
	tb.Helper()
	browser := ""
	for _, name := range []string{os.Getenv("E2E_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		tb.Fatal("no Chromium: apt-get install chromium, or set E2E_CHROMIUM, or leave the test out with E2E_NO_UI=1")
	}
	profile, err := os.MkdirTemp(env.work, "chromium-")
	if err != nil {
		tb.Fatal(err)
	}
	b := start(tb, "chromium", []string{"HOME=" + profile}, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--window-size=1280,900",
		"--remote-debugging-port=0", "--user-data-dir="+profile, "about:blank")
	port := regexp.MustCompile(`DevTools listening on ws://127\.0\.0\.1:(\d+)/`)
	b.waitFor(tb, "DevTools address", 60*time.Second, func() bool { return port.MatchString(b.output()) })
	var tabs []struct {
		Type string `json:"type"`
		URL  string `json:"webSocketDebuggerUrl"`
	}
	resp, err := http.Get("http://127.0.0.1:" + port.FindStringSubmatch(b.output())[1] + "/json/list")
	if err != nil {
		tb.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if err := json.UnmarshalRead(resp.Body, &tabs); err != nil {
		tb.Fatal(err)
	}
	target := ""
	for _, tab := range tabs {
		if tab.Type == "page" {
			target = tab.URL
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	nc, _, _, err := ws.Dialer{}.Dial(ctx, target)
	if err != nil {
		tb.Fatalf("connect to the browser tab %q: %v", target, err)
	}
	p := &page{pending: map[int]chan jsontext.Value{}, send: func(b []byte) error { return wsutil.WriteClientText(nc, b) }}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			data, err := wsutil.ReadServerText(nc)
			if err != nil {
				return
			}
			var m struct {
				ID     int            `json:"id"`
				Result jsontext.Value `json:"result"`
			}
			if json.Unmarshal(data, &m) != nil || m.ID == 0 {
				continue
			}
			p.mu.Lock()
			ch := p.pending[m.ID]
			delete(p.pending, m.ID)
			p.mu.Unlock()
			if ch != nil {
				ch <- m.Result
			}
		}
	}()
	tb.Cleanup(func() { _ = nc.Close(); <-gone })
	return p
}

func (p *page) command(tb testing.TB, method string, params any) jsontext.Value {
	tb.Helper()
	p.mu.Lock()
	p.n++
	ch := make(chan jsontext.Value, 1)
	p.pending[p.n] = ch
	b, err := json.Marshal(map[string]any{"id": p.n, "method": method, "params": params})
	p.mu.Unlock()
	if err == nil {
		err = p.send(b)
	}
	if err != nil {
		tb.Fatalf("%s: %v", method, err)
	}
	select {
	case v := <-ch:
		return v
	case <-time.After(30 * time.Second):
		tb.Fatalf("%s: the browser does not answer", method)
		return nil
	}
}

func (p *page) navigate(tb testing.TB, url string) {
	tb.Helper()
	p.command(tb, "Page.enable", map[string]any{})
	p.command(tb, "Page.navigate", map[string]any{"url": url})
}

// eval returns what an expression evaluates to, as text.
func (p *page) eval(tb testing.TB, expression string) string {
	tb.Helper()
	var out struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
	}
	_ = json.Unmarshal(p.command(tb, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}), &out)
	return fmt.Sprint(out.Result.Value)
}

func (p *page) wait(tb testing.TB, what string, deadline time.Duration, expression string) {
	tb.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for p.eval(tb, expression) != "true" {
		select {
		case <-end:
			p.screenshot(tb, "failed.png")
			tb.Fatalf("no %s within %s; the page is in %s and says:\n%s", what, deadline, filepath.Join(env.work, "failed.png"), last(p.eval(tb, "document.body.innerText"), 1500))
		case <-tick.C:
		}
	}
}

func (p *page) screenshot(tb testing.TB, name string) {
	tb.Helper()
	var out struct {
		Data string `json:"data"`
	}
	_ = json.Unmarshal(p.command(tb, "Page.captureScreenshot", map[string]any{"format": "png"}), &out)
	png, err := base64.StdEncoding.DecodeString(out.Data)
	if err != nil || len(png) < 1000 {
		tb.Errorf("screenshot: %d bytes, %v", len(png), err)
		return
	}
	if err := os.WriteFile(filepath.Join(env.work, name), png, 0o600); err != nil {
		tb.Error(err)
	}
}
