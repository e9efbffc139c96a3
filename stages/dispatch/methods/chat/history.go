package chat

import (
	"context"
	"encoding/base64"
	"errors"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type historyParams struct {
	SessionKey string `json:"sessionKey"`
	ShortID    string `json:"shortId"`
	AgentID    string `json:"agentId"`
	Cursor     string `json:"cursor"`
	Limit      int    `json:"limit"`
	MaxBytes   int    `json:"maxBytes"`
	Offset     int    `json:"offset"`
	MessageID  string `json:"messageId"`
	SessionID  string `json:"sessionId"`
}

// Bounds of a history result (wire.md 3.8: 6 MiB).
const (
	defaultHistory  = 200
	maxHistoryBytes = 6 << 20
)

// cursor marks a point in a transcript; it is opaque to clients.
type cursor struct {
	SessionID  string `json:"sessionId"`
	Generation string `json:"generation"`
	LastSeq    int64  `json:"lastSeq"`
	Version    int    `json:"version"`
}

func (c cursor) encode() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (cursor, bool) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, &c) != nil || c.Version != 1 {
		return c, false
	}
	return c, true
}

// history answers chat.history in its three modes: the newest messages, a page further
// back, and what came after a cursor.
func (f *Family) history(ctx context.Context, e *pipeline.Envelope) error {
	var p historyParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	v, err := f.historyOf(ctx, p)
	if err != nil {
		return err
	}
	return e.AnswerValue(v)
}

func (p *historyParams) check() error {
	switch {
	case p.Cursor != "" && (p.Offset != 0 || p.MessageID != ""):
		return frames.Invalid("cursor cannot be used with offset or messageId")
	case p.Offset != 0 && p.MessageID != "":
		return frames.Invalid("offset and messageId cannot be used together")
	case p.SessionID != "" && p.MessageID == "":
		return frames.Invalid("sessionId requires messageId")
	}
	if p.Limit == 0 {
		p.Limit = defaultHistory
	}
	if p.MaxBytes <= 0 || p.MaxBytes > maxHistoryBytes {
		p.MaxBytes = maxHistoryBytes
	}
	return nil
}

func (f *Family) historyOf(ctx context.Context, p historyParams) (map[string]any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	key, agentID, err := session(p.SessionKey, p.AgentID)
	if err != nil {
		return nil, err
	}
	model := f.deps.Runs.Model(agentID)
	out := map[string]any{"sessionKey": key, "messages": []jsontext.Value{}, "pendingInputs": map[string]any{"items": []any{}, "total": 0},
		"hasMore": false, "totalMessages": 0, "defaults": sessionview.DefaultsOf(model)}
	if p.Offset > 0 {
		out["offset"] = p.Offset
	}
	err = f.read(ctx, key, func(r storage.Reader, row *storage.SessionRow, found bool) error {
		if !found {
			out["sessionInfo"] = map[string]any{"key": key, "kind": "direct", "classification": "custom", "agentId": agentID,
				"updatedAt": nil, "hasActiveRun": false, "activeRunIds": []string{}}
			if p.Cursor != "" {
				out = map[string]any{"kind": "reset"}
			}
			return nil
		}
		if p.SessionID != "" && p.SessionID != row.SessionID {
			return frames.Invalid("sessionId does not belong to sessionKey")
		}
		info := sessionview.RowOf(row, model, f.deps.Live(key))
		pending := map[string]any{"items": []any{}, "total": 0}
		if p.Cursor != "" {
			out, err = f.delta(r, row, p, info, pending)
			return err
		}
		out["sessionId"], out["sessionInfo"], out["pendingInputs"] = row.SessionID, info, pending
		return f.page(r, row, p, out)
	})
	return out, err
}

// page reads the newest messages before offset, in the order in which they were said.
func (f *Family) page(r storage.Reader, row *storage.SessionRow, p historyParams, out map[string]any) error {
	var newest []jsontext.Value
	size, skipped, total := 0, 0, 0
	var target int64
	if p.MessageID != "" {
		var err error
		if target, err = storage.FindMessage(r, row.SessionID, p.MessageID); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	more := false
	err := storage.ScanTranscript(r, row.SessionID, 0, true, func(m *storage.Message) error {
		total++
		if skipped < p.Offset || (target > 0 && m.Seq > target+int64(p.Limit)/2) {
			skipped++
			return nil
		}
		if more || len(newest) >= p.Limit {
			more = true
			return nil
		}
		v := sessionview.Message(*m)
		if size += len(v); size > p.MaxBytes && len(newest) > 0 {
			more = true
			return nil
		}
		newest = append(newest, v)
		return nil
	})
	if err != nil {
		return err
	}
	messages := make([]jsontext.Value, 0, len(newest))
	for i := len(newest) - 1; i >= 0; i-- {
		messages = append(messages, newest[i])
	}
	out["messages"], out["hasMore"], out["totalMessages"] = messages, more, total
	if more {
		out["nextOffset"] = skipped + len(newest)
	}
	out["deltaCursor"] = cursor{SessionID: row.SessionID, Generation: row.LifecycleRevision, LastSeq: row.LastSeq, Version: 1}.encode()
	return nil
}

// delta reads what came after the cursor; a cursor of another transcript, or one that
// is too far back for one result, is told to start anew.
func (f *Family) delta(r storage.Reader, row *storage.SessionRow, p historyParams, info sessionview.Row, pending any) (map[string]any, error) {
	reset := map[string]any{"kind": "reset"}
	c, ok := parseCursor(p.Cursor)
	if !ok || c.SessionID != row.SessionID || c.Generation != row.LifecycleRevision || c.LastSeq > row.LastSeq {
		return reset, nil
	}
	messages, size := []jsontext.Value{}, 0
	stored, err := storage.ReadTranscript(r, row.SessionID, c.LastSeq, p.Limit+1, false)
	if err != nil {
		return nil, err
	}
	for _, m := range stored {
		v := sessionview.Message(m)
		size += len(v)
		messages = append(messages, v)
	}
	if len(messages) > p.Limit || size > p.MaxBytes {
		return reset, nil
	}
	c.LastSeq = row.LastSeq
	return map[string]any{"kind": "delta", "messages": messages, "deltaCursor": c.encode(), "sessionInfo": info, "pendingInputs": pending}, nil
}

// startup is history with everything else that a chat page needs at once.
func (f *Family) startup(ctx context.Context, e *pipeline.Envelope) error {
	var p historyParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	if p.SessionKey == "" && p.ShortID != "" {
		return frames.Invalid("No session found: %s", p.ShortID)
	}
	out, err := f.historyOf(ctx, p)
	if err != nil {
		return err
	}
	_, agentID, err := session(p.SessionKey, p.AgentID)
	if err != nil {
		return err
	}
	out["metadata"] = f.metadataOf(agentID)
	return e.AnswerValue(out)
}

func (f *Family) metadataOf(agentID string) map[string]any {
	return map[string]any{"models": f.deps.Models(agentID), "commands": f.deps.Commands(),
		"swarmEnabled": false, "runtimeSelectionLocked": false,
		"accountSelection": map[string]any{"kind": "automatic", "label": "Automatic account selection"}}
}

// metadata answers chat.metadata.
func (f *Family) metadata(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		AgentID    string `json:"agentId"`
		SessionKey string `json:"sessionKey"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	agentID := p.AgentID
	if p.SessionKey != "" {
		var err error
		if _, agentID, err = session(p.SessionKey, p.AgentID); err != nil {
			return err
		}
	}
	if agentID == "" {
		agentID = "main"
	}
	return e.AnswerValue(f.metadataOf(agentID))
}

// messageGet answers chat.message.get.
func (f *Family) messageGet(ctx context.Context, e *pipeline.Envelope) error {
	var p struct {
		SessionKey string `json:"sessionKey"`
		AgentID    string `json:"agentId"`
		MessageID  string `json:"messageId"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, _, err := session(p.SessionKey, p.AgentID)
	if err != nil {
		return err
	}
	answer := map[string]any{"ok": false, "unavailableReason": "not_found"}
	err = f.read(ctx, key, func(r storage.Reader, row *storage.SessionRow, found bool) error {
		if !found {
			return nil
		}
		seq, err := storage.FindMessage(r, row.SessionID, p.MessageID)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		m, err := storage.GetMessage(r, row.SessionID, seq)
		if err == nil {
			answer = map[string]any{"ok": true, "message": sessionview.Message(m)}
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.AnswerValue(answer)
}
