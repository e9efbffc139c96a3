package approval

import (
	"time"

	"sluice/frames"

	"github.com/go-json-experiment/json/jsontext"
)

// requestedEvent is the payload of exec.approval.requested and plugin.approval.requested.
type requestedEvent struct {
	ApprovalKind string         `json:"approvalKind"`
	ID           string         `json:"id"`
	Request      jsontext.Value `json:"request"`
	CreatedAtMs  int64          `json:"createdAtMs"`
	ExpiresAtMs  int64          `json:"expiresAtMs"`
}

// resolvedEvent is the payload of exec.approval.resolved and plugin.approval.resolved.
// Whatever did not allow is "deny" here, also a timeout.
type resolvedEvent struct {
	ID         string         `json:"id"`
	Decision   string         `json:"decision"`
	ResolvedBy *string        `json:"resolvedBy"`
	TS         int64          `json:"ts"`
	Request    jsontext.Value `json:"request"`
}

// sessionEvent is the payload of session.approval.
type sessionEvent struct {
	SessionKey       string   `json:"sessionKey"`
	SourceSessionKey string   `json:"sourceSessionKey"`
	UpdatedAtMs      int64    `json:"updatedAtMs"`
	Phase            string   `json:"phase"` // pending or terminal
	Approval         snapshot `json:"approval"`
}

// audience is who is told of e: the connections, or nil for everyone that may approve.
func (b *Broker) audience(e *entry, quiet bool) (conns []string, route string) {
	switch {
	case quiet:
		return nil, routeNone
	case b.deps.Approvers == nil:
		return nil, routeClient
	}
	if conns = b.deps.Approvers(e.conn); len(conns) == 0 {
		return nil, routeNone
	}
	return conns, routeClient
}

// announce tells e's session's readers, and, unless nobody is to be told, the operators.
func (b *Broker) announce(e *entry, audience []string) {
	if b.deps.Events == nil {
		return
	}
	b.announceSession(e, statusPending, e.createdMs)
	if e.route == routeNone {
		return
	}
	ev := frames.Event{Name: e.kind + ".approval.requested", Scope: frames.ScopeApprovals, DropIfSlow: true,
		Payload: b.encode(requestedEvent{e.kind, e.id, e.request, e.createdMs, e.expiresMs})}
	if audience == nil {
		b.deps.Events.Broadcast(ev)
		return
	}
	ev.Reach = frames.ReachConn
	for _, conn := range audience {
		ev.ConnID = conn
		b.deps.Events.Broadcast(ev)
	}
}

// announceEnd tells everyone that e is decided, so that no button of it stays.
func (b *Broker) announceEnd(e *entry, v *verdict) {
	if b.deps.Events == nil {
		return
	}
	b.announceSession(e, "terminal", v.atMs)
	decision := v.decision
	if decision == "" {
		decision = Deny
	}
	b.deps.Events.Broadcast(frames.Event{Name: e.kind + ".approval.resolved", Scope: frames.ScopeApprovals, DropIfSlow: true,
		Payload: b.encode(resolvedEvent{e.id, decision, optional(v.by), v.atMs, e.request})})
}

func (b *Broker) announceSession(e *entry, phase string, atMs int64) {
	if e.stream == "" {
		return
	}
	b.mu.Lock()
	s := e.snapshot(false)
	b.mu.Unlock()
	b.deps.Events.Broadcast(frames.Event{Name: "session.approval", Scope: frames.ScopeApprovals, Reach: frames.ReachApprovals,
		SessionKey: e.stream, Payload: b.encode(sessionEvent{e.stream, e.stream, atMs, phase, s})})
}

// Note is one line for the ledger.
type Note struct {
	AtMs int64
	// Action is requested, allowed, denied, expired, cancelled, refused (a decision that
	// was not let through), granted (a standing grant passed a command), or revoked.
	Action, ID, Kind string
	// Decision and Reason as in Approval; Reason of a refusal is the result of Resolve.
	Decision, Reason string
	// By is who decided: device:<id>, runtime:<what the client calls itself>, or system.
	By                  string
	AgentID, SessionKey string
	// SHA256 is the sum of the bound content, Text what the operators were shown of it.
	SHA256 string
	Text   jsontext.Value
}

func (b *Broker) note(e *entry, action string, v *verdict) {
	if b.deps.Journal == nil {
		return
	}
	n := Note{AtMs: time.Now().UnixMilli(), Action: action, ID: e.id, Kind: e.kind, AgentID: e.agentID,
		SessionKey: e.sessionKey, SHA256: e.sum.String(), Text: e.presentation}
	if v != nil {
		n.Decision, n.Reason, n.By = v.decision, v.reason, v.resolver.Kind
		if v.resolver.ID != "" {
			n.By += ":" + v.resolver.ID
		}
	}
	b.deps.Journal(n)
}
