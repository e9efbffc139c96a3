package approval

import (
	"context"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/frames"

	"github.com/go-json-experiment/json"
)

func TestRuns(t *testing.T) {
	for _, c := range []struct {
		command string
		argv    []string
		want    bool
	}{
		{"echo hi", []string{"echo", "hi"}, true},
		{"rm 'a b'", []string{"rm", "a b"}, true},
		{`rm "a b"`, []string{"rm", "a b"}, true},
		{`rm a\ b`, []string{"rm", "a b"}, true},
		{"rm a b", []string{"rm", "a b"}, false},
		{"echo hi", []string{"rm", "-rf", "/"}, false},
		{"echo hi", []string{"echo", "hi", "there"}, false},
		{"ls | wc", []string{"bash", "-lc", "ls | wc"}, true},
		{"ls | wc", []string{"/bin/sh", "-c", "ls | wc"}, true},
		{"ls | wc", []string{"/tmp/sh", "-c", "ls | wc"}, false},
		{"ls | wc", []string{"sh", "-c", "ls | wc", "x"}, false},
		{"ls | wc", []string{"sh", "-x", "ls | wc"}, false},
		{"echo $HOME", []string{"echo", "/root"}, false},
		{"FOO=1 ls", []string{"FOO=1", "ls"}, true}, // as the real gateway joins it
		{`say "a\"b"`, []string{"say", `a"b`}, true},
		{`x ""`, []string{"x", ""}, true},
		{"ls # rm", []string{"ls"}, false},
		{"ls &", []string{"ls"}, false},
		{"'unclosed", []string{"unclosed"}, false},
		{`end\`, []string{"end"}, false},
		{"", nil, false},
	} {
		if got := len(c.argv) > 0 && runs(c.command, c.argv); got != c.want {
			t.Errorf("runs(%q, %q) = %v", c.command, c.argv, got)
		}
	}
	b := newWorld(t, nil)
	defer b.close()
	a := echo("")
	a.Argv = []string{"rm", "-rf", "/"}
	if _, err := b.Ask(context.Background(), a); wireCode(t, err).Details.(map[string]any)["reason"] != ReasonMismatch {
		t.Error(err)
	}
}

func TestShow(t *testing.T) {
	redact := func(s string) string { return strings.ReplaceAll(s, "sk-secret", "***") }
	b := newWorld(t, func(_ *Config, d *Deps) { d.Redact = redact })
	defer b.close()
	for _, c := range []struct {
		in, want string
		whole    bool
	}{
		{"echo hi", "echo hi", true},
		{"naïve 日本", "naïve 日本", true},
		{"a\u202eb", `a\u{202E}b`, true},
		{"a\tb\nc", `a\u{9}b\u{A}c`, true},
		{"\U000E0041x", `\u{E0041}x`, true},
		{"a\u00a0b", `a\u{A0}b`, true},
		{"\xff", "\uFFFD", true},
		{"use sk-secret", "use ***", true},
		{"use sk-\u200bsecret", notShownFor, false},
		{strings.Repeat("x", maxShown), strings.Repeat("x", maxShown), true},
		{strings.Repeat("x", maxShown+1), strings.Repeat("x", maxShown) + "…[truncated]", false},
		{strings.Repeat("😀", maxShown/2+1), strings.Repeat("😀", maxShown/2) + "…[truncated]", false},
		{strings.Repeat("x", maxShownInput+1), notShown, false},
	} {
		if got := b.show(c.in); got.text != c.want || got.whole != c.whole {
			t.Errorf("show(%.40q) = %.60q %v", c.in, got.text, got.whole)
		}
	}
	if got := b.showProse("a\r\nb\u2028c").text; got != "a\nb\nc" {
		t.Errorf("%q", got)
	}
	a := echo("")
	a.Argv, a.Command = []string{"curl", "sk-secret"}, "curl sk-secret"
	if v := b.ask(a); strings.Contains(string(v.Request)+string(v.Snapshot), "sk-secret") {
		t.Errorf("%s", v.Request)
	}
}

func TestNode(t *testing.T) {
	b := newWorld(t, nil)
	defer b.close()
	a := Ask{Kind: KindExec, Host: "node", Command: "echo hi"}
	for _, want := range []string{"nodeId is required for host=node", "systemRunPlan is required for host=node"} {
		if _, err := b.Ask(context.Background(), a); wireCode(t, err).Message != want {
			t.Error(err)
		}
		a.NodeID = "n1"
	}
	a.Plan = []byte(`{"argv":["echo","hi"],"cwd":"/w","commandText":"echo hi","agentId":"main","sessionKey":null,"mutableFileOperand":{"argvIndex":1,"path":"/w/x","sha256":"aa"}}`)
	a.Env = map[string]string{"B": "2", "A": "1"}
	v := b.ask(a)
	want := `{"command":"echo hi","envKeys":["A","B"],"systemRunBinding":{"argv":["echo","hi"],"cwd":"/w","agentId":"main","sessionKey":null,` +
		`"envHash":"` + *envHash(a.Env) + `"},"systemRunPlan":{"argv":["echo","hi"],"cwd":"/w","commandText":"echo hi","commandPreview":null,` +
		`"agentId":"main","sessionKey":null,"mutableFileOperand":{"argvIndex":1,"path":"/w/x","sha256":"aa"}},"cwd":"/w","nodeId":"n1","host":"node",`
	if !strings.HasPrefix(string(v.Request), want) {
		t.Errorf("%s\nwant %s", v.Request, want)
	}
	sum := v.SHA256
	a.Plan = []byte(strings.ReplaceAll(string(a.Plan), `"aa"`, `"bb"`))
	if b.ask(a).SHA256 == sum {
		t.Error("the script's sum is not bound")
	}
}

func TestPlugin(t *testing.T) {
	b := newWorld(t, nil)
	defer b.close()
	a := Ask{Kind: KindPlugin, Title: "Pay", Description: "Pay\r\nthe bill", Detail: strings.Repeat("d", maxDetail+5), Severity: "CRITICAL",
		Decisions: []string{AllowOnce, AllowOnce}, AgentID: "main", SessionKey: "agent:main:main", TimeoutMs: 900_000,
		Scope: []byte(`{"kind":"message-send","target":"ops\u200b","recipientCount":1,"recipients":["a","b"]}`)}
	v := b.ask(a)
	if !strings.HasPrefix(v.ID, "plugin:") || v.ExpiresAtMs-v.CreatedAtMs != maxPluginTimeoutMs || !slices.Equal(v.Allowed, []string{AllowOnce, Deny}) {
		t.Errorf("%+v", v)
	}
	var r pluginRequest
	if err := json.Unmarshal(v.Request, &r); err != nil {
		t.Fatal(err)
	}
	if r.Description != "Pay\nthe bill" || utf8.RuneCountInString(*r.Detail) != maxDetail || *r.Severity != "critical" ||
		*r.Scope.Target != `ops\u{200B}` || len(r.Scope.Recipients) != 1 {
		t.Errorf("%s", v.Request)
	}
	if !strings.Contains(string(v.Snapshot), `"urlPath":"/approve/plugin%3A`) {
		t.Errorf("%s", v.Snapshot)
	}
	a.Title = strings.Repeat("\u200b", 20)
	if _, err := b.Ask(context.Background(), a); wireCode(t, err).Message != "approval title or description exceeds the display limit after sanitization" {
		t.Error(err)
	}
	a.Title, a.Scope = "Pay", []byte(`{"kind":"payment","amount":"1","currency":"`+strings.Repeat("x", 13)+`","target":"t"}`)
	if v := b.ask(a); !strings.Contains(string(v.Request), `"scope":null`) {
		t.Errorf("%s", v.Request)
	}
	if v := b.ask(Ask{Kind: KindPlugin, Title: "x", Description: "y"}); len(v.Allowed) != 3 || strings.Contains(string(v.Request), "allowedDecisions") {
		t.Errorf("%s", v.Request)
	}
}

// FuzzAsk: whatever asks, what it gets back is the protocol's, and nothing in it is
// invisible.
func FuzzAsk(f *testing.F) {
	f.Add("echo hi", "echo", "hi", "/tmp", "agent:main:main", []byte(`{"kind":"payment"}`), []byte(`{"argv":["x"]}`), false)
	f.Add("a\u202e", "", "", " ", "x", []byte(`null`), []byte(`{}`), true)
	f.Add("p", "title", "description", "d", "k", []byte(`[`), []byte(``), true)
	b, err := New(Default(), Deps{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, command, one, two, cwd, session string, scope, plan []byte, node bool) {
		a := Ask{Kind: KindExec, Command: command, Cwd: cwd, SessionKey: session, AgentID: session, Scope: scope, Plan: plan, Warning: two, NodeID: two}
		if one != "" {
			a.Argv = []string{one, two}
		}
		if node {
			a.Host = "node"
		}
		for _, a := range []Ask{a, {Kind: KindPlugin, Title: one, Description: two, Detail: command, SessionKey: session, Scope: scope}} {
			v, err := b.Ask(context.Background(), a)
			if err != nil {
				wireCode(t, err)
				continue
			}
			if _, err := frames.MarshalPayload(v.Snapshot); err != nil {
				t.Fatalf("%s: %v", v.Snapshot, err)
			}
			var p struct {
				CommandText string `json:"commandText"`
				Title       string `json:"title"`
			}
			if err := json.Unmarshal(v.Presentation, &p); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsFunc(p.CommandText+p.Title, invisible) {
				t.Fatalf("%q", p)
			}
			if _, result, err := b.Resolve(context.Background(), Resolution{ID: v.ID, Kind: v.Kind, Decision: Deny, By: operator("c2")}); result != Applied {
				t.Fatal(result, err)
			}
		}
	})
}

// FuzzWords: what is quoted for a shell is read back as it was.
func FuzzWords(f *testing.F) {
	f.Add("a b", "it's", "$HOME")
	f.Fuzz(func(t *testing.T, one, two, command string) {
		argv := []string{one, two}
		var quoted []string
		for _, w := range argv {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		got, ok := words(strings.Join(quoted, " "))
		if !ok || !slices.Equal(got, argv) {
			t.Fatalf("%q: %q %v", quoted, got, ok)
		}
		words(command)
	})
}

// FuzzLoad: no record of the store, however damaged, stops a start.
func FuzzLoad(f *testing.F) {
	f.Add("record/a", []byte(`{"id":"a","kind":"exec","status":"pending","presentation":{},"allowed":["deny"],"createdAtMs":1,"expiresAtMs":2}`), "eyJ2IjoxfQ")
	f.Add("grant/a", []byte(`{"grantId":"a"}`), "")
	f.Fuzz(func(t *testing.T, key string, value []byte, cursor string) {
		store := newMemStore()
		store.rows[key] = value
		b, err := New(Default(), Deps{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		b.History(cursor, 1, "")
		b.Grants(0)
		b.Lookup(strings.TrimPrefix(key, recordKey))
	})
}
