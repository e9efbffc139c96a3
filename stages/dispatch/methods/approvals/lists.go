package approvals

import (
	"context"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json/jsontext"
)

// listItem is one element of exec.approval.list and plugin.approval.list.
type listItem struct {
	ID           string         `json:"id"`
	Request      jsontext.Value `json:"request"`
	CreatedAtMs  int64          `json:"createdAtMs"`
	ExpiresAtMs  int64          `json:"expiresAtMs"`
	ApprovalKind string         `json:"approvalKind"`
}

// list answers both; the answer is a bare array.
func (f *Family) list(kind string) func(context.Context, *pipeline.Envelope) error {
	return func(_ context.Context, e *pipeline.Envelope) error {
		items := []listItem{}
		for _, a := range f.broker.Pending(kind) {
			items = append(items, listItem{a.ID, a.Request, a.CreatedAtMs, a.ExpiresAtMs, a.Kind})
		}
		return e.AnswerValue(items)
	}
}

// history answers approval.history.
func (f *Family) history(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		Cursor string `json:"cursor"`
		Limit  int    `json:"limit"`
		Kind   string `json:"kind"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	items, next, ok := f.broker.History(p.Cursor, p.Limit, p.Kind)
	if !ok {
		return frames.Invalid("invalid approval.history cursor")
	}
	out := struct {
		Items      []jsontext.Value `json:"items"`
		NextCursor string           `json:"nextCursor,omitzero"`
	}{[]jsontext.Value{}, next}
	for i := range items {
		out.Items = append(out.Items, items[i].Snapshot)
	}
	return e.AnswerValue(out)
}

// grantView is the protocol's ExecApprovalStandingGrant. Upstream's grants belong to an
// automation; Sluice's belong to a command, so the automation is named after the method.
type grantView struct {
	GrantID            string  `json:"grantId"`
	MintedByApprovalID string  `json:"mintedByApprovalId"`
	AgentID            string  `json:"agentId"`
	CronJobID          string  `json:"cronJobId"`
	CronJobName        *string `json:"cronJobName"`
	Command            string  `json:"command"`
	Cwd                *string `json:"cwd"`
	CreatedAtMs        int64   `json:"createdAtMs"`
	ExpiresAtMs        *int64  `json:"expiresAtMs"`
	RevokedAtMs        *int64  `json:"revokedAtMs"`
	RevokedBy          *string `json:"revokedBy"`
	LastUsedAtMs       *int64  `json:"lastUsedAtMs"`
	UseCount           int64   `json:"useCount"`
}

// What stands in members that the protocol wants and a grant of Sluice has not.
const (
	noAutomation = "exec.approval"
	noAgent      = "(no agent)"
)

func viewGrant(g *Grant) grantView {
	v := grantView{GrantID: g.ID, MintedByApprovalID: g.ApprovalID, AgentID: g.AgentID, CronJobID: noAutomation, Command: g.Command,
		Cwd: nonZero(g.Cwd), CreatedAtMs: g.CreatedAtMs, ExpiresAtMs: nonZero(g.ExpiresAtMs), RevokedAtMs: nonZero(g.RevokedAtMs),
		RevokedBy: nonZero(g.RevokedBy), LastUsedAtMs: nonZero(g.LastUsedAtMs), UseCount: g.UseCount}
	if v.AgentID == "" {
		v.AgentID = noAgent
	}
	return v
}

func nonZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// grants answers exec.approval.grants.list.
func (f *Family) grants(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		Limit int `json:"limit"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	list := f.broker.Grants(p.Limit)
	out := struct {
		Grants []grantView `json:"grants"`
	}{make([]grantView, 0, len(list))}
	for i := range list {
		out.Grants = append(out.Grants, viewGrant(&list[i]))
	}
	return e.AnswerValue(out)
}

// revoke answers exec.approval.grants.revoke.
func (f *Family) revoke(ctx context.Context, e *pipeline.Envelope) error {
	var p struct {
		GrantID string `json:"grantId"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	outcome, err := f.broker.Revoke(ctx, p.GrantID, e.Peer)
	if err != nil {
		return err
	}
	return e.AnswerValue(map[string]string{"outcome": outcome})
}
