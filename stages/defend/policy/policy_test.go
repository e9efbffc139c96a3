package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/defend"
)

func TestWeights(t *testing.T) {
	cfg := Default()
	cfg.ToolActions = map[string]string{"gateway": block, "Bash": review}
	p := mustNew(t, cfg, Deps{})
	for _, c := range []struct {
		a    *defend.Action
		want string
	}{
		{call("s", "process", ""), "allow 10 tool_risk_bonus"},
		{call("s", "exec", ""), "review 20 tool_policy tool_risk_bonus"},
		{call("s", " Gateway ", ""), "block 20 tool_policy tool_risk_bonus"},
		{call("s", "apply-patch", ""), "allow 12 tool_risk_bonus"},
		{call("s", "read", ""), "allow 0"},
		{&defend.Action{Channels: [][]byte{[]byte("Discord"), []byte("slack")}}, "allow 10 channel_risk_bonus"},
	} {
		if got := judge(t, p, c.a); got != c.want {
			t.Errorf("%q %q: %s, want %s", c.a.Tools, c.a.Channels, got, c.want)
		}
	}
}

func TestToolPolicy(t *testing.T) {
	for _, c := range []struct {
		tools ToolsConfig
		ok    string
		deny  string
	}{
		{ToolsConfig{}, "exec read anything", ""},
		{ToolsConfig{Profile: "full"}, "exec anything", ""},
		{ToolsConfig{Profile: "minimal"}, "session_status", "exec read"},
		{ToolsConfig{Profile: "coding"}, "exec bash Read apply-patch sessions_list memory_get image", "message web_fetch cron"},
		{ToolsConfig{Profile: "messaging"}, "message sessions_send", "exec sessions_spawn"},
		{ToolsConfig{Allow: []string{"exec"}}, "bash exec apply_patch", "read"},
		{ToolsConfig{Allow: []string{"group:web", "mcp*"}}, "web_fetch mcp__x", "exec"},
		{ToolsConfig{Allow: []string{"*"}, Deny: []string{"*_send"}}, "exec", "sessions_send x_send"},
		{ToolsConfig{Deny: []string{"group:runtime"}}, "read", "exec bash process system.run"},
		{ToolsConfig{Deny: []string{"group:plugins"}}, "read", "outlook__send_mail"},
		{ToolsConfig{Allow: []string{"group:openclaw"}}, "message cron", "exec write"},
		{ToolsConfig{Profile: "coding", Deny: []string{"write"}}, "read", "write message"},
	} {
		p, err := newToolPolicy(c.tools)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(c.ok) {
			if why := p.why(toolName(name), ""); why != "" {
				t.Errorf("%+v: %s: %s", c.tools, name, why)
			}
		}
		for _, name := range strings.Fields(c.deny) {
			if p.why(toolName(name), "") == "" {
				t.Errorf("%+v: %s may be called", c.tools, name)
			}
		}
	}
	cfg := bare()
	cfg.Tools.ByProvider = map[string]ToolSet{"openai": {Deny: []string{"exec"}}, "openai/good": {}}
	model := ""
	p := mustNew(t, cfg, Deps{Model: func(*defend.Action) string { return model }})
	for m, want := range map[string]string{"": "allow 0", "openai/bad": "block 0 tool_policy_deny", "OpenAI/good": "allow 0", "other/x": "allow 0"} {
		model = m
		if got := judge(t, p, call("s", "exec", "")); got != want {
			t.Errorf("%s: %s, want %s", m, got, want)
		}
	}
}

// TestApprovalIsACall: who may not run commands may not have one approved.
func TestApprovalIsACall(t *testing.T) {
	cfg := bare()
	cfg.Tools.Deny = []string{"exec"}
	a := call("s", "", "ls")
	a.Source = "exec.approval.request"
	if got := judge(t, mustNew(t, cfg, Deps{}), a); got != "block 0 tool_policy_deny" {
		t.Error(got)
	}
	if got := judge(t, mustNew(t, bare(), Deps{}), a); got != "allow 0" {
		t.Error(got)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{{"*", "", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "ac", true}, {"a*c", "a", false}, {"ab*bc", "abc", false},
		{"a*b*c", "axxbyyc", true}, {"a*b*c", "acb", false}} {
		if glob(c.pattern, c.text) != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.text, !c.want)
		}
	}
}

func TestLoop(t *testing.T) {
	p := mustNew(t, bare(), Deps{})
	last := ""
	for i := 1; i <= 25; i++ {
		want := "allow 0"
		if i >= 20 {
			want = "block 0 tool_loop"
		} else if i >= 10 {
			want = "review 0 tool_loop"
		}
		if last = judge(t, p, call("s", "web_search", "")); last != want {
			t.Fatalf("call %d: %s, want %s", i, last, want)
		}
	}
	if got := judge(t, p, call("other", "web_search", "")); got != "allow 0" {
		t.Errorf("another session: %s", got)
	}
	if got := judge(t, p, call("s", "web_search", "else")); got != "allow 0" {
		t.Errorf("another call: %s", got)
	}
	// Rounds of two calls count too; calls that differ never do.
	for i := range 40 {
		got := judge(t, p, call("two", "web_search", fmt.Sprint(i%2)))
		if (i >= 39) != (got == "block 0 tool_loop") || (i < 19) != (got == "allow 0") {
			t.Errorf("call %d of a round: %s", i+1, got)
		}
		if got := judge(t, p, call("all", "web_search", fmt.Sprint(i))); got != "allow 0" {
			t.Errorf("call %d, all different: %s", i, got)
		}
	}
	for i := range 5000 {
		p.loops.at(fmt.Sprint(i))
	}
	if len(p.loops.m) != 4096 || p.loops.order.Len() != 4096 {
		t.Errorf("%d sessions", len(p.loops.m))
	}
}

func TestRate(t *testing.T) {
	cfg := bare()
	cfg.Rate.PerMinute, cfg.Rate.Burst, cfg.Rate.Action = 60, 3, block
	c := &clock{now: time.Now()}
	p := mustNew(t, cfg, Deps{Now: c.Now, Sender: func(a *defend.Action) string { return a.Source }})
	try := func(source, want string) {
		t.Helper()
		if got := judge(t, p, &defend.Action{Source: source, Prompts: [][]byte{[]byte("x")}}); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
	for range 3 {
		try("a", "allow 0")
	}
	try("a", "block 0 sender_rate")
	try("b", "allow 0")
	c.advance(time.Second)
	try("a", "allow 0")
	try("a", "block 0 sender_rate")
}

func TestTaint(t *testing.T) {
	cfg := bare()
	cfg.Taint.Sessions = 16
	c := &clock{now: time.Now()}
	p := mustNew(t, cfg, Deps{Now: c.Now})
	const tainted = "review 0 tainted_turn"
	check := func(what string, a *defend.Action, want string) {
		t.Helper()
		if got := judge(t, p, a); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	send := &defend.Action{SessionKey: "s", Source: "send", Prompts: [][]byte{[]byte("hi")}}
	check("clean", call("s", "exec", "ls"), "allow 0")
	if err := p.Taint("s", "web page"); err != nil {
		t.Fatal(err)
	}
	check("exec", call("s", "exec", "ls"), tainted)
	check("a command without a tool", call("s", "", "ls"), tainted)
	check("a privileged method", send, tainted)
	check("a harmless tool", call("s", "web_search", ""), "allow 0")
	check("another session", call("t", "exec", "ls"), "allow 0")
	p.BeginTurn("s")
	check("the next turn", call("s", "exec", "ls"), "allow 0")

	for i := range 16 {
		if err := p.Taint(fmt.Sprint(i), "tool result"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Taint("one more", "x"); err != ErrTaintFull {
		t.Error(err)
	}
	check("while there are too many", call("t", "exec", "ls"), tainted)
	c.advance(25 * time.Hour)
	check("a day later", call("t", "exec", "ls"), "allow 0")
	check("a day later", call("3", "exec", "ls"), "allow 0")

	cfg.Taint.Sticky = stickySession
	if err := p.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	p.Taint("s", "x")
	p.BeginTurn("s")
	check("sticky", call("s", "exec", "ls"), tainted)
}

func TestOnFailure(t *testing.T) {
	cfg := bare()
	cfg.Failure = FailureConfig{Prompt: allow, Command: block, URL: review, File: review, Outbound: block}
	p := mustNew(t, cfg, Deps{})
	text := [][]byte{[]byte("x")}
	for _, c := range []struct {
		a    defend.Action
		out  bool
		want pipeline.Action
	}{
		{defend.Action{Prompts: text}, false, pipeline.Allow}, {defend.Action{Prompts: text}, true, pipeline.Block},
		{defend.Action{Prompts: text, Commands: text}, false, pipeline.Block}, {defend.Action{Tools: text}, false, pipeline.Block},
		{defend.Action{Prompts: text, URLs: text}, false, pipeline.Review}, {defend.Action{}, false, pipeline.Review},
	} {
		if got := p.OnFailure(&c.a, c.out); got != c.want {
			t.Errorf("%+v: %s, want %s", c.a, got, c.want)
		}
	}
}

func TestProtected(t *testing.T) {
	for path, want := range map[string]bool{"defend": true, "defend.policy.taint.enabled": true, "Defend.reviewThreshold": true, "": true, ".": true,
		"gateway": true, "gateway.auth.token": true, "hooks.token": true, "agent.agents[0].systemPrompt": true, "pipeline": true,
		"pipeline.timeoutsMs.defend": true, "pipeline.queueFrames": false, "telemetry.logs": false, "defender": false, "agents": false} {
		if Protected(path) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
}

// TestPolicyChanges: what is allowed is changed by an operator with operator.admin, and
// by nobody in a turn that has read somebody else's words without a second look.
func TestPolicyChanges(t *testing.T) {
	p := mustNew(t, Default(), Deps{})
	change := func(session string, admin bool) *defend.Action {
		return &defend.Action{Source: "config.patch", SessionKey: session, Admin: admin}
	}
	if got := judge(t, p, change("s", false)); got != "block 0 policy_change" {
		t.Errorf("an agent's: %s", got)
	}
	if got := judge(t, p, change("s", true)); got != "allow 0" {
		t.Errorf("an administrator's: %s", got)
	}
	p.Taint("s", "web")
	if got := judge(t, p, change("s", true)); got != "review 0 tainted_turn" {
		t.Errorf("an administrator's, for a tainted session: %s", got)
	}
}

func TestReloadKeepsLastGood(t *testing.T) {
	var told []Change
	p := mustNew(t, bare(), Deps{Changed: func(_ ctx, c Change) { told = append(told, c) }})
	cfg := bare()
	cfg.ToolActions = map[string]string{"exec": block}
	if err := p.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.ToolActions = map[string]string{"exec": "maybe"}
	if p.Reload(t.Context(), cfg) == nil {
		t.Fatal("taken")
	}
	if got := judge(t, p, call("s", "exec", "")); got != "block 0 tool_policy" {
		t.Error(got)
	}
	if len(told) != 2 || told[0].Refused != "" || told[1].Refused == "" {
		t.Errorf("%+v", told)
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Config){
		func(c *Config) { c.Tools.Profile = "x" }, func(c *Config) { c.Tools.Allow = []string{""} },
		func(c *Config) { c.Tools.Deny = []string{"group:x"} }, func(c *Config) { c.Tools.ByProvider = map[string]ToolSet{"x": {Profile: "y"}} },
		func(c *Config) { c.ToolRisk = map[string]int{"x": 101} }, func(c *Config) { c.ChannelRisk = map[string]int{"x": -1} },
		func(c *Config) { c.ToolActions = map[string]string{"x": "y"} }, func(c *Config) { c.Loop.Block = c.Loop.Warn },
		func(c *Config) { c.Rate.Burst = 0 }, func(c *Config) { c.Rate.Action = allow }, func(c *Config) { c.Taint.Sticky = "x" },
		func(c *Config) { c.Taint.Privileged = []string{"group:x"} }, func(c *Config) { c.Taint.MaxAgeMs = 1 },
		func(c *Config) { c.Failure.Command = "x" }, func(c *Config) { c.Bundle.Path = "/x" },
		func(c *Config) { c.Bundle.PublicKeys = map[string]string{"x": "y"} }, func(c *Config) { c.Bundle.MaxAgeDays = 0 },
	} {
		c := Default()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("case %d", i)
		}
	}
}

func BenchmarkAssess(b *testing.B) {
	p := mustNew(b, Default(), Deps{})
	if err := p.Taint("other", "x"); err != nil {
		b.Fatal(err)
	}
	a := call("agent:main:main", "exec", "go test ./...")
	f := &defend.Findings{}
	b.ReportAllocs()
	for b.Loop() {
		*f = defend.Findings{}
		if err := p.Assess(b.Context(), a, f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAssessPrompt(b *testing.B) {
	p := mustNew(b, Default(), Deps{})
	a := &defend.Action{SessionKey: "agent:main:main", Prompts: [][]byte{[]byte("hello")}}
	f := &defend.Findings{}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Assess(b.Context(), a, f); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNoSession: whoever names no session is judged as if in the main one, and what its
// sender repeats is nobody else's.
func TestNoSession(t *testing.T) {
	p := mustNew(t, Default(), Deps{})
	p.Taint(mainSession, "web")
	if got := judge(t, p, &defend.Action{Source: "send", Prompts: [][]byte{[]byte("hi")}}); got != "review 0 tainted_turn" {
		t.Errorf("without a session: %s", got)
	}
	if got := judge(t, p, &defend.Action{Source: "config.patch", Admin: true}); got != "allow 0" {
		t.Errorf("an operator's own change: %s", got)
	}
	p.BeginTurn(mainSession)
	same := func(sender string) string {
		return judge(t, p, &defend.Action{Source: "node.invoke", Sender: sender, Commands: [][]byte{[]byte("ls")}, Argv: [][]string{nil}})
	}
	for range Default().Loop.Block {
		same("one")
	}
	if got := same("one"); got != "block 0 tool_loop" {
		t.Errorf("a loop: %s", got)
	}
	if got := same("other"); got != "allow 0" {
		t.Errorf("another sender: %s", got)
	}
}

// TestHeaviestChannel: a light channel that is named first hides no heavy one.
func TestHeaviestChannel(t *testing.T) {
	p := mustNew(t, Default(), Deps{})
	a := &defend.Action{Source: "send", Channels: [][]byte{[]byte("telegram"), []byte("Discord")}, Prompts: [][]byte{[]byte("hi")}}
	if got := judge(t, p, a); got != "allow 10 channel_risk_bonus" {
		t.Error(got)
	}
}
