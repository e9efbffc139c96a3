package sessions_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/stages/dispatch"
	"sluice/stages/dispatch/methods/methodstest"
	"sluice/stages/dispatch/methods/sessions"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newWorld(tb testing.TB) *methodstest.World {
	return methodstest.New(tb, methodstest.Options{}, func(w *methodstest.World) []dispatch.Method {
		f := sessions.New(sessions.Deps{Store: w.Store, StorePath: "/state/sluice.db", Runs: w.Runs, Active: w.Schedule.Active,
			Live: w.Live, AgentExists: w.AgentExists})
		return f.Methods()
	})
}

// row is what the tests read of a session.
type row struct {
	Key, Label, DisplayName, SessionID, Kind, Classification, AgentID, Status, Model, DerivedTitle, LastMessagePreview string
	Archived, Pinned, Unread, IsMain, HasActiveRun                                                                     bool
	UpdatedAt, InputTokens                                                                                             int64
	Icon, Color, ParentSessionKey                                                                                      string
}

func describe(w *methodstest.World, key string) *row {
	var d struct{ Session *row }
	w.OK("sessions.describe", `{"key":"`+key+`","includeDerivedTitles":true,"includeLastMessage":true}`, &d)
	return d.Session
}

// changes lists the sessions.changed events: reason or phase, and the key.
func changes(w *methodstest.World) []string {
	w.Idle() // events follow the answer
	var out []string
	for _, ev := range w.Check() {
		if ev.Name != "sessions.changed" {
			continue
		}
		var p struct{ Reason, Phase, SessionKey string }
		json.Unmarshal(ev.Payload, &p, json.MatchCaseInsensitiveNames(true))
		out = append(out, p.Reason+p.Phase+" "+p.SessionKey)
	}
	return out
}

// TestSubscribeApprovals: an admin or a paired device may see what waits, as upstream has it.
func TestSubscribeApprovals(t *testing.T) {
	w := newWorld(t)
	const params = `{"key":"agent:main:p1","includeApprovals":true}`
	if got := w.OK("sessions.messages.subscribe", params, nil); !strings.Contains(string(got), `"approvals":[]`) {
		t.Errorf("answered %s", got)
	}
	a := w.As(w.Client("operator.read", "operator.approvals"), "sessions.messages.subscribe", params)
	if a.Error == nil || a.Error.Message != "sessions.messages.subscribe includeApprovals requires a paired device and gateway scope: operator.approvals" {
		t.Errorf("without a device: %+v", a)
	}
}

// TestRefusals: the real gateway's words.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.OK("sessions.create", `{"key":"agent:main:p1","label":"P one"}`, nil)
	w.OK("sessions.patch", `{"key":"agent:main:p2","label":"taken"}`, nil)
	id := describe(w, "agent:main:p1").SessionID
	w.OK("sessions.patch", `{"key":"agent:main:old","label":"old"}`, nil)
	w.OK("sessions.patch", fmt.Sprintf(`{"key":"agent:main:old","archived":true,"expectedSessionId":%q}`, describe(w, "agent:main:old").SessionID), nil)
	w.Refused([][3]string{
		{"sessions.list", `{"limit":0}`, "invalid sessions.list params: at /limit: must be >= 1"},
		{"sessions.list", `{"bogus":1}`, "invalid sessions.list params: at root: unexpected property 'bogus'"},
		{"sessions.create", `{"key":"agent:main:p9","label":"P one"}`, "label already in use: P one"},
		{"sessions.create", `{"label":"a","agentId":"zz"}`, `Unknown agent id "zz"`},
		{"sessions.create", `{"key":"agent:zz:x"}`, `Unknown agent id "zz"`},
		{"sessions.create", `{"key":"agent:main:x","agentId":"zz"}`, "session key agent does not match agentId"},
		{"sessions.create", `{"key":"agent:main:x","model":"nosuch/model"}`, `Unknown provider "nosuch". Use /models to list providers.`},
		{"sessions.create", `{"key":"agent:main:x","parentSessionKey":"agent:main:nosuch"}`, "unknown parent session: agent:main:nosuch"},
		{"sessions.create", `{"key":"agent:main:x","cwd":"relative"}`, "sessions.create cwd must be absolute"},
		{"sessions.get", `{}`, "key required"},
		{"sessions.get", `{"key":" "}`, "key required"},
		{"sessions.describe", `{}`, "invalid sessions.describe params: must have required property 'key'"},
		{"sessions.resolve", `{}`, "Either key, sessionId, label, shortId, or reference is required"},
		{"sessions.resolve", `{"key":"a","sessionId":"b"}`, "Provide either key, sessionId, label, shortId, or reference (not multiple)"},
		{"sessions.resolve", `{"key":"agent:main:nosuch"}`, "No session found: agent:main:nosuch"},
		{"sessions.resolve", `{"sessionId":"nosuch"}`, "No session found: nosuch"},
		{"sessions.resolve", `{"label":"nosuch"}`, "No session found with label: nosuch"},
		{"sessions.preview", `{"keys":[]}`, "invalid sessions.preview params: at /keys: must not have fewer than 1 items"},
		{"sessions.patch", `{}`, "invalid sessions.patch params: must have required property 'key'"},
		{"sessions.patch", `{"key":"agent:zz:x"}`, `Unknown agent id "zz"`},
		{"sessions.patch", `{"key":"agent:main:p1","label":"taken"}`, "label already in use: taken"},
		{"sessions.patch", `{"key":"agent:main:p1","thinkingLevel":"zzz"}`, "invalid thinkingLevel (use off)"},
		{"sessions.patch", `{"key":"agent:main:p1","thinkingLevel":"high"}`, `thinkingLevel "high" is not supported for fake/fake-1 (use off)`},
		{"sessions.patch", `{"key":"agent:main:p1","verboseLevel":"zz"}`, `invalid verboseLevel (use "on"|"off"|"full")`},
		{"sessions.patch", `{"key":"agent:main:p1","reasoningLevel":"zz"}`, `invalid reasoningLevel (use "on"|"off"|"stream")`},
		{"sessions.patch", `{"key":"agent:main:p1","elevatedLevel":"zz"}`, `invalid elevatedLevel (use "on"|"off"|"ask"|"full")`},
		{"sessions.patch", `{"key":"agent:main:p1","model":" "}`, "invalid model: empty"},
		{"sessions.patch", `{"key":"agent:main:p1","model":"nosuch/x"}`, `Unknown provider "nosuch". Use /models to list providers.`},
		{"sessions.patch", `{"key":"agent:main:p1","expectedSessionId":"nope","label":"x"}`, "Session agent:main:p1 changed before patch. Retry."},
		{"sessions.patch", `{"key":"agent:main:p1","expectedLifecycleRevision":"nope"}`, "Session agent:main:p1 changed before patch. Retry."},
		{"sessions.patch", `{"key":"agent:main:p1","archived":true}`, "expectedSessionId required for session lifecycle patch: agent:main:p1"},
		{"sessions.patch", `{"key":"agent:main:nosuch","archived":true,"expectedSessionId":"x"}`, "session not found: agent:main:nosuch"},
		{"sessions.patch", `{"key":"main","archived":true,"expectedSessionId":"x"}`, "Cannot archive an agent's main session."},
		{"sessions.patch", `{"key":"agent:main:old","pinned":true}`, "cannot pin an archived session; restore it first"},
		{"sessions.patch", `{"key":"agent:main:p1","execAsk":"on"}`, "execSecurity/execAsk are retired; set permissionMode instead"},
		{"sessions.patch", `{"key":"agent:main:p1","execHost":"node"}`, "this gateway runs no tools yet: execHost cannot be set"},
		{"sessions.patch", `{"key":"agent:main:p1","spawnedBy":"x"}`, "invalid sessions.patch params: at root: unexpected property 'spawnedBy'"},
		{"sessions.reset", `{}`, "invalid sessions.reset params: must have required property 'key'"},
		{"sessions.reset", `{"key":"agent:main:p1","expectedSessionId":"x"}`, "Session agent:main:p1 changed before reset. Retry."},
		{"sessions.compact", `{"key":"x","maxLines":0}`, "invalid sessions.compact params: at /maxLines: must be >= 1"},
		{"sessions.delete", `{"key":"agent:main:main"}`, "Cannot delete the main session (agent:main:main)."},
		{"sessions.delete", `{"key":"main"}`, "Cannot delete the main session (agent:main:main)."},
		{"sessions.delete", `{"key":"agent:main:p1","archivedOnly":true}`, "Session agent:main:p1 is not archived. Archive it first, then delete it."},
		{"sessions.delete", `{"key":"agent:main:p1","expectedSessionId":"x"}`, "Session agent:main:p1 changed before deletion. Retry."},
		{"sessions.messages.subscribe", `{"key":"  "}`, "key required"},
		{"sessions.abort", `{}`, "key required"},
		{"sessions.send", `{"key":"agent:main:nosuch","message":"hi"}`, "session not found: agent:main:nosuch"},
		{"sessions.send", `{"key":"agent:main:p1"}`, "invalid sessions.send params: must have required property 'message'"},
		{"sessions.send", `{"key":"agent:main:p1","message":"  "}`, "message or attachment required"},
	})
	if r := describe(w, "agent:main:p1"); r.Label != "P one" || r.SessionID != id {
		t.Errorf("a refused change left a trace: %+v", r)
	}
	if r := describe(w, "agent:main:p9"); r != nil {
		t.Errorf("a refused create left a session: %+v", r)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.OK("sessions.patch", fmt.Sprintf(`{"key":"agent:main:s%d","label":"session %d"}`, i, i), nil)
		w.Store.Update(t.Context(), func(tx storage.Tx) error {
			row, err := storage.GetSession(tx, fmt.Sprintf("agent:main:s%d", i))
			if err != nil {
				return err
			}
			row.UpdatedAtMs = int64(1_000_000 + i) // old, in order
			return storage.PutSession(tx, &row)
		})
	}
	w.OK("sessions.patch", fmt.Sprintf(`{"key":"agent:main:s3","archived":true,"expectedSessionId":%q}`, describe(w, "agent:main:s3").SessionID), nil)
	w.OK("sessions.patch", `{"key":"agent:main:s5","pinned":true}`, nil)
	list := func(params string) (keys []string, l struct {
		Count, TotalCount, LimitApplied int
		NextOffset                      *int
		HasMore                         bool
		Sessions                        []row
	}) {
		w.OK("sessions.list", params, &l)
		for _, s := range l.Sessions {
			keys = append(keys, strings.TrimPrefix(s.Key, "agent:main:"))
		}
		return keys, l
	}
	for params, want := range map[string]string{
		`{}`:                              "s5 s6 s4 s2 s1 s0",
		`{"limit":2}`:                     "s5 s6",
		`{"limit":2,"offset":2}`:          "s4 s2",
		`{"offset":5}`:                    "s0",
		`{"offset":99}`:                   "",
		`{"archived":true}`:               "s3",
		`{"search":"SESSION 4"}`:          "s4",
		`{"search":"nosuch"}`:             "",
		`{"label":"session 2"}`:           "s2",
		`{"agentId":"zz"}`:                "",
		`{"activeMinutes":5}`:             "s5",
		`{"activeOnly":true}`:             "",
		`{"requireLastInteraction":true}`: "",
	} {
		if keys, _ := list(params); strings.Join(keys, " ") != want {
			t.Errorf("%s: %q, want %q", params, strings.Join(keys, " "), want)
		}
	}
	if _, l := list(`{"limit":4}`); l.Count != 4 || l.TotalCount != 6 || !l.HasMore || l.NextOffset == nil || *l.NextOffset != 4 || l.LimitApplied != 4 {
		t.Errorf("%+v", l)
	}
	if _, l := list(`{}`); l.HasMore || l.NextOffset != nil || l.LimitApplied != 100 {
		t.Errorf("%+v", l)
	}
	var sub struct {
		Subscribed bool
		List       *struct{ Count int }
	}
	c := w.Client()
	if a := w.As(c, "sessions.subscribe", `{"limit":3}`); json.Unmarshal(a.Payload, &sub, json.MatchCaseInsensitiveNames(true)) != nil || sub.List == nil || sub.List.Count != 3 {
		t.Errorf("subscribe: %s", a.Payload)
	}
	if !c.Subscriptions().Sessions() {
		t.Error("not subscribed")
	}
}

func TestResolveAndPreview(t *testing.T) {
	w := newWorld(t)
	w.OK("sessions.create", `{"key":"agent:main:p","label":"P","message":"a rather long first message for the preview"}`, nil)
	w.Idle()
	r := describe(w, "agent:main:p")
	for _, params := range []string{`{"key":"p"}`, `{"label":"P"}`, fmt.Sprintf(`{"sessionId":%q}`, r.SessionID), fmt.Sprintf(`{"shortId":%q}`, r.SessionID[:8])} {
		var got struct {
			OK           bool
			Key, AgentID string
		}
		if w.OK("sessions.resolve", params, &got); !got.OK || got.Key != "agent:main:p" || got.AgentID != "main" {
			t.Errorf("%s: %+v", params, got)
		}
	}
	if got := w.OK("sessions.resolve", `{"key":"agent:main:nosuch","allowMissing":true}`, nil); string(got) != `{"ok":false}` {
		t.Errorf("%s", got)
	}
	var p struct {
		Previews []struct {
			Key, Status string
			Items       []struct{ Role, Text string }
		}
	}
	w.OK("sessions.create", `{"key":"agent:main:empty"}`, nil)
	w.OK("sessions.preview", `{"keys":["agent:main:p","agent:main:nosuch","agent:main:empty","agent::x"],"maxChars":20}`, &p)
	var got []string
	for _, x := range p.Previews {
		got = append(got, x.Status)
	}
	if !slices.Equal(got, []string{"ok", "missing", "empty", "error"}) {
		t.Errorf("%q", got)
	}
	if items := p.Previews[0].Items; len(items) != 2 || items[0].Text != "a rather long fir..." || items[1].Role != "assistant" {
		t.Errorf("%+v", items)
	}
	var g struct {
		Messages []struct{ Role string }
	}
	if w.OK("sessions.get", `{"key":"agent:main:p","limit":1}`, &g); len(g.Messages) != 1 || g.Messages[0].Role != "assistant" {
		t.Errorf("%+v", g)
	}
	if got := w.OK("sessions.get", `{"key":"agent:main:nosuch"}`, nil); string(got) != `{"messages":[]}` {
		t.Errorf("%s", got)
	}
}
