package connect

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"sluice/frames"
)

// class is a kind of credential; failures of one do not lock another out.
type class string

const (
	classShared    class = "shared-secret"
	classDevice    class = "device-token"
	classBootstrap class = "bootstrap-token"
)

// subject is who failures are counted for.
type subject struct {
	key string
	// exempt: a client of this machine is delayed instead of locked out, so that a
	// broken script cannot lock its own user out.
	exempt bool
}

// subjectOf is the client's address. A page in a browser of this machine counts by its
// origin and is not exempt: any web site could make a visitor's browser guess.
func subjectOf(h *frames.Handshake) subject {
	if !hasOrigin(h) {
		return subject{key: h.RemoteIP, exempt: h.Local}
	}
	if addr, ok := address(h.RemoteIP); !ok || !addr.IsLoopback() {
		return subject{key: h.RemoteIP}
	}
	o, ok := parseOrigin(h.Origin)
	if !ok {
		return subject{key: "browser-origin:invalid"}
	}
	text := o.text
	if len(text) > 128 { // a key's memory must not be the peer's choice
		sum := sha256.Sum256([]byte(text))
		text = hex.EncodeToString(sum[:])
	}
	return subject{key: "browser-origin:" + text}
}

// exemptFailures is how many failures of an exempt client are kept: the delay has
// reached any sensible FailureDelayMaxMs by then.
const exemptFailures = 16

type limiterKey struct {
	class class
	who   string
}

type limiterEntry struct {
	failures []int64 // ms, oldest first; at most max(Config.MaxFailures, exemptFailures)
	locked   int64   // ms; 0 = not locked out
}

// limiter counts failed authentications by credential class and client (wire.md 3.8;
// CVE-2026-62220). It is bounded: when it is full of lockouts, clients that it does not
// know are refused too.
type limiter struct {
	cfg Config

	mu       sync.Mutex
	entries  map[limiterKey]*limiterEntry
	overflow int64 // ms until which unknown clients are refused
	swept    int64 // ms of the last sweep
	started  time.Time
}

func newLimiter(cfg Config) *limiter {
	return &limiter{cfg: cfg, entries: make(map[limiterKey]*limiterEntry), started: time.Now()}
}

// at is a reading of the limiter's own clock, which does not follow the wall clock when
// that is set: a lockout must not last a year because the clock went back one.
func (l *limiter) at(now time.Time) int64 { return now.Sub(l.started).Milliseconds() + clockOrigin }

// clockOrigin keeps readings above 0, which means never, and above any window.
const clockOrigin = 1 << 42

// check reports whether the client may try a credential of this class now; otherwise
// retryMs is how long it is locked out.
func (l *limiter) check(c class, s subject, now time.Time) (retryMs int64, ok bool) {
	if s.exempt {
		return 0, true
	}
	ms := l.at(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[limiterKey{c, s.key}]
	if e == nil {
		return l.checkOverflow(ms)
	}
	l.refresh(e, ms)
	if e.locked > ms {
		return e.locked - ms, false
	}
	return 0, true
}

func (l *limiter) checkOverflow(ms int64) (int64, bool) {
	if l.overflow <= ms {
		return 0, true
	}
	l.sweep(ms)
	if len(l.entries) < l.cfg.LimiterEntries {
		l.overflow = 0
		return 0, true
	}
	return l.overflow - ms, false
}

// fail counts a failure. For an exempt client it returns how long its answer waits.
func (l *limiter) fail(c class, s subject, now time.Time) time.Duration {
	ms := l.at(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	key := limiterKey{c, s.key}
	e := l.entries[key]
	if e == nil {
		if !l.room(ms) {
			l.overflow = max(l.overflow, ms+l.cfg.LockoutMs)
			return l.penalty(s, 1)
		}
		e = &limiterEntry{}
		l.entries[key] = e
	}
	l.refresh(e, ms)
	if e.locked > ms {
		return 0
	}
	if s.exempt && len(e.failures) >= exemptFailures {
		e.failures = append(e.failures[:0], e.failures[1:]...)
	}
	e.failures = append(e.failures, ms)
	if !s.exempt && len(e.failures) >= l.cfg.MaxFailures {
		e.locked = ms + l.cfg.LockoutMs
	}
	return l.penalty(s, len(e.failures))
}

// penalty is the delay of an exempt client's n-th failure: base * 2^(n-1), capped.
func (l *limiter) penalty(s subject, n int) time.Duration {
	if !s.exempt {
		return 0
	}
	ms := l.cfg.FailureDelayMs
	for ; n > 1 && ms < l.cfg.FailureDelayMaxMs; n-- {
		ms *= 2
	}
	return time.Duration(min(ms, l.cfg.FailureDelayMaxMs)) * time.Millisecond
}

// reset forgets a client that has proved itself.
func (l *limiter) reset(c class, s subject) {
	l.mu.Lock()
	if len(l.entries) > 0 {
		delete(l.entries, limiterKey{c, s.key})
	}
	l.mu.Unlock()
}

func (l *limiter) refresh(e *limiterEntry, ms int64) {
	if e.locked != 0 && e.locked <= ms {
		e.locked, e.failures = 0, e.failures[:0]
	}
	cut := 0
	for cut < len(e.failures) && e.failures[cut] <= ms-l.cfg.FailureWindowMs {
		cut++
	}
	if cut > 0 {
		e.failures = append(e.failures[:0], e.failures[cut:]...)
	}
}

// room makes place for one more entry: expired ones go first, then any that is not
// locked out.
func (l *limiter) room(ms int64) bool {
	if len(l.entries) < l.cfg.LimiterEntries {
		return true
	}
	l.sweep(ms)
	if len(l.entries) < l.cfg.LimiterEntries {
		return true
	}
	for k, e := range l.entries {
		if e.locked <= ms {
			delete(l.entries, k)
			return true
		}
	}
	return false
}

// sweepEveryMs keeps a flood that fills the table from scanning it for each failure.
const sweepEveryMs = 1000

func (l *limiter) sweep(ms int64) {
	if ms-l.swept < sweepEveryMs {
		return
	}
	l.swept = ms
	for k, e := range l.entries {
		if l.refresh(e, ms); e.locked <= ms && len(e.failures) == 0 {
			delete(l.entries, k)
		}
	}
}

// size is the number of remembered clients.
func (l *limiter) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}
