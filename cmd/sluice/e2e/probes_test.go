//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// probe runs a script of the shared tools or of ./probes against a gateway and returns what it printed.
func probe(tb testing.TB, g *gateway, script string, wantCode int, deadline time.Duration) string {
	tb.Helper()
	r := run(tb, deadline, []string{
		"OC_MODULES=" + env.clients, "TOOLS=" + env.tools, "TOKEN=" + token,
		"GATEWAY=" + g.url(), "PROXY=" + g.via(),
	}, env.node, script)
	if r.code != wantCode {
		tb.Errorf("%s: exit %d, want %d\nstdout: %s\nstderr: %s", filepath.Base(script), r.code, wantCode, last(r.stdout, 2000), last(r.stderr, 2000))
	}
	return r.stdout
}

// TestProbes compares, line by line, what the probes print here with what they printed for the real
// gateway.
func TestProbes(t *testing.T) {
	own := func(name string) string { return filepath.Join(env.pkg, "probes", name+".mjs") }
	shared := func(name string) string { return filepath.Join(env.tools, name+".mjs") }
	for _, p := range []struct {
		name, script string
		code         int
		rules        []rule
	}{
		{name: "system", script: own("system"), rules: systemRules},
		{name: "sessions", script: own("sessions")},
		{name: "turn", script: own("turn")},
		{name: "devices", script: own("devices"), rules: devicesRules},
		{name: "openclaw-node", script: own("openclaw-node")},
		{name: "errors", script: shared("errors"), rules: errorsRules},
		// pairing.mjs ends with exit 1 on the real gateway, too: it expects a foreign Host header to
		// make a client remote, which it does not. What it prints until then counts; probes/devices.mjs
		// covers the rest.
		{name: "pairing", script: shared("pairing"), code: 1, rules: pairingRules},
		{name: "gwclient", script: shared("gwclient"), rules: gwclientRules},
		{name: "chat", script: shared("chat"), rules: chatRules},
		{name: "approvals-more", script: own("approvals"), rules: approvalsMoreRules},
		{name: "approvals", script: approvalsScript(t), rules: approvalsRules},
	} {
		t.Run(p.name, func(t *testing.T) {
			g := startGateway(t, options{capture: "probe_" + p.name})
			out := probe(t, g, p.script, p.code, 4*time.Minute)
			compareGolden(t, p.name, out, p.rules...)
		})
	}
}

const notNative = "not a native method of this issue: refused as unknown"

var systemRules = []rule{
	{`^### set-heartbeats \{"enabled":true\}.*\n`, "", true, "sluice runs no heartbeats yet and refuses to promise them"},
	{`^\[a command\].*\n`, "", true, "sluice has no slash commands yet; the list is empty rather than invented"},
}

var devicesRules = []rule{
	{`,"remediationHint":"This version of Sluice issues no setup codes[^"]*"`, "", true, "sluice issues no setup codes and says so"},
	{`^(\[after the revocation\] .*),"approvedScopes":\["operator\.read"\]`, "$1", false, "what was approved for a revoked role goes with it, or a later approval for little would find much"},
}

var errorsRules = []rule{
	{`^\[(cron|approval|node) missing\].*\n`, "", true, notNative},
	{`^\[send (no channel|dup)\].*\n`, "", true, "the real gateway carries Telegram, sluice says that it does not"},
	{`^\[unknown session hist\].*\n`, "", true, "printed cut; probes/turn.mjs compares it"},
	{`(,\{\})+\] none within 500`, "] none within 500", true, "whether an event arrives within the half second"},
	{`^\[proto (3-3|1-3) backend\].*`, `[proto $1 backend] {"ok":true,"protocol":3}`, false, "wire.md 9: sluice speaks protocol 3 to whoever offers only 3"},
	{`^\[proto 3-3 probe\].*`, `[proto 3-3 probe] {"ok":true,"protocol":3}`, false, "wire.md 9"},
}

var pairingRules = []rule{
	{`^\[list\].*\n`, "", true, "printed cut; probes/devices.mjs compares the rows"},
	{`"seq":\d+`, `"seq":<n>`, true, "presence events between them are counted, too"},
}

var gwclientRules = []rule{
	{`(?s)^status keys \[.*?\]\n`, "", true, "status has fewer parts here; probes/system.mjs compares those that clients read"},
	{`^events \{.*\n`, "", true, "how many deltas a reply is cut into depends on the clock"},
	{`  attachments: (\{.*\}|(?s:\{.*?\n  \})),?\n|  allowedSessionVisibilities: (\[.*\]|(?s:\[.*?\n  \])),?\n|  hasMultipleSessionSharingIdentities: (true|false),?\n`, "", true, "optional policy fields"},
	{`,\n\}`, "\n}", true, "what the rule above leaves"},
	{`^  recoveryScope: .*\n`, "", true, "optional hello field"},
	{`^paused .*"detailCode":"(\w+)".*`, "paused $1", true, "whether the client or the server closes first is a race in the client"},
	{`^(accepted .*) final .*`, "$1", true, "printed cut; probes/turn.mjs compares the final answer"},
	{`^close (1002|1008) .*`, "close <refused>", true, "the same race"},
	{`^close 1005.*\n`, "", true, "printed only if the script is still there"},
	{`^connectError protocol mismatch: .*\npaused .*\nclose <refused>\n`, "", false, "wire.md 9: a client that offers only protocol 3 is served"},
}

var chatRules = []rule{
	{`^hello true .*`, "hello true", true, "optional hello fields; probes/system.mjs and gwclient compare the others"},
	{`^create .*("key":"agent:main:wiretest2").*`, "create $1", true, "the entry holds host paths; probes/sessions.mjs compares it"},
	{`^(chat.send|final) \d+`, "$1 <n>", true, "milliseconds"},
	{`"seq":\d+`, `"seq":<n>`, true, "how many deltas a reply is cut into depends on the clock"},
	{`^(history|list) .*\n`, "", true, "printed cut; probes/turn.mjs and probes/sessions.mjs compare them"},
	{`word0[^"]*`, "word0…", true, "how far the reply had come"},
	{`^err .*("state":"error").*`, "err $1", true, "the text names the provider's failure in sluice's own words"},
	{`^seqs (1,2,3,4,5,6,7,8,9,10),.*`, "seqs $1", true, "how many events there are depends on the clock"},
	{`^\{.*"connect.challenge":1.*\n|^pings .*\n`, "", true, "counts"},
}

// approvalsScript is the shared probe. Sluice's agent has no tools, so that nothing of its own asks for
// an approval; the copy for it does not wait the full time for that.
func approvalsScript(t *testing.T) string {
	script := filepath.Join(env.tools, "approvals.mjs")
	if env.real {
		return script
	}
	return copied(t, "approvals.mjs", "25000", "1500")
}

// copied is a copy of a shared script with text replaced.
func copied(t *testing.T, script string, replace ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{script, "lib.mjs"} {
		b, err := os.ReadFile(filepath.Join(env.tools, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer(replace...).Replace(string(b))), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, script)
}

const noTools = "sluice's agent has no tools of its own yet; nothing of it asks"

var approvalsRules = []rule{
	{`^\[exec\.approvals\.get\].*\n`, "", true, notNative},
	{`^\[agent exec requested\] .*\n|^\[approval\.resolve\] .*\n|^\[ev agent\] .*\n|^\[ev session\.approval\] .*\n|^\[ev exec\.approval\.requested\] .*\n`, "", true, noTools + "; probes/approvals.mjs compares session.approval"},
	{`^\[ev exec\.approval\.resolved\] .*touch \./apprtest.*\n`, "", false, noTools},
	{`^\[(final|history msgs)\] .*\n`, "", true, "printed cut, and of a turn with a tool; probes/turn.mjs compares turns"},
	{`^\[create\] \{"key":"agent:main:apprtest","pm":"guarded"\}`, `[create] {"key":"agent:main:apprtest"}`, false, noTools + ", so that a permission mode means nothing yet"},
	{`"seq":\d+`, `"seq":<n>`, true, "presence events between them are counted, too"},
	{`"updatedAtMs":<ms>`, `"updatedAtMs":0`, true, "clock"},
	{`^(\[grants\] \{"id":")\d+`, "${1}<n>", true, "how many requests came before"},
}

const byScope = "whoever holds operator.approvals hears of all approvals and decides them; upstream tells admins, and others of their own requests alone"

var approvalsMoreRules = []rule{
	{`^(### approval\.(resolve|get|history) .*"message":")(approval not found|invalid approval\.\w+ params)[^"]*("\}|",).*`, "$1<refused>", true, "upstream does not say what is wrong with the params of these three; sluice does"},
	{`^(### approval\.\w+ .* error \{"code":"INVALID_REQUEST",)("details":\{"reason":"APPROVAL_NOT_FOUND"\},)?("message":"<refused>)`, "$1$3", true, "the same"},
	{`^(### approval\.history \{\} .*"allowedDecisions":\["allow-once",)"allow-always",(.*"commandText":"x")`, "$1$2", false, "a standing grant is bound to a folder; the request names none"},
	{`^(### plugin\.approval\.list \{\} => ok \{"\[\]\.approvalKind":)\[\]`, `$1["plugin"]`, false, byScope},
	{`^  to (no device|device): (exec|plugin)\.approval\..*\n`, "", true, byScope},
}

// TestLimits runs the probe of limits: sockets before hello, delays and lockouts of failed
// authentication, sizes, budgets. It names fixed ports, so a copy with free ones runs.
func TestLimits(t *testing.T) {
	g := startGateway(t, options{capture: "probe_limits", trustedProxies: []string{"127.0.0.1"}})
	script := copied(t, "limits.mjs", "127.0.0.1:18812", "127.0.0.1:"+strconv.Itoa(g.proxyPort), "127.0.0.1:18811", "127.0.0.1:"+strconv.Itoa(g.port))
	out := probe(t, g, script, 0, 3*time.Minute)
	compareGolden(t, "limits", out,
		rule{`\d+(\.\d+)?ms`, "<n>ms", true, "clock"},
		rule{`\[\d+,"AUTH_TOKEN_MISMATCH"`, `[<ms>,"AUTH_TOKEN_MISMATCH"`, true, "the delays are checked below"},
		rule{`AUTH_RATE_LIMITED:\d+`, "AUTH_RATE_LIMITED:<ms>", true, "clock"},
		rule{`"retryAfterMs":\d+`, `"retryAfterMs":<ms>`, true, "clock"},
		rule{`retry after \d+s`, "retry after <n>s", true, "clock"},
		rule{`^\[20 pipelined after connect\].*\n`, "", true, "wire.md 3.3 allows 15 frames while connect is in flight; whether it still is when the 16th arrives is a race"},
		rule{`^(\[just under 25MiB\] \{"type":"res","id":"ok","ok":true,"payload":\{"ok":true).*`, "$1", true, "the rest is the health summary"},
	)
}
