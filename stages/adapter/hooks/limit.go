package hooks

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// limiter counts failed authentications by address, of a bounded number of addresses.
type limiter struct {
	mu  sync.Mutex
	max int
	by  map[string]*failures
}

type failures struct {
	count       int
	since       time.Time // start of the window
	lockedUntil time.Time
	last        time.Time
}

func newLimiter(max int) *limiter { return &limiter{max: max, by: make(map[string]*failures)} }

// clientKey is what failures count against: the address, of IPv6 its /64, which is what
// one host has.
func clientKey(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// fail counts a failure. It returns how long the address is still locked out, 0 when it
// was not and this failure is answered as such.
func (l *limiter) fail(client string, now time.Time, cfg *Config) time.Duration {
	window := time.Duration(cfg.AuthWindowMs) * time.Millisecond
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.by[client]
	if f == nil {
		l.makeRoom(now, window)
		f = &failures{since: now}
		l.by[client] = f
	}
	if wait := f.lockedUntil.Sub(now); wait > 0 {
		return wait
	}
	if now.Sub(f.since) > window || !f.lockedUntil.IsZero() {
		*f = failures{since: now}
	}
	f.count++
	f.last = now
	if f.count >= cfg.AuthFailures {
		f.lockedUntil = now.Add(time.Duration(cfg.AuthLockoutMs) * time.Millisecond)
	}
	return 0
}

// makeRoom removes what has expired, else the address that was quiet the longest.
func (l *limiter) makeRoom(now time.Time, window time.Duration) {
	if len(l.by) < l.max {
		return
	}
	quiet := ""
	for client, f := range l.by {
		if now.After(f.lockedUntil) && now.Sub(f.since) > window {
			delete(l.by, client)
		} else if quiet == "" || f.last.Before(l.by[quiet].last) {
			quiet = client
		}
	}
	if len(l.by) >= l.max {
		delete(l.by, quiet)
	}
}

func (l *limiter) reset(client string) {
	l.mu.Lock()
	delete(l.by, client)
	l.mu.Unlock()
}

// replays remembers signed requests until their signature has expired. When it is full
// nothing is forgotten early: new requests are refused until there is room.
type replays struct {
	mu    sync.Mutex
	max   int
	until map[[sha256.Size]byte]time.Time
	swept time.Time
}

type replay uint8

const (
	replayFirst replay = iota
	replayUsed
	replayFull
)

func newReplays(max int) *replays {
	return &replays{max: max, until: make(map[[sha256.Size]byte]time.Time)}
}

func (r *replays) use(sum [sha256.Size]byte, now time.Time, keep time.Duration) replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until, ok := r.until[sum]; ok && now.Before(until) {
		return replayUsed
	}
	if len(r.until) >= r.max && now.Sub(r.swept) > time.Second {
		r.swept = now
		for k, until := range r.until {
			if !now.Before(until) {
				delete(r.until, k)
			}
		}
	}
	if len(r.until) >= r.max {
		return replayFull
	}
	r.until[sum] = now.Add(keep)
	return replayFirst
}
