package hooks

import (
	"fmt"
	"strings"
)

// Config is the inbound HTTP hooks, with upstream's keys where upstream has them.
type Config struct {
	Enabled                   bool      `json:"enabled" doc:"accept hooks over HTTP" reload:"hot"`
	Path                      string    `json:"path" doc:"path under which hooks are accepted; not /" reload:"restart"`
	Token                     string    `json:"token" doc:"shared secret of the senders; hooks do not start without one. Do not use the gateway's own token" secret:"true" reload:"hot"`
	SigningSecret             string    `json:"signingSecret" doc:"when set, each request must also carry a valid X-Sluice-Signature over its body" secret:"true" reload:"hot"`
	SignatureWindowMs         int       `json:"signatureWindowMs" doc:"how far a signature's time may be from now, and how long it is remembered so that it works once" unit:"ms" min:"1000" max:"3600000" reload:"hot"`
	MaxBodyBytes              int64     `json:"maxBodyBytes" doc:"bytes of one body" unit:"bytes" min:"1024" max:"33554432" reload:"hot"`
	BodyTimeoutMs             int       `json:"bodyTimeoutMs" doc:"time for a sender to send its body" unit:"ms" min:"100" max:"600000" reload:"hot"`
	AdmissionTimeoutMs        int       `json:"admissionTimeoutMs" doc:"how long a sender waits for its run to be accepted" unit:"ms" min:"100" max:"600000" reload:"hot"`
	MaxInFlight               int       `json:"maxInFlight" doc:"requests that are read or wait at the same time" min:"1" max:"4096" reload:"restart"`
	AuthFailures              int       `json:"authFailures" doc:"failed authentications of one address within authWindowMs that lock it out" min:"1" max:"10000" reload:"hot"`
	AuthWindowMs              int       `json:"authWindowMs" doc:"window in which they are counted" unit:"ms" min:"1000" max:"3600000" reload:"hot"`
	AuthLockoutMs             int       `json:"authLockoutMs" doc:"how long the address is locked out" unit:"ms" min:"1000" max:"3600000" reload:"hot"`
	AuthClients               int       `json:"authClients" doc:"addresses whose failures are remembered" min:"16" max:"1000000" reload:"restart"`
	ReplayEntries             int       `json:"replayEntries" doc:"signatures that are remembered" min:"16" max:"1000000" reload:"restart"`
	AllowRequestSessionKey    bool      `json:"allowRequestSessionKey" doc:"accept a sessionKey from the sender" reload:"hot"`
	DefaultSessionKey         string    `json:"defaultSessionKey" doc:"session of runs that name none; empty gives each run its own" reload:"hot"`
	AllowedSessionKeyPrefixes []string  `json:"allowedSessionKeyPrefixes" doc:"a session key must start with one of these; empty allows all" max:"256" reload:"hot"`
	AllowedAgentIDs           []string  `json:"allowedAgentIds" doc:"agents that hooks may start; empty or * allows all" max:"256" reload:"hot"`
	Mappings                  []Mapping `json:"mappings" doc:"further paths, each mapped to a run or a wake" max:"256" reload:"hot"`
}

// Mapping turns requests to <path>/<name> into a run or a wake. Templates hold
// {{payload.a.b[0]}}, {{headers.x}}, {{query.x}}, {{path}} or {{now}}.
type Mapping struct {
	ID              string `json:"id" doc:"name in logs"`
	Path            string `json:"path" doc:"what follows hooks.path; empty matches all"`
	Source          string `json:"source" doc:"value that the payload's source must have; empty matches all"`
	Action          string `json:"action" doc:"agent starts a run, wake queues an event" enum:"agent,wake"`
	WakeMode        string `json:"wakeMode" doc:"when a wake acts" enum:"now,next-heartbeat"`
	Name            string `json:"name" doc:"template of the hook's name"`
	AgentID         string `json:"agentId" doc:"agent to run; empty is the default one"`
	SessionKey      string `json:"sessionKey" doc:"template of the session"`
	SessionMode     string `json:"sessionMode" doc:"isolated or persistent" enum:"isolated,persistent"`
	MessageTemplate string `json:"messageTemplate" doc:"template of the message of a run"`
	TextTemplate    string `json:"textTemplate" doc:"template of the text of a wake"`
	Deliver         bool   `json:"deliver" doc:"deliver the run's answer to channel and to"`
	Channel         string `json:"channel" doc:"channel of the answer"`
	To              string `json:"to" doc:"template of the answer's recipient"`
	Model           string `json:"model" doc:"template of the model"`
	Thinking        string `json:"thinking" doc:"template of the thinking level"`
	TimeoutSeconds  int    `json:"timeoutSeconds" doc:"time of the run; 0 leaves it to the agent" min:"0" unit:"s"`
}

// ConfigDefault gives elements of the list their defaults (package storage/config).
func (Mapping) ConfigDefault() any {
	return Mapping{Action: "agent", WakeMode: "now", SessionMode: "isolated"}
}

// Default returns upstream's values (openclaw.md, hooks); hooks are off.
func Default() Config {
	return Config{Path: "/hooks", SignatureWindowMs: 300_000, MaxBodyBytes: 256 << 10, BodyTimeoutMs: 30_000,
		AdmissionTimeoutMs: 15_000, MaxInFlight: 64, AuthFailures: 20, AuthWindowMs: 60_000, AuthLockoutMs: 60_000,
		AuthClients: 10_000, ReplayEntries: 10_000, AllowedSessionKeyPrefixes: []string{}, AllowedAgentIDs: []string{}, Mappings: []Mapping{}}
}

// Validate names the first field that is wrong.
func (c Config) Validate() error {
	bounds := []struct {
		key           string
		v, least, top int64
	}{
		{"signatureWindowMs", int64(c.SignatureWindowMs), 1000, 3_600_000}, {"maxBodyBytes", c.MaxBodyBytes, 1024, 32 << 20},
		{"bodyTimeoutMs", int64(c.BodyTimeoutMs), 100, 600_000}, {"admissionTimeoutMs", int64(c.AdmissionTimeoutMs), 100, 600_000},
		{"maxInFlight", int64(c.MaxInFlight), 1, 4096}, {"authFailures", int64(c.AuthFailures), 1, 10_000},
		{"authWindowMs", int64(c.AuthWindowMs), 1000, 3_600_000}, {"authLockoutMs", int64(c.AuthLockoutMs), 1000, 3_600_000},
		{"authClients", int64(c.AuthClients), 16, 1_000_000}, {"replayEntries", int64(c.ReplayEntries), 16, 1_000_000},
	}
	for _, b := range bounds {
		if b.v < b.least || b.v > b.top {
			return fmt.Errorf("hooks.%s: %d; %d to %d", b.key, b.v, b.least, b.top)
		}
	}
	if !strings.HasPrefix(c.Path, "/") || strings.Trim(c.Path, "/") == "" || strings.HasSuffix(c.Path, "/") {
		return fmt.Errorf("hooks.path: %q; it starts with / and names something", c.Path)
	}
	if c.Enabled && strings.TrimSpace(c.Token) == "" {
		return fmt.Errorf("hooks.token: hooks.enabled requires hooks.token: set a long random one")
	}
	if err := c.validateSessions(); err != nil {
		return err
	}
	for i, m := range c.Mappings {
		if err := m.validate(); err != nil {
			return fmt.Errorf("hooks.mappings[%d].%w", i, err)
		}
	}
	return nil
}

func (c Config) validateSessions() error {
	if len(c.AllowedSessionKeyPrefixes) > 0 {
		switch {
		case c.DefaultSessionKey != "" && !c.prefixAllowed(c.DefaultSessionKey):
			return fmt.Errorf("hooks.defaultSessionKey: hooks.defaultSessionKey must match hooks.allowedSessionKeyPrefixes")
		case c.DefaultSessionKey == "" && !c.prefixAllowed("hook:example"):
			return fmt.Errorf("hooks.allowedSessionKeyPrefixes: it must include 'hook:' when hooks.defaultSessionKey is unset")
		}
		return nil
	}
	for i, m := range c.Mappings {
		if hasTemplate(m.SessionKey) {
			return fmt.Errorf("hooks.mappings[%d].sessionKey: hooks.allowedSessionKeyPrefixes is required when it uses templates", i)
		}
	}
	return nil
}

func (m Mapping) validate() error {
	switch {
	case m.Action != "agent" && m.Action != "wake":
		return fmt.Errorf("action: %q; agent or wake", m.Action)
	case m.WakeMode != "now" && m.WakeMode != "next-heartbeat":
		return fmt.Errorf("wakeMode: %q; now or next-heartbeat", m.WakeMode)
	case m.SessionMode != "isolated" && m.SessionMode != "persistent":
		return fmt.Errorf("sessionMode: %q; isolated or persistent", m.SessionMode)
	case m.TimeoutSeconds < 0:
		return fmt.Errorf("timeoutSeconds: %d is negative", m.TimeoutSeconds)
	case m.Action == "agent" && m.MessageTemplate == "":
		return fmt.Errorf("messageTemplate: missing; without it every request is refused")
	case m.Action == "wake" && m.TextTemplate == "":
		return fmt.Errorf("textTemplate: missing; without it every request is refused")
	}
	return nil
}

// prefixAllowed applies allowedSessionKeyPrefixes, letter case ignored.
func (c *Config) prefixAllowed(key string) bool {
	key = strings.ToLower(strings.TrimSpace(key))
	for _, p := range c.AllowedSessionKeyPrefixes {
		if p = strings.ToLower(strings.TrimSpace(p)); p != "" && strings.HasPrefix(key, p) {
			return key != ""
		}
	}
	return len(c.AllowedSessionKeyPrefixes) == 0
}

// agentAllowed applies allowedAgentIds.
func (c *Config) agentAllowed(id string) bool {
	for _, a := range c.AllowedAgentIDs {
		if a == "*" || strings.EqualFold(strings.TrimSpace(a), id) {
			return true
		}
	}
	return len(c.AllowedAgentIDs) == 0
}
