package chat_test

import (
	"fmt"
	"slices"
	"testing"

	"sluice/frames"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/methods/chat"
	"sluice/stages/dispatch/methods/methodstest"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "agent:main:t"

func newWorld(tb testing.TB) (*methodstest.World, *queue) {
	q := &queue{}
	return methodstest.New(tb, methodstest.Options{}, func(w *methodstest.World) []dispatch.Method {
		f := chat.New(chat.Deps{Store: w.Store, Runs: w.Runs, Active: w.Schedule.Active, Live: w.Live, Events: w.Events,
			Models: func(string) any { return []any{} }, Commands: func() any { return []any{} },
			Queue: func(session, text, _ string) error { q.add(session, text); return nil }, Channels: func() []string { return []string{"webhook"} }})
		return f.Methods()
	}), q
}

// queue is system-event's, as wake fills it.
type queue struct{ texts []string }

func (q *queue) add(session, text string) error {
	q.texts = append(q.texts, session+" "+text)
	return nil
}

// history is what the tests read of chat.history.
type history struct {
	Kind          string
	SessionID     string
	Messages      []jsontext.Value
	TotalMessages int
	NextOffset    int
	HasMore       bool
	DeltaCursor   string
	SessionInfo   struct {
		HasActiveRun bool
		UpdatedAt    *int64
	}
	PendingInputs struct{ Total int }
	InFlightRun   *struct{ RunID, Text string }
	Metadata      *struct{ Models []any }
}

func (h history) texts() []string {
	var out []string
	for _, raw := range h.Messages {
		var m struct {
			Role    string
			Content any
			Message *struct {
				Role    string
				Content any
			}
		}
		json.Unmarshal(raw, &m, json.MatchCaseInsensitiveNames(true))
		if m.Message != nil {
			m.Role, m.Content = m.Message.Role, m.Message.Content
		}
		if blocks, ok := m.Content.([]any); ok {
			m.Content = blocks[0].(map[string]any)["text"]
		}
		out = append(out, fmt.Sprint(m.Role, ": ", m.Content))
	}
	return out
}

func read(w *methodstest.World, params string) (h history) {
	w.OK("chat.history", `{"sessionKey":"`+key+`"`+params+`}`, &h)
	return h
}

func send(w *methodstest.World, id, text string) {
	w.OK("chat.send", fmt.Sprintf(`{"sessionKey":%q,"message":%q,"idempotencyKey":%q}`, key, text, id), nil)
}

func TestRefusals(t *testing.T) {
	w, _ := newWorld(t)
	send(w, "used", "hello")
	w.Idle()
	w.Refused([][3]string{
		{"chat.send", `{"sessionKey":"agent:main:t"}`, "invalid chat.send params: must have required property 'message'"},
		{"chat.send", `{"sessionKey":"agent:main:t","message":" ","idempotencyKey":"a1"}`, "message or attachment required"},
		{"chat.send", `{"sessionKey":"agent:main:t","message":"a\u0000b","idempotencyKey":"a2"}`, "message must not contain null bytes"},
		{"chat.send", `{"sessionKey":"agent:zz:t","message":"x","idempotencyKey":"a3"}`, `Agent "zz" no longer exists in configuration`},
		{"chat.send", `{"sessionKey":"agent:main:t","message":"other","idempotencyKey":"used"}`, "This message ID was already used for different input. Check the conversation history and use a new message ID to send again."},
		{"chat.send", `{"sessionKey":"agent:main:t","message":"x","idempotencyKey":"a4","deliver":true}`, "replies cannot be delivered to a channel by this gateway yet; leave out deliver, and send the reply with the send method"},
		{"chat.history", `{}`, "invalid chat.history params: must have required property 'sessionKey'"},
		{"chat.history", `{"sessionKey":"agent:main:t","offset":1,"messageId":"x"}`, "offset and messageId cannot be used together"},
		{"chat.history", `{"sessionKey":"agent:main:t","cursor":"x","offset":1}`, "cursor cannot be used with offset or messageId"},
		{"chat.history", `{"sessionKey":"agent:main:t","sessionId":"x"}`, "sessionId requires messageId"},
		{"chat.history", `{"sessionKey":"agent:main:t","sessionId":"x","messageId":"y"}`, "sessionId does not belong to sessionKey"},
		{"chat.startup", `{}`, "invalid chat.startup params: must have required property 'sessionKey'; must have required property 'shortId'; must match a schema in anyOf"},
		{"chat.startup", `{"shortId":"nosuch","agentId":"main"}`, "No session found: nosuch"},
		{"chat.message.get", `{}`, "invalid chat.message.get params: must have required property 'sessionKey'"},
		{"chat.abort", `{}`, "invalid chat.abort params: must have required property 'sessionKey'"},
		{"chat.abort", `{"sessionKey":"agent:main:other","runId":"used"}`, "runId does not match sessionKey"},
		{"chat.abort", `{"sessionKey":"agent:main:t","agentId":"zz"}`, `agentId "zz" does not match session key "agent:main:t"`},
		{"chat.inject", `{"sessionKey":"agent:main:nosuch","message":"x"}`, "session not found"},
		{"chat.inject", `{"sessionKey":"agent:main:t","message":""}`, "invalid chat.inject params: at /message: must not have fewer than 1 characters"},
		{"agent", `{"message":"x","idempotencyKey":"b1","agentId":"zz"}`, `invalid agent params: unknown agent id "zz"`},
		{"agent", `{"message":"x","idempotencyKey":"b2","sessionKey":"agent:zz:main"}`, `Agent "zz" no longer exists in configuration`},
		{"agent", `{"message":"x","idempotencyKey":"b3","channel":"nosuch"}`, "invalid agent params: unknown channel: nosuch"},
		{"agent", `{"message":"x","idempotencyKey":"b4","channel":"webhook","deliver":true}`, "replies cannot be delivered to a channel by this gateway yet; leave out deliver, and send the reply with the send method"},
		{"agent.wait", `{}`, "invalid agent.wait params: must have required property 'runId'"},
		{"agent.wait", `{"runId":"x","timeoutMs":-1}`, "invalid agent.wait params: at /timeoutMs: must be >= 0"},
		{"wake", `{"mode":"now","text":" "}`, "text required"},
	})
	if h := read(w, ""); len(h.Messages) != 2 {
		t.Errorf("a refused request left a trace: %q", h.texts())
	}
	w.Check()
}

// TestHistory: pages, the page around a message, and what came after a cursor.
func TestHistory(t *testing.T) {
	w, _ := newWorld(t)
	if h := read(w, ""); len(h.Messages) != 0 || h.SessionID != "" || h.SessionInfo.UpdatedAt != nil {
		t.Errorf("an unknown session: %+v", h)
	}
	for i := range 5 {
		send(w, fmt.Sprint("r", i), fmt.Sprint("message ", i))
		w.Idle()
	}
	all := read(w, "")
	if len(all.Messages) != 10 || all.TotalMessages != 10 || all.HasMore || all.NextOffset != 0 {
		t.Fatalf("%+v", all)
	}
	var paged []string
	for offset := 0; ; {
		h := read(w, fmt.Sprintf(`,"limit":3,"offset":%d`, offset))
		paged = append(h.texts(), paged...)
		if !h.HasMore {
			break
		}
		if h.NextOffset <= offset {
			t.Fatalf("nextOffset %d after %d", h.NextOffset, offset)
		}
		offset = h.NextOffset
	}
	if !slices.Equal(paged, all.texts()) {
		t.Errorf("page by page %q, at once %q", paged, all.texts())
	}
	if h := read(w, `,"offset":99`); len(h.Messages) != 0 || h.HasMore {
		t.Errorf("%+v", h)
	}
	var m struct {
		Openclaw struct{ ID string } `json:"__openclaw"`
	}
	json.Unmarshal(all.Messages[4], &m, json.MatchCaseInsensitiveNames(true))
	if h := read(w, `,"limit":4,"messageId":"`+m.Openclaw.ID+`"`); !slices.Equal(h.texts(), all.texts()[3:7]) || !h.HasMore {
		t.Errorf("around a message: %q", h.texts())
	}
	if h := read(w, `,"maxBytes":1024`); len(h.Messages) == 0 || len(h.Messages) >= 10 || !h.HasMore || h.NextOffset != len(h.Messages) {
		t.Errorf("in 1024 bytes: %d messages, more %v", len(h.Messages), h.HasMore)
	}

	raw := w.OK("chat.history", fmt.Sprintf(`{"sessionKey":%q,"cursor":%q}`, key, all.DeltaCursor), nil)
	methodstest.LoadSchemas(t).Check(t, "ChatHistoryDeltaResult", raw)
	send(w, "more", "one more")
	w.Idle()
	raw = w.OK("chat.history", fmt.Sprintf(`{"sessionKey":%q,"cursor":%q}`, key, all.DeltaCursor), nil)
	methodstest.LoadSchemas(t).Check(t, "ChatHistoryDeltaResult", raw)
	h := read(w, `,"cursor":"`+all.DeltaCursor+`"`)
	if h.Kind != "delta" || !slices.Equal(h.texts(), []string{"user: one more", "assistant: echo: one more"}) {
		t.Errorf("by cursor: %s %q", h.Kind, h.texts())
	}
	if h = read(w, `,"cursor":"`+h.DeltaCursor+`"`); h.Kind != "delta" || len(h.Messages) != 0 {
		t.Errorf("nothing new: %s %q", h.Kind, h.texts())
	}
	for _, cursor := range []string{"bogus", all.DeltaCursor + "x", "e30", `eyJ2ZXJzaW9uIjoxLCJsYXN0U2VxIjotNX0`} {
		if h := read(w, `,"cursor":"`+cursor+`"`); h.Kind != "reset" {
			t.Errorf("cursor %q: %q", cursor, h.Kind)
		}
	}
	if h := read(w, `,"limit":1,"cursor":"`+all.DeltaCursor+`"`); h.Kind != "reset" {
		t.Errorf("more than the limit since the cursor: %q", h.Kind)
	}
	w.OK("chat.send", fmt.Sprintf(`{"sessionKey":%q,"message":"/new","idempotencyKey":"new"}`, key), nil)
	if h := read(w, `,"cursor":"`+all.DeltaCursor+`"`); h.Kind != "reset" {
		t.Errorf("after a reset: %q", h.Kind)
	}
	w.Check()
}

func TestStartupAndMetadata(t *testing.T) {
	w, _ := newWorld(t)
	send(w, "r", "hello")
	w.Idle()
	id := read(w, "").SessionID
	for _, params := range []string{`{"sessionKey":"t"}`, `{"shortId":"` + id[:8] + `","agentId":"main"}`} {
		var h history
		if w.OK("chat.startup", params, &h); h.Metadata == nil || len(h.Messages) != 2 {
			t.Errorf("%s: %+v", params, h)
		}
	}
	w.OK("chat.metadata", `{"sessionKey":"t"}`, nil)
	w.OK("chat.metadata", `{}`, nil)
}

func TestMessageGetAndInject(t *testing.T) {
	w, _ := newWorld(t)
	send(w, "r", "hello")
	w.Idle()
	w.Events.Take()
	var in struct {
		OK        bool
		MessageID string
	}
	w.OK("chat.inject", `{"sessionKey":"t","message":"injected text","label":"lab"}`, &in)
	w.Idle()
	var got struct {
		OK                bool
		UnavailableReason string
		Message           struct{ Role, Model string }
	}
	if w.OK("chat.message.get", `{"sessionKey":"t","messageId":"`+in.MessageID+`"}`, &got); !got.OK || got.Message.Role != "assistant" || got.Message.Model != "gateway-injected" {
		t.Errorf("%+v", got)
	}
	for _, k := range []string{"t", "nosuch"} {
		if raw := w.OK("chat.message.get", `{"sessionKey":"`+k+`","messageId":"nosuch"}`, nil); string(raw) != `{"ok":false,"unavailableReason":"not_found"}` {
			t.Errorf("%s", raw)
		}
	}
	var names []string
	for _, ev := range w.Check() {
		names = append(names, ev.Name)
		var p struct {
			RunID     string
			MessageID string
			Message   struct{ Content []struct{ Text string } }
		}
		json.Unmarshal(ev.Payload, &p, json.MatchCaseInsensitiveNames(true))
		if p.Message.Content[0].Text != "[lab]\n\ninjected text" || p.RunID+p.MessageID != in.MessageID && p.RunID != "inject-"+in.MessageID {
			t.Errorf("%s %s", ev.Name, ev.Payload)
		}
	}
	if !slices.Equal(names, []string{"chat", "session.message"}) {
		t.Errorf("events: %q", names)
	}
	if h := read(w, ""); h.TotalMessages != 3 {
		t.Errorf("%q", h.texts())
	}
}

// TestCommands: messages that the gateway obeys itself; who may not reset a session may
// not do it by a message either.
func TestCommands(t *testing.T) {
	w, _ := newWorld(t)
	send(w, "r", "HOLD")
	<-w.Model.Held()
	var s struct{ Status string }
	if w.OK("chat.send", fmt.Sprintf(`{"sessionKey":%q,"message":"/stop","idempotencyKey":"stop"}`, key), &s); s.Status != "ok" {
		t.Errorf("%+v", s)
	}
	w.Idle()
	if h := read(w, ""); !slices.Equal(h.texts(), []string{"user: HOLD", "assistant: word0"}) {
		t.Errorf("%q", h.texts())
	}
	writer := w.Client("operator.write")
	for _, text := range []string{"/new", "/reset", "/new with text", " /RESET x"} {
		a := w.As(writer, "chat.send", fmt.Sprintf(`{"sessionKey":%q,"message":%q,"idempotencyKey":%q}`, key, text, text))
		if a.OK || a.Error.Message != "missing scope: operator.admin" {
			t.Errorf("%q by a writer: %+v", text, a)
		}
	}
	if h := read(w, ""); len(h.Messages) != 2 {
		t.Errorf("a refused command left a trace: %q", h.texts())
	}
	a := w.As(writer, "chat.send", fmt.Sprintf(`{"sessionKey":%q,"message":"/new","suppressCommandInterpretation":true,"idempotencyKey":"plain"}`, key))
	if !a.OK {
		t.Errorf("%+v", a.Error)
	}
	w.Idle()
	if calls := w.Model.Calls(); calls[len(calls)-1].Last() != "/new" {
		t.Errorf("the model saw %+v", calls)
	}
}

func (keep) Close() error { return nil }

// TestScopes: reading a chat is not writing it.
func TestScopes(t *testing.T) {
	w, _ := newWorld(t)
	reader := w.Client("operator.read")
	for method, scope := range map[string]string{"chat.send": "operator.write", "chat.inject": "operator.admin", "agent": "operator.write", "chat.abort": "operator.write"} {
		a := w.As(reader, method, `{"sessionKey":"t","message":"x","idempotencyKey":"i"}`)
		if a.OK || a.Error.Code != string(frames.CodeForbidden) || a.Error.Message != "missing scope: "+scope {
			t.Errorf("%s: %+v", method, a.Error)
		}
	}
	if a := w.As(reader, "chat.history", `{"sessionKey":"t"}`); !a.OK {
		t.Errorf("%+v", a.Error)
	}
}

func FuzzCursor(f *testing.F) {
	w, _ := newWorld(f)
	send(w, "r", "hello")
	w.Idle()
	f.Add(read(w, "").DeltaCursor)
	f.Add("eyJzZXNzaW9uSWQiOiIifQ")
	f.Fuzz(func(t *testing.T, cursor string) {
		b, err := json.Marshal(map[string]any{"sessionKey": key, "cursor": cursor}, jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return
		}
		a := w.With(t).As(w.Client(), "chat.history", string(b))
		if !a.OK && a.Error.Code != "INVALID_REQUEST" {
			t.Errorf("%+v", a.Error)
		}
	})
}
