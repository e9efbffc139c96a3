package sessions_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/frames"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/methods/methodstest"
	"sluice/stages/dispatch/methods/sessions"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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
		{"sessions.messages.subscribe", `{"key":"agent:main:p1","includeApprovals":true}`, "sessions.messages.subscribe includeApprovals requires a paired device and gateway scope: operator.approvals"},
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

func TestCreate(t *testing.T) {
	w := newWorld(t)
	var a, b struct {
		Key, SessionID, RunID, Status string
		RunStarted                    bool
		Entry                         row
	}
	w.OK("sessions.create", `{"key":"plainkey","label":"A"}`, &a)
	if a.Key != "agent:main:plainkey" || a.RunStarted || a.Entry.Label != "A" || a.Entry.ParentSessionKey != "agent:main:main" {
		t.Errorf("%+v", a)
	}
	if w.OK("sessions.create", `{"key":"agent:main:plainkey"}`, &b); b.SessionID != a.SessionID {
		t.Error("a second create made another session")
	}
	w.OK("sessions.create", `{}`, &b)
	if !strings.HasPrefix(b.Key, "agent:main:dashboard:") {
		t.Errorf("key %s", b.Key)
	}
	w.Events.Take()
	w.OK("sessions.create", `{"key":"agent:main:talk","message":"hello","idempotencyKey":"r1"}`, &b)
	if !b.RunStarted || b.RunID != "r1" || b.Status != "started" {
		t.Errorf("%+v", b)
	}
	w.Idle()
	if got := changes(w); !slices.Contains(got, "create agent:main:talk") || !slices.Contains(got, "end agent:main:talk") {
		t.Errorf("events: %q", got)
	}
	if r := describe(w, "agent:main:talk"); r.DerivedTitle != "hello" || r.LastMessagePreview != "echo: hello" || r.Status != "done" || r.HasActiveRun || r.InputTokens != 10 {
		t.Errorf("%+v", r)
	}
}

// TestPatch: members change one by one, null clears, unknown ones are kept for clients.
func TestPatch(t *testing.T) {
	w := newWorld(t)
	w.Events.Take()
	var p struct {
		Entry    map[string]any
		Path     string
		Resolved struct{ Model string }
	}
	w.OK("sessions.patch", `{"key":"agent:main:p","label":" L ","icon":"🦞","color":"red","unread":true,"pinned":true,"model":"fake/other","sendPolicy":"deny","verboseLevel":"on"}`, &p)
	if p.Path != "/state/sluice.db" || p.Entry["label"] != "L" || p.Entry["icon"] != "🦞" || p.Entry["modelOverride"] != "other" ||
		p.Entry["providerOverride"] != "fake" || p.Entry["sendPolicy"] != "deny" || p.Resolved.Model != "other" {
		t.Errorf("%+v", p)
	}
	if r := describe(w, "agent:main:p"); r.Label != "L" || r.DisplayName != "L" || r.Icon != "🦞" || r.Color != "red" || !r.Unread || !r.Pinned || r.Model != "other" {
		t.Errorf("%+v", r)
	}
	p.Entry = nil
	w.OK("sessions.patch", `{"key":"agent:main:p","label":null,"icon":null,"unread":false,"model":null,"sendPolicy":null}`, &p)
	for _, gone := range []string{"label", "icon", "modelOverride", "providerOverride", "sendPolicy"} {
		if v, ok := p.Entry[gone]; ok {
			t.Errorf("%s is still %v", gone, v)
		}
	}
	if r := describe(w, "agent:main:p"); r.Label != "" || r.Icon != "" || r.Color != "red" || r.Unread || !r.Pinned || r.Model != "fake-1" {
		t.Errorf("%+v", r)
	}
	if got := changes(w); !slices.Equal(got, []string{"patch agent:main:p", "patch agent:main:p"}) {
		t.Errorf("events: %q", got)
	}
	// The label is free again.
	w.OK("sessions.patch", `{"key":"agent:main:q","label":"L"}`, nil)
	w.OK("sessions.delete", `{"key":"agent:main:q"}`, nil)
	w.OK("sessions.patch", `{"key":"agent:main:p","label":"L"}`, nil)
}

// TestPatchesDoNotLoseUpdates: two clients change different members a thousand times.
func TestPatchesDoNotLoseUpdates(t *testing.T) {
	w := newWorld(t)
	const n = 1000
	var wg sync.WaitGroup
	for _, member := range []string{"icon", "color"} {
		wg.Go(func() {
			c := w.Client()
			for i := range n {
				w.Send(c, "sessions.patch", fmt.Sprintf(`{"key":"agent:main:p","%s":"%d"}`, member, i))
				if a := c.Next(t); !a.OK {
					t.Error(a.Error.Message)
					return
				}
				if i%100 != 0 {
					continue
				}
				// What was acknowledged is there.
				var got map[string]any
				err := w.Store.View(t.Context(), func(r storage.Reader) error {
					row, err := storage.GetSession(r, "agent:main:p")
					got = map[string]any{"icon": string(row.Extra["icon"]), "color": string(row.Extra["color"])}
					return err
				})
				if want := fmt.Sprintf("%q", fmt.Sprint(i)); err != nil || got[member] != want {
					t.Errorf("%s is %v after %s, %v", member, got[member], want, err)
				}
			}
		})
	}
	wg.Wait()
	if r := describe(w, "agent:main:p"); r.Icon != fmt.Sprint(n-1) || r.Color != fmt.Sprint(n-1) {
		t.Errorf("%+v", r)
	}
}

// TestLabelsAreUnique also when many want the same one at once.
func TestLabelsAreUnique(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 30 {
		wg.Go(func() {
			a := w.As(w.Client(), "sessions.patch", fmt.Sprintf(`{"key":"agent:main:s%d","label":"the one"}`, i))
			mu.Lock()
			defer mu.Unlock()
			if a.OK {
				won++
			} else if a.Error.Message != "label already in use: the one" {
				t.Error(a.Error.Message)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d sessions got the label", won)
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

func TestResetAndDelete(t *testing.T) {
	w := newWorld(t)
	w.OK("sessions.create", `{"key":"agent:main:p","label":"P","message":"hello"}`, nil)
	w.Idle()
	before := describe(w, "agent:main:p")
	w.Events.Take()
	var p struct {
		Entry struct {
			SessionID, LifecycleRevision, Label string
			SystemSent                          bool
			TotalTokens                         int64
		}
	}
	w.OK("sessions.reset", `{"key":"agent:main:p"}`, &p)
	if p.Entry.SessionID != before.SessionID || p.Entry.Label != "P" || p.Entry.SystemSent || p.Entry.TotalTokens != 0 {
		t.Errorf("%+v", p)
	}
	first := p.Entry.LifecycleRevision
	if w.OK("sessions.reset", `{"key":"agent:main:p","reason":"new"}`, &p); p.Entry.LifecycleRevision == first {
		t.Error("the lifecycle revision stayed")
	}
	var g struct {
		Messages []struct{ Role string }
	}
	if w.OK("sessions.get", `{"key":"agent:main:p"}`, &g); len(g.Messages) != 1 || g.Messages[0].Role != "system" {
		t.Errorf("%+v", g)
	}
	w.OK("sessions.reset", `{"key":"agent:main:made"}`, nil)
	if got := changes(w); !slices.Equal(got, []string{"reset agent:main:p", "new agent:main:p", "reset agent:main:made"}) {
		t.Errorf("events: %q", got)
	}
	if got := w.OK("sessions.delete", `{"key":"agent:main:p"}`, nil); string(got) != `{"archived":[],"deleted":true,"key":"agent:main:p","ok":true}` {
		t.Errorf("%s", got)
	}
	if got := w.OK("sessions.delete", `{"key":"agent:main:p"}`, nil); !strings.Contains(string(got), `"deleted":false`) {
		t.Errorf("%s", got)
	}
	if got := changes(w); !slices.Equal(got, []string{"delete agent:main:p"}) {
		t.Errorf("events: %q", got)
	}
	if describe(w, "agent:main:p") != nil {
		t.Error("the session is still there")
	}
	w.Store.View(t.Context(), func(r storage.Reader) error {
		return r.Scan(storage.Transcripts, storage.Range{Prefix: before.SessionID}, func(key string, _ []byte) error {
			t.Errorf("left behind: %s", key)
			return nil
		})
	})
	// A session that is busy cannot be deleted; the try ends its turn.
	w.OK("sessions.create", `{"key":"agent:main:busy","message":"HOLD"}`, nil)
	<-w.Model.Held()
	w.Refused([][3]string{{"sessions.delete", `{"key":"agent:main:busy"}`, "UNAVAILABLE: Session agent:main:busy is still active; try again."}})
	w.Idle()
	w.OK("sessions.delete", `{"key":"agent:main:busy"}`, nil)
}

func TestCompact(t *testing.T) {
	w := newWorld(t)
	for i := range 8 {
		w.OK("sessions.create", fmt.Sprintf(`{"key":"agent:main:p","message":"message %d"}`, i), nil)
		w.Idle()
	}
	texts := func() (out []string) {
		var g struct {
			Messages []struct{ Content any }
		}
		w.OK("sessions.get", `{"key":"agent:main:p"}`, &g)
		for _, m := range g.Messages {
			out = append(out, fmt.Sprint(m.Content))
		}
		return out
	}
	if got := w.OK("sessions.compact", `{"key":"agent:main:nosuch"}`, nil); string(got) != `{"compacted":false,"key":"agent:main:nosuch","ok":true,"reason":"no sessionId"}` {
		t.Errorf("%s", got)
	}
	if got := w.OK("sessions.compact", `{"key":"agent:main:p","maxLines":99}`, nil); string(got) != `{"compacted":false,"kept":16,"key":"agent:main:p","ok":true}` {
		t.Errorf("%s", got)
	}
	before := texts()
	var c struct {
		Compacted bool
		Result    struct {
			Summary, FirstKeptEntryID string
			MessagesCompacted         int
		}
	}
	w.OK("sessions.compact", `{"key":"agent:main:p"}`, &c)
	if !c.Compacted || c.Result.MessagesCompacted != 10 || !strings.Contains(c.Result.Summary, "message 0") || strings.Contains(c.Result.Summary, "message 5") {
		t.Errorf("%+v", c)
	}
	after := texts()
	if len(after) != 7 || !strings.Contains(after[0], "Summary of the earlier conversation") || !slices.Equal(after[1:], before[10:]) {
		t.Errorf("after: %q", after)
	}
	if got := w.OK("sessions.compact", `{"key":"agent:main:p"}`, nil); !strings.Contains(string(got), "Nothing to compact (session too small)") {
		t.Errorf("%s", got)
	}
	if got := w.OK("sessions.compact", `{"key":"agent:main:p","maxLines":2}`, nil); string(got) != `{"compacted":true,"kept":2,"key":"agent:main:p","ok":true}` {
		t.Errorf("%s", got)
	}
	if got := texts(); !slices.Equal(got, before[14:]) {
		t.Errorf("after: %q", got)
	}
	w.OK("sessions.send", `{"key":"agent:main:p","message":"HOLD","idempotencyKey":"h"}`, nil)
	<-w.Model.Held()
	w.Refused([][3]string{{"sessions.compact", `{"key":"agent:main:p"}`, "Session agent:main:p has an active run; retry after it finishes."}})
	w.Model.Release()
	w.Idle()
}

func TestSendAndAbort(t *testing.T) {
	w := newWorld(t)
	w.OK("sessions.create", `{"key":"agent:main:p"}`, nil)
	var s struct{ RunID, Status, AbortedRunID string }
	if w.OK("sessions.send", `{"key":"agent:main:p","message":"hi"}`, &s); s.Status != "started" || s.RunID == "" {
		t.Errorf("%+v", s)
	}
	w.Idle()
	if w.OK("sessions.send", `{"key":"agent:main:main","message":"hi","idempotencyKey":"m"}`, &s); s.RunID != "m" {
		t.Errorf("the main session is made: %+v", s)
	}
	w.Idle()
	w.OK("sessions.send", `{"key":"agent:main:p","message":"HOLD","idempotencyKey":"h"}`, nil)
	<-w.Model.Held()
	w.Refused([][3]string{{"sessions.abort", `{"key":"agent:main:main","runId":"h"}`, "runId does not match session"}})
	if w.OK("sessions.abort", `{"runId":"h"}`, &s); s.Status != "aborted" || s.AbortedRunID != "h" {
		t.Errorf("%+v", s)
	}
	w.Idle()
	for _, params := range []string{`{"key":"agent:main:p"}`, `{"runId":"nosuch"}`, `{"key":"agent:main:p","runId":"nosuch"}`, `{"key":"agent:main:nosuch"}`} {
		if got := w.OK("sessions.abort", params, nil); string(got) != `{"abortedRunId":null,"ok":true,"status":"no-active-run"}` {
			t.Errorf("%s: %s", params, got)
		}
	}
}

func TestSubscriptions(t *testing.T) {
	w := newWorld(t)
	c := w.Client()
	if a := w.As(c, "sessions.messages.subscribe", `{"key":"main"}`); string(a.Payload) != `{"key":"agent:main:main","subscribed":true}` {
		t.Errorf("%s", a.Payload)
	}
	if _, ok := c.Subscriptions().Has("agent:main:main"); !ok {
		t.Error("not subscribed")
	}
	if a := w.As(c, "sessions.messages.unsubscribe", `{"key":"agent:main:main"}`); string(a.Payload) != `{"key":"agent:main:main","subscribed":false}` {
		t.Errorf("%s", a.Payload)
	}
	for i := range frames.MaxSubscribedSessions {
		c.Subscriptions().Add(fmt.Sprint(i), frames.SubscriptionOptions{})
	}
	if a := w.As(c, "sessions.messages.subscribe", `{"key":"one more"}`); a.OK || !strings.Contains(a.Error.Message, "at most 1000 sessions") {
		t.Errorf("%+v", a)
	}
}

// FuzzPatch: whatever is sent, the answer is an answer and the row stays readable.
func FuzzPatch(f *testing.F) {
	for _, s := range []string{`{"label":"x"}`, `{"icon":null,"model":"a/b"}`, `{"archived":false,"expectedSessionId":"x"}`, `{"fastMode":"auto","toolOverrides":{}}`} {
		f.Add(s)
	}
	w := newWorld(f)
	w.OK("sessions.create", `{"key":"agent:main:p"}`, nil)
	c := w.Client()
	f.Fuzz(func(t *testing.T, members string) {
		params := strings.TrimSpace(members)
		if !strings.HasPrefix(params, "{") {
			return
		}
		params = `{"key":"agent:main:p",` + strings.TrimPrefix(params, "{")
		if !jsontext.Value(params).IsValid() {
			return // such frames are not answered
		}
		w := w.With(t)
		w.Send(c, "sessions.patch", params)
		c.Next(t)
		if describe(w, "agent:main:p") == nil {
			t.Fatal("the session is gone")
		}
	})
}
