package jsonfile

import (
	"sync"
	"sync/atomic"
)

// entry is one version of one key's value: on disk, in memory, or both.
//
// Invariants: data is set as long as the file does not hold this version, that is,
// before its file is written (dirty) and for ever once the file is about to be replaced
// (stale, for Views that still see this version). Between the two the cache may drop it.
type entry struct {
	file string // within the collection's folder
	data atomic.Pointer[[]byte]

	// Guarded by cache.mu.
	cached, stale bool
}

// entryOverhead is what one cached value costs beside its bytes.
const entryOverhead = 128

// cache bounds the values in memory. It drops the oldest first.
type cache struct {
	mu    sync.Mutex
	limit int64
	used  int64
	queue []*entry
}

// add makes the value of e, which its file holds, available from memory.
func (c *cache) add(e *entry, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.stale || e.cached {
		return
	}
	e.data.Store(&value)
	e.cached = true
	c.queue = append(c.queue, e)
	c.used += int64(len(value)) + entryOverhead
	drop := 0
	for ; c.used > c.limit && drop < len(c.queue); drop++ {
		old := c.queue[drop]
		c.queue[drop] = nil
		c.used -= int64(len(*old.data.Load())) + entryOverhead
		old.cached = false
		if !old.stale {
			old.data.Store(nil)
		}
	}
	c.queue = c.queue[drop:]
}

// retire prepares for e's file to be replaced: its value stays in memory for the Views
// that still see it. read is called if it is not there.
func (c *cache) retire(e *entry, read func() ([]byte, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.data.Load() == nil {
		if value, err := read(); err == nil {
			e.data.Store(&value)
		} // else those Views meet the unreadable file themselves
	}
	e.stale = true
}
