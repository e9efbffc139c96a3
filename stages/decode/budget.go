package decode

import (
	"fmt"
	"sync"
	"time"

	"sluice/frames"
)

// budget counts control-plane writes in fixed windows by method, device and address.
type budget struct {
	cfg Config
	now func() time.Time
	mu  sync.Mutex
	use map[budgetKey]*window
}

type budgetKey struct{ method, device, ip string }

type window struct {
	start time.Time
	count int
}

func newBudget(cfg Config) *budget {
	return &budget{cfg: cfg, now: time.Now, use: make(map[budgetKey]*window)}
}

func (b *budget) take(method string, peer *frames.Peer) *frames.Error {
	now := b.now()
	span := time.Duration(b.cfg.ControlPlaneWindowMs) * time.Millisecond
	key := budgetKey{method, peer.DeviceID, peer.RemoteIP}
	if key.device == "" && key.ip == "" {
		key.ip = peer.ConnID // nothing is known of the caller; it shares with nobody
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.use[key]
	if w == nil || now.Sub(w.start) >= span || now.Before(w.start) {
		if w == nil && len(b.use) >= b.cfg.MaxBudgetEntries {
			b.sweep(now, span)
		}
		w = &window{start: now}
		b.use[key] = w
	}
	if w.count < b.cfg.ControlPlaneWrites {
		w.count++
		return nil
	}
	left := span - now.Sub(w.start)
	err := frames.Unavailable(int64((left+time.Millisecond-1)/time.Millisecond), "rate limit exceeded for %s; retry after %ds",
		method, (left+time.Second-1)/time.Second)
	return err.WithDetails(map[string]any{"method": method,
		"limit": fmt.Sprintf("%d per %ds", b.cfg.ControlPlaneWrites, b.cfg.ControlPlaneWindowMs/1000)})
}

// sweep drops windows that are over; if none is, the oldest goes: forgetting a count
// early lets one caller write a little more, refusing would lock out all new ones.
func (b *budget) sweep(now time.Time, span time.Duration) {
	var oldest budgetKey
	var at time.Time
	for k, w := range b.use {
		if now.Sub(w.start) >= span {
			delete(b.use, k)
		} else if at.IsZero() || w.start.Before(at) {
			oldest, at = k, w.start
		}
	}
	if len(b.use) >= b.cfg.MaxBudgetEntries {
		delete(b.use, oldest)
	}
}
