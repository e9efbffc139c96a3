package sessions

import (
	"context"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
	"sluice/storage"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

type createParams struct {
	Key            string           `json:"key"`
	AgentID        string           `json:"agentId"`
	Label          string           `json:"label"`
	Model          string           `json:"model"`
	ParentKey      string           `json:"parentSessionKey"`
	CWD            string           `json:"cwd"`
	Message        string           `json:"message"`
	Task           string           `json:"task"`
	IdempotencyKey string           `json:"idempotencyKey"`
	Attachments    []jsontext.Value `json:"attachments"`
	Worktree       bool             `json:"worktree"`
	Incognito      bool             `json:"incognito"`
	Fork           bool             `json:"fork"`
}

// create answers sessions.create; with a message it also starts the first turn.
// schedule has resolved the key (and made one where there was none).
func (f *Family) create(_ context.Context, e *pipeline.Envelope) error {
	var p createParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, agentID, err := f.owned(e.SessionKey, "")
	if err != nil {
		return err
	}
	if err := f.checkCreate(&p); err != nil {
		return err
	}
	f.announce(e, key, "create")
	message := strings.TrimSpace(p.Message + p.Task)
	if message == "" {
		f.effect(e, key, func(tx storage.Tx, row *storage.SessionRow, found bool) (any, bool, error) {
			if !found {
				*row = agent.NewSession(key, agentID)
			}
			if err := f.fill(tx, row, &p, found); err != nil {
				return nil, false, err
			}
			row.UpdatedAtMs = nowMs()
			return f.created(row, ""), true, nil
		})
		return nil
	}
	runID := p.IdempotencyKey
	if runID == "" {
		runID = uuid.NewString()
	}
	return f.deps.Runs.Start(e, agent.Start{Kind: agent.Chat, RunID: runID, AgentID: agentID, Text: p.Message + p.Task,
		Prepare: func(tx storage.Tx, row *storage.SessionRow, created bool) error { return f.fill(tx, row, &p, !created) },
		Answer:  func(row *storage.SessionRow) any { return f.created(row, runID) }})
}

func (f *Family) checkCreate(p *createParams) error {
	switch {
	case p.Message != "" && p.Task != "":
		return frames.Invalid("sessions.create takes message or task, not both")
	case p.CWD != "" && !strings.HasPrefix(p.CWD, "/"):
		return frames.Invalid("sessions.create cwd must be absolute")
	case p.CWD != "" || p.Worktree:
		return frames.Invalid("this gateway runs no tools yet: cwd and worktree cannot be set")
	case p.Incognito || p.Fork:
		return frames.Invalid("incognito and forked sessions are not supported by this gateway yet")
	case len(p.Attachments) > 0:
		return frames.Invalid("attachments are not supported by this gateway yet; send the text without them")
	}
	return f.checkModel(p.Model)
}

// checkModel takes a model of the configured endpoint, "provider/model" or "model".
func (f *Family) checkModel(model string) error {
	provider, _, ok := strings.Cut(model, "/")
	if m := f.deps.Runs.Model(frames.DefaultAgent); ok && provider != m.Provider && model != m.ID {
		return frames.Invalid("Unknown provider %q. Use /models to list providers.", provider)
	}
	return nil
}

func (f *Family) setModel(row *storage.SessionRow, model string) {
	m := f.deps.Runs.Model(row.AgentID)
	row.ProviderOverride, row.ModelOverride = "", strings.TrimPrefix(model, m.Provider+"/")
	if row.ModelOverride != "" {
		row.ProviderOverride = m.Provider
	}
}

// fill applies create's params to a new session or one that exists.
func (f *Family) fill(tx storage.Tx, row *storage.SessionRow, p *createParams, existed bool) error {
	if p.ParentKey != "" {
		parent, _, err := f.target(p.ParentKey, p.AgentID)
		if err != nil {
			return err
		}
		if _, found, err := agent.FindSession(tx, parent); err != nil {
			return err
		} else if !found && parent != mainKey(row.AgentID) {
			return frames.Invalid("unknown parent session: %s", p.ParentKey)
		}
		row.ParentKey = parent
	} else if !existed && row.Key != mainKey(row.AgentID) {
		row.ParentKey = mainKey(row.AgentID)
	}
	if p.Model != "" {
		f.setModel(row, p.Model)
	}
	if p.Label != "" {
		return setLabel(tx, row, p.Label)
	}
	return nil
}

func (f *Family) created(row *storage.SessionRow, runID string) map[string]any {
	m := f.deps.Runs.Model(row.AgentID)
	answer := map[string]any{"ok": true, "key": row.Key, "sessionId": row.SessionID, "entry": entryOf(row),
		"runStarted": runID != "", "resolved": map[string]any{"modelProvider": m.Provider, "model": m.ID}}
	if runID != "" {
		answer["runId"], answer["status"] = runID, "started"
	}
	return answer
}

type sendParams struct {
	Key            string           `json:"key"`
	Message        string           `json:"message"`
	IdempotencyKey string           `json:"idempotencyKey"`
	TimeoutMs      int64            `json:"timeoutMs"`
	Attachments    []jsontext.Value `json:"attachments"`
}

// send answers sessions.send: chat.send for a session that exists.
func (f *Family) send(_ context.Context, e *pipeline.Envelope) error {
	var p sendParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	_, agentID, err := f.owned(e.SessionKey, "")
	if err != nil {
		return err
	}
	switch {
	case len(p.Attachments) > 0:
		return frames.Invalid("attachments are not supported by this gateway yet; send the text without them")
	case strings.TrimSpace(p.Message) == "":
		return frames.Invalid("message or attachment required")
	}
	runID := p.IdempotencyKey
	if runID == "" {
		runID = uuid.NewString()
	}
	return f.deps.Runs.Start(e, agent.Start{Kind: agent.Chat, RunID: runID, AgentID: agentID, Text: p.Message,
		MustExist: true, GivenKey: p.Key, Timeout: time.Duration(p.TimeoutMs) * time.Millisecond,
		Answer: func(*storage.SessionRow) any { return map[string]any{"runId": runID, "status": "started"} }})
}

// abort answers sessions.abort.
func (f *Family) abort(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		Key     string `json:"key"`
		RunID   string `json:"runId"`
		AgentID string `json:"agentId"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	run := f.deps.Runs.Get(p.RunID)
	if p.Key == "" && run != nil {
		p.Key = run.SessionKey()
	} else if p.Key == "" && p.RunID != "" {
		return e.AnswerValue(map[string]any{"ok": true, "abortedRunId": nil, "status": "no-active-run"})
	}
	key, _, err := f.target(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	if run != nil && run.SessionKey() != key {
		return frames.Invalid("runId does not match session")
	}
	ids := f.deps.Runs.Abort(key, p.RunID, "rpc")
	if len(ids) == 0 {
		return e.AnswerValue(map[string]any{"ok": true, "abortedRunId": nil, "status": "no-active-run"})
	}
	f.announce(e, key, "abort")
	return e.AnswerValue(map[string]any{"ok": true, "abortedRunId": ids[len(ids)-1], "status": "aborted"})
}

type lifecycleParams struct {
	Key              string `json:"key"`
	AgentID          string `json:"agentId"`
	Reason           string `json:"reason"`
	ExpectedID       string `json:"expectedSessionId"`
	ExpectedRevision string `json:"expectedLifecycleRevision"`
	ArchivedOnly     bool   `json:"archivedOnly"`
	DeleteTranscript *bool  `json:"deleteTranscript"`
	MaxLines         int    `json:"maxLines"`
}

// reset answers sessions.reset; a session that does not exist is made.
func (f *Family) reset(_ context.Context, e *pipeline.Envelope) error {
	var p lifecycleParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, agentID, err := f.owned(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	f.effect(e, key, func(tx storage.Tx, row *storage.SessionRow, found bool) (any, bool, error) {
		if p.ExpectedID != "" && (!found || p.ExpectedID != row.SessionID) {
			return nil, false, frames.Invalid("Session %s changed before reset. Retry.", key).WithDetails(sessionChanged)
		}
		// What a turn still says has no place in the new transcript: it is of another
		// lifecycleRevision.
		f.deps.Runs.Abort(key, "", "reset")
		if !found {
			*row = agent.NewSession(key, agentID)
		} else if err := agent.ResetSession(tx, row); err != nil {
			return nil, false, err
		}
		return &changed{OK: true, Key: key, Entry: entryOf(row), Resolved: f.resolved(row)}, true, nil
	})
	reason := p.Reason
	if reason == "" {
		reason = "reset"
	}
	f.announce(e, key, reason)
	return nil
}

var sessionChanged = map[string]any{"reason": "session-changed"}

// remove answers sessions.delete. The transcript goes with the session: Sluice keeps
// no archive files, so archived is empty.
func (f *Family) remove(_ context.Context, e *pipeline.Envelope) error {
	var p lifecycleParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, agentID, err := f.owned(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	if key == mainKey(agentID) {
		return frames.Invalid("Cannot delete the main session (%s).", key)
	}
	if holder, waiting := f.deps.Active(key); holder != "" || len(waiting) > 0 {
		f.deps.Runs.Abort(key, "", "delete")
		return frames.Unavailable(500, "Session %s is still active; try again.", key)
	}
	f.deps.Runs.Abort(key, "", "delete") // what is on its way to the lane goes with it
	var gone *storage.SessionRow
	f.effect(e, key, func(tx storage.Tx, row *storage.SessionRow, found bool) (any, bool, error) {
		answer := map[string]any{"ok": true, "key": key, "deleted": found, "archived": []string{}}
		switch {
		case !found:
			return answer, false, nil
		case p.ArchivedOnly && !row.Archived:
			return nil, false, frames.Invalid("Session %s is not archived. Archive it first, then delete it.", key)
		case p.ExpectedID != "" && p.ExpectedID != row.SessionID,
			p.ExpectedRevision != "" && p.ExpectedRevision != row.LifecycleRevision:
			return nil, false, frames.Invalid("Session %s changed before deletion. Retry.", key).WithDetails(sessionChanged)
		}
		gone = row
		if err := dropLabel(tx, row); err != nil {
			return nil, false, err
		}
		if err := agent.ClearTranscript(tx, row.SessionID); err != nil {
			return nil, false, err
		}
		return answer, false, storage.DeleteSession(tx, key)
	})
	e.AfterAnswer(func(ok bool) {
		if ok && gone != nil {
			f.deps.Runs.SessionChanged(key, agent.Change{Reason: "delete", SessionID: gone.SessionID, AgentID: agentID})
		}
	})
	return nil
}
