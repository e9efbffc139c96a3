//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/stages/defend/ledger"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// TestPolicyByClient: the openclaw CLI changes the defender's thresholds of a running gateway by
// config.patch, which is no integrity alert; a client without operator.admin changes nothing; an edit by
// hand is an alert that `openclaw health` shows, and everything is reviewed from then on.
func TestPolicyByClient(t *testing.T) {
	if env.real {
		t.Log("about sluice's own configuration")
		return
	}
	g := startGateway(t, options{capture: "policy", config: guarded()})
	oc := newCLI(t, env.clients, g)
	send := func(message string) command {
		turn := fmt.Sprintf(`{"sessionKey":"main","message":%q,"idempotencyKey":%q}`, message, uuid.NewString())
		return command{argv: []string{"gateway", "call", "chat.send", "--timeout", "3000", "--params", turn, "--json"}}
	}

	// A suspicious message is reviewed at the default thresholds, and blocked at the new ones.
	var cfg struct {
		Hash string `json:"hash"`
	}
	hash := oc.run(t, "gateway", "call", "config.get", "--json")
	if err := json.Unmarshal([]byte(hash.stdout), &cfg); err != nil {
		t.Fatalf("%v in %s %s", err, hash.stdout, hash.stderr)
	}
	patch := func(raw string) []string {
		params, err := json.Marshal(map[string]any{"raw": raw, "baseHash": cfg.Hash})
		if err != nil {
			t.Fatal(err)
		}
		return []string{"gateway", "call", "config.patch", "--json", "--params", string(params)}
	}
	oc.check(t, command{argv: patch(`{defend:{reviewThreshold:20,blockThreshold:40}}`), want: []string{"ok=true", "config.defend.blockThreshold=40"}})
	blocked := send(suspicious)
	blocked.code, blocked.want = 1, []string{"error.details.code=\"DEFENDER_BLOCKED\"", "error.details.decision.riskScore=45"}
	oc.check(t, blocked)
	oc.check(t, command{argv: patch(`{defend:{blockThreshold:10}}`), code: 1, text: []string{"config changed since last load"}})
	if r := oc.run(t, "health", "--json"); strings.Contains(r.stdout, "warnings") {
		t.Errorf("an administrator's write is an alert: %s", last(r.stdout, 1500))
	}

	// OpenClaw's own client, without operator.admin.
	out := probe(t, g, filepath.Join(env.pkg, "probes", "policy.mjs"), 0, time.Minute)
	for _, method := range []string{"config.set", "config.patch", "config.apply"} {
		if want := method + " FORBIDDEN missing scope: operator.admin"; !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if b, err := os.ReadFile(filepath.Join(g.state, "sluice.json5")); err != nil || strings.Contains(string(b), "auditOnly") {
		t.Errorf("the configuration after the refusals: %s %v", b, err)
	}

	// By hand.
	f, err := os.OpenFile(filepath.Join(g.state, "sluice.json5"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("\n// by hand\n")
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, g.url())
	eventually(t, "the alert", 20*time.Second, func() bool { return healthWarnings(t, c) != "" })
	oc.check(t, command{args: "health --json", want: []string{"warnings.0=\"host integrity: the configuration changed and nobody has accepted it; sluice doctor lists the files, sluice integrity accept takes them as they are\""}})
	harmless := send("hello")
	harmless.code, harmless.text = 1, []string{"DEFENDER_BLOCKED", "host integrity: the configuration changed"} // 55 is above 40
	oc.check(t, harmless)

	if got := actions(journal(t, g, ledger.Filter{Kind: ledger.KindIntegrity})); got != "baseline accepted changed" {
		t.Errorf("integrity in the ledger: %s", got)
	}
	changed := journal(t, g, ledger.Filter{Kind: ledger.KindPolicy, Action: "configured"})
	if len(changed) != 1 || !slices.ContainsFunc(changed[0].Reasons, func(s string) bool { return strings.HasPrefix(s, "defend.blockThreshold is changed") }) {
		t.Errorf("policy in the ledger: %+v", changed)
	}
}

// TestIdle: what a gateway without clients costs, of the binary that is shipped, and how soon it is there.
func TestIdle(t *testing.T) {
	if env.real {
		t.Log("about sluice")
		return
	}
	const (
		most = 30 << 10 // KiB, of which some 21 MiB are the binary's own pages
		soon = 2 * time.Second
	)
	state := t.TempDir()
	begin := time.Now()
	p := start(t, "sluice-idle", nil, env.sluice, "serve", "--listen", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "--state", state)
	p.waitFor(t, "the ready line", 20*time.Second, func() bool { return strings.Contains(p.output(), "\nready\n") })
	took := time.Since(begin)
	<-time.After(time.Second) // what the start leaves to the collector
	rss, anon := memory(t, p, "VmRSS"), memory(t, p, "RssAnon")
	t.Logf("ready after %d ms; RSS %.1f MiB, %.1f MiB of it anonymous", took.Milliseconds(), float64(rss)/1024, float64(anon)/1024)
	if rss > most {
		t.Errorf("RSS %d KiB, at most %d", rss, most)
	}
	if took > soon {
		t.Errorf("ready after %s, at most %s", took, soon)
	}
	p.stop(t, 20*time.Second)
}

// memory reads a figure in KiB of a process.
func memory(tb testing.TB, p *proc, name string) (kib int) {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			if _, err := fmt.Sscanf(value, "%d kB", &kib); err != nil {
				tb.Fatalf("%s: %v", line, err)
			}
		}
	}
	return kib
}
