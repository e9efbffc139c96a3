package chat

import (
	"context"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

type injectParams struct {
	SessionKey string `json:"sessionKey"`
	AgentID    string `json:"agentId"`
	Message    string `json:"message"`
	Label      string `json:"label"`
}

// inject adds a message of the assistant to a session without asking a model.
func (f *Family) inject(_ context.Context, e *pipeline.Envelope) error {
	var p injectParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, agentID, err := session(p.SessionKey, p.AgentID)
	if err != nil {
		return err
	}
	text := p.Message
	if p.Label != "" {
		text = "[" + p.Label + "]\n\n" + text
	}
	msg, err := injectedMessage(text)
	if err != nil {
		return err
	}
	e.Effects = append(e.Effects, pipeline.EffectFunc(func(tx storage.Tx, e *pipeline.Envelope) error {
		row, found, err := agent.FindSession(tx, key)
		if err != nil {
			return err
		}
		if !found {
			return frames.Invalid("session not found")
		}
		if msg.Seq, err = storage.AppendMessage(tx, &row, msg); err != nil {
			return err
		}
		out := e.Scratch(96)
		out.B = append(out.B[:0], `{"ok":true,"messageId":"`...)
		out.B = append(append(out.B, msg.ID...), `"}`...)
		e.Answer(out.B)
		return nil
	}))
	e.AfterAnswer(func(ok bool) {
		if ok {
			f.deps.Events.Broadcast(injectedEvent(key, agentID, msg))
			f.deps.Runs.MessageAdded(key, msg, false)
		}
	})
	return nil
}

// injectedMessage is a message that no model made, as the real gateway stores one.
func injectedMessage(text string) (storage.Message, error) {
	now := time.Now().UnixMilli()
	zero := map[string]any{"input": 0, "output": 0, "totalTokens": 0, "cacheRead": 0, "cacheWrite": 0,
		"cost": map[string]any{"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0}}
	body, err := json.Marshal(map[string]any{"role": "assistant", "content": []any{map[string]any{"type": "text", "text": text}},
		"timestamp": now, "stopReason": "stop", "usage": zero, "api": "openai-responses", "provider": "openclaw",
		"model": "gateway-injected"}, json.Deterministic(true))
	return storage.Message{ID: uuid.NewString(), Role: "assistant", Body: body, TimestampMs: now}, err
}

func injectedEvent(key, agentID string, msg storage.Message) frames.Event {
	body, _ := sessionview.Body(msg.Body, sessionview.DisplayChars)
	payload, err := json.Marshal(map[string]any{"runId": "inject-" + msg.ID, "sessionKey": key, "agentId": agentID,
		"seq": 0, "state": "final", "message": body}, json.Deterministic(true))
	if err != nil { // encoded above
		panic(err)
	}
	return frames.Event{Name: "chat", Payload: payload, Reach: frames.ReachReaders, SessionKey: key}
}
