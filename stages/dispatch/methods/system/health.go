package system

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"

	"github.com/go-json-experiment/json"
)

// Health keeps the health snapshot: made at start, renewed when it is older than
// healthRefreshMs and someone asks, and as soon as what it warns of changes. Answering
// health copies encoded bytes and does not allocate.
//
// Lifecycle: NewHealth, Run until the gateway stops.
type Health struct {
	cfg      Config
	deps     Deps
	versions *frames.Versions

	mu      sync.Mutex // one renewal at a time
	renewed atomic.Int64
	encoded atomic.Pointer[[]byte]
	hello   atomic.Pointer[[]byte] // only what hello's closed schema allows: clients may refuse more
	wake    chan struct{}
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
	h := &Health{cfg: cfg, deps: deps, versions: versions, wake: make(chan struct{}, 1)}
	h.renew(context.Background(), false)
	return h
}

// watchEvery is how soon health shows a full disk or a broken configuration.
const watchEvery = time.Second

// Run renews the snapshot until ctx ends: when asked to, and when what it warns of has
// changed.
func (h *Health) Run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for last := h.troubles(); ; last = h.troubles() {
		for woken := false; !woken; {
			select {
			case <-ctx.Done():
				return
			case <-h.wake:
				woken = true
			case <-tick.C:
				woken = h.troubles() != last
			}
		}
		h.renew(ctx, true)
	}
}

// troubles is everything that the snapshot warns of, as one text.
func (h *Health) troubles() string {
	return strings.Join(append(h.deps.Warnings(), h.deps.ConfigProblem()), "\n")
}

// Changed has the snapshot renewed soon; it does not wait.
func (h *Health) Changed() {
	select {
	case h.wake <- struct{}{}:
	default: // somebody has asked already
	}
}

// JSON is the encoded snapshot; an old one is renewed in the background.
func (h *Health) JSON() []byte {
	if h.age() > int64(h.cfg.HealthRefreshMs) {
		h.Changed()
	}
	return *h.encoded.Load()
}

func (h *Health) age() int64 { return time.Now().UnixMilli() - h.renewed.Load() }

// HelloJSON is the snapshot as hello carries it.
func (h *Health) HelloJSON() []byte { return *h.hello.Load() }

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
	s.ModelRuntime, s.Warnings, s.OK = nil, nil, true
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
	if why := h.deps.ConfigProblem(); why != "" {
		warnings = append(warnings, "config: "+why)
	}
	every := heartbeat{Enabled: false, Every: "0m", Target: "none", AckMaxChars: 300}
	s := healthSnapshot{OK: true, TS: now.UnixMilli(),
		Plugins:      map[string]any{"loaded": []string{}, "errors": []string{}, "unavailable": []string{}},
		ConfigReload: map[string]any{"hotReloadStatus": "active"}, Channels: map[string]any{}, ChannelOrder: []string{}, ChannelLabels: map[string]string{},
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
	count := func(row *storage.SessionRow) bool {
		info := infos[row.AgentID]
		if info == nil {
			info = &SessionInfo{Path: h.deps.StorePath, Recent: []RecentSession{}}
			infos[row.AgentID] = info
		}
		info.Count++
		info.add(RecentSession{Key: row.Key, UpdatedAt: row.UpdatedAtMs, Age: now.UnixMilli() - row.UpdatedAtMs})
		return false // looked at, not kept
	}
	err := h.deps.Store.View(ctx, func(r storage.Reader) error {
		_, err := storage.ListSessions(r, storage.SessionFilter{Match: count})
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

// probeEvery bounds how often a client can make the gateway read all sessions.
const probeEvery = time.Second

// handle answers health: the snapshot, or with probe a fresh one.
func (h *Health) handle(ctx context.Context, e *pipeline.Envelope) error {
	if len(e.Frame.Params) > 2 {
		var p struct {
			Probe any `json:"probe"`
		}
		if frames.UnmarshalParams(e.Frame.Params, &p) == nil && p.Probe == true && h.age() >= probeEvery.Milliseconds() {
			h.renew(ctx, true)
		}
	}
	e.Answer(h.JSON())
	return nil
}
