package main

import (
	"context"
	"errors"
	"strings"

	"sluice/stages/defend"
	"sluice/stages/defend/approval"
	"sluice/stages/defend/command"
	"sluice/stages/defend/policy"
	"sluice/stages/defend/rules"
	"sluice/stages/defend/secrets"
	"sluice/storage"
	"sluice/storage/config"
)

// A signed bundle goes before the configuration: the functions below are the sections with
// the bundle's parts laid over them.

// defendConfig is the stage's section, with what depends on the state folder filled in.
func (g *Gateway) defendConfig(snap *config.Snapshot) defend.Config {
	c := section[defend.Config](snap, "defend")
	c.Quarantine.Dir = quarantineDir(g.loc, c)
	if p, ok := g.bundle(); ok {
		return withBundle(c, p)
	}
	return c
}

// withBundle lays the thresholds of a bundle over c. It may name one of the two, which
// then meets a configuration that its author did not see: the stricter reading holds.
func withBundle(c defend.Config, p policy.BundlePolicy) defend.Config {
	if p.ReviewThreshold != nil {
		c.ReviewThreshold = *p.ReviewThreshold
	}
	if p.BlockThreshold != nil {
		c.BlockThreshold = *p.BlockThreshold
	}
	c.ReviewThreshold = min(c.ReviewThreshold, c.BlockThreshold-1)
	return c
}

func (g *Gateway) bundle() (policy.BundlePolicy, bool) {
	if g.defence.policy == nil {
		return policy.BundlePolicy{}, false
	}
	return g.defence.policy.Effective()
}

// rulesConfig is the operator's patterns, or the bundle's.
func (g *Gateway) rulesConfig(snap *config.Snapshot) rules.Config {
	c := section[rules.Config](snap, "defend.rules")
	if p, ok := g.bundle(); ok {
		if len(p.PromptInjectionPatterns) > 0 {
			c.PromptInjectionPatterns = p.PromptInjectionPatterns
		}
		if len(p.BlockedCommandPatterns) > 0 {
			c.BlockedCommandPatterns = p.BlockedCommandPatterns
		}
	}
	return c
}

// commandConfig judges by the stage's thresholds. A bundle's allowed prefixes are
// beginnings of simple commands here, compared word by word.
func (g *Gateway) commandConfig(snap *config.Snapshot) command.Config {
	t := g.defendConfig(snap).Thresholds()
	return commandConfigOf(snap, t, g.bundle)
}

func commandConfigOf(snap *config.Snapshot, t defend.Thresholds, bundle func() (policy.BundlePolicy, bool)) command.Config {
	c := section[command.Config](snap, "defend.command")
	c.ReviewFrom, c.BlockFrom = float64(t.Review), float64(t.Block)
	if p, ok := bundle(); ok && len(p.AllowedCommandPrefixes) > 0 {
		c.Allowed = nil
		for _, prefix := range p.AllowedCommandPrefixes {
			if words := strings.Fields(prefix); len(words) > 0 {
				c.Allowed = append(c.Allowed, strings.Join(words, " "))
			}
		}
	}
	return c
}

// reloadDefence are the defender's parts of a new configuration, in the order in which
// they are put in force: the policy with its bundle first, for the others are laid under it.
func (g *Gateway) reloadDefence(snap *config.Snapshot) []reloadPart {
	d := &g.defence
	return []reloadPart{
		{"defend.policy", func() error {
			return d.policy.Reload(g.ctx, section[policy.Config](snap, "defend.policy"))
		}},
		{"defend", func() error { return g.stages.defend.Reload(g.defendConfig(snap)) }},
		{"defend.rules", func() error { return d.rules.Reload(g.rulesConfig(snap)) }},
		{"defend.command", func() error { return d.command.Reload(g.commandConfig(snap)) }},
		{"defend.secrets", func() error {
			return errors.Join(d.secrets.Reload(section[secrets.Config](snap, "defend.secrets")), d.secrets.SetLiterals(g.ownSecrets(snap)...))
		}},
		{"defend.approval", func() error { return d.broker.Reload(section[approval.Config](snap, "defend.approval")) }},
	}
}

// metaState keeps small records of defenders in the store: the host's baseline, the last
// bundle's version. Before the pipeline runs nobody else writes, and the store is written
// directly; afterwards persist is its one writer.
type metaState struct{ g *Gateway }

// Get returns nil for a key that was never put.
func (m metaState) Get(ctx context.Context, key string) (value []byte, err error) {
	err = m.g.store.View(ctx, func(r storage.Reader) error {
		v, err := r.Get(storage.Meta, key)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		value = append([]byte(nil), v...)
		return err
	})
	return value, err
}

// Put returns when the value is durable.
func (m metaState) Put(ctx context.Context, key string, value []byte) error {
	update := m.g.store.Update
	if m.g.running.Load() {
		update = m.g.stages.persist.Update
	}
	return update(ctx, func(tx storage.Tx) error { return tx.Put(storage.Meta, key, value) })
}
