package schedule

import (
	"strings"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/google/uuid"
)

// target is where a request's turn goes.
type target struct {
	key   string // canonical session key: the lane
	agent string
	given string // params.agentId as it came
	mode  Mode   // asked for by the request; may be empty
	runID string // of the turn, when the request names it
	turn  bool   // false: the request starts no turn after all
}

// turnParams are the params that decide the lane, over all methods that start turns.
type turnParams struct {
	SessionKey string `json:"sessionKey"`
	Key        string `json:"key"`
	SessionID  string `json:"sessionId"`
	AgentID    string `json:"agentId"`
	QueueMode  Mode   `json:"queueMode"`
	Message    string `json:"message"`
	Task       string `json:"task"`
	RunID      string `json:"idempotencyKey"`
	Mode       string `json:"mode"` // of wake

	ChatType      string `json:"chatType"`
	WasMentioned  *bool  `json:"wasMentioned"`
	HasAnyMention bool   `json:"hasAnyMention"`
}

// targetOf finds the session that a request's turn belongs to (wire.md 3.10 and 3.11;
// the real gateway keeps an agent request that only names a session id under
// agent:<id>:explicit:<session id>).
func targetOf(method string, params []byte) (target, *frames.Error) {
	var p turnParams
	if err := frames.UnmarshalParams(params, &p); err != nil {
		return target{}, err
	}
	// Agent ids are compared without case, as upstream does; anything that cannot be one
	// is an agent that does not exist.
	given := p.AgentID
	p.AgentID = strings.ToLower(strings.TrimSpace(p.AgentID))
	if p.AgentID != "" && !frames.ValidAgentID(p.AgentID) {
		return target{}, unknownAgent(method, given, "")
	}
	t := target{agent: p.AgentID, given: given, mode: p.QueueMode, runID: p.RunID, turn: true}
	key := p.SessionKey
	switch method {
	case "sessions.send", "sessions.steer":
		key = p.Key
		if method == "sessions.steer" {
			t.mode = Interrupt
		}
	case "sessions.create":
		key = p.Key
		t.turn = strings.TrimSpace(p.Message) != "" || strings.TrimSpace(p.Task) != ""
		if key == "" {
			key = "agent:" + orMain(p.AgentID) + ":dashboard:" + uuid.NewString()
		}
	case "wake":
		t.turn = p.Mode == "now"
	case "agent":
		if key == "" && p.SessionID != "" {
			key = "agent:" + orMain(p.AgentID) + ":explicit:" + p.SessionID
		}
	}
	if key == "" {
		key = "agent:" + orMain(p.AgentID) + ":main"
	}
	parsed, err := frames.ParseSessionKey(key)
	if err != nil {
		return target{}, frames.Invalid("invalid session key: %s", err)
	}
	t.key = parsed.Canonical(orMain(p.AgentID))
	if a := parsed.Agent; a != "" {
		if t.agent != "" && t.agent != a {
			return target{}, frames.Invalid("session key agent does not match agentId")
		}
		t.agent = a
	}
	t.agent = orMain(t.agent)
	return t, nil
}

func orMain(agent string) string {
	if agent == "" {
		return frames.DefaultAgent
	}
	return agent
}

// ignored applies group activation to messages that come from a channel: in a group,
// with activation mention, a message that does not mention the assistant starts no
// turn (first-runtime.md section 3). Operators and hooks always mean it.
func ignored(cfg Config, p Policy, src pipeline.Source, params []byte, tg target) bool {
	if src != pipeline.SourceChannel {
		return false
	}
	activation := cfg.GroupActivation
	if p.GroupActivation == "always" || p.GroupActivation == "mention" {
		activation = p.GroupActivation
	}
	if activation == "always" {
		return false
	}
	var q turnParams
	if frames.UnmarshalParams(params, &q) != nil || q.WasMentioned == nil {
		return false // the channel cannot tell; better an answer too many
	}
	parsed, err := frames.ParseSessionKey(tg.key)
	group := err == nil && parsed.InGroup() || q.ChatType == "group" || q.ChatType == "channel" || q.ChatType == "room"
	bypass := !q.HasAnyMention && isControlCommand(q.Message)
	return group && !*q.WasMentioned && !bypass
}

func isControlCommand(text string) bool {
	word, ok := strings.CutPrefix(strings.TrimSpace(text), "/")
	if !ok {
		return false
	}
	fields := strings.Fields(word)
	if len(fields) == 0 {
		return false
	}
	switch strings.ToLower(fields[0]) {
	case "new", "reset", "help", "stop", "abort", "cancel":
		return true
	}
	return false
}
