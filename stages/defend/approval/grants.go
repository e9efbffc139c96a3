package approval

import (
	"cmp"
	"context"
	"slices"
	"time"

	"sluice/frames"

	"github.com/google/uuid"
)

// Grant is a standing grant: what an operator's allow-always allows from then on.
type Grant struct {
	ID         string `json:"grantId"`
	ApprovalID string `json:"mintedByApprovalId"`
	AgentID    string `json:"agentId"`
	Command    string `json:"command"`
	Cwd        string `json:"cwd"`

	CreatedAtMs int64 `json:"createdAtMs"`
	// ExpiresAtMs, RevokedAtMs and LastUsedAtMs are 0 when there is no such time.
	ExpiresAtMs  int64  `json:"expiresAtMs,omitzero"`
	RevokedAtMs  int64  `json:"revokedAtMs,omitzero"`
	RevokedBy    string `json:"revokedBy,omitzero"`
	LastUsedAtMs int64  `json:"lastUsedAtMs,omitzero"`
	UseCount     int64  `json:"useCount"`
}

type grant struct {
	Grant
	// Key is the sum of what it covers.
	Key Sum `json:"key"`
}

func (g *grant) standing(nowMs int64) bool {
	return g.RevokedAtMs == 0 && (g.ExpiresAtMs == 0 || nowMs < g.ExpiresAtMs)
}

// maxGrantText is the protocol's bound of a grant's command and folder, in characters.
const maxGrantText = 512

// mint makes the grant of e and takes its place; dead is the id of one that goes for it.
// nil means that all places are taken by grants that still stand.
func (b *Broker) mint(e *entry, days int) (g *grant, dead string) {
	cfg, now := b.cfg.Load(), time.Now().UnixMilli()
	if days <= 0 {
		days = cfg.GrantDays
	}
	g = &grant{Key: e.grant.key, Grant: Grant{ID: uuid.NewString(), ApprovalID: e.id, AgentID: e.grant.agentID,
		Command: b.short(e.grant.command), Cwd: b.short(e.grant.cwd), CreatedAtMs: now}}
	if days > 0 {
		g.ExpiresAtMs = now + int64(days)*dayMs
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.grants[g.Key]; len(b.byID) >= cfg.MaxGrants && old == nil {
		victim := b.deadest(now)
		if victim == nil {
			return nil, ""
		}
		dead = victim.ID
		b.lose(victim)
	} else if old != nil { // the new one replaces it
		dead = old.ID
		b.lose(old)
	}
	b.byID[g.ID] = g // its place; it stands with hold
	return g, dead
}

func (b *Broker) short(text string) string {
	s, _ := cutRunes(b.show(text).text, maxGrantText)
	return s
}

// deadest is the oldest grant that no longer stands. b.mu is held.
func (b *Broker) deadest(nowMs int64) (dead *grant) {
	for _, g := range b.byID {
		if !g.standing(nowMs) && (dead == nil || g.CreatedAtMs < dead.CreatedAtMs) {
			dead = g
		}
	}
	return dead
}

// lose removes g. b.mu is held.
func (b *Broker) lose(g *grant) {
	delete(b.byID, g.ID)
	if b.grants[g.Key] == g {
		delete(b.grants, g.Key)
	}
}

// admit makes g the one grant of what it covers, and returns the one that goes: the
// older. Of two, a revoked one must never leave the other standing. b.mu is held.
func (b *Broker) admit(g *grant) (gone *grant) {
	old := b.grants[g.Key]
	switch {
	case old == nil || old == g:
	case old.CreatedAtMs > g.CreatedAtMs:
		b.lose(g)
		return g
	default:
		b.lose(old)
		gone = old
	}
	b.grants[g.Key], b.byID[g.ID] = g, g
	return gone
}

// hold makes a kept grant stand; drop gives up one that could not be kept.
func (b *Broker) hold(g *grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if gone := b.admit(g); gone != nil {
		b.trash = append(b.trash, grantKey+gone.ID)
	}
}

func (b *Broker) drop(g *grant) {
	b.mu.Lock()
	b.lose(g)
	b.mu.Unlock()
}

// granted passes a command that a standing grant covers.
func (b *Broker) granted(ctx context.Context, a *Ask, d *draft) (Approval, bool) {
	if d.grant == nil {
		return Approval{}, false
	}
	now := time.Now().UnixMilli()
	b.mu.Lock()
	g := b.grants[d.grant.key]
	if g == nil || !g.standing(now) || b.closed {
		b.mu.Unlock()
		return Approval{}, false
	}
	g.LastUsedAtMs, g.UseCount = now, g.UseCount+1
	row, grantID := grantRow(g), g.ID
	b.mu.Unlock()
	b.stats.Granted.Add(1)
	id := or(a.ID, uuid.NewString())
	b.note(&entry{id: id, kind: a.Kind, draft: *d}, "granted", &verdict{decision: AllowAlways, reason: reasonUser,
		resolver: resolver{Kind: "grant", ID: grantID}})
	if err := b.write(ctx, row); err != nil {
		b.deps.Log.Warn("the use of a standing grant could not be counted", "grant", grantID, "err", err)
	}
	return Approval{ID: id, Kind: a.Kind, Status: statusAllowed, Reason: reasonUser, Decision: AllowAlways, CreatedAtMs: now,
		ExpiresAtMs: now, ResolvedAt: now, SHA256: d.sum.String(), Allowed: d.allowed, Request: d.request, Presentation: d.presentation}, true
}

// Grants lists standing grants and those that were revoked or ended, newest first; limit
// 0 lists all.
func (b *Broker) Grants(limit int) []Grant {
	b.mu.Lock()
	out := make([]Grant, 0, len(b.byID))
	for _, g := range b.byID {
		if b.grants[g.Key] == g { // and not just being kept
			out = append(out, g.Grant)
		}
	}
	b.mu.Unlock()
	slices.SortFunc(out, func(a, b Grant) int {
		return cmp.Or(cmp.Compare(b.CreatedAtMs, a.CreatedAtMs), cmp.Compare(a.ID, b.ID))
	})
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

// Revoke ends a standing grant; outcome is revoked, already-revoked or not-found. It is
// durable when Revoke returns, and holds from the moment that it is called.
func (b *Broker) Revoke(ctx context.Context, id string, by *frames.Peer) (outcome string, err error) {
	if by == nil || by.Role != frames.RoleOperator || !by.Scopes.Allows(frames.ScopeApprovals) {
		return "", frames.MissingScope(frames.ScopeApprovals)
	}
	b.mu.Lock()
	g := b.byID[id]
	switch {
	case g == nil:
		b.mu.Unlock()
		return "not-found", nil
	case g.RevokedAtMs != 0:
		b.mu.Unlock()
		return "already-revoked", nil
	}
	g.RevokedAtMs = time.Now().UnixMilli()
	g.RevokedBy, _ = cutRunes(or(or(by.Client.DisplayName, by.Client.ID), "operator"), 200)
	row, grant := grantRow(g), g.Grant
	b.mu.Unlock()
	if b.deps.Journal != nil {
		b.deps.Journal(Note{AtMs: grant.RevokedAtMs, Action: "revoked", ID: grant.ID, Kind: KindExec, By: grant.RevokedBy,
			AgentID: grant.AgentID, Reason: "standing grant of approval " + grant.ApprovalID})
	}
	if err := b.write(ctx, row); err != nil {
		b.deps.Log.Error("a revoked grant could not be kept as revoked; it is until the next start", "grant", id, "err", err)
		return "", frames.Unavailable(1000, "the grant is revoked until the gateway restarts, but that could not be kept; try again")
	}
	return "revoked", nil
}
