package system

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"sluice/frames"
	"sluice/pipeline"
)

type systemEventParams struct {
	Text            string   `json:"text"`
	SessionKey      string   `json:"sessionKey"`
	Wake            bool     `json:"wake"`
	DeviceID        string   `json:"deviceId"`
	InstanceID      string   `json:"instanceId"`
	Host            string   `json:"host"`
	IP              string   `json:"ip"`
	Mode            string   `json:"mode"`
	Version         string   `json:"version"`
	Platform        string   `json:"platform"`
	DeviceFamily    string   `json:"deviceFamily"`
	ModelIdentifier string   `json:"modelIdentifier"`
	LastInput       *float64 `json:"lastInputSeconds"`
	Reason          string   `json:"reason"`
	Roles           []string `json:"roles"`
	Scopes          []string `json:"scopes"`
	Tags            []string `json:"tags"`
}

// systemEventNames are the params that system-event takes: its schema is not part of
// the published contract, so it is kept here.
var systemEventNames = []string{"text", "idempotencyKey", "sessionKey", "wake", "deviceId", "instanceId", "host", "ip", "mode",
	"version", "platform", "deviceFamily", "modelIdentifier", "lastInputSeconds", "reason", "roles", "scopes", "tags"}

// systemEvent queues a text for the next turn of a session and refreshes presence.
func (f *Family) systemEvent(ctx context.Context, e *pipeline.Envelope) error {
	if err := checkMembers("system-event", e.Frame.Params, "text", systemEventNames); err != nil {
		return err
	}
	var p systemEventParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	text := strings.TrimSpace(p.Text)
	if text == "" {
		return frames.Invalid("text required")
	}
	key, err := f.eventSession(ctx, p)
	if err != nil {
		return err
	}
	node := strings.HasPrefix(text, "Node:")
	if node && p.Wake {
		return frames.Invalid("wake is not supported for node presence events")
	}
	if p.Wake {
		return frames.Invalid("wake is not supported by this gateway yet; send a message with chat.send instead")
	}
	if !node {
		if err := f.Queue(key, text, e.Foreign); err != nil {
			return err
		}
	}
	f.presence.Report(presenceKey(p, text), entryOf(p, text))
	return e.AnswerValue(map[string]any{"ok": true})
}

// eventSession resolves the session of an event; main when it names none.
func (f *Family) eventSession(ctx context.Context, p systemEventParams) (string, error) {
	if p.SessionKey == "" {
		return "agent:" + frames.DefaultAgent + ":main", nil
	}
	k, err := frames.ParseSessionKey(p.SessionKey)
	if err != nil {
		return "", frames.Invalid("invalid session key: %s", err)
	}
	if k.Agent != "" && !f.knownAgent(k.Agent) {
		return "", frames.Invalid("Unknown agent id %q", k.Agent)
	}
	key := k.Canonical(frames.DefaultAgent)
	if !p.Wake {
		return key, nil
	}
	row, serr := f.session(ctx, p.SessionKey)
	switch {
	case serr != nil:
		return "", serr
	case row == nil || row.Archived:
		return "", frames.Invalid("Unknown or archived session %q", p.SessionKey)
	}
	return key, nil
}

func (f *Family) knownAgent(id string) bool {
	for _, a := range f.deps.AgentIDs() {
		if a == id {
			return true
		}
	}
	return false
}

func presenceKey(p systemEventParams, text string) string {
	for _, k := range []string{p.DeviceID, p.InstanceID, p.Host, p.IP} {
		if k != "" {
			return k
		}
	}
	return text
}

func entryOf(p systemEventParams, text string) Entry {
	en := Entry{Text: text, TS: time.Now().UnixMilli(), Host: p.Host, IP: p.IP, Mode: p.Mode, Version: p.Version,
		Platform: p.Platform, DeviceFamily: p.DeviceFamily, ModelIdentifier: p.ModelIdentifier, Reason: p.Reason,
		DeviceID: p.DeviceID, InstanceID: p.InstanceID, Roles: p.Roles, Scopes: p.Scopes, Tags: p.Tags}
	if p.LastInput != nil && *p.LastInput >= 0 {
		s := int64(*p.LastInput)
		en.LastInputSecs = &s
	}
	return en
}

// eventQueue holds texts for the next turn of their sessions, bounded over all of them;
// at the bound the oldest goes, as it does in the real gateway.
type eventQueue struct {
	max   int
	mu    sync.Mutex
	items []queuedEvent
}

// foreign is the origin of a text that is not the owner's.
type queuedEvent struct{ session, text, foreign string }

func newEventQueue(limit int) *eventQueue { return &eventQueue{max: limit} }

func (q *eventQueue) add(ev queuedEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == q.max {
		q.items = q.items[1:]
	}
	q.items = append(q.items, ev)
}

func (q *eventQueue) all() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	texts := []string{}
	for _, it := range q.items {
		texts = append(texts, it.text)
	}
	return texts
}

// take removes and returns the texts of one session, and the origin of one that is not
// its owner's.
func (q *eventQueue) take(session string) (texts []string, foreign string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	keep := q.items[:0]
	for _, it := range q.items {
		if it.session == session {
			texts = append(texts, it.text)
			foreign = cmp.Or(foreign, it.foreign)
		} else {
			keep = append(keep, it)
		}
	}
	q.items = keep
	return texts, foreign
}

// Queue keeps a text for the session's next turn; one over eventBytes is refused. foreign
// names where it comes from when it is not the owner's.
func (f *Family) Queue(sessionKey, text, foreign string) error {
	if len(text) > f.cfg.EventBytes {
		return frames.Invalid("text has %d bytes; at most %d (system.eventBytes) wait for a turn. Send it with chat.send instead", len(text), f.cfg.EventBytes)
	}
	f.queued.add(queuedEvent{sessionKey, text, foreign})
	return nil
}

// Notices returns and removes what was queued for a session: the next turn tells the
// model. foreign is the origin of one that is not the owner's; empty when all are.
func (f *Family) Notices(sessionKey string) (texts []string, foreign string) {
	return f.queued.take(sessionKey)
}

// lastHeartbeat: this version runs no heartbeat turns, so there was none.
func (f *Family) lastHeartbeat(_ context.Context, e *pipeline.Envelope) error {
	e.Answer([]byte("null"))
	return nil
}

// setHeartbeats switches heartbeats off. Switching them on is refused: answering ok
// would promise turns that never run (law 12).
func (f *Family) setHeartbeats(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		Enabled *bool `json:"enabled"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil || p.Enabled == nil {
		return frames.Invalid("invalid set-heartbeats params: enabled (boolean) required")
	}
	if *p.Enabled {
		return frames.Invalid("heartbeats are not run by this gateway yet; they can only be switched off")
	}
	return e.AnswerValue(map[string]any{"ok": true, "enabled": *p.Enabled})
}
