package frames

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxSessionKeyBytes bounds a session key. Upstream's schemas say 512 characters.
const MaxSessionKeyBytes = 512

// DefaultAgent is the agent of keys that name none, when the configuration names none.
const DefaultAgent = "main"

// SessionKind says what a session is about.
type SessionKind uint8

// The kinds. SessionOther is any key outside the grammar: clients name sessions freely.
const (
	SessionOther SessionKind = iota
	SessionMain
	SessionDirect
	SessionGroup
	SessionChannel
	SessionCron
	SessionHook
	SessionNode
	SessionSubagent
	SessionExplicit
	SessionHTTPUser
)

var sessionKindNames = [...]string{
	SessionOther: "other", SessionMain: "main", SessionDirect: "direct", SessionGroup: "group",
	SessionChannel: "channel", SessionCron: "cron", SessionHook: "hook", SessionNode: "node",
	SessionSubagent: "subagent", SessionExplicit: "explicit", SessionHTTPUser: "http-user",
}

// String returns the kind's name.
func (k SessionKind) String() string {
	if int(k) < len(sessionKindNames) {
		return sessionKindNames[k]
	}
	return "other"
}

// SessionKey is a session key taken apart. Fields that the key does not have are empty.
// It is comparable; compare Canonical of two keys to know whether they are one session.
type SessionKey struct {
	// Key is the key in upstream's letter case: lower, except ids that their provider
	// compares by case (Signal groups, Matrix rooms).
	Key  string
	Kind SessionKind
	// Agent is the agent that the key names.
	Agent string
	// Channel is the messaging channel, or "internal" for cron, hook and node keys.
	Channel string
	// Account is the channel's account, for keys of dmScope per-account-channel-peer.
	Account string
	// Scope is the peer, the group, the job: what is left after the other fields.
	Scope  string
	Topic  string
	Thread string
}

// The errors of ParseSessionKey. A handler words its own answer from them.
var (
	// ErrSessionKeyEmpty: nothing is left after trimming.
	ErrSessionKeyEmpty = errors.New("session key is empty: name a session, for example \"main\"")
	// ErrSessionKeyLong: longer than MaxSessionKeyBytes.
	ErrSessionKeyLong = fmt.Errorf("session key is longer than %d bytes: shorten it", MaxSessionKeyBytes)
	// ErrSessionKeyText: control characters or broken UTF-8.
	ErrSessionKeyText = errors.New("session key has control characters or broken UTF-8: remove them")
	// ErrSessionKeyForm: it begins with a colon, which no stored key can.
	ErrSessionKeyForm = errors.New("session key begins with a colon: remove it")
	// ErrSessionKeyAgent: it begins with "agent:" but names no agent, or none that can be.
	ErrSessionKeyAgent = errors.New("session key does not name an agent: write agent:<id>:<rest>, the id of letters, digits, - and _")
)

// ParseSessionKey takes a session key apart by the grammar of first-runtime.md section
// 3, extended by what upstream has since (direct, thread, account, subagent, explicit,
// the HTTP users). A key that no rule knows is valid and of kind other; what is refused
// is empty, too long, no text, or wrong about its agent.
//
// A key is a name, never a path: it may contain slashes and dots.
func ParseSessionKey(s string) (SessionKey, error) {
	s = strings.TrimFunc(s, isJSSpace)
	switch {
	case s == "":
		return SessionKey{}, ErrSessionKeyEmpty
	case len(s) > MaxSessionKeyBytes:
		return SessionKey{}, ErrSessionKeyLong
	case !cleanText(s):
		return SessionKey{}, ErrSessionKeyText
	case s[0] == ':':
		return SessionKey{}, ErrSessionKeyForm
	}
	k := SessionKey{Key: foldKey(s)}
	rest := k.Key
	if after, ok := strings.CutPrefix(k.Key, "agent:"); ok {
		agent, tail, ok := strings.Cut(after, ":")
		if agent = strings.TrimSpace(agent); !ok || !ValidAgentID(agent) || tail == "" || tail[0] == ':' {
			return SessionKey{}, ErrSessionKeyAgent
		}
		k.Agent, rest = agent, tail
		k.Key = "agent:" + agent + ":" + tail
	}
	k.parseRest(rest)
	return k, nil
}

// cleanText reports whether s is UTF-8 without control characters.
func cleanText(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7F {
			return false
		}
	}
	return utf8.ValidString(s)
}

// ValidAgentID reports whether id is an agent id in canonical form:
// ^[a-z0-9][a-z0-9_-]{0,63}$.
func ValidAgentID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case (c == '-' || c == '_') && i > 0:
		default:
			return false
		}
	}
	return true
}

// parseRest reads what follows the agent, or a key that names none.
func (k *SessionKey) parseRest(rest string) {
	if i := strings.LastIndex(rest, ":thread:"); i > 0 && i+len(":thread:") < len(rest) {
		k.Thread = rest[i+len(":thread:"):]
		rest = rest[:i]
	}
	head, tail, more := strings.Cut(rest, ":")
	switch {
	case rest == "main":
		k.Kind = SessionMain
		if k.Agent != "" {
			k.Scope = rest
		}
	case rest == "global", rest == "unknown":
	case more && tail != "" && k.parseInternal(head, tail):
	case k.Agent == "" && strings.HasPrefix(rest, "node-"):
		k.Kind, k.Channel, k.Scope = SessionNode, channelInternal, rest[len("node-"):]
	case k.Agent == "" && !more:
	default:
		k.parseChannel(head, tail, more)
	}
}

const channelInternal = "internal"

// parseInternal reads the keys that no messaging channel owns.
func (k *SessionKey) parseInternal(head, tail string) bool {
	switch head {
	case "cron":
		k.Kind, k.Channel = SessionCron, channelInternal
	case "hook":
		k.Kind, k.Channel = SessionHook, channelInternal
	case "node":
		k.Kind, k.Channel = SessionNode, channelInternal
	case "subagent":
		k.Kind = SessionSubagent
	case "explicit":
		k.Kind = SessionExplicit
	case "openai-user", "openresponses-user":
		k.Kind = SessionHTTPUser
	case "direct", "dm":
		k.Kind = SessionDirect // dmScope per-peer
	default:
		return false
	}
	k.Scope = tail
	return true
}

// parseChannel reads the keys of messaging channels.
func (k *SessionKey) parseChannel(channel, tail string, more bool) {
	k.Channel, k.Scope = channel, tail
	if !more {
		return
	}
	kind, id, hasID := strings.Cut(tail, ":")
	if tail == "main" {
		k.Kind = SessionMain
		return
	}
	if !hasID || id == "" {
		return
	}
	switch kind {
	case "dm", "direct":
		k.Kind, k.Scope = SessionDirect, id
		return
	case "group", "channel":
		k.Kind, k.Scope = SessionGroup, id
		if kind == "channel" {
			k.Kind = SessionChannel
		}
		if i := strings.LastIndex(id, ":topic:"); i > 0 && i+len(":topic:") < len(id) {
			k.Scope, k.Topic = id[:i], id[i+len(":topic:"):]
		}
		return
	}
	second, peer, ok := strings.Cut(id, ":")
	if ok && peer != "" && kind != "" && (second == "dm" || second == "direct") {
		k.Kind, k.Account, k.Scope = SessionDirect, kind, peer
	}
}

// Canonical returns the key under which the session is kept, as upstream stores it:
// "global" and "unknown" stay, "main" is the agent's main session, a key that names an
// agent is itself, and any other belongs to the agent given ("" means DefaultAgent).
func (k SessionKey) Canonical(agent string) string {
	if k.Agent != "" || k.Key == "global" || k.Key == "unknown" {
		return k.Key
	}
	if agent == "" {
		agent = DefaultAgent
	}
	return "agent:" + agent + ":" + k.Key
}

// AgentOr returns the key's agent, or the one given when it names none.
func (k SessionKey) AgentOr(agent string) string {
	if k.Agent != "" {
		return k.Agent
	}
	if agent == "" {
		return DefaultAgent
	}
	return agent
}

// InGroup reports whether several people speak in the session: its activation may then
// need a mention.
func (k SessionKey) InGroup() bool { return k.Kind == SessionGroup || k.Kind == SessionChannel }

// foldKey lowers the key's case as upstream does, except a Signal group's id and what
// follows matrix:channel: or matrix:group:, which are compared by case.
func foldKey(s string) string {
	low := strings.ToLower(s)
	if len(low) != len(s) || !strings.Contains(low, "signal:group:") && !strings.Contains(low, "matrix:") {
		return low
	}
	out := []byte(low)
	keep := func(from, to int) { copy(out[from:to], s[from:to]) }
	for at := 0; ; {
		i := strings.Index(low[at:], "signal:group:")
		if i < 0 {
			break
		}
		i += at
		at = i + len("signal:group:")
		end := len(low)
		if j := strings.IndexByte(low[at:], ':'); j >= 0 {
			end = at + j
		}
		if i == 0 || low[i-1] == ':' {
			keep(at, end)
		}
	}
	if from := matrixTail(low); from > 0 {
		if i := strings.LastIndex(low[from:], ":thread:"); i >= 0 {
			keep(from, from+i)
			keep(from+i+len(":thread:"), len(s))
		} else {
			keep(from, len(s))
		}
	}
	return string(out)
}

// matrixTail returns where the room id of a Matrix key begins, 0 for other keys.
func matrixTail(low string) int {
	rest := low
	for strings.HasPrefix(rest, "agent:") {
		_, after, ok := strings.Cut(rest[len("agent:"):], ":")
		if !ok {
			return 0
		}
		rest = strings.TrimLeft(after, ":")
	}
	for _, head := range [...]string{"matrix:channel:", "matrix:group:"} {
		if after, ok := strings.CutPrefix(rest, head); ok {
			return len(low) - len(after)
		}
	}
	return 0
}

// IsIncognitoKey reports whether the key is of a session that is kept in memory only:
// agent:<id>:<dashboard|subagent|internal-session-effects>:incognito-<id>.
func IsIncognitoKey(s string) bool {
	parts := strings.Split(strings.ToLower(strings.TrimFunc(s, isJSSpace)), ":")
	if len(parts) != 4 || parts[0] != "agent" || parts[1] == "" {
		return false
	}
	switch parts[2] {
	case "dashboard", "subagent", "internal-session-effects":
		id, ok := strings.CutPrefix(parts[3], "incognito-")
		return ok && id != ""
	}
	return false
}
