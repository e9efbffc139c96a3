package frames

import (
	"strings"
	"testing"

	"sluice/frames/framestest"
)

func TestMethodTable(t *testing.T) {
	all := Methods()
	for i, m := range all {
		if own := i >= CoreMethods+PluginMethods; own != strings.HasPrefix(m.Name, "sluice.") || own && (m.Family != "sluice" || m.Scope != ScopeAdmin) {
			t.Errorf("%s (%s, %v) is number %d", m.Name, m.Family, m.Scope, i)
		}
	}
	advertised, scopes := 0, map[Scope]int{}
	for i, m := range all {
		if m.Index != i || LookupMethod([]byte(m.Name)) != m {
			t.Errorf("%s is not found at its place", m.Name)
		}
		if (m.Scope == ScopeDynamic) != (m.Dynamic != nil) || (m.Scope == ScopeNode) != m.Node {
			t.Errorf("%s: scope %v, dynamic %v, node %v", m.Name, m.Scope, m.Dynamic != nil, m.Node)
		}
		if (m.Params != nil) != (m.ParamsSchema != "") || m.Params != nil && m.Params.Name() != m.ParamsSchema {
			t.Errorf("%s: params schema %q", m.Name, m.ParamsSchema)
		}
		if m.Advertised && i < CoreMethods+PluginMethods {
			advertised++
		}
		if i < CoreMethods {
			scopes[m.Scope]++
		}
	}
	if advertised != 467 { // what the real gateway lists for its UI (wire.md section 6)
		t.Errorf("%d advertised", advertised)
	}
	for scope, want := range map[Scope]int{ScopeRead: 162, ScopeAdmin: 148, ScopeWrite: 95, ScopeTalk: 17, ScopeApprovals: 16,
		ScopePairing: 14, ScopeDynamic: 13, ScopeNode: 11, ScopeQuestions: 5, ScopeSessionsWrite: 1} {
		if scopes[scope] != want {
			t.Errorf("%v: %d methods, want %d", scope, scopes[scope], want)
		}
	}
	if LookupMethod([]byte("nope")) != nil || LookupMethod(nil) != nil {
		t.Error("an unknown method is found")
	}
}

func TestMethodFlags(t *testing.T) {
	for name, want := range map[string]string{
		"health": "express", "connect": "express", "chat.send": "turn effect", "agent": "turn effect",
		"sessions.send": "turn effect", "sessions.create": "turn effect", "sessions.steer": "turn effect",
		"chat.history": "", "config.patch": "effect control", "config.set": "effect", "sessions.list": "",
		"exec.approvals.get": "", "exec.approvals.set": "effect", "update.status": "", "agent.wait": "",
		"node.event": "effect node", "skills.bins": "node", "device.pair.list": "", "device.pair.approve": "effect",
		"cron.add": "effect control", "mentions.dismiss": "effect", "send": "effect", "system-event": "effect",
	} {
		m := LookupMethod([]byte(name))
		var got []string
		for flag, on := range map[string]bool{"express": m.Express, "turn": m.Turn, "effect": m.Effect, "control": m.ControlPlane, "node": m.Node} {
			if on != strings.Contains(want, flag) {
				got = append(got, flag)
			}
		}
		if got != nil {
			t.Errorf("%s: want %q, wrong about %v", name, want, got)
		}
	}
	if !StartupGated("chat.send") || StartupGated("health") {
		t.Error("startup gate")
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	name := []byte("sessions.messages.unsubscribe")
	if n := testing.AllocsPerRun(100, func() { _ = LookupMethod(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDynamicScopes(t *testing.T) {
	for _, c := range []struct {
		method, params string
		want           Scope
	}{
		{"agent", `{"message":"hi"}`, ScopeWrite},
		{"agent", `{"message":"/new"}`, ScopeAdmin},
		{"agent", `{"message":"/RESET now"}`, ScopeAdmin},
		{"agent", `{"message":"/new\u00a0x"}`, ScopeAdmin},
		{"agent", `{"m\u0065ssage":"\u002fnew"}`, ScopeAdmin},
		{"agent", `{"message":"/newer"}`, ScopeWrite},
		{"agent", `{"message":" /new"}`, ScopeWrite},
		{"agent", ``, ScopeWrite},
		{"sessions.create", `{}`, ScopeWrite},
		{"sessions.create", `{"incognito":true}`, ScopeAdmin},
		{"sessions.create", `{"incognito":false,"key":"agent:main:dashboard:incognito-1"}`, ScopeAdmin},
		{"sessions.create", `{"parentSessionKey":" AGENT:main:subagent:incognito-1 "}`, ScopeAdmin},
		{"sessions.create", `{"execNode":null}`, ScopeAdmin},
		{"sessions.create", `{"permissionMode":"full"}`, ScopeAdmin},
		{"sessions.patch", `{"key":"a","label":"x","expectedSessionId":"s"}`, ScopeWrite},
		{"sessions.patch", `{"key":"a","verboseLevel":"on"}`, ScopeAdmin},
		{"sessions.patch", `{"key":"a","permissionMode":"full"}`, ScopeAdmin},
		{"sessions.patch", `{"key":"a","sandboxMode":null}`, ScopeAdmin},
		{"sessions.patch", `[]`, ScopeWrite},
		{"sessions.patchMany", `{"keys":["a"],"patch":{"pinned":true}}`, ScopeWrite},
		{"sessions.patchMany", `{"keys":["a"],"patch":{"key":"b"}}`, ScopeAdmin},
		{"sessions.delete", `{"key":"a"}`, ScopeAdmin},
		{"sessions.delete", `{"key":"a","archivedOnly":true}`, ScopeWrite},
		{"sessions.delete", `{"key":"a","archivedOnly":true,"x":1}`, ScopeAdmin},
		{"sessions.dispatch", `{}`, ScopeWrite},
		{"node.invoke", `{"command":"system.run"}`, ScopeWrite},
		{"node.invoke", `{"command":"fs.listDir"}`, ScopeAdmin},
		{"node.invoke", `{"command":"browser.proxy","params":{"method":"GET","path":"/"}}`, ScopeAdmin},
		{"node.invoke", `{"command":"browser.proxy","params":{"method":"post","path":"profiles/create/"}}`, ScopeWrite},
		{"node.invoke", `{"command":"browser.proxy","params":{"method":"DELETE","path":"/profiles/x"}}`, ScopeWrite},
		{"talk.config", `{}`, ScopeRead},
		{"talk.config", `{"includeSecrets":true}`, ScopeRead | ScopeTalkSecrets},
		{"environments.list", `{"runtimeId":"r"}`, ScopeWrite},
		{"environments.list", `{"runtimeId":""}`, ScopeRead},
		{"fs.listDir", `{"nodeId":null}`, ScopeAdmin},
		{"fs.listDir", `{"path":"/"}`, ScopeWrite},
		{"channels.pairing.approve", `{"bootstrapCommandOwner":true}`, ScopePairing | ScopeAdmin},
		{"channels.pairing.approve", `{}`, ScopePairing},
		{"plugins.sessionAction", `{}`, ScopeWrite},
	} {
		if got := LookupMethod([]byte(c.method)).Needs([]byte(c.params)); got != c.want {
			t.Errorf("%s %s: %v, want %v", c.method, c.params, Scopes(got).Names(), Scopes(c.want).Names())
		}
	}
}

func TestAuthorize(t *testing.T) {
	for _, c := range []struct {
		method string
		role   Role
		scopes []string
		params string
		want   string
	}{
		{"health", RoleOperator, nil, "", ""},
		{"health", RoleNode, nil, "", ""},
		{"health", RoleNone, nil, "", ""},
		{"status", RoleOperator, nil, "", "missing scope: operator.read"},
		{"status", RoleNode, nil, "", "unauthorized role: node"},
		{"status", RoleOperator, []string{"operator.write"}, "", ""},
		{"chat.send", RoleOperator, []string{"operator.read"}, "", "missing scope: operator.write"},
		{"chat.send", RoleOperator, []string{"operator.sessions.write"}, "", ""},
		{"chat.history", RoleOperator, []string{"operator.sessions.write"}, "", ""},
		{"chat.history", RoleOperator, []string{"operator.sessions.read"}, "", ""},
		{"logs.tail", RoleOperator, []string{"operator.sessions.read"}, "", "missing scope: operator.read"},
		{"question.list", RoleOperator, []string{"operator.sessions.write"}, "", ""},
		{"sessions.patch", RoleOperator, []string{"operator.sessions.write"}, `{"label":"x"}`, ""},
		{"sessions.patch", RoleOperator, []string{"operator.write"}, `{"sendPolicy":"deny"}`, "missing scope: operator.admin"},
		{"no.such.method", RoleOperator, []string{"operator.write"}, "", "missing scope: operator.admin"},
		{"no.such.method", RoleOperator, []string{"operator.admin"}, "", ""},
		{"no.such.method", RoleNode, nil, "", "unauthorized role: node"},
		{"node.event", RoleNode, nil, "", ""},
		{"node.event", RoleOperator, []string{"operator.admin"}, "", "unauthorized role: operator"},
		{"device.scopes.requestUpgrade", RoleOperator, nil, "", ""},
		{"talk.config", RoleOperator, []string{"operator.read"}, `{"includeSecrets":true}`, "missing scope: operator.talk.secrets"},
		{"talk.mode", RoleOperator, []string{"operator.write"}, "", ""},
		{"device.pair.list", RoleOperator, []string{"operator.write"}, "", "missing scope: operator.pairing"},
		{"chat.send", RoleSystem, nil, "", ""},
	} {
		err := Authorize(LookupMethod([]byte(c.method)), c.role, ParseScopes(c.scopes), []byte(c.params))
		if errText(err) != c.want {
			t.Errorf("%s as %v %v: %q, want %q", c.method, c.role, c.scopes, errText(err), c.want)
		}
	}
	err := Authorize(LookupMethod([]byte("talk.config")), RoleOperator, 0, []byte(`{"includeSecrets":true}`))
	details := err.Details.(map[string]any)
	if details["missingScope"] != "operator.read" || len(details["requiredScopes"].([]string)) != 2 {
		t.Errorf("%+v", details)
	}
}

func TestAuthorizeDoesNotAllocate(t *testing.T) {
	m := LookupMethod([]byte("sessions.patch"))
	params, granted := []byte(`{"key":"agent:main:main","label":"x","pinned":true}`), ParseScopes([]string{"operator.write"})
	if n := testing.AllocsPerRun(100, func() {
		if err := Authorize(m, RoleOperator, granted, params); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func errText(err *Error) string {
	if err == nil {
		return ""
	}
	return err.Message
}

// TestParityAuthz runs the first runtime's cases. Rows with a gap record its defects;
// superseded rows contradict the real gateway, which wins (wire.md 3.6: health needs no
// scope and no role; sessions.patch needs admin only for what it changes).
func TestParityAuthz(t *testing.T) {
	var table struct {
		Cases []struct {
			Role   string
			Scopes []string
			Method string
			Error  *string
			Gap    string
		}
	}
	framestest.ReadSharedJSON(t, &table, "parity", "derived", "authz.json")
	if len(table.Cases) == 0 {
		t.Fatal("no cases")
	}
	superseded := map[string]string{"operator health missing scope: operator.read": "", "node health unauthorized role: node": "", "operator sessions.patch missing scope: operator.admin": ""}
	for _, c := range table.Cases {
		want := ""
		if c.Error != nil {
			want = *c.Error
		}
		role := RoleOperator
		if c.Role == "node" {
			role = RoleNode
		}
		if replaced, ok := superseded[c.Role+" "+c.Method+" "+want]; ok {
			want = replaced
		}
		got := errText(Authorize(LookupMethod([]byte(c.Method)), role, ParseScopes(c.Scopes), nil))
		if (got == want) == (c.Gap != "") {
			t.Errorf("%s %s %v: %q, want %q (gap %q)", c.Role, c.Method, c.Scopes, got, want, c.Gap)
		}
	}
}

func TestEventScope(t *testing.T) {
	for name, want := range map[string]Scope{
		"tick": ScopeNone, "shutdown": ScopeNone, "health": ScopeNone, "chat": ScopeRead, "agent": ScopeRead,
		"presence": ScopeRead, "exec.approval.requested": ScopeApprovals, "device.pair.requested": ScopePairing,
		"terminal.data": ScopeAdmin, "talk.mode": ScopeTalk, "question.requested": ScopeQuestions, "plugin.x.y": ScopeWrite,
		"plugin.approval.requested": ScopeApprovals,
	} {
		if got, ok := EventScope(name); !ok || got != want {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "nope", "connect.challenge", "node.invoke.request", "plugin"} {
		if _, ok := EventScope(name); ok {
			t.Errorf("%s would be broadcast", name)
		}
	}
}

func TestParityMethodFamily(t *testing.T) {
	var table struct {
		Cases []struct{ Method, Family string }
	}
	framestest.ReadSharedJSON(t, &table, "parity", "derived", "method-family.json")
	if len(table.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range table.Cases {
		got := MethodFamily(c.Method)
		if c.Family == FamilyUnknown {
			// The reference's gap: the protocol's table knows a family for most.
			if LookupMethod([]byte(c.Method)) == nil && got != FamilyUnknown {
				t.Errorf("%s: %s", c.Method, got)
			}
			continue
		}
		if got != c.Family {
			t.Errorf("%s: %s, want %s", c.Method, got, c.Family)
		}
	}
	if got := MethodFamily("chat.send"); got != "chat-send" {
		t.Errorf("chat.send: %s", got)
	}
}
