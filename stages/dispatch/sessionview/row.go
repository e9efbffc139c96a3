// Package sessionview turns stored sessions into the rows that clients see: in
// sessions.list, sessions.describe, chat.history and the sessions.changed and
// session.message events (SessionRow in protocol/schema96.json).
package sessionview

import (
	"strings"
	"time"

	"sluice/frames"
	"sluice/storage"

	"github.com/go-json-experiment/json/jsontext"
)

// Model is what a row says about the model that a session would use.
type Model struct {
	Provider      string
	ID            string
	Name          string
	ContextTokens int64
	Configured    bool
}

// Live is what only the running process knows about a session.
type Live struct {
	ActiveRunIDs []string
	QueueMode    string
}

// Row is a session as clients read it. Members that Sluice has nothing to say about are
// left out, which every client tolerates (wire.md 3.5 and 5).
type Row struct {
	Key                    string         `json:"key"`
	Visibility             string         `json:"visibility"`
	PermissionModePending  bool           `json:"permissionModePending"`
	SpawnDepth             int            `json:"spawnDepth"`
	CreatedVia             string         `json:"createdVia,omitzero"`
	CreatedAt              int64          `json:"createdAt"`
	Kind                   string         `json:"kind"`
	Label                  string         `json:"label,omitzero"`
	Classification         string         `json:"classification"`
	AgentID                string         `json:"agentId"`
	IsMain                 bool           `json:"isMain"`
	IsBackground           bool           `json:"isBackground"`
	DisplayName            string         `json:"displayName,omitzero"`
	DerivedTitle           string         `json:"derivedTitle,omitzero"`
	LastMessagePreview     string         `json:"lastMessagePreview,omitzero"`
	ChatType               string         `json:"chatType,omitzero"`
	Channel                string         `json:"channel,omitzero"`
	UpdatedAt              int64          `json:"updatedAt"`
	Archived               bool           `json:"archived"`
	Pinned                 bool           `json:"pinned"`
	Unread                 bool           `json:"unread"`
	LastInteractionAt      int64          `json:"lastInteractionAt,omitzero"`
	SessionID              string         `json:"sessionId"`
	SystemSent             bool           `json:"systemSent"`
	AbortedLastRun         bool           `json:"abortedLastRun"`
	ThinkingLevel          string         `json:"thinkingLevel,omitzero"`
	ThinkingLevels         []ThinkingInfo `json:"thinkingLevels"`
	ThinkingOptions        []string       `json:"thinkingOptions"`
	ThinkingDefault        string         `json:"thinkingDefault"`
	EffectiveFastMode      bool           `json:"effectiveFastMode"`
	EffectiveFastModeFrom  string         `json:"effectiveFastModeSource"`
	FastAutoOnSeconds      int            `json:"fastAutoOnSeconds"`
	InputTokens            int64          `json:"inputTokens,omitzero"`
	OutputTokens           int64          `json:"outputTokens,omitzero"`
	TotalTokens            int64          `json:"totalTokens,omitzero"`
	TotalTokensFresh       bool           `json:"totalTokensFresh"`
	Status                 string         `json:"status,omitzero"`
	StartedAt              int64          `json:"startedAt,omitzero"`
	EndedAt                int64          `json:"endedAt,omitzero"`
	RuntimeMs              int64          `json:"runtimeMs,omitzero"`
	LastRunID              string         `json:"lastRunId,omitzero"`
	ParentSessionKey       string         `json:"parentSessionKey,omitzero"`
	EffectiveResponseUsage string         `json:"effectiveResponseUsage"`
	EffectiveQueueMode     string         `json:"effectiveQueueMode"`
	ModelProvider          string         `json:"modelProvider,omitzero"`
	Model                  string         `json:"model,omitzero"`
	ModelOverrideSource    *string        `json:"modelOverrideSource"`
	RuntimeSelectionLocked bool           `json:"runtimeSelectionLocked"`
	AgentRuntime           Runtime        `json:"agentRuntime"`
	ContextTokens          int64          `json:"contextTokens,omitzero"`
	SnapshotAt             int64          `json:"snapshotAt"`
	SharingRole            string         `json:"sharingRole"`
	HasActiveRun           bool           `json:"hasActiveRun"`
	ActiveRunIDs           []string       `json:"activeRunIds"`
	// Extra are members that clients set with sessions.patch and Sluice only keeps.
	Extra map[string]jsontext.Value `json:",embed"`
}

// ThinkingInfo is one thinking level that a model offers.
type ThinkingInfo struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

// Runtime names what runs the turns.
type Runtime struct {
	ID                       string `json:"id"`
	CloudPlacementSupported  bool   `json:"cloudPlacementSupported"`
	DevicePlacementSupported bool   `json:"devicePlacementSupported"`
	Source                   string `json:"source"`
}

// DefaultRuntime is Sluice's own.
var DefaultRuntime = Runtime{ID: "openclaw", Source: "implicit"}

// ThinkingOff is the one level of models without thinking.
var ThinkingOff = []ThinkingInfo{{ID: "off", Label: "off"}}

var thinkingOptions = []string{"off"}

// Defaults is the "defaults" member of sessions.list and chat.history.
type Defaults struct {
	ModelProvider        string         `json:"modelProvider,omitzero"`
	Model                string         `json:"model,omitzero"`
	ContextTokens        int64          `json:"contextTokens,omitzero"`
	AgentRuntime         Runtime        `json:"agentRuntime"`
	ThinkingLevels       []ThinkingInfo `json:"thinkingLevels"`
	ThinkingOptions      []string       `json:"thinkingOptions"`
	ThinkingDefault      string         `json:"thinkingDefault"`
	ModelSelectionTarget string         `json:"modelSelectionTarget"`
}

// DefaultsOf returns the defaults for sessions that override nothing.
func DefaultsOf(m Model) Defaults {
	return Defaults{ModelProvider: m.Provider, Model: m.ID, ContextTokens: m.ContextTokens,
		AgentRuntime: DefaultRuntime, ThinkingLevels: ThinkingOff, ThinkingOptions: thinkingOptions,
		ThinkingDefault: "off", ModelSelectionTarget: "session"}
}

// RowOf builds the row of a stored session.
func RowOf(s *storage.SessionRow, m Model, live Live) Row {
	provider, model, source := m.Provider, m.ID, (*string)(nil)
	if s.ModelOverride != "" {
		user := "user"
		model, source = s.ModelOverride, &user
		if s.ProviderOverride != "" {
			provider = s.ProviderOverride
		}
	}
	key, _ := frames.ParseSessionKey(s.Key)
	chatType := s.ChatType
	if chatType == "" && s.LastSeq > 0 {
		chatType = "direct"
	}
	status := s.Status
	if len(live.ActiveRunIDs) > 0 {
		status = "running"
	}
	ids := live.ActiveRunIDs
	if ids == nil {
		ids = []string{}
	}
	return Row{
		Key: s.Key, Visibility: "shared", CreatedVia: "operator", CreatedAt: s.CreatedAtMs,
		Kind: kindOf(key), Label: s.Label, Classification: classificationOf(key, s),
		AgentID: s.AgentID, IsMain: isMain(s), DisplayName: s.Label, DerivedTitle: s.Label,
		ChatType: chatType, Channel: s.Channel, UpdatedAt: s.UpdatedAtMs, Archived: s.Archived,
		Pinned: s.Pinned, Unread: s.Unread, LastInteractionAt: s.LastInteractionAtMs, SessionID: s.SessionID,
		SystemSent: s.LastRunID != "", AbortedLastRun: s.AbortedLastRun, ThinkingLevel: s.ThinkingLevel,
		ThinkingLevels: ThinkingOff, ThinkingOptions: thinkingOptions, ThinkingDefault: "off",
		EffectiveFastModeFrom: "default", FastAutoOnSeconds: 60,
		InputTokens: s.InputTokens, OutputTokens: s.OutputTokens, TotalTokens: s.TotalTokens,
		TotalTokensFresh: s.TotalTokens > 0, Status: status, StartedAt: s.StartedAtMs, EndedAt: s.EndedAtMs,
		RuntimeMs: max(0, s.EndedAtMs-s.StartedAtMs), LastRunID: s.LastRunID, ParentSessionKey: s.ParentKey,
		EffectiveResponseUsage: "off", EffectiveQueueMode: live.QueueMode, ModelProvider: provider, Model: model,
		ModelOverrideSource: source, AgentRuntime: DefaultRuntime, ContextTokens: m.ContextTokens,
		SnapshotAt: time.Now().UnixMilli(), SharingRole: "admin",
		HasActiveRun: len(ids) > 0, ActiveRunIDs: ids, Extra: s.Extra,
	}
}

func isMain(s *storage.SessionRow) bool { return s.Key == "agent:"+s.AgentID+":main" }

func kindOf(k frames.SessionKey) string {
	if k.InGroup() {
		return "group"
	}
	return "direct"
}

func classificationOf(k frames.SessionKey, s *storage.SessionRow) string {
	switch {
	case isMain(s):
		return "main"
	case strings.HasPrefix(s.Key, "agent:"+s.AgentID+":dashboard:"):
		return "dashboard"
	case k.InGroup():
		return "group"
	case s.LastSeq == 0 && s.Label == "":
		return "custom"
	}
	return "direct"
}
