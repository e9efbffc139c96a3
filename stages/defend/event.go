package defend

import (
	"bytes"
	"strings"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json/jsontext"
)

// EventName is the event that announces a decision.
const EventName = "security.decision"

// decisionSource is who decided, in events and quarantine files.
const decisionSource = "sluice"

// DecisionEvent is the payload of security.decision (first-runtime.md 2.3).
type DecisionEvent struct {
	RequestID       string           `json:"requestId"`
	SessionID       string           `json:"sessionId,omitzero"`
	Source          string           `json:"source"`
	Channel         string           `json:"channel,omitzero"`
	SessionKind     string           `json:"sessionKind,omitzero"`
	ChatType        string           `json:"chatType,omitzero"`
	WasMentioned    *bool            `json:"wasMentioned,omitzero"`
	ReplyBack       *bool            `json:"replyBack,omitzero"`
	DeliveryContext *DeliveryContext `json:"deliveryContext,omitzero"`
	Decision        Recorded         `json:"decision"`
}

// DeliveryContext says where an answer would go.
type DeliveryContext struct {
	Channel   string `json:"channel"`
	To        string `json:"to"`
	AccountID string `json:"accountId,omitzero"`
	ThreadID  string `json:"threadId,omitzero"`
}

// Recorded is a decision in an event and in a quarantine file.
type Recorded struct {
	Action    string   `json:"action"`
	RiskScore int      `json:"risk_score"`
	Reasons   []string `json:"reasons"`
	Tags      []string `json:"tags"`
	Source    string   `json:"source"`
}

func recorded(d *pipeline.Decision) Recorded {
	return Recorded{Action: d.Action.String(), RiskScore: d.Risk, Reasons: orEmpty(d.Reasons),
		Tags: orEmpty(d.Tags), Source: decisionSource}
}

// announce tells operators that may approve. It does not wait for the answer to the
// request: an alarm that comes after the fact is no alarm.
func (s *Stage) announce(e *pipeline.Envelope, a *Action, d *pipeline.Decision) {
	if s.deps.Broadcaster == nil {
		return
	}
	payload, err := frames.MarshalPayload(decisionEvent(a, d, s.deps.Redact))
	if err != nil {
		s.deps.Log.Error("security.decision not encoded", "source", a.Source, "err", err)
		return
	}
	s.deps.Broadcaster.Broadcast(frames.Event{Name: EventName, Payload: payload, SessionKey: e.SessionKey,
		Scope: frames.ScopeApprovals})
}

// decisionEvent words a decision. Names that the client chose lose what looks like a
// secret: events reach every operator.
func decisionEvent(a *Action, d *pipeline.Decision, hide redactor) DecisionEvent {
	h := readHints(a.Raw)
	for _, s := range []*string{&h.to, &h.accountID, &h.threadID, &h.channel} {
		*s = hide.name(*s)
	}
	key := a.SessionKey
	if key == "" {
		key = h.sessionKey
	}
	kind, keyChannel := sessionParts(key)
	ev := DecisionEvent{RequestID: hide.name(a.RequestID()), SessionID: hide.name(key), Source: a.Source, SessionKind: kind,
		ChatType: h.chatType, WasMentioned: h.wasMentioned, ReplyBack: h.replyBack, Decision: recorded(d)}
	if len(a.Channels) > 0 {
		ev.Channel = hide.name(string(a.Channels[0]))
	}
	to := DeliveryContext{Channel: h.channel, To: h.to, AccountID: h.accountID, ThreadID: h.threadID}
	if to.Channel == "" {
		to.Channel = ev.Channel
	}
	if to.Channel == "" {
		to.Channel = keyChannel
	}
	if to.Channel != "" && to.To != "" {
		ev.DeliveryContext = &to
	}
	return ev
}

// sessionParts returns the kind and channel of a session key, in the first runtime's
// words.
func sessionParts(key string) (kind, channel string) {
	if key == "" {
		return "", ""
	}
	k, err := frames.ParseSessionKey(key)
	if err != nil {
		return "other", ""
	}
	switch k.Kind {
	case frames.SessionMain, frames.SessionDirect, frames.SessionGroup, frames.SessionChannel,
		frames.SessionCron, frames.SessionHook, frames.SessionNode:
		kind = k.Kind.String()
	default:
		kind = "other"
	}
	if k.Channel != "internal" {
		channel = k.Channel
	}
	return kind, channel
}

// hints are what top-level members of the params say about the conversation.
type hints struct {
	sessionKey, chatType, channel, to, accountID, threadID, runID string

	wasMentioned, replyBack *bool
}

// readHints reads them; each is looked for under its names in order.
func readHints(params []byte) hints {
	m := topLevel(params)
	h := hints{
		sessionKey: m.text("sessionKey", "session_key", "sessionId", "session_id"),
		channel:    m.text("channel", "provider", "platform"),
		to:         m.text("to", "recipient", "peer", "target"),
		accountID:  m.text("accountId", "account_id"),
		threadID:   m.text("threadId", "thread_id", "topicId", "topic_id"),
		runID:      m.text("idempotencyKey"),
	}
	switch t := strings.ToLower(m.text("chatType", "chat_type")); t {
	case "direct", "group", "channel":
		h.chatType = t
	}
	h.wasMentioned = m.boolean("wasMentioned", "WasMentioned")
	h.replyBack = m.boolean("replyBack", "reply_back")
	return h
}

// members are scalar top-level members, as text.
type members map[string]string

// maxHintBytes bounds one hint: they are names and ids.
const maxHintBytes = 512

// isHint keeps what is collected to the names that are asked for.
func isHint(name string) bool {
	switch name {
	case "sessionKey", "session_key", "sessionId", "session_id", "channel", "provider", "platform",
		"to", "recipient", "peer", "target", "accountId", "account_id", "threadId", "thread_id",
		"topicId", "topic_id", "chatType", "chat_type", "wasMentioned", "WasMentioned", "replyBack", "reply_back", "idempotencyKey":
		return true
	}
	return false
}

func topLevel(params []byte) members {
	dec := jsontext.NewDecoder(bytes.NewBuffer(params), walkOptions...)
	if dec.PeekKind() != '{' {
		return nil
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	m := members{}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return m
		}
		key := name.String()
		kind := dec.PeekKind()
		value, err := dec.ReadValue()
		if err != nil {
			return m
		}
		if _, seen := m[key]; seen || kind == '{' || kind == '[' || kind == 'n' || len(value) > maxHintBytes || !isHint(key) {
			continue
		}
		if kind == '"' {
			m[key] = string(frames.Unquote(nil, value))
		} else {
			m[key] = string(value)
		}
	}
	return m
}

func (m members) text(names ...string) string {
	for _, n := range names {
		if v := strings.TrimSpace(m[n]); v != "" {
			return v
		}
	}
	return ""
}

// boolean accepts true, 1, "yes" and "on", and their opposites.
func (m members) boolean(names ...string) *bool {
	switch strings.ToLower(m.text(names...)) {
	case "true", "1", "yes", "on":
		v := true
		return &v
	case "false", "0", "no", "off":
		v := false
		return &v
	}
	return nil
}
