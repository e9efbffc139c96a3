package agent

import (
	"context"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent/provider"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// settle leaves the turn's end on e and tells everyone once that is durable. A store
// that cannot write turns success into failure: an answer that a restart would lose
// must not be called final.
func (r *Run) settle(e *pipeline.Envelope, end End, answers []answer) error {
	var stored []storage.Message
	e.Effects = append(e.Effects, pipeline.EffectFunc(func(tx storage.Tx, _ *pipeline.Envelope) error {
		stored = stored[:0]
		return r.applyEnd(tx, end, answers, &stored)
	}))
	e.AfterAnswer(func(ok bool) {
		if !ok {
			_, err, _ := e.Result()
			end = End{Status: Failed, StopReason: "error", Err: err, Text: end.Text, StartedAt: end.StartedAt, EndedAt: time.Now()}
			stored = nil
		}
		for _, m := range stored {
			r.reg.MessageAdded(r.sessionKey, m, false)
		}
		r.lifecycleEnd(end)
		r.reg.finish(r, end)
		r.reg.SessionChanged(r.sessionKey, Change{Reason: "agent.input.settled"})
		r.reg.SessionChanged(r.sessionKey, Change{Phase: "end", RunID: r.id, TS: end.EndedAt.UnixMilli()})
	})
	return nil
}

// applyEnd writes the answers, the session's new state, the run's end and what a
// duplicate of its request gets from now on.
func (r *Run) applyEnd(tx storage.Tx, end End, answers []answer, stored *[]storage.Message) error {
	row, found, err := FindSession(tx, r.sessionKey)
	if err != nil {
		return err
	}
	// The session may have been deleted or reset to another transcript meanwhile: the
	// answer then has no place, but the run still ends.
	if found && row.SessionID == r.sessionID {
		for i, a := range answers {
			m := r.assistantRecord(a, i)
			if m.Seq, err = storage.AppendMessage(tx, &row, m); err != nil {
				return err
			}
			*stored = append(*stored, m)
		}
		applyToSession(&row, r.id, end)
		if err := storage.PutSession(tx, &row); err != nil {
			return err
		}
	}
	return r.putEnd(tx, end)
}

func applyToSession(row *storage.SessionRow, runID string, end End) {
	row.Status = map[Status]string{OK: "done", Aborted: "killed"}[end.Status]
	if row.Status == "" {
		row.Status = "failed"
	}
	row.StartedAtMs, row.EndedAtMs = end.StartedAt.UnixMilli(), end.EndedAt.UnixMilli()
	row.LastRunID, row.AbortedLastRun = runID, end.Status == Aborted
	row.UpdatedAtMs = max(row.UpdatedAtMs, end.EndedAt.UnixMilli())
	row.Unread = true
	if end.Input > 0 {
		row.InputTokens, row.OutputTokens, row.TotalTokens = end.Input, end.Output, end.Input
	}
}

func (r *Run) putEnd(tx storage.Tx, end End) error {
	now := end.EndedAt.UnixMilli()
	run := storage.RunRow{RunID: r.id, SessionKey: r.sessionKey, SessionID: r.sessionID, AgentID: r.agentID,
		Status: storage.RunStatus(end.Status), CreatedAtMs: r.createdAt.UnixMilli(), StartedAtMs: end.StartedAt.UnixMilli(),
		EndedAtMs: now, StopReason: end.StopReason, Error: errText(end), Result: r.finalPayload(end)}
	if err := storage.PutRun(tx, &run); err != nil {
		return err
	}
	var row storage.IdempotencyRow
	switch {
	case r.claim != nil:
		row = r.claim.Row(nil)
	case r.claimRow != nil:
		row = *r.claimRow
	default:
		return nil
	}
	row.Answer = r.finalPayload(end)
	return storage.PutIdempotency(tx, &row)
}

func errText(end End) string {
	if end.Err == nil {
		return ""
	}
	return end.Err.Message
}

// storeEnd stores the end of a run that has no envelope of its own any more.
func (g *Registry) storeEnd(r *Run, end End) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.deps.Update(ctx, func(tx storage.Tx) error { return r.putEnd(tx, end) }); err != nil {
		g.deps.Log.Error("a run's end could not be stored; it would start again after a restart", "run", r.id, "err", err)
	}
}

// QueuedRow is the record of a run that waits; a restart starts it again from this.
func (r *Run) QueuedRow() storage.RunRow {
	rec := promptRecord{Kind: r.kind, Model: r.model, Inputs: r.inputs, Claim: r.claimRow}
	if r.claim != nil {
		row := r.claim.Row([]byte("null"))
		rec.Claim = &row
	}
	prompt, err := json.Marshal(rec)
	if err != nil {
		panic(err)
	}
	return storage.RunRow{RunID: r.id, SessionKey: r.sessionKey, SessionID: r.sessionID, AgentID: r.agentID,
		Status: storage.RunQueued, CreatedAtMs: r.createdAt.UnixMilli(), Prompt: prompt}
}

type promptRecord struct {
	Kind   Kind    `json:"kind"`
	Model  string  `json:"model,omitzero"`
	Inputs []Input `json:"inputs"`
	// Claim lets a restarted run tell duplicates of its request how it ended.
	Claim *storage.IdempotencyRow `json:"claim,omitzero"`
}

// markRunning stores that the model is about to be asked: from here on a crash leaves
// an interrupted run, not one that is asked twice.
func (t *turn) markRunning(ctx context.Context, at time.Time) error {
	r := t.run
	return r.reg.deps.Update(ctx, func(tx storage.Tx) error {
		row := r.QueuedRow()
		row.Status, row.StartedAtMs = storage.RunRunning, at.UnixMilli()
		if err := storage.PutRun(tx, &row); err != nil {
			return err
		}
		s, found, err := FindSession(tx, r.sessionKey)
		if err != nil || !found {
			return err
		}
		s.Status, s.StartedAtMs, s.EndedAtMs, s.LastRunID = "running", at.UnixMilli(), 0, r.id
		return storage.PutSession(tx, &s)
	})
}

// assistantRecord is an answer as it is stored. Its id is made from the run's, so that
// a repeated append finds it (nothing is doubled).
func (r *Run) assistantRecord(a answer, i int) storage.Message {
	m := r.reg.Model(r.agentID)
	u := a.result.Usage
	body := map[string]any{"role": "assistant", "content": []textBlock{{"text", a.text}}, "api": "openai-completions",
		"provider": m.Provider, "model": orElse(a.result.Model, m.ID), "stopReason": orElse(a.result.StopReason, "stop"),
		"timestamp": a.at.UnixMilli(),
		"usage": map[string]any{"input": u.Input, "output": u.Output, "totalTokens": u.Total, "cacheRead": 0, "cacheWrite": 0,
			"cost": map[string]any{"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0}}}
	if a.result.ResponseID != "" {
		body["responseId"] = a.result.ResponseID
	}
	if a.aborted {
		body["openclawAbort"] = map[string]any{"aborted": true, "origin": "rpc", "runId": r.id}
	}
	raw, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(r.sessionID+"\x00"+r.id+"\x00"+string(rune('0'+i)))).String()
	return storage.Message{ID: id, RunID: r.id, Role: "assistant", Body: raw, TimestampMs: a.at.UnixMilli()}
}

// TextOf returns the text of a stored message: a string, or its text blocks.
func TextOf(body jsontext.Value) string {
	var m struct {
		Content jsontext.Value `json:"content"`
	}
	if json.Unmarshal(body, &m) != nil {
		return ""
	}
	var s string
	if json.Unmarshal(m.Content, &s) == nil {
		return s
	}
	var blocks []textBlock
	if json.Unmarshal(m.Content, &blocks) != nil {
		return ""
	}
	text := ""
	for _, b := range blocks {
		if b.Type == "text" {
			text += b.Text
		}
	}
	return text
}

// Recover reads the runs that a former process left: those that waited are returned to
// be put back into their lanes, those that were running are ended as interrupted.
func (g *Registry) Recover(ctx context.Context) (waiting []*Run, interrupted int, err error) {
	var open []storage.RunRow
	err = g.deps.Store.View(ctx, func(tx storage.Reader) error {
		var err error
		open, err = storage.OpenRuns(tx, 0)
		return err
	})
	if err != nil || len(open) == 0 {
		return nil, 0, err
	}
	now := time.Now()
	for _, row := range open {
		var p promptRecord
		broken := json.Unmarshal(row.Prompt, &p) != nil
		r, conflict := g.New(Spec{ID: row.RunID, Kind: p.Kind, SessionKey: row.SessionKey, AgentID: row.AgentID, Model: p.Model})
		if conflict != nil {
			continue
		}
		r.sessionID, r.inputs, r.createdAt, r.claimRow = row.SessionID, p.Inputs, time.UnixMilli(row.CreatedAtMs), p.Claim
		if row.Status == storage.RunQueued && !broken {
			waiting = append(waiting, r)
			continue
		}
		interrupted++
		end := End{Status: Interrupted, StopReason: "restart", StartedAt: time.UnixMilli(row.StartedAtMs), EndedAt: now,
			Err: frames.Unavailable(0, "the gateway was restarted while this message was being answered; send it again")}
		if err := g.deps.Update(ctx, func(tx storage.Tx) error { return r.applyEnd(tx, end, nil, new([]storage.Message)) }); err != nil {
			return waiting, interrupted, err
		}
		g.finish(r, end)
	}
	return waiting, interrupted, nil
}

// Change says what about a session has changed.
type Change struct {
	Reason string
	Phase  string
	RunID  string
	TS     int64
}

// SessionChanged tells the subscribers of sessions that one has changed, with its row.
func (g *Registry) SessionChanged(key string, c Change) {
	row, found := g.sessionRow(key)
	payload := map[string]any{"sessionKey": key, "ts": c.TS}
	if c.TS == 0 {
		payload["ts"] = time.Now().UnixMilli()
	}
	if c.Reason != "" {
		payload["reason"] = c.Reason
	}
	if c.Phase != "" {
		payload["phase"], payload["runId"] = c.Phase, c.RunID
	}
	if found {
		payload["agentId"], payload["session"] = row.AgentID, row
	}
	g.broadcast("sessions.changed", payload, frames.ReachSessions, key)
}

func (g *Registry) sessionRow(key string) (sessionview.Row, bool) {
	var row storage.SessionRow
	found := false
	err := g.deps.Store.View(context.Background(), func(tx storage.Reader) error {
		var err error
		row, found, err = FindSession(tx, key)
		return err
	})
	if err != nil || !found {
		return sessionview.Row{}, false
	}
	return sessionview.RowOf(&row, g.Model(row.AgentID), g.deps.Live(key)), true
}

// MessageAdded tells the readers of a session that a message was stored.
func (g *Registry) MessageAdded(key string, m storage.Message, fromOwner bool) {
	payload := map[string]any{"sessionKey": key, "message": sessionview.Message(m), "messageId": m.ID, "messageSeq": m.Seq}
	if fromOwner {
		payload["senderIsOwner"] = true
	}
	if row, found := g.sessionRow(key); found {
		payload["agentId"], payload["session"] = row.AgentID, row
	}
	g.broadcast("session.message", payload, frames.ReachSession, key)
}

func (g *Registry) broadcast(name string, payload any, reach frames.Reach, key string) {
	b, err := json.Marshal(payload, json.Deterministic(true))
	if err != nil {
		g.deps.Log.Error("event could not be encoded", "event", name, "err", err)
		return
	}
	g.deps.Events.Broadcast(frames.Event{Name: name, Payload: b, Reach: reach, SessionKey: key})
}

var _ provider.Provider = (*provider.OpenAI)(nil)
