package approvals_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/frames/framestest"
	"sluice/stages/defend/approval"

	"github.com/go-json-experiment/json"
)

// TestCapture sends what two clients sent to the real gateway, at the same times, and
// compares every frame that came back, byte for byte but for times and numbers.
func TestCapture(t *testing.T) {
	records, err := framestest.ReadCapture(filepath.Join("testdata", "exec_approvals.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		clients, want := map[int]*client{}, map[int][]string{}
		for _, n := range []int{74, 75} {
			clients[n] = w.connect(fmt.Sprint(n), "operator.admin", "operator.approvals")
		}
		at := records[0].T
		for _, r := range records {
			if r.Dir == framestest.DirToClient {
				want[r.Conn] = append(want[r.Conn], string(r.Raw()))
				continue
			}
			time.Sleep(time.Duration(r.T-at) * time.Millisecond)
			at = r.T
			synctest.Wait()
			clients[r.Conn].send(r.Raw())
		}
		for n, c := range clients {
			diff(t, fmt.Sprint("connection ", n), c.got, want[n])
		}
		w.close()
	})
}

// TestAgentCapture replays an approval that the real gateway's agent asked for.
func TestAgentCapture(t *testing.T) {
	records, err := framestest.ReadCapture(filepath.Join("testdata", "agent_approval.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range records {
		want = append(want, ids.ReplaceAllString(string(r.Raw()), "ID"))
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *approval.Config, d *approval.Deps) {
			d.Analyze = func(string) *approval.Analysis {
				return &approval.Analysis{CommandCount: 2, RiskKinds: []string{}, WarningLines: []string{}}
			}
		})
		c := w.connect("75", "operator.admin", "operator.approvals")
		c.session = "agent:main:apprtest"
		a, err := w.broker.Ask(context.Background(), approval.Ask{Kind: approval.KindExec, Command: "touch /srv/openclaw/apprtest.txt && echo done",
			Cwd: "/srv/openclaw/workspace", Host: "gateway", Security: "allowlist", AskMode: "on-miss", OneShot: true, AgentID: "main",
			ResolvedPath: "/usr/bin/touch", SessionKey: c.session, RunID: "11d6447d-63b0-4d56-994e-ebf443f92481",
			ToolCallID: "call_1795400152550", Channel: "webchat", To: c.session})
		if err != nil || a.ExpiresAtMs-a.CreatedAtMs != 1_800_000 {
			t.Fatal(a, err)
		}
		c.send(frames.AppendRequest(nil, "8:8be9db1b-b944-4ed3-be11-d2f82ef48397", "approval.resolve", []byte(`{"id":"`+a.ID+`","kind":"exec","decision":"allow-once"}`)))
		for i := range c.got {
			c.got[i] = ids.ReplaceAllString(c.got[i], "ID")
		}
		diff(t, "the reader", c.got, want)
		w.close()
	})
}

const echo = `"command":"echo hi","commandArgv":["echo","hi"],"cwd":"/tmp","host":"gateway","agentId":"main"`

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		c, other := w.connect("a", "operator.approvals"), w.connect("b", "operator.approvals")
		for _, m := range []string{"exec.approval.resolve", "plugin.approval.resolve"} {
			a := c.wantError("unknown or expired approval id", m, `{"id":"nope","decision":"allow-once"}`)
			if a.Error.Code != "INVALID_REQUEST" || a.Error.Details["reason"] != "APPROVAL_NOT_FOUND" ||
				a.Error.Details["remediation"] != "Re-request the action; pending approvals are cleared after expiry or restart." {
				t.Errorf("%+v", a.Error)
			}
			c.wantError("invalid decision", m, `{"id":"nope","decision":"maybe"}`)
		}
		c.wantError("unknown or expired approval id", "exec.approval.get", `{"id":"nope"}`)
		c.wantError("id is required", "exec.approval.waitDecision", `{}`)
		c.wantError("id is required", "exec.approval.waitDecision", `{"id":" "}`)
		c.wantError("id is required", "exec.approval.waitDecision", `{"id":5}`)
		c.wantError("approval expired or not found", "plugin.approval.waitDecision", `{"id":"nope"}`)
		c.wantError("command is required", "exec.approval.request", `{}`)
		c.wantError("command is required", "exec.approval.request", `{"command":" "}`)
		c.wantError("nodeId is required for host=node", "exec.approval.request", `{"command":"ls","host":"node"}`)
		c.wantError("approval ids starting with plugin: are reserved", "exec.approval.request", `{"id":"plugin:1","command":"ls"}`)
		c.wantError("invalid approval.history cursor", "approval.history", `{"cursor":"x"}`)
		c.wantError("session key agent does not match agentId", "plugin.approval.request", `{"title":"a","description":"b","sessionKey":"agent:x:main","agentId":"main"}`)

		if got := other.call("exec.approval.request", `{"id":"dupid-1","command":"a","timeoutMs":3000}`); len(got) != 0 {
			t.Fatalf("%+v", got)
		}
		c.wantError("approval id already pending", "exec.approval.request", `{"id":"dupid-1","command":"a","timeoutMs":3000}`)
		// Upstream shows the unified view to admins and paired devices only.
		for _, m := range []string{`approval.get {"id":"dupid-1"}`, `approval.resolve {"id":"dupid-1","kind":"exec","decision":"deny"}`} {
			method, params, _ := strings.Cut(m, " ")
			a := c.wantError("approval not found", method, params)
			if a.Error.Details["reason"] != "APPROVAL_NOT_FOUND" {
				t.Errorf("%+v", a.Error)
			}
		}
		c.wantError("allow-always is unavailable for this command", "exec.approval.resolve", `{"id":"dupid-1","decision":"allow-always"}`)
		c.wantOK("exec.approval.resolve", `{"id":"dupid-1","decision":"deny"}`, `{"ok":true}`)
		a := c.wantError("approval already resolved", "exec.approval.resolve", `{"id":"dupid-1","decision":"allow-once"}`)
		if a.Error.Details["reason"] != "APPROVAL_ALREADY_RESOLVED" {
			t.Errorf("%+v", a.Error)
		}
		c.wantOK("exec.approval.resolve", `{"id":"dupid-1","decision":"deny"}`, `{"ok":true}`)
		if got := other.answers(); len(got) != 1 || normal(string(got[0].Payload)) != `{"id":"dupid-1","decision":"deny","createdAtMs":0,"expiresAtMs":0}` {
			t.Errorf("%+v", got)
		}
	})
}

func TestScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		c := w.connect("a", "operator.write")
		for _, m := range []string{"exec.approval.request", "exec.approval.list", "exec.approval.resolve", "plugin.approval.resolve",
			"approval.resolve", "approval.history", "exec.approval.grants.revoke", "openclaw.approval.list"} {
			c.wantError("missing scope: operator.approvals", m, `{}`)
		}
		// Work of Sluice's own passes every scope; it still may not decide.
		owner := w.connect("b", "operator.approvals")
		owner.call("exec.approval.request", `{"id":"x","command":"ls","requireDeliveryRoute":false}`)
		c.peer = &frames.Peer{ConnID: "turn", Role: frames.RoleSystem, Identity: "system:turn", DeviceID: "d"}
		c.wantError("missing scope: operator.approvals", "exec.approval.resolve", `{"id":"x","decision":"allow-once"}`)
		c.wantError("approval not found", "approval.resolve", `{"id":"x","kind":"exec","decision":"allow-once"}`)
		c.wantError("missing scope: operator.approvals", "exec.approval.grants.revoke", `{"grantId":"x"}`)
	})
}

func TestEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		c := w.connect("a", "operator.admin")
		for _, kind := range []string{"exec", "plugin", "openclaw"} {
			c.wantOK(kind+".approval.list", `{}`, `[]`)
		}
		c.wantOK("exec.approval.grants.list", `{}`, `{"grants":[]}`)
		c.wantOK("approval.history", `{}`, `{"items":[]}`)
		c.wantOK("exec.approval.grants.revoke", `{"grantId":"x"}`, `{"outcome":"not-found"}`)
		// Nobody else is here to approve.
		c.wantOK("exec.approval.request", `{"id":"x","command":"ls","twoPhase":true}`, `{"id":"x","decision":null,"createdAtMs":0,"expiresAtMs":0}`)
	})
}

func TestGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		c, reviewer := w.connect("a", "operator.approvals"), w.connect("b", "operator.approvals")
		c.call("exec.approval.request", `{"id":"x",`+echo+`}`)
		reviewer.wantOK("exec.approval.resolve", `{"id":"x","decision":"allow-always","grantExpiresInDays":3}`, `{"ok":true}`)
		if got := c.answers(); len(got) != 1 || !strings.Contains(string(got[0].Payload), `"decision":"allow-always"`) {
			t.Fatalf("%+v", got)
		}
		c.wantOK("exec.approval.request", `{"id":"y","twoPhase":true,`+echo+`}`, `{"id":"y","decision":"allow-always","createdAtMs":0,"expiresAtMs":0}`)
		a := reviewer.one("exec.approval.grants.list", `{"limit":5}`)
		var list struct {
			Grants []map[string]any `json:"grants"`
		}
		if err := json.Unmarshal(a.Payload, &list); err != nil || len(list.Grants) != 1 {
			t.Fatalf("%s %v", a.Payload, err)
		}
		g := list.Grants[0]
		if g["expiresAtMs"].(float64)-g["createdAtMs"].(float64) != 3*86_400_000 || g["useCount"] != 1.0 || g["revokedAtMs"] != nil ||
			g["command"] != "echo hi" || g["cwd"] != "/tmp" || g["mintedByApprovalId"] != "x" || g["cronJobName"] != nil || g["cronJobId"] == "" {
			t.Errorf("%s", a.Payload)
		}
		id := fmt.Sprintf(`{"grantId":%q}`, g["grantId"])
		reviewer.wantOK("exec.approval.grants.revoke", id, `{"outcome":"revoked"}`)
		reviewer.wantOK("exec.approval.grants.revoke", id, `{"outcome":"already-revoked"}`)
		if got := c.call("exec.approval.request", `{"id":"z",`+echo+`}`); len(got) != 0 {
			t.Errorf("passed by a revoked grant: %+v", got)
		}
	})
}

func TestPlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		c, reviewer := w.connect("a", "operator.approvals"), w.connect("b", "operator.admin")
		got := c.call("plugin.approval.request", `{"title":"Pay","description":"the bill","twoPhase":true,"sessionKey":"main","timeoutMs":5000,"allowedDecisions":["allow-once"]}`)
		if len(got) != 1 || !strings.HasPrefix(normal(string(got[0].Payload)), `{"status":"accepted","id":"plugin:`) {
			t.Fatalf("%+v", got)
		}
		const request = `{"pluginId":null,"title":"Pay","description":"the bill","scope":null,"detail":null,"severity":null,"toolName":null,"toolCallId":null,` +
			`"allowedDecisions":["allow-once","deny"],"agentId":"main","sessionKey":"agent:main:main","runId":null,"turnSourceChannel":null,"turnSourceTo":null,` +
			`"turnSourceAccountId":null,"turnSourceThreadId":null}`
		event := ids.ReplaceAllString(normal(reviewer.got[0]), "ID")
		if want := `{"type":"event","event":"plugin.approval.requested","payload":{"approvalKind":"plugin","id":"plugin:ID","request":` + request + `,"createdAtMs":0,"expiresAtMs":0}}`; event != want {
			t.Errorf("%s\nwant %s", event, want)
		}
		id := w.broker.Pending("plugin")[0].ID
		a := reviewer.one("plugin.approval.list", `{}`)
		if want := `[{"id":"` + id + `","request":` + request + `,"createdAtMs":0,"expiresAtMs":0,"approvalKind":"plugin"}]`; normal(string(a.Payload)) != want {
			t.Errorf("%s\nwant %s", a.Payload, want)
		}
		a = reviewer.wantError("allow-always is unavailable for this plugin approval", "plugin.approval.resolve", `{"id":"`+id+`","decision":"allow-always"}`)
		if fmt.Sprint(a.Error.Details["allowedDecisions"]) != "[allow-once deny]" {
			t.Errorf("%+v", a.Error)
		}
		// The other kind's method does not know it; approval.resolve with the wrong kind denies.
		reviewer.wantError("unknown or expired approval id", "exec.approval.resolve", `{"id":"`+id+`","decision":"allow-once"}`)
		a = reviewer.one("approval.resolve", `{"id":"`+id+`","kind":"exec","decision":"allow-once"}`)
		if !strings.Contains(string(a.Payload), `"applied":true`) || !strings.Contains(string(a.Payload), `"reason":"malformed-verdict"`) {
			t.Errorf("%s", a.Payload)
		}
		if list := c.answers(); len(list) != 2 || !strings.Contains(string(list[1].Payload), `"decision":"deny"`) {
			t.Errorf("%+v", list)
		}
		time.Sleep(time.Minute) // long after, the answer is still what was decided
		a = reviewer.one("approval.resolve", `{"id":"`+id+`","kind":"plugin","decision":"allow-once"}`)
		if !strings.Contains(string(a.Payload), `"applied":false`) || !strings.Contains(string(a.Payload), `"status":"denied"`) {
			t.Errorf("%s", a.Payload)
		}
	})
}

// TestSchema checks the unified snapshots and grants against the protocol's schema.
func TestSchema(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		c, reviewer := w.connect("a", "operator.approvals"), w.connect("b", "operator.admin")
		for i, decision := range []string{"allow-once", "allow-always", "deny"} {
			c.call("exec.approval.request", fmt.Sprintf(`{"id":"%d",%s,"sessionKey":"agent:main:main"}`, i, echo))
			reviewer.one("approval.resolve", fmt.Sprintf(`{"id":"%d","kind":"exec","decision":%q}`, i, decision))
		}
		got := reviewer.one("approval.history", `{"limit":2,"kind":"exec"}`)
		var page struct {
			Items      []map[string]any `json:"items"`
			NextCursor string           `json:"nextCursor"`
		}
		if err := json.Unmarshal(got.Payload, &page); err != nil {
			t.Fatal(err)
		}
		// The third passed by the grant: there was nothing to decide.
		if len(page.Items) != 2 || page.NextCursor != "" {
			t.Fatalf("%s", got.Payload)
		}
		for _, item := range page.Items {
			for _, name := range []string{"id", "status", "presentation", "urlPath", "createdAtMs", "expiresAtMs", "resolvedAtMs", "reason", "decision", "source", "resolver"} {
				if _, ok := item[name]; !ok {
					t.Errorf("%v lacks %s", item, name)
				}
			}
		}
		got = reviewer.one("approval.history", `{"limit":1}`)
		if err := json.Unmarshal(got.Payload, &page); err != nil || page.NextCursor == "" {
			t.Fatalf("%s", got.Payload)
		}
		got = reviewer.one("approval.history", fmt.Sprintf(`{"limit":1,"cursor":%q}`, page.NextCursor))
		if !strings.Contains(string(got.Payload), `"id":"0"`) {
			t.Errorf("%s", got.Payload)
		}
	})
}

// TestDrain: a gateway that stops leaves no request waiting for half an hour.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.connect("a", "operator.approvals")
		w.connect("b", "operator.approvals")
		start := time.Now()
		c.call("exec.approval.request", `{"id":"x",`+echo+`}`)
		w.close()
		if got := c.answers(); len(got) != 1 || !strings.Contains(string(got[0].Payload), `"decision":null`) || time.Since(start) > time.Second {
			t.Errorf("%+v after %s", got, time.Since(start))
		}
	})
}

func TestMethods(t *testing.T) {
	want := []string{"approval.get", "approval.history", "approval.resolve", "exec.approval.get", "exec.approval.grants.list",
		"exec.approval.grants.revoke", "exec.approval.list", "exec.approval.request", "exec.approval.resolve", "exec.approval.waitDecision",
		"openclaw.approval.list", "plugin.approval.list", "plugin.approval.request", "plugin.approval.resolve", "plugin.approval.waitDecision"}
	if got := methodNames(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
