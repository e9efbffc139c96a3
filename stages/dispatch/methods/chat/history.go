package chat

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
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
	MaxChars   int    `json:"maxChars"`
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
	if err != nil { // strings and numbers
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (cursor, bool) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, &c) != nil || c.Version != 1 || c.LastSeq < 0 {
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
	if p.MaxChars == 0 {
		p.MaxChars = sessionview.DisplayChars
	}
	if p.MaxBytes <= 0 || p.MaxBytes > maxHistoryBytes {
		p.MaxBytes = maxHistoryBytes
	}
	return nil
}

// historyResult is the answer in the first two modes.
type historyResult struct {
	SessionKey    string               `json:"sessionKey"`
	SessionID     string               `json:"sessionId,omitzero"`
	Messages      []jsontext.Value     `json:"messages"`
	PendingInputs pendingInputs        `json:"pendingInputs"`
	DeltaCursor   string               `json:"deltaCursor,omitzero"`
	Offset        int                  `json:"offset,omitzero"`
	NextOffset    int                  `json:"nextOffset,omitzero"`
	HasMore       bool                 `json:"hasMore"`
	TotalMessages int                  `json:"totalMessages"`
	Defaults      sessionview.Defaults `json:"defaults"`
	SessionInfo   any                  `json:"sessionInfo"`
	InFlightRun   *agent.InFlight      `json:"inFlightRun,omitzero"`
	Metadata      map[string]any       `json:"metadata,omitzero"` // chat.startup
}

// deltaResult is the answer by cursor.
type deltaResult struct {
	Kind          string                 `json:"kind"`
	Messages      []agent.SessionMessage `json:"messages"`
	DeltaCursor   string                 `json:"deltaCursor,omitzero"`
	PendingInputs pendingInputs          `json:"pendingInputs"`
	SessionInfo   *sessionview.Row       `json:"sessionInfo"`
	InFlightRun   *agent.InFlight        `json:"inFlightRun,omitzero"`
}

// startAnew is the answer to a cursor that does not fit the transcript.
var startAnew = struct {
	Kind string `json:"kind"`
}{"reset"}

type pendingInputs struct {
	Items []agent.Pending `json:"items"`
	Total int             `json:"total"`
}

// noSession is the sessionInfo of a session that does not exist.
type noSession struct {
	Key            string   `json:"key"`
	Kind           string   `json:"kind"`
	Classification string   `json:"classification"`
	AgentID        string   `json:"agentId"`
	UpdatedAt      *int64   `json:"updatedAt"`
	HasActiveRun   bool     `json:"hasActiveRun"`
	ActiveRunIDs   []string `json:"activeRunIds"`
}

func (f *Family) historyOf(ctx context.Context, p historyParams) (result any, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	key, agentID, err := session(p.SessionKey, p.AgentID)
	if err != nil {
		return nil, err
	}
	// What runs is read before what is stored: a message may then be in both, never in
	// neither.
	items := f.deps.Runs.Pending(key, p.MaxChars)
	pending := pendingInputs{Items: items, Total: len(items)}
	inFlight := f.deps.Runs.InFlight(key)
	err = f.read(ctx, key, func(r storage.Reader, row *storage.SessionRow, found bool) (err error) {
		model := f.deps.Runs.Model(agentID)
		if p.Cursor != "" {
			result, err = f.delta(r, row, found, &p, pending, inFlight)
			return err
		}
		out := &historyResult{SessionKey: key, Messages: []jsontext.Value{}, PendingInputs: pending, Offset: p.Offset,
			Defaults: sessionview.DefaultsOf(model), InFlightRun: inFlight,
			SessionInfo: noSession{Key: key, Kind: "direct", Classification: "custom", AgentID: agentID, ActiveRunIDs: []string{}}}
		result = out
		if !found {
			return nil
		}
		if p.SessionID != "" && p.SessionID != row.SessionID {
			return frames.Invalid("sessionId does not belong to sessionKey")
		}
		out.SessionID, out.SessionInfo = row.SessionID, sessionview.RowOf(row, model, f.deps.Live(key))
		return page(r, row, &p, out)
	})
	return result, err
}

// page reads the newest messages before offset, or those around a message, in the order
// in which they were said. It reads what it gives and one more: the numbers of a
// transcript have no holes, so how many there are needs no counting.
func page(r storage.Reader, row *storage.SessionRow, p *historyParams, out *historyResult) error {
	out.DeltaCursor = cursor{SessionID: row.SessionID, Generation: row.LifecycleRevision, LastSeq: row.LastSeq, Version: 1}.encode()
	if row.LastSeq == 0 {
		return nil
	}
	first, err := storage.ReadTranscript(r, row.SessionID, 0, 1, false)
	if err != nil || len(first) == 0 {
		return err
	}
	oldest := first[0].Seq
	out.TotalMessages = int(row.LastSeq - oldest + 1)
	from := row.LastSeq - int64(p.Offset) // the newest that is given
	if p.MessageID != "" {
		target, err := storage.FindMessage(r, row.SessionID, p.MessageID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if err == nil {
			from = min(row.LastSeq, target+int64(p.Limit)/2)
		}
	}
	if from < oldest {
		return nil
	}
	size := 0
	err = storage.ScanTranscript(r, row.SessionID, from+1, true, func(m *storage.Message) error {
		v := sessionview.Message(*m, p.MaxChars)
		if size += len(v); len(out.Messages) == p.Limit || size > p.MaxBytes && len(out.Messages) > 0 {
			return storage.ErrStop
		}
		out.Messages = append(out.Messages, v)
		return nil
	})
	slices.Reverse(out.Messages)
	given := int(row.LastSeq-from) + len(out.Messages)
	if out.HasMore = given < out.TotalMessages; out.HasMore {
		out.NextOffset = given
	}
	return err
}

// delta reads what came after the cursor; a cursor of another transcript, or one that
// is too far back for one result, is told to start anew.
func (f *Family) delta(r storage.Reader, row *storage.SessionRow, found bool, p *historyParams, pending pendingInputs, inFlight *agent.InFlight) (any, error) {
	c, ok := parseCursor(p.Cursor)
	if !found || !ok || c.SessionID != row.SessionID || c.Generation != row.LifecycleRevision || c.LastSeq > row.LastSeq {
		return startAnew, nil
	}
	stored, err := storage.ReadTranscript(r, row.SessionID, c.LastSeq, p.Limit+1, false)
	if err != nil {
		return nil, err
	}
	info := sessionview.RowOf(row, f.deps.Runs.Model(row.AgentID), f.deps.Live(row.Key))
	messages, size := []agent.SessionMessage{}, 0
	for _, m := range stored {
		v := sessionview.Message(m, p.MaxChars)
		size += len(v)
		messages = append(messages, agent.SessionMessage{SessionKey: row.Key, AgentID: row.AgentID, SenderIsOwner: m.FromOwner(),
			Message: v, MessageID: m.ID, MessageSeq: m.Seq})
	}
	// A page of the store may end early, at its own bound.
	if len(messages) > p.Limit || size > p.MaxBytes || len(messages) > 0 && messages[len(messages)-1].MessageSeq != row.LastSeq {
		return startAnew, nil
	}
	c.LastSeq = row.LastSeq
	return deltaResult{Kind: "delta", Messages: messages, DeltaCursor: c.encode(), SessionInfo: &info, PendingInputs: pending, InFlightRun: inFlight}, nil
}

// startup is history with everything else that a chat page needs at once.
func (f *Family) startup(ctx context.Context, e *pipeline.Envelope) error {
	var p historyParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	if p.SessionKey == "" && p.ShortID != "" {
		var err error
		if p.SessionKey, err = f.byShortID(ctx, p.ShortID, p.AgentID); err != nil {
			return err
		}
	}
	out, err := f.historyOf(ctx, p)
	if err != nil {
		return err
	}
	_, agentID, err := session(p.SessionKey, p.AgentID)
	if err != nil {
		return err
	}
	if h, ok := out.(*historyResult); ok {
		h.Metadata = f.metadataOf(agentID)
	}
	return e.AnswerValue(out)
}

func (f *Family) byShortID(ctx context.Context, id, agentID string) (key string, err error) {
	found := false
	err = f.deps.Store.View(ctx, func(r storage.Reader) error {
		row, ok, err := agent.FindByShortID(r, id, agentID)
		key, found = row.Key, ok
		return err
	})
	if err == nil && !found {
		err = frames.Invalid("No session found: %s", id)
	}
	return key, err
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
		agentID = frames.DefaultAgent
	}
	return e.AnswerValue(f.metadataOf(agentID))
}

// messageGet answers chat.message.get.
func (f *Family) messageGet(ctx context.Context, e *pipeline.Envelope) error {
	p := struct {
		SessionKey string `json:"sessionKey"`
		AgentID    string `json:"agentId"`
		MessageID  string `json:"messageId"`
		MaxChars   int    `json:"maxChars"`
	}{MaxChars: sessionview.DisplayMaxChars}
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
			answer = map[string]any{"ok": true, "message": sessionview.Message(m, p.MaxChars)}
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.AnswerValue(answer)
}
