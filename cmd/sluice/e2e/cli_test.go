//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// cli runs `openclaw …` as a remote client: a config of its own sends every command to the gateway
// through the recording proxy.
type cli struct {
	modules string // node_modules that hold the openclaw package
	environ []string
}

func newCLI(tb testing.TB, modules string, g *gateway) *cli {
	tb.Helper()
	home, err := os.MkdirTemp(env.work, "cli-")
	if err != nil {
		tb.Fatal(err)
	}
	config := filepath.Join(home, "openclaw.json")
	text := `{ "gateway": { "mode": "remote", "remote": { "url": "` + g.via() + `", "token": "` + token + `" } } }`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return &cli{modules: modules, environ: []string{"HOME=" + home, "OPENCLAW_CONFIG_PATH=" + config, "OPENCLAW_STATE_DIR=" + filepath.Join(home, ".openclaw")}}
}

func (c *cli) run(tb testing.TB, args ...string) result {
	tb.Helper()
	return run(tb, 2*time.Minute, c.environ, append([]string{env.node, filepath.Join(c.modules, "openclaw", "openclaw.mjs")}, args...)...)
}

// A command of the CLI and what must be true of what it prints.
type command struct {
	args string   // split at blanks; use argv where an argument holds one
	argv []string // in place of args
	code int
	// want are dotted paths into the JSON it prints; "path=value" demands that value (as JSON).
	want []string
	text []string // or: what the plain text must contain
}

func (c *cli) check(t *testing.T, cmd command) {
	t.Helper()
	argv := cmd.argv
	if argv == nil {
		argv = strings.Fields(cmd.args)
	}
	r := c.run(t, argv...)
	if r.code != cmd.code {
		t.Fatalf("openclaw %s: exit %d, want %d\nstdout: %s\nstderr: %s", strings.Join(argv, " "), r.code, cmd.code, last(r.stdout, 1500), last(r.stderr, 1500))
	}
	for _, text := range cmd.text {
		if !strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("openclaw %s: %q is not in\n%s\n%s", strings.Join(argv, " "), text, last(r.stdout, 1500), last(r.stderr, 1500))
		}
	}
	if len(cmd.want) == 0 {
		return
	}
	var doc any
	text := r.stdout
	if i := strings.IndexAny(text, "{["); i > 0 {
		text = text[i:] // some commands print a notice first
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		if line, _, ok := strings.Cut(text, "\n"); !ok || json.Unmarshal([]byte(line), &doc) != nil {
			t.Fatalf("openclaw %s prints no JSON: %v\n%s", strings.Join(argv, " "), err, last(r.stdout, 1500))
		}
	}
	for _, want := range cmd.want {
		path, value, exact := strings.Cut(want, "=")
		got, ok := lookup(doc, path)
		if !ok {
			t.Errorf("openclaw %s: no %s in\n%s", strings.Join(argv, " "), path, last(r.stdout, 1500))
			continue
		}
		if b, _ := json.Marshal(got); exact && string(b) != value {
			t.Errorf("openclaw %s: %s = %s, want %s", strings.Join(argv, " "), path, b, value)
		}
	}
}

// lookup follows a dotted path; a number is an index, "." the document.
func lookup(doc any, path string) (any, bool) {
	if path == "." {
		return doc, true
	}
	for part := range strings.SplitSeq(path, ".") {
		switch v := doc.(type) {
		case map[string]any:
			next, ok := v[part]
			if !ok {
				return nil, false
			}
			doc = next
		case []any:
			i := 0
			for _, d := range part {
				i = i*10 + int(d-'0')
			}
			if i >= len(v) {
				return nil, false
			}
			doc = v[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

// TestCLI drives openclaw 2026.9.6: the commands a person uses and a call of every read method.
func TestCLI(t *testing.T) {
	t.Parallel()
	g := startGateway(t, options{capture: "cli"})
	c := newCLI(t, env.clients, g)
	for _, cmd := range []command{
		{args: "health --json", want: []string{"ok=true", "agents.0.agentId=\"main\"", "sessions.count"}},
		{args: "health", text: []string{"Agents: main (default)", "Session store (main)"}},
		{args: "status --json", want: []string{"runtimeVersion", "sessions.count", "heartbeat.defaultAgentId=\"main\""}},
		{args: "status", text: []string{"Sessions", "Gateway"}},
		{args: "sessions --json", want: []string{"sessions", "count"}},
		{argv: []string{"agent", "--agent", "main", "--message", "hello from the command line", "--json"}, want: []string{"status=\"ok\"", "summary=\"completed\"", "result.payloads.0.text=\"" + reply + "\""}},
		{args: "logs --limit 5 --json", want: []string{"type=\"meta\"", "file", "cursor", "size"}},
		{args: "logs --limit 5"},
		{args: "devices list --json", want: []string{"pending", "paired"}},
		{args: "channels status --json", want: []string{"ts", "channelOrder", "channelAccounts"}},
		{args: "gateway call health --json", want: []string{"ok=true"}},
		{args: "gateway call health --json --url " + g.via() + " --token " + token, want: []string{"ok=true"}},
		{args: "gateway call status --json", want: []string{"sessions.count=1"}},
		{args: "gateway call system-presence --json", want: []string{"0.reason=\"self\""}},
		{args: "gateway call system.info --json", want: []string{"hostname", "pid"}},
		{args: "gateway call last-heartbeat --json", want: []string{".=null"}},
		{args: "gateway call gateway.identity.get --json", want: []string{"deviceId", "publicKey"}},
		{args: "gateway call diagnostics.lanes --json", want: []string{"ts", "lanes.0.lane"}},
		{args: "gateway call logs.tail --json", want: []string{"lines", "cursor"}},
		{args: "gateway call config.get --json", want: []string{"valid=true", "hash", "config"}},
		{args: "gateway call config.schema --json", want: []string{"schema", "uiHints", "version"}},
		{args: "gateway call models.list --json", want: []string{"models.0.id=\"fake-1\""}},
		{args: "gateway call agents.list --json", want: []string{"defaultId=\"main\""}},
		{args: "gateway call commands.list --json", want: []string{"commands.0.name"}},
		{args: "gateway call channels.status --json", want: []string{"channels"}},
		{args: "gateway call update.status --json", want: []string{"updateAvailable=null"}},
		{args: "gateway call usage.status --json", want: []string{"providers"}},
		{argv: []string{"gateway", "call", "sessions.list", "--params", `{"limit":1,"includeLastMessage":true}`, "--json"}, want: []string{"count=1", "sessions.0.key=\"agent:main:main\"", "sessions.0.lastMessagePreview=\"" + reply + "\""}},
		{argv: []string{"gateway", "call", "chat.history", "--params", `{"sessionKey":"agent:main:main"}`, "--json"}, want: []string{"messages.0.role=\"user\"", "messages.1.role=\"assistant\"", "totalMessages=2"}},
		{argv: []string{"gateway", "call", "sessions.patch", "--params", `{"key":"agent:main:main","label":"from the cli"}`, "--json"}, want: []string{"ok=true", "entry.label=\"from the cli\""}},
		{args: "gateway call nosuch.method --json", code: 1, text: []string{"unknown method: nosuch.method"}},
		{argv: []string{"gateway", "call", "sessions.list", "--params", `{"limit":"ten"}`, "--json"}, code: 1, text: []string{"invalid sessions.list params: at /limit: must be integer"}},
		{args: "gateway call health --json --url " + g.via() + " --token wrong", code: 1, text: []string{"gateway token mismatch"}},
	} {
		name := cmd.args
		if name == "" {
			name = strings.Join(cmd.argv, " ")
		}
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) { c.check(t, cmd) })
	}
}

// TestFebruaryCLI drives openclaw 2026.2.26, which speaks protocol 3 and checks every frame against
// closed schemas.
func TestFebruaryCLI(t *testing.T) {
	t.Parallel()
	if env.real {
		t.Log("the real 2026.9.6 gateway refuses protocol 3; nothing to record")
		return
	}
	g := startGateway(t, options{capture: "cli_feb"})
	c := newCLI(t, env.feb, g)
	for _, cmd := range []command{
		{args: "health --json", want: []string{"ok=true", "agents.0.agentId=\"main\""}},
		{args: "health", text: []string{"Agents: main (default)"}},
		{args: "status --json", want: []string{"gateway.reachable=true"}},
		{args: "sessions --json", want: []string{"sessions"}},
		{argv: []string{"agent", "--agent", "main", "--message", "hello from February", "--json"}, want: []string{"status=\"ok\"", "result.payloads.0.text=\"" + reply + "\""}},
		{args: "logs --limit 5 --json", want: []string{"type=\"meta\""}},
		{args: "devices list --json", want: []string{"paired"}},
		{args: "channels status --json", want: []string{"channelOrder"}},
		{args: "gateway call health --json", want: []string{"ok=true"}},
		{args: "gateway call status --json", want: []string{"sessions.count=1"}},
		{args: "gateway call system-presence --json", want: []string{"0.reason=\"self\""}},
		{args: "gateway call config.get --json", want: []string{"valid=true"}},
		{args: "gateway call models.list --json", want: []string{"models.0.id=\"fake-1\""}},
		{argv: []string{"gateway", "call", "sessions.list", "--params", `{"limit":1}`, "--json"}, want: []string{"count=1"}},
		{argv: []string{"gateway", "call", "chat.history", "--params", `{"sessionKey":"agent:main:main"}`, "--json"}, want: []string{"messages.1.role=\"assistant\""}},
		{args: "gateway call nosuch.method --json", code: 1, text: []string{"unknown method: nosuch.method"}},
	} {
		name := cmd.args
		if name == "" {
			name = strings.Join(cmd.argv, " ")
		}
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) { c.check(t, cmd) })
	}
}
