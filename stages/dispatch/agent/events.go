package agent

import (
	"context"
	"time"

	"sluice/frames"
	"sluice/stages/dispatch/agent/provider"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"github.com/go-json-experiment/json/jsontext"
)

// The events of a run (wire.md 3.11, ChatEvent and AgentEvent in schema96.json). Every
// reader gets them; a slow one may miss deltas and sees the gap in seq.

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
	return frames.Event{Name: name, Payload: mustJSON(v), Reach: frames.ReachReaders, SessionKey: r.sessionKey, DropIfSlow: dropIfSlow}
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
		e.SessionID = r.SessionID()
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

func (r *Run) lifecycleStart() {
	r.agentStream("lifecycle", map[string]any{"phase": "start", "startedAt": r.startedAt.UnixMilli()}, true, false)
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
		r.agentStream("lifecycle", map[string]any{"phase": "model", "provider": nil, "model": nil}, true, true)
		data["livenessState"], data["executionSettled"], data["replayInvalid"] = "working", true, false
		data["terminalReply"], data["terminalReceipt"] = r.terminal(end)
	case Aborted:
		data["status"] = "cancelled"
	default:
		data["phase"], data["error"], data["executionSettled"] = "error", end.message(), true
	}
	r.agentStream("lifecycle", data, true, false)
}

// terminal is what a run that ended well has said, and by whom.
func (r *Run) terminal(end End) (reply, receipt map[string]any) {
	return map[string]any{"disposition": "visible", "text": end.Text}, r.receipt(end)
}

// Terminal is what agent.wait tells of a run that ended well.
func (r *Run) Terminal() (reply, receipt map[string]any) {
	_, end := r.Snapshot()
	return r.terminal(end)
}

func (r *Run) receipt(end End) map[string]any {
	m := r.reg.Model(r.agentID)
	return map[string]any{"runId": r.id, "sessionId": r.SessionID(), "turnId": r.id,
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
	text := end.Text
	if end.Joined { // its text was sent under the run that gave the answer
		text = ""
	}
	if text != "" || end.Status == OK && !end.Joined {
		ev.Message = assistantMessage(text)
	}
	switch end.Status {
	case OK:
		ev.State = "final"
	case Aborted:
		ev.State = "aborted"
	default:
		ev.State, ev.StopReason, ev.ErrorMessage, ev.Message = "error", "", end.message(), nil
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
	return mustJSON(v)
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
			"agentMeta": map[string]any{"sessionId": r.SessionID(), "provider": m.Provider, "model": orElse(end.Model, m.ID),
				"contextTokens": m.ContextTokens, "usage": usage, "lastCallUsage": usage, "promptTokens": end.Input,
				"terminalReceipt": r.receipt(end)},
			"aborted": false, "stopReason": end.StopReason},
	}
}

// Change says what about a session has changed.
type Change struct {
	Reason string
	Phase  string
	RunID  string
	TS     int64
	// SessionID and AgentID tell which session is gone: it has no row any more.
	SessionID string
	AgentID   string
}

// sessionChanged is the payload of sessions.changed.
type sessionChanged struct {
	SessionKey string           `json:"sessionKey"`
	SessionID  string           `json:"sessionId,omitzero"`
	AgentID    string           `json:"agentId,omitzero"`
	Reason     string           `json:"reason,omitzero"`
	Phase      string           `json:"phase,omitzero"`
	RunID      string           `json:"runId,omitzero"`
	TS         int64            `json:"ts"`
	Session    *sessionview.Row `json:"session,omitzero"`
}

// SessionChanged tells the subscribers of sessions that one has changed, with its row.
// Without subscribers it does nothing: the row is read and encoded for somebody only.
func (g *Registry) SessionChanged(key string, c Change) {
	ev := frames.Event{Name: "sessions.changed", Reach: frames.ReachSessions, SessionKey: key}
	if !frames.Wanted(g.deps.Events, &ev) {
		return
	}
	p := sessionChanged{SessionKey: key, SessionID: c.SessionID, AgentID: c.AgentID, Reason: c.Reason, Phase: c.Phase, RunID: c.RunID, TS: c.TS}
	if p.TS == 0 {
		p.TS = time.Now().UnixMilli()
	}
	if row, found := g.sessionRow(key); found {
		p.AgentID, p.Session = row.AgentID, row
	}
	ev.Payload = mustJSON(&p)
	g.deps.Events.Broadcast(ev)
}

func (g *Registry) sessionRow(key string) (*sessionview.Row, bool) {
	var row storage.SessionRow
	found := false
	err := g.deps.Store.View(context.Background(), func(tx storage.Reader) error {
		var err error
		row, found, err = FindSession(tx, key)
		return err
	})
	if err != nil || !found {
		return nil, false
	}
	v := sessionview.RowOf(&row, g.Model(row.AgentID), g.deps.Live(key))
	return &v, true
}

// SessionMessage is the payload of session.message, and an entry of chat.history by
// cursor.
type SessionMessage struct {
	SessionKey    string           `json:"sessionKey"`
	SenderIsOwner bool             `json:"senderIsOwner,omitzero"`
	AgentID       string           `json:"agentId,omitzero"`
	Message       jsontext.Value   `json:"message"`
	MessageID     string           `json:"messageId"`
	MessageSeq    int64            `json:"messageSeq"`
	Session       *sessionview.Row `json:"session,omitzero"`
}

// MessageAdded tells the readers of a session that a message was stored.
func (g *Registry) MessageAdded(key string, m storage.Message, fromOwner bool) {
	ev := frames.Event{Name: "session.message", Reach: frames.ReachSession, SessionKey: key}
	if !frames.Wanted(g.deps.Events, &ev) {
		return
	}
	p := SessionMessage{SessionKey: key, SenderIsOwner: fromOwner, Message: sessionview.Message(m, sessionview.DisplayChars), MessageID: m.ID, MessageSeq: m.Seq}
	if row, found := g.sessionRow(key); found {
		p.AgentID, p.Session = row.AgentID, row
	}
	ev.Payload = mustJSON(&p)
	g.deps.Events.Broadcast(ev)
}
