// Package approvals answers exec.approval.*, plugin.approval.* and approval.* (behaviour
// as recorded from the real gateway 2026.9.6, wire.md 3.13).
//
// The family reads params and words answers; what waits, who hears of it and what an
// approval is bound to is the Broker's. Whoever may call the resolve methods may decide:
// their scope is operator.approvals, checked before a handler runs. Handlers that write
// or wait are Long: they never hold a worker.
package approvals

import (
	"context"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"

	"github.com/go-json-experiment/json/jsontext"
)

// The kinds of approvals.
const (
	kindExec   = "exec"
	kindPlugin = "plugin"
)

// The decisions that operators may send.
const (
	allowOnce   = "allow-once"
	allowAlways = "allow-always"
	deny        = "deny"
)

// Ask is a request for approval, as the broker wants it (package defend/approval, Ask).
type Ask struct {
	Kind      string
	ID        string
	TimeoutMs int64
	By        *frames.Peer

	AgentID, SessionKey, SessionID, RunID, ToolCallID string
	Channel, To, AccountID                            string
	ThreadID                                          jsontext.Value
	Scope                                             jsontext.Value

	Command                                                     string
	Argv                                                        []string
	Env                                                         map[string]string
	Cwd, Host, NodeID, Security, AskMode, Warning, ResolvedPath string
	Plan                                                        jsontext.Value
	OneShot                                                     bool
	NoRouteNeeded, Quiet                                        bool

	PluginID, Title, Description, Detail, Severity, ToolName string
	Decisions                                                []string
}

// Approval is what the broker says about one approval.
type Approval struct {
	ID, Kind                             string
	Status, Reason                       string
	Decision                             string
	CreatedAtMs, ExpiresAtMs, ResolvedAt int64
	DeliveryRoute                        string
	SHA256                               string
	Allowed                              []string

	Request, Presentation, Snapshot jsontext.Value
}

// Resolution is an operator's decision.
type Resolution struct {
	ID, Decision string
	Kind         string
	Unified      bool
	By           *frames.Peer
	SHA256       string
	GrantDays    int
}

// What Resolve says became of a decision.
const (
	Applied     = "applied"
	Same        = "same"
	Conflict    = "conflict"
	Missing     = "missing"
	Unavailable = "unavailable"
	Changed     = "changed"
	Self        = "self"
	Forbidden   = "forbidden"
)

// Grant is a standing grant; its times are 0 when there is no such time.
type Grant struct {
	ID, ApprovalID, AgentID, Command, Cwd string

	CreatedAtMs, ExpiresAtMs, RevokedAtMs int64
	RevokedBy                             string
	LastUsedAtMs, UseCount                int64
}

// Broker keeps the approvals. Errors that are *frames.Error are sent as they are.
type Broker interface {
	// Ask returns the approval, durable and announced; it may be decided already.
	Ask(ctx context.Context, a Ask) (Approval, error)
	// Wait waits for the decision; false means that there is no such approval.
	Wait(ctx context.Context, id string) (Approval, bool, error)
	// Find finds what waits or was decided lately, Lookup anything that is kept.
	Find(id string) (Approval, bool)
	Lookup(id string) (Approval, bool)
	Pending(kind string) []Approval
	// Resolve returns what became of the decision, one of the constants above.
	Resolve(ctx context.Context, r Resolution) (Approval, string, error)
	// History reports false for a cursor that is none.
	History(cursor string, limit int, kind string) (items []Approval, next string, ok bool)
	Grants(limit int) []Grant
	// Revoke returns revoked, already-revoked or not-found.
	Revoke(ctx context.Context, grantID string, by *frames.Peer) (string, error)
}

// Family holds the handlers.
type Family struct{ broker Broker }

// New returns the family over a broker.
func New(broker Broker) *Family { return &Family{broker} }

// Methods lists the handlers.
func (f *Family) Methods() []dispatch.Method {
	return []dispatch.Method{
		{Name: "exec.approval.request", Handle: f.execRequest, Long: true},
		{Name: "exec.approval.waitDecision", Handle: f.wait(kindExec), Long: true},
		{Name: "exec.approval.resolve", Handle: f.resolve(kindExec), Long: true},
		{Name: "exec.approval.get", Handle: f.execGet},
		{Name: "exec.approval.list", Handle: f.list(kindExec)},
		{Name: "exec.approval.grants.list", Handle: f.grants},
		{Name: "exec.approval.grants.revoke", Handle: f.revoke, Long: true},
		{Name: "plugin.approval.request", Handle: f.pluginRequest, Long: true},
		{Name: "plugin.approval.waitDecision", Handle: f.wait(kindPlugin), Long: true},
		{Name: "plugin.approval.resolve", Handle: f.resolve(kindPlugin), Long: true},
		{Name: "plugin.approval.list", Handle: f.list(kindPlugin)},
		{Name: "approval.get", Handle: f.get},
		{Name: "approval.resolve", Handle: f.resolveAny, Long: true},
		{Name: "approval.history", Handle: f.history},
		// Sluice has no system agent that proposes changes; nothing of it ever waits.
		{Name: "openclaw.approval.list", Handle: func(_ context.Context, e *pipeline.Envelope) error {
			e.Answer([]byte("[]"))
			return nil
		}},
	}
}

// Refusals in the real gateway's words.
var (
	errUnknown = frames.Invalid("unknown or expired approval id").WithDetails(map[string]any{
		"reason":      "APPROVAL_NOT_FOUND",
		"remediation": "Re-request the action; pending approvals are cleared after expiry or restart."})
	errNotFound = frames.Invalid("approval not found").WithDetails(map[string]any{"reason": "APPROVAL_NOT_FOUND"})
	errNoWait   = frames.Invalid("approval expired or not found")
	errResolved = frames.Invalid("approval already resolved").WithDetails(map[string]any{"reason": "APPROVAL_ALREADY_RESOLVED"})
	errDecision = frames.Invalid("invalid decision")
	errAlways   = frames.Invalid("allow-always is unavailable for this command").
			WithDetails(map[string]any{"reason": "APPROVAL_ALLOW_ALWAYS_UNAVAILABLE"})
)

// And in ours, where it has no such case.
var (
	errChanged = frames.Invalid("the content differs from the one that the approval is bound to; nothing was allowed").
			WithDetails(map[string]any{"reason": "APPROVAL_CONTENT_CHANGED"})
	errSelf = &frames.Error{Code: frames.CodeForbidden,
		Message: "whoever asked may not approve (defend.approval.allowSelf is false); decide from another client",
		Details: map[string]any{"reason": "APPROVAL_SELF"}}
)
