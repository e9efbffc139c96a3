package policy

import (
	"container/list"
	"time"
)

// recent is a map that forgets what was not used for longest when it is full. It is not
// safe for concurrent use.
type recent[V any] struct {
	most  int
	m     map[string]*list.Element
	order list.List // most recently used first
}

type recentEntry[V any] struct {
	key   string
	value V
}

func newRecent[V any](most int) *recent[V] {
	return &recent[V]{most: most, m: map[string]*list.Element{}}
}

// at returns the value of key, which is new when there was none.
func (r *recent[V]) at(key string) *V {
	if e, ok := r.m[key]; ok {
		r.order.MoveToFront(e)
		return &e.Value.(*recentEntry[V]).value
	}
	for len(r.m) >= r.most {
		oldest := r.order.Back()
		delete(r.m, oldest.Value.(*recentEntry[V]).key)
		r.order.Remove(oldest)
	}
	entry := &recentEntry[V]{key: key}
	r.m[key] = r.order.PushFront(entry)
	return &entry.value
}

// maxKey bounds a session's or sender's name as a key; longer ones share what their
// beginning has.
const maxKey = 512

func bounded(key string) string {
	if key == "" {
		return "global" // as the first runtime's scheduler has it
	}
	return key[:min(len(key), maxKey)]
}

// calls are a session's last calls, as hashes, oldest first.
type calls struct {
	hashes []uint64
}

// maxPeriod is the most calls of a round.
const maxPeriod = 3

// add notes a call and returns how often in a row the same call, or the same round of
// two or three calls, has come. It looks no further back than most of them.
func (c *calls) add(hash uint64, most int) int {
	keep := maxPeriod * most
	if len(c.hashes) >= keep {
		c.hashes = append(c.hashes[:0], c.hashes[len(c.hashes)-keep+1:]...)
	}
	c.hashes = append(c.hashes, hash)
	best := 1
	for period := 1; period <= maxPeriod; period++ {
		n := len(c.hashes)
		same := 0
		for i := n - 1; i-period >= 0 && c.hashes[i] == c.hashes[i-period]; i-- {
			same++
		}
		// same+period calls are rounds of period; a round counts as one call.
		if rounds := (same + period) / period; same > 0 {
			best = max(best, rounds)
		}
	}
	return best
}

// bucket is a sender's token bucket.
type bucket struct {
	tokens float64
	at     time.Time // zero = never used
}

// take takes one token of perMinute, at most burst.
func (b *bucket) take(now time.Time, perMinute, burst int) bool {
	if b.at.IsZero() {
		b.tokens = float64(burst)
	} else if passed := now.Sub(b.at); passed > 0 {
		b.tokens = min(float64(burst), b.tokens+passed.Minutes()*float64(perMinute))
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
