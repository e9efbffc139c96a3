package approval

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Keys of the store.
const (
	recordKey = "record/"
	grantKey  = "grant/"
)

// record is an approval as it is kept. What was asked is not in it beyond what operators
// were shown: a former process's request cannot be answered any more.
type record struct {
	ID           string         `json:"id"`
	Kind         string         `json:"kind"`
	Status       string         `json:"status"`
	Decision     string         `json:"decision,omitzero"`
	Reason       string         `json:"reason,omitzero"`
	By           string         `json:"by,omitzero"`
	Resolver     resolver       `json:"resolver,omitzero"`
	AgentID      string         `json:"agentId,omitzero"`
	SessionKey   string         `json:"sessionKey,omitzero"`
	Presentation jsontext.Value `json:"presentation"`
	Allowed      []string       `json:"allowed"`
	Sum          Sum            `json:"sum"`
	CreatedAtMs  int64          `json:"createdAtMs"`
	ExpiresAtMs  int64          `json:"expiresAtMs"`
	EndedAtMs    int64          `json:"endedAtMs,omitzero"`
}

func (b *Broker) row(e *entry) Change {
	return b.endRow(e, &verdict{status: statusPending})
}

func (b *Broker) endRow(e *entry, v *verdict) Change {
	return put(recordKey+e.id, record{ID: e.id, Kind: e.kind, Status: v.status, Decision: v.decision,
		Reason: v.reason, By: v.by, Resolver: v.resolver, AgentID: e.agentID, SessionKey: e.sessionKey,
		Presentation: e.presentation, Allowed: e.allowed, Sum: e.sum, CreatedAtMs: e.createdMs, ExpiresAtMs: e.expiresMs, EndedAtMs: v.atMs})
}

func grantRow(g *grant) Change { return put(grantKey+g.ID, g) }

// withTrash adds to change the removal of rows that history has let go.
func (b *Broker) withTrash(change Change) (changes []Change, trash []string) {
	b.mu.Lock()
	trash, b.trash = b.trash, nil
	b.mu.Unlock()
	changes = []Change{change}
	for _, key := range trash {
		if key != change.Key {
			changes = append(changes, Change{Key: key})
		}
	}
	return changes, trash
}

// entry is the approval of a record; one that was waiting ended with its process: the
// connection that asked is gone.
func (r *record) entry(nowMs int64) *entry {
	e := &entry{id: r.ID, kind: r.Kind, createdMs: r.CreatedAtMs, expiresMs: r.ExpiresAtMs,
		draft: draft{presentation: r.Presentation, allowed: r.Allowed, sum: r.Sum, agentID: r.AgentID, sessionKey: r.SessionKey},
		end:   &verdict{r.Status, r.Decision, r.Reason, r.By, r.EndedAtMs, r.Resolver}}
	if r.Status == statusPending {
		end := restarted
		end.atMs = nowMs
		e.end = &end
	}
	return e
}

// Start reads what a former process kept. Approvals that it left waiting become
// cancelled, with the reason gateway-restart. A record that cannot be read is logged and
// left as it is.
func (b *Broker) Start(ctx context.Context) error {
	if b.deps.Store == nil {
		return nil
	}
	var entries, orphans []*entry
	var grants []*grant
	now := time.Now().UnixMilli()
	err := b.deps.Store.Load(ctx, func(key string, value []byte) error {
		if err := load(key, value, now, &entries, &orphans, &grants); err != nil {
			b.deps.Log.Error("a kept approval cannot be read; it is passed over", "key", key, "err", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("approvals could not be read: %w", err)
	}
	slices.SortFunc(entries, order)
	var changes []Change
	b.mu.Lock()
	for _, g := range grants {
		if gone := b.admit(g); gone != nil {
			changes = append(changes, Change{Key: grantKey + gone.ID})
		}
	}
	for _, e := range entries {
		for _, key := range b.past.add(e, b.cfg.Load()) {
			changes = append(changes, Change{Key: key})
		}
	}
	for _, e := range orphans {
		if b.past.get(e.id) == e {
			changes = append(changes, b.endRow(e, e.end))
		}
	}
	b.mu.Unlock()
	for _, e := range orphans {
		b.stats.Cancelled.Add(1)
		b.note(e, statusCancelled, e.end)
	}
	return b.write(ctx, changes...)
}

func load(key string, value []byte, nowMs int64, entries, orphans *[]*entry, grants *[]*grant) error {
	if strings.HasPrefix(key, grantKey) {
		g := new(grant)
		if err := json.Unmarshal(value, g); err != nil {
			return err
		}
		*grants = append(*grants, g)
		return nil
	}
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	if recordKey+r.ID != key || r.Kind != KindExec && r.Kind != KindPlugin {
		return fmt.Errorf("it says that it is %q of kind %q", r.ID, r.Kind)
	}
	e := r.entry(nowMs)
	*entries = append(*entries, e)
	if r.Status == statusPending {
		*orphans = append(*orphans, e)
	}
	return nil
}

// Close cancels all that waits, with the reason gateway-restart, and refuses what comes
// later. It returns when everybody was told, or with ctx.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		if b.timer != nil {
			b.timer.Stop()
		}
	}
	b.mu.Unlock()
	var ending sync.WaitGroup // side by side: a slow disk must not be waited for by each in turn
	for _, e := range b.waiting() {
		ending.Go(func() {
			if b.take(ctx, e) != nil {
				return
			}
			defer b.release(e)
			if !b.ended(e) {
				b.finish(e, restarted)
			}
		})
	}
	done := make(chan struct{})
	go func() { ending.Wait(); b.wg.Wait(); close(done) }()
	select {
	case <-done:
		if n := len(b.waiting()); n > 0 {
			return fmt.Errorf("%d approvals are still being decided: %w", n, ctx.Err())
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("approvals are still being ended: %w", ctx.Err())
	}
}
