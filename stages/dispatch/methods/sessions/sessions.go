// Package sessions answers the sessions.* methods (behaviour as recorded from the real
// gateway 2026.9.6).
//
// Every change is an effect: the row is read, checked and written inside the persist
// stage's transaction, so two clients that change one session never lose an update.
package sessions

import (
	"context"
	"strings"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"github.com/go-json-experiment/json/jsontext"
)

// Deps are what the family needs.
type Deps struct {
	Store storage.Store
	// StorePath is shown by sessions.list and sessions.patch.
	StorePath string
	Runs      *agent.Registry
	// Active returns the run that holds the session's lane and those that wait.
	Active      func(sessionKey string) (holder string, waiting []string)
	Live        func(sessionKey string) sessionview.Live
	AgentExists func(id string) bool
	// Approvals lists what waits for an approval in a session; nil lists nothing.
	Approvals func(sessionKey string) []jsontext.Value
}

// Family holds the handlers.
type Family struct{ deps Deps }

// New returns the family.
func New(deps Deps) *Family { return &Family{deps} }

// Methods lists the handlers.
func (f *Family) Methods() []dispatch.Method {
	return []dispatch.Method{
		{Name: "sessions.list", Handle: f.list},
		{Name: "sessions.create", Handle: f.create},
		{Name: "sessions.get", Handle: f.get},
		{Name: "sessions.describe", Handle: f.describe},
		{Name: "sessions.resolve", Handle: f.resolve},
		{Name: "sessions.preview", Handle: f.preview},
		{Name: "sessions.patch", Handle: f.patch},
		{Name: "sessions.reset", Handle: f.reset},
		{Name: "sessions.delete", Handle: f.remove},
		{Name: "sessions.compact", Handle: f.compact, Long: true},
		{Name: "sessions.subscribe", Handle: f.subscribe},
		{Name: "sessions.messages.subscribe", Handle: f.messagesSubscribe},
		{Name: "sessions.messages.unsubscribe", Handle: f.messagesUnsubscribe},
		{Name: "sessions.send", Handle: f.send},
		{Name: "sessions.abort", Handle: f.abort},
	}
}

// target resolves a key as the client wrote it to the canonical key and its agent.
func (f *Family) target(key, agentID string) (canonical, agent string, err error) {
	if strings.TrimSpace(key) == "" {
		return "", "", frames.Invalid("key required")
	}
	k, perr := frames.ParseSessionKey(key)
	if perr != nil {
		return "", "", frames.Invalid("invalid session key: %s", perr)
	}
	agent = agentID
	if agent == "" {
		agent = frames.DefaultAgent
	}
	canonical = k.Canonical(agent)
	if k.Agent != "" {
		if agentID != "" && agentID != k.Agent {
			return "", "", frames.Invalid("session key agent does not match agentId")
		}
		agent = k.Agent
	}
	return canonical, agent, nil
}

func mainKey(agentID string) string { return "agent:" + agentID + ":main" }

// owned is target for methods that change a session: its agent must exist.
func (f *Family) owned(key, agentID string) (canonical, agent string, err error) {
	canonical, agent, err = f.target(key, agentID)
	if err == nil && !f.deps.AgentExists(agent) {
		err = frames.Invalid("Unknown agent id %q", agent)
	}
	return canonical, agent, err
}

// effect adds a change of one session to e: change works on the stored row, which is
// written back when it says so, and returns the answer.
func (f *Family) effect(e *pipeline.Envelope, key string, change func(tx storage.Tx, row *storage.SessionRow, found bool) (answer any, write bool, err error)) {
	e.Effects = append(e.Effects, pipeline.EffectFunc(func(tx storage.Tx, e *pipeline.Envelope) error {
		row, found, err := agent.FindSession(tx, key)
		if err != nil {
			return err
		}
		answer, write, err := change(tx, &row, found)
		if err != nil {
			return err
		}
		if write {
			if err := storage.PutSession(tx, &row); err != nil {
				return err
			}
		}
		return e.AnswerValue(answer)
	}))
}

// announce tells subscribers of a change once it is durable.
func (f *Family) announce(e *pipeline.Envelope, key, reason string) {
	e.AfterAnswer(func(ok bool) {
		if ok {
			f.deps.Runs.SessionChanged(key, agent.Change{Reason: reason})
		}
	})
}

// row builds the client's view of a stored session.
func (f *Family) row(s *storage.SessionRow) sessionview.Row {
	return sessionview.RowOf(s, f.deps.Runs.Model(s.AgentID), f.deps.Live(s.Key))
}

// Entry is a session as create, patch and reset show it: the stored record.
type Entry struct {
	SessionID           string                    `json:"sessionId"`
	LifecycleRevision   string                    `json:"lifecycleRevision,omitzero"`
	UpdatedAt           int64                     `json:"updatedAt"`
	Label               string                    `json:"label,omitzero"`
	Delivery            delivery                  `json:"delivery"`
	CreatedVia          string                    `json:"createdVia"`
	CreatedAt           int64                     `json:"createdAt"`
	SpawnDepth          int                       `json:"spawnDepth"`
	ModelOverrideSource string                    `json:"modelOverrideSource,omitzero"`
	ProviderOverride    string                    `json:"providerOverride,omitzero"`
	ModelOverride       string                    `json:"modelOverride,omitzero"`
	ParentSessionKey    string                    `json:"parentSessionKey,omitzero"`
	Archived            bool                      `json:"archived,omitzero"`
	Pinned              bool                      `json:"pinned,omitzero"`
	Unread              bool                      `json:"unread,omitzero"`
	ThinkingLevel       string                    `json:"thinkingLevel,omitzero"`
	VerboseLevel        string                    `json:"verboseLevel,omitzero"`
	ReasoningLevel      string                    `json:"reasoningLevel,omitzero"`
	SendPolicy          string                    `json:"sendPolicy,omitzero"`
	GroupActivation     string                    `json:"groupActivation,omitzero"`
	ChatType            string                    `json:"chatType,omitzero"`
	SystemSent          bool                      `json:"systemSent"`
	AbortedLastRun      bool                      `json:"abortedLastRun"`
	InputTokens         int64                     `json:"inputTokens"`
	OutputTokens        int64                     `json:"outputTokens"`
	TotalTokens         int64                     `json:"totalTokens"`
	Extra               map[string]jsontext.Value `json:",embed"`
}

type delivery struct {
	Kind string `json:"kind"`
}

func entryOf(s *storage.SessionRow) Entry {
	source := "default"
	if s.ModelOverride != "" {
		source = "user"
	}
	return Entry{SessionID: s.SessionID, LifecycleRevision: s.LifecycleRevision, UpdatedAt: s.UpdatedAtMs, Label: s.Label,
		Delivery: delivery{Kind: "none"}, CreatedVia: "operator", CreatedAt: s.CreatedAtMs,
		ModelOverrideSource: source, ProviderOverride: s.ProviderOverride, ModelOverride: s.ModelOverride,
		ParentSessionKey: s.ParentKey, Archived: s.Archived, Pinned: s.Pinned, Unread: s.Unread,
		ThinkingLevel: s.ThinkingLevel, VerboseLevel: s.VerboseLevel, ReasoningLevel: s.ReasoningLevel,
		SendPolicy: s.SendPolicy, GroupActivation: s.GroupActivation, ChatType: s.ChatType, SystemSent: s.LastRunID != "",
		AbortedLastRun: s.AbortedLastRun, InputTokens: s.InputTokens, OutputTokens: s.OutputTokens,
		TotalTokens: s.TotalTokens, Extra: s.Extra}
}

// resolved is what create, patch and reset say about the model in force.
type resolved struct {
	ModelProvider          string       `json:"modelProvider"`
	Model                  string       `json:"model"`
	RuntimeSelectionLocked bool         `json:"runtimeSelectionLocked"`
	AgentRuntime           agentRuntime `json:"agentRuntime"`
}

type agentRuntime struct {
	ID     string `json:"id"`
	Source string `json:"source"`
}

func (f *Family) resolved(s *storage.SessionRow) resolved {
	m := f.deps.Runs.Model(s.AgentID)
	r := resolved{ModelProvider: m.Provider, Model: m.ID,
		AgentRuntime: agentRuntime{ID: sessionview.DefaultRuntime.ID, Source: sessionview.DefaultRuntime.Source}}
	if s.ModelOverride != "" {
		r.Model = s.ModelOverride
	}
	return r
}

// subscribe answers sessions.subscribe: with params also the list that they ask for.
func (f *Family) subscribe(ctx context.Context, e *pipeline.Envelope) error {
	if e.Client != nil {
		e.Client.Subscriptions().SetSessions(true)
	}
	answer := map[string]any{"subscribed": true}
	if len(e.Frame.Params) > len("{}") {
		list, err := f.listOf(ctx, e.Frame.Params)
		if err != nil {
			return err
		}
		answer["list"] = list
	}
	return e.AnswerValue(answer)
}

type subscribeParams struct {
	Key              string `json:"key"`
	AgentID          string `json:"agentId"`
	IncludeApprovals bool   `json:"includeApprovals"`
}

// messagesSubscribe answers sessions.messages.subscribe; unknown sessions are fine.
func (f *Family) messagesSubscribe(_ context.Context, e *pipeline.Envelope) error {
	var p subscribeParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, _, err := f.target(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	if p.IncludeApprovals && !reviews(e.Peer) {
		return frames.Invalid("sessions.messages.subscribe includeApprovals requires a paired device and gateway scope: operator.approvals")
	}
	if e.Client != nil && !e.Client.Subscriptions().Add(key, frames.SubscriptionOptions{IncludeApprovals: p.IncludeApprovals}) {
		return frames.Invalid("a connection may subscribe to at most %d sessions; unsubscribe from some first", frames.MaxSubscribedSessions)
	}
	answer := map[string]any{"subscribed": true, "key": key}
	if p.IncludeApprovals {
		waiting := []jsontext.Value{}
		if f.deps.Approvals != nil {
			waiting = append(waiting, f.deps.Approvals(key)...)
		}
		answer["approvalReplay"] = map[string]any{"sessionKey": key, "updatedAtMs": nowMs(), "approvals": waiting, "truncated": false}
	}
	return e.AnswerValue(answer)
}

// reviews reports whether this connection may see what waits for a decision: an admin, or
// a paired device with the scope for it.
func reviews(p *frames.Peer) bool {
	return p.Scopes.Allows(frames.ScopeAdmin) || p.DeviceID != "" && p.Scopes.Allows(frames.ScopeApprovals)
}

// messagesUnsubscribe undoes it.
func (f *Family) messagesUnsubscribe(_ context.Context, e *pipeline.Envelope) error {
	var p subscribeParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, _, err := f.target(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	if e.Client != nil {
		e.Client.Subscriptions().Remove(key)
	}
	return e.AnswerValue(map[string]any{"subscribed": false, "key": key})
}
