package sessions

import (
	"context"
	"slices"
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

// summaryBytes bounds what a model is asked to sum up; the newest count.
const summaryBytes = 1 << 20

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
	var row storage.SessionRow
	found, count := false, 0
	err = f.deps.Store.View(ctx, func(r storage.Reader) (err error) {
		if row, found, err = agent.FindSession(r, key); err != nil || !found {
			return err
		}
		first, err := storage.ReadTranscript(r, row.SessionID, 0, 1, false)
		if len(first) > 0 { // the numbers of a transcript have no holes
			count = int(row.LastSeq - first[0].Seq + 1)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case !found:
		return e.AnswerValue(map[string]any{"ok": true, "key": key, "compacted": false, "reason": "no sessionId"})
	case p.MaxLines > 0 && count <= p.MaxLines:
		return e.AnswerValue(map[string]any{"ok": true, "key": key, "compacted": false, "kept": count})
	case p.MaxLines > 0:
		f.replace(e, &row, row.LastSeq-int64(p.MaxLines)+1, nil, map[string]any{"ok": true, "key": key, "compacted": true, "kept": p.MaxLines})
		return nil
	case count <= keepRecent+2:
		return e.AnswerValue(map[string]any{"ok": false, "key": key, "compacted": false, "reason": "Nothing to compact (session too small)"})
	}
	return f.summarize(ctx, e, &row, count-keepRecent)
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

// summarize asks the model for a summary of everything but the newest messages.
func (f *Family) summarize(ctx context.Context, e *pipeline.Envelope, row *storage.SessionRow, compacted int) error {
	keepFrom := row.LastSeq - keepRecent + 1
	text, firstKept, err := f.readOld(ctx, row.SessionID, keepFrom)
	if err != nil {
		return err
	}
	summary, err := f.deps.Runs.Complete(ctx, row.AgentID, "Sum up the following conversation so that it can be continued from the summary alone: "+
		"facts, decisions, open questions, names and numbers. Answer with the summary only.", text)
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
	f.replace(e, row, keepFrom, &storage.Message{ID: uuid.NewString(), Role: "assistant", Body: body, TimestampMs: now},
		map[string]any{"ok": true, "key": row.Key, "compacted": true,
			"result": map[string]any{"summary": summary, "firstKeptEntryId": firstKept, "messagesCompacted": compacted}})
	return nil
}

// readOld returns what was said before keepFrom, and the id of the message there.
func (f *Family) readOld(ctx context.Context, sessionID string, keepFrom int64) (text, firstKept string, err error) {
	var parts []string
	err = f.deps.Store.View(ctx, func(r storage.Reader) error {
		kept, err := storage.GetMessage(r, sessionID, keepFrom)
		if err != nil {
			return err
		}
		firstKept = kept.ID
		size := 0
		return storage.ScanTranscript(r, sessionID, keepFrom, true, func(m *storage.Message) error {
			part := m.Role + ": " + agent.TextOf(m.Body)
			if size += len(part); size > summaryBytes && len(parts) > 0 {
				return storage.ErrStop
			}
			parts = append(parts, part)
			return nil
		})
	})
	slices.Reverse(parts)
	return strings.Join(parts, "\n\n"), firstKept, err
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
