// Package chat answers the chat.* methods, agent and agent.wait (wire.md 3.10, 3.11).
package chat

import (
	"context"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"
)

// Deps are what the family needs.
type Deps struct {
	Store storage.Store
	Runs  *agent.Registry
	// Active returns the run that holds the session's lane and those that wait.
	Active func(sessionKey string) (holder string, waiting []string)
	Live   func(sessionKey string) sessionview.Live
	// Models and Commands are the results of models.list and commands.list.
	Models   func(agentID string) any
	Commands func() any
	Events   frames.Broadcaster
	// Queue keeps a text for the session's next turn (system-event's queue).
	Queue func(sessionKey, text, foreign string) error
	// Channels lists the channels that this gateway can send through.
	Channels func() []string
}

// Family holds the handlers.
type Family struct{ deps Deps }

// New returns the family.
func New(deps Deps) *Family { return &Family{deps} }

// Methods lists the handlers.
func (f *Family) Methods() []dispatch.Method {
	return []dispatch.Method{
		{Name: "chat.send", Handle: f.send},
		{Name: "chat.history", Handle: f.history},
		{Name: "chat.startup", Handle: f.startup},
		{Name: "chat.metadata", Handle: f.metadata},
		{Name: "chat.abort", Handle: f.abort},
		{Name: "chat.inject", Handle: f.inject},
		{Name: "chat.message.get", Handle: f.messageGet},
		{Name: "agent", Handle: f.agent},
		{Name: "agent.wait", Handle: f.wait, Wait: true},
		{Name: "wake", Handle: f.wake},
	}
}

// session resolves the session that a request names to its canonical key and agent.
func session(key, agentID string) (canonical, agent string, err error) {
	given := agentID
	if agentID == "" {
		agentID = "main"
	}
	k, perr := frames.ParseSessionKey(key)
	if perr != nil {
		return "", "", frames.Invalid("invalid session key: %s", perr)
	}
	canonical = k.Canonical(agentID)
	if k.Agent == "" {
		return canonical, agentID, nil
	}
	if given != "" && given != k.Agent {
		return "", "", frames.Invalid("agent %q does not match session key agent %q", given, k.Agent)
	}
	return canonical, k.Agent, nil
}

// read loads the session and runs fn over the same snapshot.
func (f *Family) read(ctx context.Context, key string, fn func(r storage.Reader, row *storage.SessionRow, found bool) error) error {
	return f.deps.Store.View(ctx, func(r storage.Reader) error {
		row, found, err := agent.FindSession(r, key)
		if err != nil {
			return err
		}
		return fn(r, &row, found)
	})
}

type abortParams struct {
	SessionKey string `json:"sessionKey"`
	AgentID    string `json:"agentId"`
	RunID      string `json:"runId"`
}

// abort ends a session's turns; one that is unknown is no error.
func (f *Family) abort(_ context.Context, e *pipeline.Envelope) error {
	var p abortParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, agentID, err := session(p.SessionKey, "")
	if err != nil {
		return err
	}
	if p.AgentID != "" && p.AgentID != agentID {
		return frames.Invalid("agentId %q does not match session key %q", p.AgentID, p.SessionKey)
	}
	if p.RunID != "" {
		if r := f.deps.Runs.Get(p.RunID); r != nil && r.SessionKey() != key {
			return frames.Invalid("runId does not match sessionKey")
		}
	}
	ids := f.deps.Runs.Abort(key, p.RunID, "rpc")
	if ids == nil {
		ids = []string{}
	}
	return e.AnswerValue(map[string]any{"ok": true, "aborted": len(ids) > 0, "runIds": ids})
}
