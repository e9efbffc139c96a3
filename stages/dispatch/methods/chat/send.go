package chat

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
	"sluice/storage"

	"github.com/go-json-experiment/json/jsontext"
)

type sendParams struct {
	SessionKey     string           `json:"sessionKey"`
	SessionID      string           `json:"sessionId"`
	Message        string           `json:"message"`
	IdempotencyKey string           `json:"idempotencyKey"`
	QueueMode      string           `json:"queueMode"`
	TimeoutMs      int64            `json:"timeoutMs"`
	Deliver        bool             `json:"deliver"`
	Attachments    []jsontext.Value `json:"attachments"`
	PlainText      bool             `json:"suppressCommandInterpretation"`
}

// errNoDelivery: an answer stays in its session in this version.
var errNoDelivery = frames.Invalid("replies cannot be delivered to a channel by this gateway yet; leave out deliver, and send the reply with the send method")

// send stores the message and starts a turn. Its answer says "started" once the message
// is durable; the turn's events follow.
func (f *Family) send(ctx context.Context, e *pipeline.Envelope) error {
	var p sendParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	_, agentID, err := session(e.SessionKey, "")
	switch {
	case err != nil:
		return err
	case len(p.Attachments) > 0:
		return errNoAttachments
	case strings.TrimSpace(p.Message) == "":
		return frames.Invalid("message or attachment required")
	case p.Deliver:
		return errNoDelivery
	}
	if !p.PlainText {
		if done, err := f.command(e, p); done || err != nil {
			return err
		}
	}
	mode := p.QueueMode
	if mode == "" {
		mode = f.deps.Live(e.SessionKey).QueueMode
	}
	busy := f.running(e.SessionKey)
	return f.deps.Runs.Start(e, agent.Start{Kind: agent.Chat, RunID: p.IdempotencyKey, AgentID: agentID, Text: p.Message,
		Timeout: time.Duration(p.TimeoutMs) * time.Millisecond, Collect: busy && mode == "collect",
		Answer: func(*storage.SessionRow) any {
			return startedAnswer{RunID: p.IdempotencyKey, Status: "started", Interrupted: busy && mode == "interrupt"}
		}})
}

type startedAnswer struct {
	RunID       string `json:"runId"`
	Status      string `json:"status"`
	Interrupted bool   `json:"interruptedActiveRun,omitzero"`
}

func (f *Family) running(key string) bool {
	holder, _ := f.deps.Active(key)
	return holder != ""
}

// errNoAttachments: a model call of this version carries text only.
var errNoAttachments = frames.Invalid("attachments are not supported by this gateway yet; send the text without them").
	WithDetails(map[string]any{"code": "ATTACHMENTS_UNSUPPORTED"})

// command runs the chat commands that the gateway itself obeys: /stop (and /abort) end
// the session's turns, /new and /reset empty the session. The latter need what
// sessions.reset needs: a message must not do what its sender may not (advisories.md,
// CVE-2026-32919).
func (f *Family) command(e *pipeline.Envelope, p sendParams) (done bool, err error) {
	word, rest, _ := strings.Cut(strings.TrimSpace(p.Message), " ")
	switch strings.ToLower(word) {
	case "/stop", "/abort":
		f.deps.Runs.Abort(e.SessionKey, "", "rpc")
		return true, e.AnswerValue(map[string]any{"runId": p.IdempotencyKey, "status": "ok"})
	case "/new", "/reset":
		if !e.Peer.Scopes.Allows(frames.ScopeAdmin) && e.Peer.Role != frames.RoleSystem {
			return true, frames.MissingScope(frames.ScopeAdmin)
		}
		return f.reset(e, p, strings.TrimSpace(rest))
	}
	return false, nil
}

// reset empties the session and, when text follows the command, starts a turn with it.
func (f *Family) reset(e *pipeline.Envelope, p sendParams, rest string) (bool, error) {
	_, agentID, _ := session(e.SessionKey, "")
	f.deps.Runs.AbortOthers(e.SessionKey, "reset")
	if rest != "" {
		return true, f.deps.Runs.Start(e, agent.Start{Kind: agent.Chat, RunID: p.IdempotencyKey, AgentID: agentID, Text: rest, Reason: "new",
			Prepare: func(tx storage.Tx, row *storage.SessionRow, created bool) error {
				if created {
					return nil
				}
				return agent.ResetSession(tx, row)
			},
			Answer: func(*storage.SessionRow) any { return startedAnswer{RunID: p.IdempotencyKey, Status: "started"} }})
	}
	e.Effects = append(e.Effects, pipeline.EffectFunc(func(tx storage.Tx, e *pipeline.Envelope) error {
		row, _, err := agent.EnsureSession(tx, e.SessionKey, agentID, false, p.SessionKey)
		if err != nil {
			return err
		}
		if err := agent.ResetSession(tx, &row); err != nil {
			return err
		}
		return storage.PutSession(tx, &row)
	}))
	key := e.SessionKey
	e.AfterAnswer(func(ok bool) {
		if ok {
			f.deps.Runs.SessionChanged(key, agent.Change{Reason: "new"})
		}
	})
	return true, e.AnswerValue(map[string]any{"runId": p.IdempotencyKey, "status": "ok"})
}

type agentParams struct {
	Message        string           `json:"message"`
	AgentID        string           `json:"agentId"`
	Model          string           `json:"model"`
	Channel        string           `json:"channel"`
	Deliver        bool             `json:"deliver"`
	Timeout        int64            `json:"timeout"` // seconds
	System         string           `json:"extraSystemPrompt"`
	Attachments    []jsontext.Value `json:"attachments"`
	IdempotencyKey string           `json:"idempotencyKey"`
}

// agent starts a turn and answers twice: accepted when the message is durable, and
// with the result when the turn has ended.
func (f *Family) agent(_ context.Context, e *pipeline.Envelope) error {
	var p agentParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	_, agentID, err := session(e.SessionKey, p.AgentID)
	switch {
	case err != nil:
		return err
	case len(p.Attachments) > 0:
		return errNoAttachments
	case strings.TrimSpace(p.Message) == "":
		return frames.Invalid("message is empty")
	case !f.knownChannel(p.Channel):
		return frames.Invalid("invalid agent params: unknown channel: %s", p.Channel)
	case p.Deliver:
		return errNoDelivery
	}
	id, client, key := append([]byte(nil), e.Frame.ID...), e.Client, e.SessionKey
	err = f.deps.Runs.Start(e, agent.Start{Kind: agent.Direct, RunID: p.IdempotencyKey, AgentID: agentID, Text: p.Message,
		Model: p.Model, System: p.System, Timeout: time.Duration(p.Timeout) * time.Second,
		Answer: func(*storage.SessionRow) any {
			return acceptedAnswer{RunID: p.IdempotencyKey, SessionKey: key, AgentID: agentID, Status: "accepted", AcceptedAt: time.Now().UnixMilli()}
		}})
	if run, ok := e.Work.(*agent.Run); ok && err == nil && client != nil {
		run.OnEnd(client, id)
	}
	return err
}

type acceptedAnswer struct {
	RunID      string `json:"runId"`
	SessionKey string `json:"sessionKey"`
	AgentID    string `json:"agentId"`
	Status     string `json:"status"`
	AcceptedAt int64  `json:"acceptedAt"`
}

// knownChannel accepts the channels of this gateway, and upstream's names for none.
func (f *Family) knownChannel(name string) bool {
	switch name {
	case "", "last", "none", "webchat":
		return true
	}
	return slices.Contains(f.deps.Channels(), name)
}

type waitParams struct {
	RunID     string `json:"runId"`
	TimeoutMs *int64 `json:"timeoutMs"`
}

// defaultWait and maxWait bound agent.wait.
const (
	defaultWait = 30 * time.Second
	maxWait     = 10 * time.Minute
)

// wait answers when a run has ended, or says timeout.
func (f *Family) wait(ctx context.Context, e *pipeline.Envelope) error {
	var p waitParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	timeout := defaultWait
	if p.TimeoutMs != nil {
		timeout = min(time.Duration(*p.TimeoutMs)*time.Millisecond, maxWait)
	}
	run := f.deps.Runs.Wait(ctx, p.RunID, timeout)
	if run == nil {
		return f.waitStored(ctx, e, p.RunID)
	}
	status, end := run.Snapshot()
	answer := map[string]any{"runId": p.RunID}
	switch status {
	case agent.Queued, agent.Running:
		answer["status"] = "timeout"
		return e.AnswerValue(answer)
	case agent.OK:
		answer["status"], answer["livenessState"] = "ok", "working"
		answer["startedAt"] = end.StartedAt.UnixMilli()
		answer["terminalReply"], answer["terminalReceipt"] = run.Terminal()
	case agent.Aborted:
		answer["status"], answer["error"] = "error", "aborted"
	default:
		answer["status"] = "error"
		if end.Err != nil {
			answer["error"] = end.Err.Message
		}
	}
	answer["stopReason"], answer["endedAt"] = end.StopReason, end.EndedAt.UnixMilli()
	return e.AnswerValue(answer)
}

// waitStored answers for runs that only the store remembers.
func (f *Family) waitStored(ctx context.Context, e *pipeline.Envelope, runID string) error {
	answer := map[string]any{"runId": runID, "status": "timeout"}
	err := f.deps.Store.View(ctx, func(r storage.Reader) error {
		row, err := storage.GetRun(r, runID)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		switch agent.Status(row.Status) {
		case agent.OK:
			answer["status"] = "ok"
		case agent.Queued, agent.Running:
			return nil
		default:
			answer["status"], answer["error"] = "error", row.Error
		}
		answer["startedAt"], answer["endedAt"], answer["stopReason"] = row.StartedAtMs, row.EndedAtMs, row.StopReason
		return nil
	})
	if err != nil {
		return err
	}
	return e.AnswerValue(answer)
}
