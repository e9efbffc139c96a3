package decode

import (
	"fmt"
	"sync"
	"time"

	"sluice/frames"
)

// Config bounds what one client may ask for.
type Config struct {
	ControlPlaneWrites   int `json:"controlPlaneWrites" doc:"control-plane writes (config.patch, update.run, …) a method, device and address may make in a window" min:"1"`
	ControlPlaneWindowMs int `json:"controlPlaneWindowMs" doc:"that window" unit:"ms" min:"1000"`
	MaxBudgetEntries     int `json:"maxBudgetEntries" doc:"callers whose control-plane writes are counted at the same time" min:"16"`
	MaxUnauthorizedCalls int `json:"maxUnauthorizedCalls" doc:"calls of the other role's methods in a row before the connection is closed" min:"1"`
}

// Default returns the real gateway's limits (wire.md 3.6 and 3.8).
func Default() Config {
	return Config{ControlPlaneWrites: 30, ControlPlaneWindowMs: 60_000, MaxBudgetEntries: 1024, MaxUnauthorizedCalls: 10}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.ControlPlaneWrites < 1:
		return fmt.Errorf("controlPlaneWrites: %d; at least 1", c.ControlPlaneWrites)
	case c.ControlPlaneWindowMs < 1000:
		return fmt.Errorf("controlPlaneWindowMs: %d; at least 1000", c.ControlPlaneWindowMs)
	case c.MaxBudgetEntries < 16:
		return fmt.Errorf("maxBudgetEntries: %d; at least 16", c.MaxBudgetEntries)
	case c.MaxUnauthorizedCalls < 1:
		return fmt.Errorf("maxUnauthorizedCalls: %d; at least 1", c.MaxUnauthorizedCalls)
	}
	return nil
}

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
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.use[key]
	if w == nil || now.Sub(w.start) >= span {
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
	err := frames.Unavailable(left.Milliseconds(), "rate limit exceeded for %s; retry after %ds",
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
