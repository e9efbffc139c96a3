package system

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"

	"github.com/go-json-experiment/json"
)

// Health keeps the health snapshot: made at start, renewed when it is older than
// healthRefreshMs and someone asks, and whenever a part of the gateway reports a
// change. Answering health copies encoded bytes and does not allocate.
type Health struct {
	cfg      Config
	deps     Deps
	versions *frames.Versions

	mu      sync.Mutex // one renewal at a time
	renewed atomic.Int64
	encoded atomic.Pointer[[]byte]
	hello   atomic.Pointer[[]byte] // without modelRuntime, which hello's schema forbids
}

// SessionInfo is what health says about an agent's sessions.
type SessionInfo struct {
	Path   string          `json:"path"`
	Count  int             `json:"count"`
	Recent []RecentSession `json:"recent"`
}

// RecentSession is one of the newest sessions.
type RecentSession struct {
	Key       string `json:"key"`
	UpdatedAt int64  `json:"updatedAt"`
	Age       int64  `json:"age"`
}

type agentHealth struct {
	AgentID   string      `json:"agentId"`
	IsDefault bool        `json:"isDefault"`
	Heartbeat heartbeat   `json:"heartbeat"`
	Sessions  SessionInfo `json:"sessions"`
}

type heartbeat struct {
	Enabled bool   `json:"enabled"`
	Every   string `json:"every"`
	EveryMs int64  `json:"everyMs"`
	// Clients require the rest, also of heartbeats that do not run.
	Prompt      string `json:"prompt"`
	Target      string `json:"target"`
	AckMaxChars int    `json:"ackMaxChars"`
}

type healthSnapshot struct {
	OK               bool              `json:"ok"`
	TS               int64             `json:"ts"`
	DurationMs       int64             `json:"durationMs"`
	Plugins          map[string]any    `json:"plugins"`
	ConfigReload     map[string]any    `json:"configReload"`
	Channels         map[string]any    `json:"channels"`
	ChannelOrder     []string          `json:"channelOrder"`
	ChannelLabels    map[string]string `json:"channelLabels"`
	HeartbeatSeconds int64             `json:"heartbeatSeconds"`
	DefaultAgentID   string            `json:"defaultAgentId"`
	Agents           []agentHealth     `json:"agents"`
	Sessions         SessionInfo       `json:"sessions"`
	ModelRuntime     map[string]any    `json:"modelRuntime,omitzero"`
	EventLoop        EventLoop         `json:"eventLoop"`
	Warnings         []string          `json:"warnings,omitzero"`
}

// EventLoop is what clients of the TypeScript gateway watch for a blocked process. Go
// has no event loop; the delay shown is how late a timer of this process fires, which
// answers the same question: is the gateway able to run.
type EventLoop struct {
	Degraded        bool     `json:"degraded"`
	DegradedSinceMs *int64   `json:"degradedSinceMs"`
	Reasons         []string `json:"reasons"`
	IntervalMs      int64    `json:"intervalMs"`
	DelayP99Ms      float64  `json:"delayP99Ms"`
	DelayMaxMs      float64  `json:"delayMaxMs"`
	Utilization     float64  `json:"utilization"`
	CPUCoreRatio    float64  `json:"cpuCoreRatio"`
}

// NewHealth makes the first snapshot.
func NewHealth(cfg Config, deps Deps, versions *frames.Versions) *Health {
	h := &Health{cfg: cfg, deps: deps, versions: versions}
	h.renew(context.Background(), false)
	return h
}

// JSON is the encoded snapshot, renewed in the background when it is old.
func (h *Health) JSON() []byte {
	if time.Now().UnixMilli()-h.renewed.Load() > int64(h.cfg.HealthRefreshMs) && h.mu.TryLock() {
		h.mu.Unlock()
		go h.Refresh(context.Background())
	}
	return *h.encoded.Load()
}

// HelloJSON is the snapshot as hello carries it.
func (h *Health) HelloJSON() []byte { return *h.hello.Load() }

// Refresh renews the snapshot and announces it.
func (h *Health) Refresh(ctx context.Context) { h.renew(ctx, true) }

func (h *Health) renew(ctx context.Context, announce bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	begin := time.Now()
	s := h.collect(ctx, begin)
	s.DurationMs = time.Since(begin).Milliseconds()
	b, err := json.Marshal(s, json.Deterministic(true))
	if err != nil { // plain structs
		panic(err)
	}
	h.encoded.Store(&b)
	s.ModelRuntime = nil
	hello, err := json.Marshal(s, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	h.hello.Store(&hello)
	h.renewed.Store(begin.UnixMilli())
	if announce {
		state := h.versions.BumpHealth()
		h.deps.Events.Broadcast(frames.Event{Name: "health", Payload: b, DropIfSlow: true, State: &state})
	}
}

func (h *Health) collect(ctx context.Context, now time.Time) healthSnapshot {
	warnings := h.deps.Warnings()
	reload := map[string]any{"hotReloadStatus": "active"}
	if why := h.deps.ConfigProblem(); why != "" {
		reload["hotReloadStatus"] = "error"
		warnings = append(warnings, "config: "+why)
	}
	every := heartbeat{Enabled: false, Every: "0m", Target: "none", AckMaxChars: 300}
	s := healthSnapshot{OK: true, TS: now.UnixMilli(),
		Plugins:      map[string]any{"loaded": []string{}, "errors": []string{}, "unavailable": []string{}},
		ConfigReload: reload, Channels: map[string]any{}, ChannelOrder: []string{}, ChannelLabels: map[string]string{},
		DefaultAgentID: frames.DefaultAgent, ModelRuntime: map[string]any{"degraded": false, "pendingAgents": []string{}},
		EventLoop: h.deps.Loop.Snapshot(), Warnings: warnings}
	for _, c := range h.deps.Channels() {
		s.Channels[c.ID] = c.view()
		s.ChannelOrder = append(s.ChannelOrder, c.ID)
		s.ChannelLabels[c.ID] = c.Label
	}
	infos, err := h.sessions(ctx, now)
	if err != nil {
		s.OK = false
		s.Warnings = append(s.Warnings, "sessions could not be read: the store failed")
	}
	for _, id := range h.deps.AgentIDs() {
		info := infos[id]
		if info == nil {
			info = &SessionInfo{Path: h.deps.StorePath, Recent: []RecentSession{}}
		}
		s.Agents = append(s.Agents, agentHealth{AgentID: id, IsDefault: id == frames.DefaultAgent, Heartbeat: every, Sessions: *info})
		if id == frames.DefaultAgent {
			s.Sessions = *info
		}
	}
	return s
}

// maxRecent bounds the newest sessions that health and status list.
const maxRecent = 5

// sessions counts the sessions of each agent and keeps the newest of each.
func (h *Health) sessions(ctx context.Context, now time.Time) (map[string]*SessionInfo, error) {
	infos := map[string]*SessionInfo{}
	err := h.deps.Store.View(ctx, func(r storage.Reader) error {
		rows, err := storage.ListSessions(r, storage.SessionFilter{})
		for _, row := range rows {
			info := infos[row.AgentID]
			if info == nil {
				info = &SessionInfo{Path: h.deps.StorePath, Recent: []RecentSession{}}
				infos[row.AgentID] = info
			}
			info.Count++
			info.add(RecentSession{Key: row.Key, UpdatedAt: row.UpdatedAtMs, Age: now.UnixMilli() - row.UpdatedAtMs})
		}
		return err
	})
	return infos, err
}

// add keeps the maxRecent newest, newest first.
func (s *SessionInfo) add(r RecentSession) {
	i := len(s.Recent)
	for i > 0 && s.Recent[i-1].UpdatedAt < r.UpdatedAt {
		i--
	}
	if i == maxRecent {
		return
	}
	s.Recent = append(s.Recent, RecentSession{})
	copy(s.Recent[i+1:], s.Recent[i:])
	s.Recent[i] = r
	if len(s.Recent) > maxRecent {
		s.Recent = s.Recent[:maxRecent]
	}
}

// handle answers health: the snapshot, or with probe a fresh one.
func (h *Health) handle(ctx context.Context, e *pipeline.Envelope) error {
	if len(e.Frame.Params) > 2 {
		var p struct {
			Probe bool `json:"probe"`
		}
		if frames.UnmarshalParams(e.Frame.Params, &p) == nil && p.Probe {
			h.Refresh(ctx)
		}
	}
	e.Answer(h.JSON())
	return nil
}
