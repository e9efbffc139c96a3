package agent

import (
	"time"

	"sluice/frames"
	"sluice/stages/dispatch/agent/provider"

	"github.com/go-json-experiment/json"
)

// The events of a run (wire.md 3.11, ChatEvent and AgentEvent in schema96.json). Every
// reader gets them; a slow one may miss deltas and sees the gap in seq.

type textBlock struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type chatMessage struct {
	Role      string      `json:"role"`
	Content   []textBlock `json:"content"`
	Timestamp int64       `json:"timestamp"`
}

func assistantMessage(text string) *chatMessage {
	return &chatMessage{Role: "assistant", Content: []textBlock{{"text", text}}, Timestamp: time.Now().UnixMilli()}
}

type chatEvent struct {
	RunID        string         `json:"runId"`
	SessionKey   string         `json:"sessionKey"`
	AgentID      string         `json:"agentId"`
	Seq          uint64         `json:"seq"`
	State        string         `json:"state"`
	Phase        string         `json:"phase,omitzero"`
	DeltaText    string         `json:"deltaText,omitzero"`
	StopReason   string         `json:"stopReason,omitzero"`
	ErrorMessage string         `json:"errorMessage,omitzero"`
	ErrorDetail  map[string]any `json:"errorDetail,omitzero"`
	Message      *chatMessage   `json:"message,omitzero"`
}

type agentEvent struct {
	RunID       string         `json:"runId"`
	SessionKey  string         `json:"sessionKey"`
	SessionID   string         `json:"sessionId,omitzero"`
	AgentID     string         `json:"agentId"`
	Stream      string         `json:"stream"`
	Data        map[string]any `json:"data"`
	Seq         uint64         `json:"seq"`
	TS          int64          `json:"ts"`
	IsHeartbeat *bool          `json:"isHeartbeat,omitzero"` // chat runs only, as captured
}

func (r *Run) event(name string, v any, dropIfSlow bool) frames.Event {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil { // plain structs of strings and numbers
		panic(err)
	}
	return frames.Event{Name: name, Payload: b, Reach: frames.ReachReaders, SessionKey: r.sessionKey, DropIfSlow: dropIfSlow}
}

func (r *Run) chat(e chatEvent, dropIfSlow bool) {
	e.RunID, e.SessionKey, e.AgentID = r.id, r.sessionKey, r.agentID
	r.reg.deps.Events.Broadcast(r.event("chat", e, dropIfSlow))
}

// agentStream sends one agent event and returns its seq.
func (r *Run) agentStream(stream string, data map[string]any, withSession, dropIfSlow bool) uint64 {
	e := agentEvent{RunID: r.id, SessionKey: r.sessionKey, AgentID: r.agentID, Stream: stream,
		Data: data, Seq: r.nextSeq(), TS: time.Now().UnixMilli()}
	if withSession {
		e.SessionID = r.sessionID
	}
	if r.kind == Chat {
		e.IsHeartbeat = new(bool)
	}
	r.reg.deps.Events.Broadcast(r.event("agent", e, dropIfSlow))
	return e.Seq
}

// status1 announces a phase before the model has answered; runs of method agent do not
// (captures: cli_agent.jsonl has none).
func (r *Run) status1(phase string) {
	if r.kind != Chat {
		return
	}
	seq := r.nextSeq()
	r.chat(chatEvent{Seq: seq, State: "status", Phase: phase}, true)
	r.mirror(seq, "run_status", map[string]any{"phase": phase})
}

func (r *Run) mirror(seq uint64, stream string, data map[string]any) {
	r.reg.deps.Events.Broadcast(r.event("agent", agentEvent{RunID: r.id, SessionKey: r.sessionKey,
		AgentID: r.agentID, Stream: stream, Data: data, Seq: seq, TS: time.Now().UnixMilli(), IsHeartbeat: new(bool)}, true))
}

func (r *Run) retrying(err error, attempt, most int, wait time.Duration) {
	seq := r.nextSeq()
	r.chat(chatEvent{Seq: seq, State: "status", Phase: "starting_model"}, true)
	r.mirror(seq, "run_status", map[string]any{"phase": "retrying", "message": err.Error(),
		"retryAttempt": attempt, "maxRetries": most, "delayMs": wait.Milliseconds()})
}

func (r *Run) lifecycleStart(at time.Time) {
	r.agentStream("lifecycle", map[string]any{"phase": "start", "startedAt": at.UnixMilli()}, true, false)
	r.reg.SessionChanged(r.sessionKey, Change{Reason: "agent.run.started"})
}

func (r *Run) lifecycleModel(providerName, model string) {
	r.agentStream("lifecycle", map[string]any{"phase": "model", "provider": providerName, "model": model}, true, true)
}

// delta sends one piece to both families of events; the chat delta repeats the seq of
// the agent event that it contains.
func (r *Run) delta(text, delta, item string) {
	seq := r.agentStream("assistant", map[string]any{"text": text, "delta": delta, "itemId": item}, false, true)
	r.chat(chatEvent{Seq: seq, State: "delta", DeltaText: delta, Message: assistantMessage(text)}, true)
}

func (r *Run) usage(u provider.Usage) {
	r.agentStream("usage", map[string]any{"outputTokens": u.Output}, false, true)
}

// lifecycleEnd tells the agent stream how the run ended.
func (r *Run) lifecycleEnd(end End) {
	data := map[string]any{"phase": "end", "startedAt": end.StartedAt.UnixMilli(), "endedAt": end.EndedAt.UnixMilli(),
		"aborted": end.Status == Aborted, "stopReason": end.StopReason}
	switch end.Status {
	case OK:
		r.agentStream("lifecycle", map[string]any{"phase": "finishing", "stopReason": end.StopReason, "aborted": false,
			"livenessState": "working", "endedAt": end.EndedAt.UnixMilli()}, true, false)
		data["livenessState"], data["executionSettled"], data["replayInvalid"] = "working", true, false
		data["terminalReply"] = terminalReply(end)
		data["terminalReceipt"] = r.receipt(end)
	case Aborted:
		data["status"] = "cancelled"
	default:
		data["phase"], data["error"], data["executionSettled"] = "error", end.message(), true
	}
	r.agentStream("lifecycle", data, true, false)
}

func terminalReply(end End) map[string]any {
	return map[string]any{"disposition": "visible", "text": end.Text}
}

func (r *Run) receipt(end End) map[string]any {
	m := r.reg.Model(r.agentID)
	return map[string]any{"runId": r.id, "sessionId": r.sessionID, "turnId": r.id,
		"requested":           map[string]any{"provider": m.Provider, "model": m.ID},
		"effective":           map[string]any{"provider": m.Provider, "model": m.ID, "responseModel": orElse(end.Model, m.ID)},
		"successfulToolNames": []string{}, "rerouted": false, "terminalDisposition": "visible"}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (e End) message() string {
	if e.Err != nil {
		return e.Err.Message
	}
	return string(e.Status)
}

// finalEvent is the chat event that ends a run: final, aborted or error.
func (r *Run) finalEvent(end End) frames.Event {
	ev := chatEvent{RunID: r.id, SessionKey: r.sessionKey, AgentID: r.agentID, Seq: r.currentSeq(), StopReason: end.StopReason}
	switch end.Status {
	case OK:
		ev.State, ev.Message = "final", assistantMessage(end.Text)
	case Aborted:
		ev.State = "aborted"
		if end.Text != "" {
			ev.Message = assistantMessage(end.Text)
		}
	default:
		ev.State, ev.StopReason, ev.ErrorMessage = "error", "", end.message()
		if end.Err != nil {
			if d, ok := end.Err.Details.(map[string]any); ok {
				ev.ErrorDetail = d
			}
		}
	}
	return r.event("chat", ev, false)
}

// finalPayload is what a duplicate of the run's request gets from now on, and what an
// agent request gets as its second response (wire.md 3.10).
func (r *Run) finalPayload(end End) []byte {
	var v map[string]any
	switch {
	case end.Status == Aborted:
		v = map[string]any{"runId": r.id, "status": "timeout", "summary": "aborted", "stopReason": end.StopReason, "endedAt": end.EndedAt.UnixMilli()}
	case end.Status != OK:
		v = map[string]any{"runId": r.id, "status": "error", "summary": end.message(), "endedAt": end.EndedAt.UnixMilli()}
	case r.kind == Chat:
		v = map[string]any{"runId": r.id, "status": "ok"}
	default:
		v = map[string]any{"runId": r.id, "status": "ok", "summary": "completed", "result": r.result(end)}
	}
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return b
}

// finalError: the second response of a failed agent request is an error.
func (r *Run) finalError(end End) *frames.Error {
	if end.Status == OK || end.Status == Aborted {
		return nil
	}
	return &frames.Error{Code: frames.CodeUnavailable, Message: end.message(), Details: map[string]any{"runId": r.id}}
}

// result is the result member of an agent request's final response; the CLI prints
// payloads and reads meta.agentMeta.
func (r *Run) result(end End) map[string]any {
	m := r.reg.Model(r.agentID)
	usage := map[string]any{"input": end.Input, "output": end.Output, "cacheRead": 0, "cacheWrite": 0, "total": end.Input + end.Output}
	return map[string]any{
		"payloads": []any{map[string]any{"text": end.Text, "mediaUrl": nil}},
		"meta": map[string]any{"durationMs": end.EndedAt.Sub(end.StartedAt).Milliseconds(),
			"agentMeta": map[string]any{"sessionId": r.sessionID, "provider": m.Provider, "model": orElse(end.Model, m.ID),
				"contextTokens": m.ContextTokens, "usage": usage, "lastCallUsage": usage, "promptTokens": end.Input,
				"terminalReceipt": r.receipt(end)},
			"aborted": false, "stopReason": end.StopReason},
	}
}
