package main

import (
	"context"
	"errors"

	"sluice/frames"
	"sluice/stages/defend/ledger"
	"sluice/stages/dispatch/methods/security"
	"sluice/storage"
)

// securityDeps are the defender's parts behind Sluice's own methods.
func (g *Gateway) securityDeps() security.Deps {
	return security.Deps{
		Release: func(ctx context.Context, by string, entries []uint64) ([]security.Released, error) {
			list, err := g.defence.ledger.Release(ctx, by, entries...)
			if err != nil {
				return nil, operatorError(err)
			}
			out := make([]security.Released, len(list))
			for i, r := range list {
				out[i] = security.Released{Seq: r.Seq, Path: r.Path}
			}
			return out, nil
		},
		Status: func(ctx context.Context) (any, bool, error) {
			if err := g.defence.host.Check(ctx); err != nil {
				return nil, false, operatorError(err)
			}
			s := g.defence.host.Status()
			return s, s.Alert, nil
		},
		Shown: g.alertShown,
		Accept: func(ctx context.Context, by string) (any, error) {
			s, err := g.defence.host.Accept(ctx, by)
			if err != nil {
				return nil, operatorError(err)
			}
			return s, nil
		},
	}
}

// alertShown notes who was told of the host's integrity, and returns the entry's number.
func (g *Gateway) alertShown(ctx context.Context, by string) (uint64, error) {
	var reasons []string
	for _, c := range g.defence.host.Status().Changes {
		reasons = append(reasons, c.String())
	}
	const most = 16 // the entries of the changes themselves have all
	e, err := g.defence.ledger.Append(ctx, ledger.Entry{Kind: ledger.KindIntegrity, Action: "shown", Source: by, Reasons: reasons[:min(len(reasons), most)]})
	return e.Seq, err
}

// operatorError is an error of the defender's parts for an operator with operator.admin,
// who can do something about it.
func operatorError(err error) error {
	if errors.Is(err, storage.ErrFull) || errors.Is(err, ledger.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return frames.Unavailable(1000, "%v", err)
	}
	return frames.Invalid("%v", err)
}
