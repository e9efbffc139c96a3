// Package system answers the methods that say what the gateway is and how it is:
// health, status, presence, logs, lanes, models, agents, channels and their kin
// (results as recorded from the real gateway, protocol/examples.json).
package system

import (
	"fmt"

	"sluice/frames"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/storage"
)

// Config bounds what the family keeps.
type Config struct {
	HealthRefreshMs int `json:"healthRefreshMs" doc:"age at which a health snapshot is renewed when somebody asks" unit:"ms" min:"100"`
	PresenceRows    int `json:"presenceRows" doc:"clients and reports that system-presence lists" min:"1"`
	PresenceTTLMs   int `json:"presenceTtlMs" doc:"how long a report of system-event is listed" unit:"ms" min:"1000"`
	SystemEvents    int `json:"systemEvents" doc:"texts of system-event that wait for the next turn of their session" min:"1"`
	EventBytes      int `json:"eventBytes" doc:"length of one such text; a longer one is refused" unit:"bytes" min:"256"`
	PresenceBytes   int `json:"presenceBytes" doc:"what system-presence repeats of one name that a client gives itself; texts may have four times as much, lists 16 entries" unit:"bytes" min:"16"`
}

// Default returns the real gateway's numbers (openclaw.md 3.1).
func Default() Config {
	return Config{HealthRefreshMs: 60_000, PresenceRows: 200, PresenceTTLMs: 300_000, SystemEvents: 20, EventBytes: 8 << 10, PresenceBytes: 128}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.HealthRefreshMs < 100:
		return fmt.Errorf("healthRefreshMs: %d; at least 100", c.HealthRefreshMs)
	case c.PresenceRows < 1:
		return fmt.Errorf("presenceRows: %d; at least 1", c.PresenceRows)
	case c.PresenceTTLMs < 1000:
		return fmt.Errorf("presenceTtlMs: %d; at least 1000", c.PresenceTTLMs)
	case c.SystemEvents < 1:
		return fmt.Errorf("systemEvents: %d; at least 1", c.SystemEvents)
	case c.EventBytes < 256:
		return fmt.Errorf("eventBytes: %d; at least 256", c.EventBytes)
	case c.PresenceBytes < 16:
		return fmt.Errorf("presenceBytes: %d; at least 16", c.PresenceBytes)
	}
	return nil
}

// Deps are what the family needs.
type Deps struct {
	Version   string
	Port      int
	BootID    string
	StateDir  string
	StorePath string
	Identity  Identity
	Store     storage.Store
	Runs      *agent.Registry
	Events    frames.Broadcaster
	// Lanes returns the session lanes as they are now.
	Lanes func() Lanes
	// AgentIDs lists the agents, Channels the channels of this build.
	AgentIDs func() []string
	Channels func() []Channel
	// Warnings are what an operator should know now; ConfigProblem why the last config
	// was not taken over.
	Warnings      func() []string
	ConfigProblem func() string
	Loop          *LoopMeter
	// Tail reads the log for logs.tail.
	Tail func(cursor *int64, limit, maxBytes int) (any, error)
	// Waiting returns handlers and turns that run in dispatch.
	Waiting   func() (handlers, turns int64)
	Stability *Stability
}

// Lanes is what diagnostics.lanes shows of the schedule stage.
type Lanes struct {
	Running       int
	MaxConcurrent int
	Queued        int
	Sessions      []Lane
}

// Lane is one session's: who holds it, since when, and what waits.
type Lane struct {
	SessionKey string        `json:"sessionKey"`
	AgentID    string        `json:"agentId"`
	Holder     string        `json:"holder,omitzero"` // run id of the running turn
	HeldMs     int64         `json:"heldMs,omitzero"`
	Waiting    []WaitingTurn `json:"waiting,omitzero"`
}

// WaitingTurn is one place in a lane.
type WaitingTurn struct {
	RunID  string `json:"runId,omitzero"` // empty while its request is being stored
	Mode   string `json:"mode"`
	AgeMs  int64  `json:"ageMs"`
	Stored bool   `json:"stored"`
}

// Identity is the gateway's own key pair's public half.
type Identity struct {
	DeviceID  string `json:"deviceId"`
	PublicKey string `json:"publicKey"`
}

// Channel is one channel as channels.status and health show it.
type Channel struct {
	ID         string
	Label      string
	Configured bool
	Running    bool
	LastError  string
	Accounts   []string
}

func (c Channel) view() map[string]any {
	v := map[string]any{"configured": c.Configured, "running": c.Running}
	if c.LastError != "" {
		v["lastError"] = c.LastError
	}
	return v
}

// Family holds the handlers.
type Family struct {
	cfg      Config
	deps     Deps
	presence *Presence
	health   *Health
	queued   *eventQueue
}

// New returns the family over a presence and a health snapshot.
func New(cfg Config, deps Deps, presence *Presence, health *Health) *Family {
	return &Family{cfg: cfg, deps: deps, presence: presence, health: health, queued: newEventQueue(cfg.SystemEvents)}
}

// Methods lists the handlers.
func (f *Family) Methods() []dispatch.Method {
	return []dispatch.Method{
		{Name: "health", Handle: f.health.handle},
		{Name: "status", Handle: f.status},
		{Name: "system-presence", Handle: f.systemPresence},
		{Name: "system-event", Handle: f.systemEvent},
		{Name: "last-heartbeat", Handle: f.lastHeartbeat},
		{Name: "set-heartbeats", Handle: f.setHeartbeats},
		{Name: "system.info", Handle: f.info},
		{Name: "gateway.identity.get", Handle: f.identity},
		{Name: "diagnostics.lanes", Handle: f.lanes},
		{Name: "diagnostics.stability", Handle: f.stability},
		{Name: "logs.tail", Handle: f.logsTail},
		{Name: "update.status", Handle: f.updateStatus},
		{Name: "usage.status", Handle: f.usageStatus},
		{Name: "agents.list", Handle: f.agentsList},
		{Name: "agent.identity.get", Handle: f.agentIdentity},
		{Name: "models.list", Handle: f.modelsList},
		{Name: "commands.list", Handle: f.commandsList},
		{Name: "channels.status", Handle: f.channelsStatus},
	}
}
