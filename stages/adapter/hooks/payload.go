package hooks

import (
	"bytes"
	"net/http"
	"strings"

	"sluice/frames"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// payload is the object that a sender posted.
type payload map[string]any

// parsePayload reads a body; an empty one counts as {}, and what is no object has no
// members. A name given twice is refused: it means one thing to the defender and another
// to who reads the last.
func parsePayload(body []byte) (payload, string) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return payload{}, ""
	}
	if !frames.Valid(body) {
		return nil, "invalid JSON, or nested too deep"
	}
	var v any
	if err := json.Unmarshal(body, &v, jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, "invalid JSON: " + err.Error()
	}
	p, _ := v.(map[string]any)
	return p, ""
}

// str returns a member that is a string with content, trimmed.
func (p payload) str(name string) string {
	s, _ := p[name].(string)
	return strings.TrimSpace(s)
}

func (p payload) has(name string) bool {
	_, ok := p[name]
	return ok
}

// run is an agent run that a hook asks for; wake, with a text, is the other thing.
type run struct {
	Message     string `json:"message"`
	Name        string `json:"name"`
	AgentID     string `json:"agentId"`
	WakeMode    string `json:"wakeMode"`
	SessionKey  string `json:"sessionKey"`
	SessionMode string `json:"sessionMode"`
	Deliver     bool   `json:"deliver"` // to Channel and To
	Channel     string `json:"channel"`
	To          string `json:"to"`
	AccountID   string `json:"accountId"`
	Model       string `json:"model"`
	Thinking    string `json:"thinking"`
	Timeout     int64  `json:"timeoutSeconds"`
}

type wake struct {
	Text       string
	Mode       string
	AgentID    string
	SessionKey string
}

const (
	modeNow           = "now"
	modeNextHeartbeat = "next-heartbeat"
)

func modeOf(v string) string {
	if v == modeNextHeartbeat {
		return v
	}
	return modeNow
}

// agentID returns the agent that the sender names; it must be a string with content.
func (p payload) agentID() (string, string) {
	id := p.str("agentId")
	if p.has("agentId") && id == "" {
		return "", "agentId must be a non-empty string"
	}
	return id, ""
}

// parseWake checks the payload of /wake; problem is what upstream answers.
func parseWake(p payload) (w wake, problem string) {
	w.Text = p.str("text")
	if w.Text == "" {
		return w, "text required"
	}
	mode, _ := p["mode"].(string)
	w.Mode = modeOf(mode)
	if w.AgentID, problem = p.agentID(); problem != "" {
		return w, problem
	}
	w.SessionKey = p.str("sessionKey")
	switch {
	case p.has("sessionKey") && w.SessionKey == "":
		return w, "sessionKey must be a non-empty string"
	case w.Mode == modeNextHeartbeat && w.SessionKey != "":
		return w, "sessionKey requires mode=now"
	}
	return w, ""
}

// parseRun checks the payload of /agent.
func parseRun(p payload, channels []string) (r run, problem string) {
	if v, ok := p["waitForCompletion"]; ok {
		wait, isBool := v.(bool)
		switch {
		case !isBool:
			return r, "waitForCompletion must be boolean"
		case wait:
			return r, "waitForCompletion is not available in this build; use agent.wait with the runId"
		}
	}
	r = run{Message: p.str("message"), Name: p.str("name"), SessionKey: p.str("sessionKey"), SessionMode: "isolated",
		Model: p.str("model"), Thinking: p.str("thinking")}
	if r.Message == "" {
		return r, "message required"
	}
	if r.Name == "" {
		r.Name = "Hook"
	}
	if r.AgentID, problem = p.agentID(); problem != "" {
		return r, problem
	}
	mode, _ := p["wakeMode"].(string)
	r.WakeMode = modeOf(mode)
	if v, ok := p["sessionMode"]; ok {
		if v != "isolated" && v != "persistent" {
			return r, "sessionMode must be isolated or persistent"
		}
		r.SessionMode, _ = v.(string)
	}
	if problem = r.delivery(p, channels); problem != "" {
		return r, problem
	}
	if p.has("model") && r.Model == "" {
		return r, "model required"
	}
	if n, ok := p["timeoutSeconds"].(float64); ok && n >= 1 && n < 1e9 {
		r.Timeout = int64(n)
	}
	return r, ""
}

// delivery reads where the run's answer should go.
func (r *run) delivery(p payload, channels []string) string {
	if p["deliver"] == false {
		return ""
	}
	channel, problem := resolveChannel(p, channels)
	if problem != "" {
		return problem
	}
	hasChannel, hasTo, hasAccount := p.has("channel"), p.has("to"), p.has("accountId")
	to, account := p.str("to"), p.str("accountId")
	switch {
	case !hasChannel && !hasTo && !hasAccount:
		return ""
	case hasTo && to == "":
		return "to must be a non-empty string for hook delivery"
	case hasAccount && account == "":
		return "accountId must be a non-empty string for hook delivery"
	case hasAccount && (!hasChannel || to == ""):
		return "accountId requires channel and to for hook delivery"
	case !hasChannel || to == "":
		return "channel and to must be set together for hook delivery"
	case channel == lastChannel:
		return "channel must name a concrete channel for hook delivery"
	}
	r.Deliver, r.Channel, r.To, r.AccountID = true, channel, to, account
	return ""
}

const lastChannel = "last"

func resolveChannel(p payload, channels []string) (string, string) {
	v, ok := p["channel"]
	if !ok {
		return lastChannel, ""
	}
	name, _ := v.(string)
	name = strings.ToLower(strings.TrimSpace(name))
	for _, c := range append([]string{lastChannel}, channels...) {
		if name == c {
			return c, ""
		}
	}
	return "", "channel must be " + strings.Join(append([]string{lastChannel}, channels...), "|")
}

// maxIdempotencyKey is upstream's bound; a longer key is ignored, as upstream does.
const maxIdempotencyKey = 256

// idempotencyKey is the sender's key for repetitions; the headers come first.
func idempotencyKey(r *http.Request, p payload) string {
	for _, k := range []string{r.Header.Get("Idempotency-Key"), r.Header.Get("X-OpenClaw-Idempotency-Key"), p.str("idempotencyKey")} {
		if k = strings.TrimSpace(k); k != "" && len(k) <= maxIdempotencyKey {
			return k
		}
	}
	return ""
}
