package reputation

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

// key is what was looked up.
type key struct {
	kind thing
	sum  [sha256.Size]byte
}

// cache remembers verdicts until they expire; when it is full the one that was not used
// for longest goes.
type cache struct {
	mu    sync.Mutex
	most  int
	m     map[key]*list.Element
	order list.List // most recently used first
}

type cached struct {
	key     key
	verdict verdict
	until   time.Time
}

func newCache(most int) *cache { return &cache{most: most, m: map[key]*list.Element{}} }

func (c *cache) get(k key, now time.Time) (verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[k]
	if !ok {
		return verdict{}, false
	}
	entry := e.Value.(*cached)
	if !now.Before(entry.until) {
		c.order.Remove(e)
		delete(c.m, k)
		return verdict{}, false
	}
	c.order.MoveToFront(e)
	return entry.verdict, true
}

func (c *cache) put(k key, v verdict, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.m[k]; ok {
		e.Value = &cached{k, v, until}
		c.order.MoveToFront(e)
		return
	}
	for len(c.m) >= c.most {
		oldest := c.order.Back()
		delete(c.m, oldest.Value.(*cached).key)
		c.order.Remove(oldest)
	}
	c.m[k] = c.order.PushFront(&cached{k, v, until})
}

// flights are the questions under way: one a key, and most in all.
type flights struct {
	mu     sync.Mutex
	m      map[key]*flight
	most   int
	closed bool
	wg     sync.WaitGroup // one for each in m; grows under mu while not closed
}

// flight is one question; verdict may be read when done is closed.
type flight struct {
	done    chan struct{}
	verdict verdict
}

// join returns the question about k, and whether the caller has to ask it; nil when
// there are too many already.
func (f *flights) join(k key) (fl *flight, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.m[k]; ok {
		return fl, false
	}
	if f.closed || len(f.m) >= f.most {
		return nil, false
	}
	fl = &flight{done: make(chan struct{})}
	f.m[k] = fl
	f.wg.Add(1)
	return fl, true
}

// leave answers everybody who waits for fl; it must follow a first join.
func (f *flights) leave(k key, fl *flight, v verdict) {
	f.mu.Lock()
	delete(f.m, k)
	f.mu.Unlock()
	fl.verdict = v
	close(fl.done)
	f.wg.Done()
}

// close refuses further questions and waits for those under way.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wg.Wait()
}

// breaker stops asking after failures in a row, for a while; then one question is tried.
type breaker struct {
	most     int
	cooldown time.Duration

	mu       sync.Mutex
	failures int
	until    time.Time // closed to questions before that
	trying   bool      // the one question after it
	reason   string
}

// allow takes leave to ask; succeeded, failed or cancel must follow.
func (b *breaker) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return true
	}
	if now.Before(b.until) || b.trying {
		return false
	}
	b.trying = true
	return true
}

// failed reports whether the breaker closed the door. A pause closes it at once.
func (b *breaker) failed(now time.Time, pause time.Duration, reason string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	was := !b.until.IsZero()
	if pause == 0 && b.failures < b.most && !was {
		return false
	}
	b.until, b.trying, b.reason = now.Add(max(pause, b.cooldown)), false, reason
	return !was
}

func (b *breaker) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures, b.until, b.trying, b.reason = 0, time.Time{}, false, ""
}

// cancel gives leave back that was not used.
func (b *breaker) cancel() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
}

func (b *breaker) why(now time.Time) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.until) {
		return b.reason
	}
	return ""
}
