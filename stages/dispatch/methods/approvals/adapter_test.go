package approvals_test

import (
	"context"

	"sluice/frames"
	"sluice/stages/defend/approval"
	"sluice/stages/dispatch/methods/approvals"
)

// broker is the adapter that cmd needs between the two packages: stages do not know each
// other, so their types are equal and not the same.
type broker struct{ *approval.Broker }

var _ approvals.Broker = broker{}

func (b broker) Ask(ctx context.Context, a approvals.Ask) (approvals.Approval, error) {
	v, err := b.Broker.Ask(ctx, approval.Ask(a))
	return approvals.Approval(v), err
}

func (b broker) Wait(ctx context.Context, id string) (approvals.Approval, bool, error) {
	v, found, err := b.Broker.Wait(ctx, id)
	return approvals.Approval(v), found, err
}

func (b broker) Find(id string) (approvals.Approval, bool) {
	v, found := b.Broker.Find(id)
	return approvals.Approval(v), found
}

func (b broker) Lookup(id string) (approvals.Approval, bool) {
	v, found := b.Broker.Lookup(id)
	return approvals.Approval(v), found
}

func (b broker) Pending(kind string) []approvals.Approval {
	return views(b.Broker.Pending(kind))
}

func (b broker) Resolve(ctx context.Context, r approvals.Resolution) (approvals.Approval, string, error) {
	v, result, err := b.Broker.Resolve(ctx, approval.Resolution(r))
	return approvals.Approval(v), result, err
}

func (b broker) History(cursor string, limit int, kind string) ([]approvals.Approval, string, bool) {
	items, next, ok := b.Broker.History(cursor, limit, kind)
	return views(items), next, ok
}

func (b broker) Grants(limit int) []approvals.Grant {
	var out []approvals.Grant
	for _, g := range b.Broker.Grants(limit) {
		out = append(out, approvals.Grant(g))
	}
	return out
}

func (b broker) Revoke(ctx context.Context, id string, by *frames.Peer) (string, error) {
	return b.Broker.Revoke(ctx, id, by)
}

func views(list []approval.Approval) []approvals.Approval {
	out := make([]approvals.Approval, len(list))
	for i, v := range list {
		out[i] = approvals.Approval(v)
	}
	return out
}
