package approval

import (
	"context"
	"slices"
	"sync"
	"time"

	"sluice/frames"
)

// Resolution is an operator's decision.
type Resolution struct {
	ID, Decision string
	// Kind is the kind that the approval must have. Unified is approval.resolve: there,
	// another kind or a decision that is not offered denies ("malformed-verdict").
	Kind    string
	Unified bool
	// By is the connection that decides.
	By *frames.Peer
	// SHA256 is the sum, in hex, of the content that the operator was shown; when it is
	// given and is not the bound one, nothing is allowed.
	SHA256 string
	// GrantDays ends a standing grant after so many days; 0 is the configuration's.
	GrantDays int
}

// The results of Resolve.
const (
	Applied     = "applied"
	Same        = "same"        // decided before, in the same way
	Conflict    = "conflict"    // decided before, otherwise
	Missing     = "missing"     // no such approval
	Unavailable = "unavailable" // the approval does not offer this decision
	Changed     = "changed"     // SHA256 differs
	Self        = "self"        // the requester may not approve (allowSelf)
	Forbidden   = "forbidden"   // By is no operator that may approve
)

// Resolve takes the first decision on an approval: it is durable, journaled and announced
// when Resolve returns Applied. An error is a *frames.Error, or ctx's, and nothing was
// decided then.
func (b *Broker) Resolve(ctx context.Context, r Resolution) (Approval, string, error) {
	if p := r.By; p == nil || p.Role != frames.RoleOperator || !p.Scopes.Allows(frames.ScopeApprovals) {
		b.stats.Refused.Add(1)
		return Approval{}, Forbidden, nil
	}
	e := b.find(r.ID)
	if e == nil || !r.Unified && e.kind != r.Kind {
		return Approval{}, Missing, nil
	}
	if err := b.take(ctx, e); err != nil {
		return Approval{}, "", err
	}
	defer b.release(e)
	if !b.ended(e) && !time.Now().Before(e.deadline) {
		b.finish(e, timedOut)
	}
	if b.ended(e) {
		v := b.view(e)
		if v.Decision != "" && v.Decision == r.Decision {
			return v, Same, nil
		}
		return v, Conflict, nil
	}
	v, refusal := b.verdict(e, &r)
	if refusal != "" {
		b.stats.Refused.Add(1)
		b.note(e, "refused", &verdict{reason: refusal, decision: r.Decision, by: v.by, resolver: v.resolver})
		return b.view(e), refusal, nil
	}
	if err := b.keep(ctx, e, &v, r.GrantDays); err != nil {
		return Approval{}, "", err
	}
	b.finish(e, v)
	return b.view(e), Applied, nil
}

// verdict checks r against e.
func (b *Broker) verdict(e *entry, r *Resolution) (v verdict, refusal string) {
	v = verdict{status: statusDenied, decision: Deny, reason: reasonUser, by: or(r.By.Client.DisplayName, r.By.Client.ID)}
	v.resolver = resolver{Kind: "runtime", ID: v.by}
	if r.Unified {
		v.resolver.ID = r.By.Client.ID
		if r.By.DeviceID != "" {
			v.resolver = resolver{Kind: "device", ID: r.By.DeviceID}
		}
	}
	offered := slices.Contains(e.allowed, r.Decision)
	switch {
	case r.Unified && (r.Kind != e.kind || !offered):
		v.reason = reasonMalformed
		return v, ""
	case !offered:
		return v, Unavailable
	case r.Decision == Deny:
		return v, ""
	case r.SHA256 != "" && r.SHA256 != e.sum.String():
		return v, Changed
	case !b.cfg.Load().AllowSelf && (e.conn != "" && e.conn == r.By.ConnID || e.device != "" && e.device == r.By.DeviceID):
		return v, Self
	}
	v.status, v.decision = statusAllowed, r.Decision
	return v, ""
}

// keep makes v durable: nothing is allowed that a crash would forget.
func (b *Broker) keep(ctx context.Context, e *entry, v *verdict, days int) error {
	v.atMs = time.Now().UnixMilli()
	changes := []Change{b.endRow(e, v)}
	var g *grant
	if v.decision == AllowAlways && e.grant != nil {
		var dead string
		if g, dead = b.mint(e, days); g == nil {
			return frames.Unavailable(0, "%d standing grants exist already; revoke some, or allow this once", b.cfg.Load().MaxGrants)
		}
		changes = append(changes, grantRow(g))
		if dead != "" {
			changes = append(changes, Change{Key: grantKey + dead})
		}
	}
	if err := b.write(ctx, changes...); err != nil {
		b.deps.Log.Error("a decision could not be kept; the approval still waits", "id", e.id, "err", err)
		if g != nil {
			b.drop(g)
		}
		return frames.Unavailable(1000, "approval resolve unavailable")
	}
	if g != nil {
		b.hold(g)
	}
	return nil
}

// take waits for the right to decide on e. Whoever has it calls release.
func (b *Broker) take(ctx context.Context, e *entry) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release gives the right back. The timer looks again: it passes over what is being
// decided.
func (b *Broker) release(e *entry) {
	<-e.turn
	b.mu.Lock()
	b.arm()
	b.mu.Unlock()
}

func (b *Broker) ended(e *entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.end != nil
}

var (
	timedOut  = verdict{status: statusExpired, reason: reasonTimeout, resolver: system}
	restarted = verdict{status: statusCancelled, reason: reasonRestart, resolver: system}
	aborted   = verdict{status: statusCancelled, reason: reasonAborted, resolver: system}
)

// finish ends e with v and tells everybody. The caller has e's turn and knows that it has
// not ended. What denies is not kept from anybody for the disk's sake: its row follows.
func (b *Broker) finish(e *entry, v verdict) {
	if v.atMs == 0 {
		v.atMs = time.Now().UnixMilli()
	}
	b.note(e, v.status, &v)
	b.mu.Lock()
	e.end = &v
	b.forget(e)
	b.trash = append(b.trash, b.past.add(e, b.cfg.Load())...)
	close(e.done)
	b.mu.Unlock()
	b.count(v.status)
	b.announceEnd(e, &v)
	if e.decided != nil {
		e.decided(v)
	}
	if v.reason != reasonUser && v.reason != reasonMalformed {
		if err := b.write(context.Background(), b.endRow(e, &v)); err != nil {
			b.deps.Log.Warn("the end of an approval could not be kept; it stays denied", "id", e.id, "err", err)
		}
	}
}

func (b *Broker) count(status string) {
	switch status {
	case statusAllowed:
		b.stats.Allowed.Add(1)
	case statusDenied:
		b.stats.Denied.Add(1)
	case statusExpired:
		b.stats.Expired.Add(1)
	case statusCancelled:
		b.stats.Cancelled.Add(1)
	}
}

// Cancel ends an approval whose run was aborted; it reports whether it still waited.
func (b *Broker) Cancel(ctx context.Context, id string) bool {
	e := b.find(id)
	if e == nil || b.take(ctx, e) != nil {
		return false
	}
	defer b.release(e)
	if b.ended(e) {
		return false
	}
	b.finish(e, aborted)
	return true
}

// arm sets the timer to the earliest end of what waits. b.mu is held.
func (b *Broker) arm() {
	var first time.Time
	for _, e := range b.pending {
		if e.active && e.end == nil && len(e.turn) == 0 && (first.IsZero() || e.deadline.Before(first)) {
			first = e.deadline
		}
	}
	if b.timer != nil {
		b.timer.Stop()
	}
	if first.IsZero() || b.closed {
		return
	}
	d := max(0, time.Until(first))
	if b.timer == nil {
		b.timer = time.AfterFunc(d, b.tick)
	} else {
		b.timer.Reset(d)
	}
}

// tick denies what nobody decided in time.
func (b *Broker) tick() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.wg.Add(1)
	now := time.Now()
	var due []*entry
	for _, e := range b.pending {
		if e.active && e.end == nil && !now.Before(e.deadline) {
			select {
			case e.turn <- struct{}{}:
				due = append(due, e)
			default: // somebody decided in time
			}
		}
	}
	b.mu.Unlock()
	defer b.wg.Done()
	var ending sync.WaitGroup // side by side: a slow disk must not make the last wait for all
	for _, e := range due {
		ending.Go(func() {
			b.finish(e, timedOut)
			<-e.turn
		})
	}
	ending.Wait()
	b.mu.Lock()
	b.arm()
	b.mu.Unlock()
}

// Redeem checks, at the moment of use, that an approval allows exactly the content with
// this sum, and uses up an allow-once. It is how what runs is bound to what was approved.
func (b *Broker) Redeem(id string, sum Sum) bool {
	e := b.find(id)
	if e == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.end == nil || e.end.status != statusAllowed || e.sum != sum || e.consumed {
		return false
	}
	e.consumed = e.end.decision == AllowOnce
	return true
}
