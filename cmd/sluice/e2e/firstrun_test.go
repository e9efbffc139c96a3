//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestFirstRun is the README's first minute: serve without any setting on a fresh home, find the token
// where it says, let the real CLI in with it, and be told what to set before a chat can work.
func TestFirstRun(t *testing.T) {
	if env.real {
		t.Log("about sluice's own first run")
		return
	}
	home := t.TempDir()
	port := freePort(t)
	p := start(t, "sluice-first", []string{"HOME=" + home}, env.sluice, "serve", "--listen", fmt.Sprintf("127.0.0.1:%d", port))
	ready := regexp.MustCompile(`(?m)^ready$`)
	p.waitFor(t, "the ready line", 20*time.Second, func() bool { return ready.MatchString(p.output()) })
	if want := fmt.Sprintf("ws://127.0.0.1:%d", port); !strings.Contains(p.output(), want) {
		t.Errorf("it does not say where it listens (%s):\n%s", want, p.output())
	}
	state := filepath.Join(home, ".local", "state", "sluice")
	said := regexp.MustCompile(`(?m)^token: (\S+)`).FindStringSubmatch(p.output())
	if said == nil || !strings.HasPrefix(said[1], state) {
		t.Fatalf("it does not say where the token is, below %s:\n%s", state, p.output())
	}
	info, err := os.Stat(said[1])
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the token file has mode %v, want 0600", info.Mode().Perm())
	}
	made, err := os.ReadFile(said[1])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(p.output(), strings.TrimSpace(string(made))) {
		t.Error("the token itself is printed")
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("healthz: %v %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()

	url := fmt.Sprintf("ws://127.0.0.1:%d", port)
	c := &cli{modules: env.clients, environ: []string{"HOME=" + home, "OPENCLAW_STATE_DIR=" + filepath.Join(home, ".openclaw")}}
	with := []string{"--url", url, "--token", strings.TrimSpace(string(made)), "--json"}
	c.check(t, command{argv: append([]string{"gateway", "call", "health"}, with...), want: []string{"ok=true"}})
	turn := fmt.Sprintf(`{"sessionKey":"main","message":"hello","idempotencyKey":%q}`, uuid.NewString())
	c.check(t, command{argv: append([]string{"gateway", "call", "chat.send", "--params", turn}, with...), code: 1,
		text: []string{"no model is configured", "agent.model.baseUrl", "SLUICE_AGENT_MODEL_BASE_URL"}})
	p.stop(t, 20*time.Second)
}
