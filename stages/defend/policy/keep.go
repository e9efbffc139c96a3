package policy

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// taintKey is where the tainted sessions are in the State.
const taintKey = "defend.policy.taints"

// keptTaint is one session's taint as it is kept.
type keptTaint struct {
	Session string `json:"session"`
	Origin  string `json:"origin"`
	AtMs    int64  `json:"atMs"`
}

// SaveTaints keeps the tainted sessions, if they have changed since it last did: a restart
// is no turn of the owner's. Call it now and then, and before the process ends.
func (p *Policy) SaveTaints(ctx context.Context) error {
	if p.deps.State == nil {
		return nil
	}
	list, version, changed := p.taints.list()
	if !changed {
		return nil
	}
	raw, err := json.Marshal(list)
	if err == nil {
		err = p.deps.State.Put(ctx, taintKey, raw)
	}
	if err != nil {
		return fmt.Errorf("policy: the tainted sessions could not be kept: %w", err)
	}
	p.taints.kept(version)
	return nil
}

// RestoreTaints takes over what a former process kept. Without an error in the state it
// changes nothing; with one, privileged tools are reviewed in every session.
func (p *Policy) RestoreTaints(ctx context.Context) error {
	if p.deps.State == nil {
		return nil
	}
	c := &p.force.Load().cfg.Taint
	raw, err := p.deps.State.Get(ctx, taintKey)
	var list []keptTaint
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		p.taints.all(p.deps.Now().Add(c.age()))
		return fmt.Errorf("policy: the tainted sessions could not be read: privileged tools are reviewed in every session for a while: %w", err)
	}
	for _, k := range list {
		if at := time.UnixMilli(k.AtMs); p.deps.Now().Sub(at) < c.age() {
			_ = p.taints.mark(k.Session, k.Origin, at, c.Sessions, c.age()) // full: the rule holds for all
		}
	}
	return nil
}

// list returns the tainted sessions and the version of the table, and whether that was
// not kept yet.
func (t *taints) list() (list []keptTaint, version uint64, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.version == t.keptVersion {
		return nil, 0, false
	}
	list = make([]keptTaint, 0, len(t.m))
	for session, have := range t.m {
		list = append(list, keptTaint{session, have.origin, have.at.UnixMilli()})
	}
	return list, t.version, true
}

func (t *taints) kept(version uint64) {
	t.mu.Lock()
	t.keptVersion = version
	t.mu.Unlock()
}

// all makes every session count as tainted until then.
func (t *taints) all(until time.Time) {
	t.mu.Lock()
	t.full = until
	t.mu.Unlock()
}
