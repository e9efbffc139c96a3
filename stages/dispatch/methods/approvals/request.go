package approvals

import (
	"context"
	"strings"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json/jsontext"
)

// execParams are the params of exec.approval.request. commandSpans, approvalReviewerDeviceIds
// and deliverToApprovalClientsOnly are accepted and mean nothing here: Sluice does not
// highlight commands, binds reviewers by scope, and has no other clients to deliver to.
type execParams struct {
	ID                   string            `json:"id"`
	Command              string            `json:"command"`
	CommandArgv          []string          `json:"commandArgv"`
	SystemRunPlan        jsontext.Value    `json:"systemRunPlan"`
	Env                  map[string]string `json:"env"`
	Cwd                  string            `json:"cwd"`
	NodeID               string            `json:"nodeId"`
	Host                 string            `json:"host"`
	Security             string            `json:"security"`
	Ask                  string            `json:"ask"`
	WarningText          string            `json:"warningText"`
	Scope                jsontext.Value    `json:"scope"`
	UnavailableDecisions []string          `json:"unavailableDecisions"`
	AgentID              string            `json:"agentId"`
	ResolvedPath         string            `json:"resolvedPath"`
	SessionKey           string            `json:"sessionKey"`
	SessionID            string            `json:"sessionId"`
	RunID                string            `json:"runId"`
	ToolCallID           string            `json:"toolCallId"`
	RequireDeliveryRoute *bool             `json:"requireDeliveryRoute"`
	SuppressDelivery     bool              `json:"suppressDelivery"`
	TimeoutMs            int64             `json:"timeoutMs"`
	TwoPhase             bool              `json:"twoPhase"`
	turnSource
}

// turnSource is the conversation that led to the request.
type turnSource struct {
	Channel   string         `json:"turnSourceChannel"`
	To        string         `json:"turnSourceTo"`
	AccountID string         `json:"turnSourceAccountId"`
	ThreadID  jsontext.Value `json:"turnSourceThreadId"`
}

func (f *Family) execRequest(ctx context.Context, e *pipeline.Envelope) error {
	var p execParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	return f.ask(ctx, e, p.TwoPhase, Ask{Kind: kindExec, ID: p.ID, TimeoutMs: p.TimeoutMs, By: e.Peer,
		AgentID: p.AgentID, SessionKey: p.SessionKey, SessionID: p.SessionID, RunID: p.RunID, ToolCallID: p.ToolCallID,
		Channel: p.Channel, To: p.To, AccountID: p.AccountID, ThreadID: p.ThreadID, Scope: p.Scope,
		Command: p.Command, Argv: p.CommandArgv, Env: p.Env, Cwd: p.Cwd, Host: p.Host, NodeID: p.NodeID,
		Security: p.Security, AskMode: p.Ask, Warning: p.WarningText, ResolvedPath: p.ResolvedPath, Plan: p.SystemRunPlan,
		OneShot: len(p.UnavailableDecisions) > 0 || doubted(e), NoRouteNeeded: p.RequireDeliveryRoute != nil && !*p.RequireDeliveryRoute,
		Quiet: p.SuppressDelivery})
}

// doubted reports that the defender wants e seen by an operator now: a standing grant
// does not answer for it, and none can be given.
func doubted(e *pipeline.Envelope) bool {
	return e.Decision != nil && e.Decision.Action > pipeline.Allow
}

// pluginParams are the params of plugin.approval.request. mcpTool and
// approvalReviewerDeviceIds are for upstream's own agent processes.
type pluginParams struct {
	PluginID         string         `json:"pluginId"`
	Title            string         `json:"title"`
	Description      string         `json:"description"`
	Detail           string         `json:"detail"`
	Severity         string         `json:"severity"`
	Scope            jsontext.Value `json:"scope"`
	ToolName         string         `json:"toolName"`
	ToolCallID       string         `json:"toolCallId"`
	AllowedDecisions []string       `json:"allowedDecisions"`
	AgentID          string         `json:"agentId"`
	SessionKey       string         `json:"sessionKey"`
	TimeoutMs        int64          `json:"timeoutMs"`
	TwoPhase         bool           `json:"twoPhase"`
	turnSource
}

func (f *Family) pluginRequest(ctx context.Context, e *pipeline.Envelope) error {
	var p pluginParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, agentID, err := session(p.SessionKey, strings.TrimSpace(p.AgentID))
	if err != nil {
		return err
	}
	return f.ask(ctx, e, p.TwoPhase, Ask{Kind: kindPlugin, TimeoutMs: p.TimeoutMs, By: e.Peer, AgentID: agentID, SessionKey: key,
		ToolCallID: p.ToolCallID, Channel: p.Channel, To: p.To, AccountID: p.AccountID, ThreadID: p.ThreadID, Scope: p.Scope,
		PluginID: p.PluginID, Title: p.Title, Description: p.Description, Detail: p.Detail, Severity: p.Severity,
		ToolName: p.ToolName, Decisions: p.AllowedDecisions})
}

// session resolves the session that a plugin names to its canonical key and its agent.
func session(key, agentID string) (canonical, agent string, err error) {
	if key = strings.TrimSpace(key); key == "" {
		return "", agentID, nil
	}
	k, perr := frames.ParseSessionKey(key)
	if perr != nil {
		return "", "", frames.Invalid("invalid session key: %s", perr)
	}
	if k.Agent != "" {
		if agentID != "" && agentID != k.Agent {
			return "", "", frames.Invalid("session key agent does not match agentId")
		}
		agentID = k.Agent
	}
	if agentID == "" {
		agentID = frames.DefaultAgent
	}
	return k.Canonical(agentID), agentID, nil
}

// acceptedAnswer is the first of the two answers to a two-phase request.
type acceptedAnswer struct {
	Status        string `json:"status"`
	ID            string `json:"id"`
	DeliveryRoute string `json:"deliveryRoute"`
	CreatedAtMs   int64  `json:"createdAtMs"`
	ExpiresAtMs   int64  `json:"expiresAtMs"`
}

// decidedAnswer is the answer to a request, once decided.
type decidedAnswer struct {
	ID          string  `json:"id"`
	Decision    *string `json:"decision"`
	CreatedAtMs int64   `json:"createdAtMs"`
	ExpiresAtMs int64   `json:"expiresAtMs"`
	// TerminalReason only in waitDecision's.
	TerminalReason string `json:"terminalReason,omitzero"`
}

func decided(a *Approval) decidedAnswer {
	d := decidedAnswer{ID: a.ID, CreatedAtMs: a.CreatedAtMs, ExpiresAtMs: a.ExpiresAtMs}
	if a.Decision != "" {
		d.Decision = &a.Decision
	}
	return d
}

// ask puts a before the operators and answers when it is decided; a two-phase request is
// answered once more at its beginning.
func (f *Family) ask(ctx context.Context, e *pipeline.Envelope, twoPhase bool, a Ask) error {
	v, err := f.broker.Ask(ctx, a)
	if err != nil {
		return err
	}
	if v.Status != "pending" {
		return e.AnswerValue(decided(&v))
	}
	if twoPhase && e.Client != nil {
		first, err := frames.MarshalPayload(acceptedAnswer{"accepted", v.ID, v.DeliveryRoute, v.CreatedAtMs, v.ExpiresAtMs})
		if err != nil {
			return err
		}
		e.Client.Send(pipeline.EncodeAnswer(e.Frame.ID, first, nil))
	}
	end, found, err := f.broker.Wait(ctx, v.ID)
	if err != nil {
		return err
	}
	if found { // else it was decided and let go of in between: null is no yes
		v = end
	}
	return e.AnswerValue(decided(&v))
}

// wait answers waitDecision. Its params have no schema; a blank or missing id is none.
func (f *Family) wait(kind string) func(context.Context, *pipeline.Envelope) error {
	return func(ctx context.Context, e *pipeline.Envelope) error {
		var p struct {
			ID jsontext.Value `json:"id"`
		}
		if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
			return err
		}
		id := strings.TrimSpace(string(frames.Unquote(nil, p.ID)))
		if id == "" {
			return frames.Invalid("id is required")
		}
		if a, found := f.broker.Find(id); !found || a.Kind != kind {
			return errNoWait
		}
		a, found, err := f.broker.Wait(ctx, id)
		switch {
		case err != nil:
			return err
		case !found:
			return errNoWait
		}
		d := decided(&a)
		d.TerminalReason = a.Reason
		return e.AnswerValue(d)
	}
}
