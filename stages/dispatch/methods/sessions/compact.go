package sessions

import (
	"context"
	"strings"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// keepRecent is how many messages a compaction leaves as they are: three turns
// (openclaw.md 3.2, recentTurnsPreserve).
const keepRecent = 6

// compact answers sessions.compact. With maxLines the oldest messages go; without, the
// model sums them up and the summary takes their place.
func (f *Family) compact(ctx context.Context, e *pipeline.Envelope) error {
	var p lifecycleParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, _, err := f.owned(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	if err := f.idle(key); err != nil {
		return err
	}
	var messages []storage.Message
	var row storage.SessionRow
	found := false
	err = f.deps.Store.View(ctx, func(r storage.Reader) (err error) {
		if row, found, err = agent.FindSession(r, key); err != nil || !found {
			return err
		}
		return storage.ScanTranscript(r, row.SessionID, 0, false, func(m *storage.Message) error {
			messages = append(messages, *m)
			return nil
		})
	})
	switch {
	case err != nil:
		return err
	case !found:
		return e.AnswerValue(map[string]any{"ok": true, "key": key, "compacted": false, "reason": "no sessionId"})
	case p.MaxLines > 0:
		return f.trim(e, &row, messages, p.MaxLines)
	case len(messages) <= keepRecent+2:
		return e.AnswerValue(map[string]any{"ok": false, "key": key, "compacted": false, "reason": "Nothing to compact (session too small)"})
	}
	return f.summarize(ctx, e, &row, messages)
}

func (f *Family) idle(key string) error {
	switch holder, waiting := f.deps.Active(key); {
	case holder != "":
		return frames.Invalid("Session %s has an active run; retry after it finishes.", key)
	case len(waiting) > 0:
		return frames.Invalid("Session %s has queued work; retry after it finishes.", key)
	}
	return nil
}

// trim keeps the newest messages.
func (f *Family) trim(e *pipeline.Envelope, row *storage.SessionRow, messages []storage.Message, keep int) error {
	if len(messages) <= keep {
		return e.AnswerValue(map[string]any{"ok": true, "key": row.Key, "compacted": false, "kept": len(messages)})
	}
	f.replace(e, row, messages[len(messages)-keep].Seq, nil, map[string]any{"ok": true, "key": row.Key, "compacted": true, "kept": keep})
	return nil
}

// summarize asks the model for a summary of everything but the newest messages.
func (f *Family) summarize(ctx context.Context, e *pipeline.Envelope, row *storage.SessionRow, messages []storage.Message) error {
	old := messages[:len(messages)-keepRecent]
	var b strings.Builder
	for _, m := range old {
		b.WriteString(m.Role + ": " + agent.TextOf(m.Body) + "\n\n")
	}
	summary, err := f.deps.Runs.Complete(ctx, row.AgentID, "Sum up the following conversation so that it can be continued from the summary alone: "+
		"facts, decisions, open questions, names and numbers. Answer with the summary only.", b.String())
	if err != nil {
		return e.AnswerValue(map[string]any{"ok": false, "key": row.Key, "compacted": false,
			"reason": "Compaction could not summarize the session: " + err.Error()})
	}
	now := nowMs()
	body, err := json.Marshal(map[string]any{"role": "assistant", "timestamp": now, "provider": "openclaw", "model": "compaction",
		"content": []any{map[string]any{"type": "text", "text": "Summary of the earlier conversation:\n\n" + summary}}}, json.Deterministic(true))
	if err != nil {
		return err
	}
	f.replace(e, row, messages[len(messages)-keepRecent].Seq,
		&storage.Message{ID: uuid.NewString(), Role: "assistant", Body: body, TimestampMs: now},
		map[string]any{"ok": true, "key": row.Key, "compacted": true,
			"result": map[string]any{"summary": summary, "firstKeptEntryId": messages[len(messages)-keepRecent].ID, "messagesCompacted": len(old)}})
	return nil
}

// replace makes the change durable, if the session is still what was read.
func (f *Family) replace(e *pipeline.Envelope, seen *storage.SessionRow, keepFrom int64, summary *storage.Message, answer any) {
	key := seen.Key
	f.effect(e, key, func(tx storage.Tx, row *storage.SessionRow, found bool) (any, bool, error) {
		if !found || row.SessionID != seen.SessionID || row.LastSeq != seen.LastSeq {
			return nil, false, frames.Invalid("Session %s changed before compaction. Retry.", key).WithDetails(sessionChanged)
		}
		if _, err := storage.TrimTranscript(tx, row.SessionID, keepFrom, summary); err != nil {
			return nil, false, err
		}
		row.LifecycleRevision = uuid.NewString()
		row.UpdatedAtMs = nowMs()
		return answer, true, nil
	})
	f.announce(e, key, "compact")
}
