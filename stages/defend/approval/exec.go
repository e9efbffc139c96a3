package approval

import (
	"maps"
	"slices"
	"strings"

	"sluice/frames"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Analysis is what a shell parser sees in a command; operators get it beside the text.
type Analysis struct {
	CommandCount       int      `json:"commandCount"`
	NestedCommandCount int      `json:"nestedCommandCount"`
	RiskKinds          []string `json:"riskKinds"`
	WarningLines       []string `json:"warningLines"`
}

// execRequest is a command's request in events and lists, in the real gateway's order.
type execRequest struct {
	Command              string         `json:"command"`
	CommandPreview       *string        `json:"commandPreview,omitzero"`
	CommandArgv          []string       `json:"commandArgv,omitempty"`
	EnvKeys              []string       `json:"envKeys,omitempty"`
	SystemRunBinding     *runBinding    `json:"systemRunBinding"`
	SystemRunPlan        *plan          `json:"systemRunPlan"`
	Cwd                  *string        `json:"cwd"`
	NodeID               *string        `json:"nodeId"`
	Host                 *string        `json:"host"`
	Security             *string        `json:"security"`
	Ask                  *string        `json:"ask"`
	WarningText          *string        `json:"warningText"`
	Scope                *reach         `json:"scope"`
	CommandAnalysis      *Analysis      `json:"commandAnalysis"`
	UnavailableDecisions []string       `json:"unavailableDecisions,omitempty"`
	AllowedDecisions     []string       `json:"allowedDecisions"`
	AgentID              *string        `json:"agentId"`
	ResolvedPath         *string        `json:"resolvedPath"`
	SessionKey           *string        `json:"sessionKey"`
	SessionID            *string        `json:"sessionId"`
	RunID                *string        `json:"runId"`
	ToolCallID           *string        `json:"toolCallId"`
	TurnSourceChannel    *string        `json:"turnSourceChannel"`
	TurnSourceTo         *string        `json:"turnSourceTo"`
	TurnSourceAccountID  *string        `json:"turnSourceAccountId"`
	TurnSourceThreadID   jsontext.Value `json:"turnSourceThreadId"`
	// Automations' standing grants; Sluice has none of these yet.
	CronExecutionSource  *struct{} `json:"cronExecutionSource"`
	CronOperationBinding *struct{} `json:"cronOperationBinding"`
}

// runBinding is what a node compares before it runs the command.
type runBinding struct {
	Argv       []string `json:"argv"`
	Cwd        *string  `json:"cwd"`
	AgentID    *string  `json:"agentId"`
	SessionKey *string  `json:"sessionKey"`
	EnvHash    *string  `json:"envHash"`
}

// plan is a node's systemRunPlan.
type plan struct {
	Argv               []string       `json:"argv"`
	Cwd                *string        `json:"cwd"`
	CommandText        string         `json:"commandText"`
	CommandPreview     *string        `json:"commandPreview"`
	AgentID            *string        `json:"agentId"`
	SessionKey         *string        `json:"sessionKey"`
	PolicySnapshot     jsontext.Value `json:"policySnapshot,omitzero"`
	MutableFileOperand jsontext.Value `json:"mutableFileOperand,omitzero"`
}

// execPresentation is a command as approval.* show it.
type execPresentation struct {
	Kind             string   `json:"kind"`
	CommandText      string   `json:"commandText"`
	CommandPreview   *string  `json:"commandPreview"`
	WarningText      *string  `json:"warningText"`
	Host             *string  `json:"host"`
	NodeID           *string  `json:"nodeId"`
	AgentID          *string  `json:"agentId"`
	Scope            *reach   `json:"scope,omitzero"`
	AllowedDecisions []string `json:"allowedDecisions"`
}

// The details.reason of refusals.
const (
	ReasonDisplayLimit = "EXEC_APPROVAL_COMMAND_DISPLAY_LIMIT"
	ReasonMismatch     = "EXEC_APPROVAL_COMMAND_MISMATCH"
)

// node takes over what a node's plan says, as the real gateway does for host=node.
func (a *Ask) node() (*plan, *frames.Error) {
	if strings.TrimSpace(a.Host) != "node" {
		return nil, nil
	}
	if strings.TrimSpace(a.NodeID) == "" {
		return nil, frames.Invalid("nodeId is required for host=node")
	}
	var p plan
	if len(a.Plan) == 0 || json.Unmarshal(a.Plan, &p) != nil || len(p.Argv) == 0 || strings.TrimSpace(p.CommandText) == "" {
		return nil, frames.Invalid("systemRunPlan is required for host=node")
	}
	p.CommandText = strings.TrimSpace(p.CommandText)
	p.Cwd, p.AgentID, p.SessionKey = optional(text(p.Cwd)), optional(text(p.AgentID)), optional(text(p.SessionKey))
	preview := optional(text(p.CommandPreview))
	if preview == nil {
		preview = optional(a.Command)
	}
	if text(preview) == p.CommandText {
		preview = nil
	}
	p.CommandPreview = preview
	a.Command, a.Argv = p.CommandText, p.Argv
	a.Cwd = or(text(p.Cwd), a.Cwd)
	a.AgentID, a.SessionKey = or(text(p.AgentID), a.AgentID), or(text(p.SessionKey), a.SessionKey)
	return &p, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// exec checks a command and makes its draft.
func (b *Broker) exec(a *Ask) (*draft, error) {
	node, err := a.node()
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(a.Command) == "" {
		return nil, frames.Invalid("command is required")
	}
	if err := checkID(a.ID); err != nil {
		return nil, err
	}
	command := b.show(a.Command)
	if !command.whole {
		return nil, invalid(ReasonDisplayLimit, "command exceeds exec approval display limit")
	}
	if len(a.Argv) > 0 && !runs(a.Command, a.Argv) {
		return nil, invalid(ReasonMismatch, "command does not say what commandArgv would run; send the command as it is quoted for a shell")
	}
	d := &draft{allowed: []string{AllowOnce, AllowAlways, Deny}, agentID: strings.TrimSpace(a.AgentID), sessionKey: strings.TrimSpace(a.SessionKey)}
	ask := normalized(a.AskMode, "off", "on-miss", "always")
	cwd := optional(a.Cwd)
	// A standing grant needs a folder to be bound to.
	if a.OneShot || text(ask) == "always" || cwd == nil || b.cfg.Load().MaxGrants == 0 {
		d.allowed = []string{AllowOnce, Deny}
	} else {
		d.grant = newScope(a)
	}
	d.sum = a.sum()
	r := b.execRequest(a, node, command.text)
	r.Security, r.Ask, r.AllowedDecisions = normalized(a.Security, "deny", "allowlist", "full"), ask, d.allowed
	if len(d.allowed) == 2 {
		r.UnavailableDecisions = []string{AllowAlways}
	}
	if text(ask) == "always" && !a.OneShot {
		r.UnavailableDecisions = nil // as the real gateway: the policy says it, not the requester
	}
	p := execPresentation{Kind: KindExec, CommandText: command.text, CommandPreview: r.CommandPreview, WarningText: r.WarningText,
		Host: r.Host, NodeID: b.line(text(r.NodeID)), AgentID: b.line(d.agentID), Scope: r.Scope, AllowedDecisions: d.allowed}
	if node != nil && r.CommandPreview == nil {
		p.CommandPreview = b.line(text(node.CommandPreview))
	}
	return d, d.encode(r, p)
}

func (d *draft) encode(request, presentation any) (err error) {
	if d.request, err = frames.MarshalPayload(request); err != nil {
		return err
	}
	d.presentation, err = frames.MarshalPayload(presentation)
	return err
}

func (b *Broker) execRequest(a *Ask, node *plan, command string) *execRequest {
	r := &execRequest{Command: command, Cwd: b.line(a.Cwd), Host: b.line(a.Host), Scope: b.reach(a.Scope),
		AgentID: optional(a.AgentID), ResolvedPath: b.line(a.ResolvedPath), SessionKey: optional(a.SessionKey),
		SessionID: optional(a.SessionID), RunID: optional(a.RunID), ToolCallID: optional(a.ToolCallID),
		TurnSourceChannel: optional(a.Channel), TurnSourceTo: optional(a.To), TurnSourceAccountID: optional(a.AccountID),
		TurnSourceThreadID: thread(a.ThreadID), EnvKeys: b.names(a.Env)}
	if w := optional(a.Warning); w != nil {
		s := b.showProse(*w).text
		r.WarningText = &s
	}
	if b.deps.Analyze != nil {
		r.CommandAnalysis = b.deps.Analyze(a.Command)
	}
	if node == nil {
		r.CommandArgv = b.hide(a.Argv)
		return r
	}
	p := *node
	p.Argv, p.CommandText = b.hide(p.Argv), command
	p.CommandPreview = b.line(text(p.CommandPreview))
	r.SystemRunPlan, r.NodeID = &p, optional(a.NodeID)
	r.SystemRunBinding = &runBinding{Argv: p.Argv, Cwd: optional(a.Cwd), AgentID: r.AgentID, SessionKey: r.SessionKey, EnvHash: envHash(a.Env)}
	return r
}

// names lists the variables of an environment; their values are bound and not shown.
func (b *Broker) names(env map[string]string) []string {
	list := slices.Sorted(maps.Keys(env))
	for i, name := range list {
		list[i] = b.show(name).text
	}
	return list
}

// hide removes secrets from words; operators get them beside the shown command.
func (b *Broker) hide(argv []string) []string {
	if b.deps.Redact == nil {
		return argv
	}
	out := make([]string, len(argv))
	for i, arg := range argv {
		out[i] = b.deps.Redact(arg)
	}
	return out
}

// thread is null, or what a requester gave: a string or a number.
func thread(v jsontext.Value) jsontext.Value {
	if len(v) == 0 {
		return jsontext.Value("null")
	}
	return v
}
