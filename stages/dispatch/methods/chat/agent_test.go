package chat_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/pipelinetest"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/methods/chat"
	"sluice/stages/dispatch/methods/methodstest"
	"sluice/storage"
)

// second waits for a client's second answer to agent.
func second(t *testing.T, c *pipelinetest.Client) pipelinetest.Answer {
	t.Helper()
	select {
	case a := <-c.Answers:
		return a
	case <-time.After(5 * time.Second):
		t.Fatal("no second answer")
		return pipelinetest.Answer{}
	}
}

func TestAgentAndWait(t *testing.T) {
	w, _ := newWorld(t)
	c := w.Client()
	first := w.As(c, "agent", `{"message":"hello","sessionKey":"t","model":"fake/other","extraSystemPrompt":"be brief","idempotencyKey":"a1"}`)
	if !strings.Contains(string(first.Payload), `"status":"accepted"`) {
		t.Fatalf("%s", first.Payload)
	}
	a := second(t, c)
	if !a.OK || !strings.Contains(string(a.Payload), `"text":"echo: hello"`) {
		t.Errorf("%+v %s", a, a.Payload)
	}
	if call := w.Model.Calls()[0]; call.Model != "other" || call.Messages[0].Role != "system" || call.Messages[0].Content != "be brief" {
		t.Errorf("the model saw %+v", call)
	}
	var wait struct{ Status, Error, StopReason string }
	var full struct {
		TerminalReply   struct{ Text string }
		TerminalReceipt struct{ RunID string }
		StartedAt       int64
	}
	if w.OK("agent.wait", `{"runId":"a1"}`, &full); full.TerminalReply.Text != "echo: hello" || full.TerminalReceipt.RunID != "a1" || full.StartedAt == 0 {
		t.Errorf("%+v", full)
	}
	if raw := w.OK("agent.wait", `{"runId":"nosuch","timeoutMs":1}`, nil); string(raw) != `{"runId":"nosuch","status":"timeout"}` {
		t.Errorf("%s", raw)
	}
	// A failure is an error under the request's id, and told to who waits.
	w.As(c, "agent", `{"message":"FAIL","sessionKey":"t","idempotencyKey":"a2"}`)
	if a := second(t, c); a.OK || a.Error.Code != "UNAVAILABLE" || !strings.Contains(a.Error.Message, "no such model") {
		t.Errorf("%+v", a)
	}
	if w.OK("agent.wait", `{"runId":"a2"}`, &wait); wait.Status != "error" || !strings.Contains(wait.Error, "no such model") {
		t.Errorf("%+v", wait)
	}
	// Aborted: no error, but a timeout, as upstream has it.
	w.As(c, "agent", `{"message":"HOLD","sessionKey":"t","idempotencyKey":"a3"}`)
	<-w.Model.Held()
	w.OK("chat.abort", `{"sessionKey":"t"}`, nil)
	if a := second(t, c); !a.OK || !strings.Contains(string(a.Payload), `"status":"timeout","stopReason":"rpc","summary":"aborted"`) && !strings.Contains(string(a.Payload), `"summary":"aborted"`) {
		t.Errorf("%+v %s", a, a.Payload)
	}
	w.Idle()
	if h := read(w, ""); h.texts()[len(h.texts())-1] != "assistant: word0" || !slices.Contains(h.texts(), "assistant: ⚠️ fake answered 400: no such model") {
		t.Errorf("%q", h.texts())
	}
	// The model is not shown what the gateway said about its failures.
	send(w, "after", "after")
	w.Idle()
	calls := w.Model.Calls()
	for _, m := range calls[len(calls)-1].Messages {
		if strings.Contains(m.Content, "⚠️") {
			t.Errorf("the model saw %+v", calls[len(calls)-1])
		}
	}
	w.Check()
}

// TestAgentCoalescesNothing: the same key by another identity is another request and
// does not get the first one's answer.
func TestForeignKey(t *testing.T) {
	w, _ := newWorld(t)
	c := w.Client()
	w.As(c, "agent", `{"message":"my secret","sessionKey":"t","idempotencyKey":"k"}`)
	second(t, c)
	other := w.Client()
	other.PeerInfo.Identity = "device:other"
	a := w.As(other, "agent", `{"message":"my secret","sessionKey":"t","idempotencyKey":"k"}`)
	if a.OK || strings.Contains(string(a.Payload), "secret") || a.Error.Message != "This message ID was already used for different input. Check the conversation history and use a new message ID to send again." {
		t.Errorf("%+v %s", a, a.Payload)
	}
}

// TestKeyOutlivesTheTable: the store knows a run whose key the dedupe stage has
// forgotten; it does not run twice.
func TestKeyOutlivesTheTable(t *testing.T) {
	w, _ := newWorld(t)
	forget := func() {
		t.Helper()
		err := w.Store.Update(t.Context(), func(tx storage.Tx) error {
			_, _, err := storage.PruneIdempotency(tx, 1<<60, 100)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	c := w.Client()
	w.As(c, "agent", `{"message":"hello","sessionKey":"t","idempotencyKey":"k"}`)
	second(t, c)
	send(w, "chat", "hello")
	w.Idle()
	forget()
	store := w.Store
	// A second gateway on the same state, as after a restart.
	w2 := methodstest.New(t, methodstest.Options{Store: keep{store}}, func(w *methodstest.World) []dispatch.Method {
		f := chat.New(chat.Deps{Store: w.Store, Runs: w.Runs, Active: w.Schedule.Active, Live: w.Live, Events: w.Events,
			Channels: func() []string { return nil }})
		return f.Methods()
	})
	if raw := w2.OK("agent", `{"message":"hello","sessionKey":"t","idempotencyKey":"k"}`, nil); !strings.Contains(string(raw), `"text":"echo: hello"`) {
		t.Errorf("%s", raw)
	}
	w2.Refused([][3]string{{"chat.send", `{"sessionKey":"agent:main:t","message":"other","idempotencyKey":"chat"}`,
		"This message ID was already used for different input. Check the conversation history and use a new message ID to send again."}})
	w2.Idle() // a refused key is free when its request is settled
	var s struct{ Status string }
	if w2.OK("chat.send", `{"sessionKey":"agent:main:t","message":"hello","idempotencyKey":"chat"}`, &s); s.Status != "ok" {
		t.Errorf("%+v", s)
	}
	w2.Idle()
	if n := len(w2.Model.Calls()); n != 0 {
		t.Errorf("the model was asked %d times", n)
	}
}

// keep is a store that the second world does not close.
type keep struct{ storage.Store }

func TestWake(t *testing.T) {
	w, q := newWorld(t)
	w.Notices = func(session string) []string {
		if session == "agent:main:main" {
			return []string{"a notice"}
		}
		return nil
	}
	if raw := w.OK("wake", `{"mode":"next-heartbeat","text":"later"}`, nil); string(raw) != `{"ok":true}` || !slices.Equal(q.texts, []string{"agent:main:main later"}) {
		t.Errorf("%s %q", raw, q.texts)
	}
	w.OK("wake", `{"mode":"now","text":"wake up"}`, nil)
	w.Idle()
	calls := w.Model.Calls()
	if len(calls) != 1 || calls[0].Last() != "System event: wake up" || calls[0].Messages[0].Content != "System event: a notice" {
		t.Errorf("%+v", calls)
	}
}
