package policy

import (
	"errors"
	"sync"
	"time"
)

// ErrTaintFull says that more sessions are tainted than taint.sessions: until some end,
// privileged tools are reviewed in every session.
var ErrTaintFull = errors.New("policy: more sessions are tainted than defend.policy.taint.sessions")

// taints are the sessions into whose turn content of foreign origin has come.
type taints struct {
	mu sync.Mutex
	m  map[string]taint
	// full is until when a session that could not be noted may be tainted.
	full time.Time
	// version counts what SaveTaints has to keep; keptVersion is what it has kept.
	version, keptVersion uint64
}

type taint struct {
	origin string
	at     time.Time
}

// maxOrigin bounds an origin's name.
const maxOrigin = 64

func (t *taints) mark(key, origin string, now time.Time, most int, age time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if have, ok := t.m[key]; ok {
		if now.Sub(have.at) > age/64 { // often enough for what is kept of it
			t.version++
		}
		have.at = now
		t.m[key] = have // the first origin is what the reason names
		return nil
	}
	if len(t.m) >= most {
		t.expire(now, age)
	}
	if len(t.m) >= most {
		t.full = now.Add(age)
		return ErrTaintFull
	}
	t.version++
	t.m[key] = taint{origin[:min(len(origin), maxOrigin)], now}
	return nil
}

// of returns the origin that tainted a session; ok is false when none did.
func (t *taints) of(key string, now time.Time, age time.Duration) (origin string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if have, found := t.m[key]; found {
		if now.Sub(have.at) < age {
			return have.origin, true
		}
		delete(t.m, key)
	}
	if now.Before(t.full) {
		return "an origin that was not noted: too many sessions are tainted", true
	}
	return "", false
}

func (t *taints) expire(now time.Time, age time.Duration) {
	for key, have := range t.m {
		if now.Sub(have.at) >= age {
			delete(t.m, key)
		}
	}
}

func (t *taints) clear(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.m[key]; ok {
		t.version++
		delete(t.m, key)
	}
}

func (t *taints) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m)
}
