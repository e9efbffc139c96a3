package main

import (
	"context"
	"time"

	"sluice/storage"
	"sluice/storage/config"
)

// background starts what runs beside the pipeline: expiry, pruning, config
// reload. Each ends with g.ctx.
func (g *Gateway) background() {
	g.goLoop(g.loop.Run)
	g.goLoop(func(ctx context.Context) {
		if err := g.conf.Watch(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("the config file is not watched; restart to apply changes", "err", err)
		}
	})
	g.every(30*time.Second, func(context.Context) { g.presence.Expire(time.Now()) })
	g.every(time.Minute, g.prune)
	g.goLoop(g.health.Run)
	g.every(time.Minute, func(context.Context) {
		if len(g.edge.Conns()) > 0 {
			g.health.Changed()
		}
	})
}

func (g *Gateway) goLoop(fn func(context.Context)) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		fn(g.ctx)
	}()
}

func (g *Gateway) every(d time.Duration, fn func(context.Context)) {
	g.goLoop(func(ctx context.Context) {
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				fn(ctx)
			}
		}
	})
}

// Bounds of what the store keeps of ended runs (openclaw.md 3.2: 30 days).
const (
	keepRunsFor = 30 * 24 * time.Hour
	keepRuns    = 10_000
	pruneStep   = 500
)

// prune removes expired idempotency keys and old runs, a few in each transaction.
func (g *Gateway) prune(ctx context.Context) {
	now := time.Now()
	for more := true; more && ctx.Err() == nil; {
		err := g.stages.persist.Update(ctx, func(tx storage.Tx) error {
			_, moreKeys, err := storage.PruneIdempotency(tx, now.UnixMilli(), pruneStep)
			if err != nil {
				return err
			}
			_, moreRuns, err := storage.PruneRuns(tx, now.Add(-keepRunsFor).UnixMilli(), keepRuns, pruneStep)
			more = moreKeys || moreRuns
			if err != nil {
				return err
			}
			return g.reserveVersions(tx)
		})
		if err != nil {
			if ctx.Err() == nil {
				g.log.Warn("old state could not be pruned; it is tried again in a minute", "err", err)
			}
			return
		}
	}
}

// keepRevision stores what a config write or an edit of the file replaces.
func (g *Gateway) keepRevision(r config.Revision) error {
	if g.stages.persist == nil {
		return nil // the gateway is still being built; the file itself is intact
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return g.stages.persist.Update(ctx, func(tx storage.Tx) error {
		return storage.AppendConfigRevision(tx, &storage.ConfigRevision{Hash: r.Hash, Raw: string(r.Raw), Author: r.Reason, AtMs: r.AtMs}, keepConfigRevisions)
	})
}

const keepConfigRevisions = 50
