package main

import (
	"context"
	"strings"

	"sluice/frames"
	"sluice/stages/defend"
	"sluice/stages/defend/approval"
	"sluice/stages/defend/command"
	"sluice/stages/defend/ledger"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/approvals"
	"sluice/storage"
)

// approvalDeps are what the broker of approvals needs.
func (g *Gateway) approvalDeps() approval.Deps {
	return approval.Deps{Store: approval.MetaStore{
		View: func(ctx context.Context, fn func(storage.Reader) error) error { return g.store.View(ctx, fn) },
		Update: func(ctx context.Context, fn func(storage.Tx) error) error {
			return g.stages.persist.Update(ctx, fn)
		}},
		Events: g.edge, Approvers: g.approvers, Redact: g.masked, Analyze: analyzeCommand, Journal: g.approvalNote, Log: g.log}
}

// approvers are the connections that may decide, but not exclude.
func (g *Gateway) approvers(exclude string) (ids []string) {
	for _, c := range g.edge.Conns() {
		if p := c.Peer(); p != nil && p.Role == frames.RoleOperator && p.Scopes.Allows(frames.ScopeApprovals) && c.ID() != exclude {
			ids = append(ids, c.ID())
		}
	}
	return ids
}

// masked hides secrets without making the text shorter: what an operator is shown must
// not lose a word behind one.
func (g *Gateway) masked(text string) string {
	found := g.defence.secrets.Scanner().Find(nil, []byte(text))
	if len(found) == 0 {
		return text
	}
	out := []byte(text)
	for _, m := range found {
		copy(out[m.Start:m.End], strings.Repeat("*", m.End-m.Start))
	}
	return string(out)
}

// analyzeCommand is what operators are told about a command beside its text.
func analyzeCommand(line string) *approval.Analysis {
	n, nested := command.Count([]byte(line))
	return &approval.Analysis{CommandCount: n, NestedCommandCount: nested, RiskKinds: []string{}, WarningLines: []string{}}
}

// approvalNote writes what became of an approval into the ledger.
func (g *Gateway) approvalNote(n approval.Note) {
	e := ledger.Entry{Kind: ledger.KindApproval, Action: n.Action, Source: n.By, Method: n.Kind, SessionKey: n.SessionKey, RequestID: n.ID,
		ContentSHA256: n.SHA256, Content: n.Text}
	if len(n.Text) > 0 {
		e.ContentSHA256 = "" // of the text, which the journal computes; the bound sum is a reason
	}
	for _, why := range []string{n.Decision, n.Reason, "bound to " + n.SHA256} {
		if why != "" {
			e.Reasons = append(e.Reasons, why)
		}
	}
	g.record(g.ctx, e)
}

// approve puts an action that the defender wants reviewed before the operators.
func (g *Gateway) approve(a defend.Ask, done func(*frames.Error)) {
	r := approval.Review{Kind: approval.KindPlugin, Title: a.Title, Content: a.Content, Text: a.Text, Command: a.Command, Argv: a.Argv,
		SessionKey: a.SessionKey, RunID: a.RunID, Decision: a.Decision, By: a.By}
	if a.Command != "" {
		r.Kind = approval.KindExec
	}
	if k, err := frames.ParseSessionKey(a.SessionKey); err == nil {
		r.AgentID = k.Agent
	}
	g.defence.broker.Review(r, func(o approval.Outcome) { done(o.Err) })
}

// reviewedLanes are the lanes of the schedule stage, in which a message may also wait for
// an operator: who aborts it does not want it approved any more.
type reviewedLanes struct {
	agent.Lanes
	broker *approval.Broker
}

// Abort implements agent.Lanes.
func (l reviewedLanes) Abort(sessionKey, runID, reason string) []string {
	ids := l.Lanes.Abort(sessionKey, runID, reason)
	l.broker.AbortSession(sessionKey, runID)
	return ids
}

// brokerMethods shows the broker to the methods: stages do not know each other, so their
// types are equal and not the same.
type brokerMethods struct{ *approval.Broker }

var _ approvals.Broker = brokerMethods{}

func (b brokerMethods) Ask(ctx context.Context, a approvals.Ask) (approvals.Approval, error) {
	v, err := b.Broker.Ask(ctx, approval.Ask(a))
	return approvals.Approval(v), err
}

func (b brokerMethods) Wait(ctx context.Context, id string) (approvals.Approval, bool, error) {
	v, found, err := b.Broker.Wait(ctx, id)
	return approvals.Approval(v), found, err
}

func (b brokerMethods) Find(id string) (approvals.Approval, bool) {
	v, found := b.Broker.Find(id)
	return approvals.Approval(v), found
}

func (b brokerMethods) Lookup(id string) (approvals.Approval, bool) {
	v, found := b.Broker.Lookup(id)
	return approvals.Approval(v), found
}

func (b brokerMethods) Pending(kind string) []approvals.Approval {
	return approvalViews(b.Broker.Pending(kind))
}

func (b brokerMethods) Resolve(ctx context.Context, r approvals.Resolution) (approvals.Approval, string, error) {
	v, result, err := b.Broker.Resolve(ctx, approval.Resolution(r))
	return approvals.Approval(v), result, err
}

func (b brokerMethods) History(cursor string, limit int, kind string) ([]approvals.Approval, string, bool) {
	items, next, ok := b.Broker.History(cursor, limit, kind)
	return approvalViews(items), next, ok
}

func (b brokerMethods) Grants(limit int) (out []approvals.Grant) {
	for _, gr := range b.Broker.Grants(limit) {
		out = append(out, approvals.Grant(gr))
	}
	return out
}

func (b brokerMethods) Revoke(ctx context.Context, id string, by *frames.Peer) (string, error) {
	return b.Broker.Revoke(ctx, id, by)
}

func approvalViews(list []approval.Approval) []approvals.Approval {
	out := make([]approvals.Approval, len(list))
	for i, v := range list {
		out[i] = approvals.Approval(v)
	}
	return out
}
