package dedupe

import (
	"container/list"
	"sync"
	"time"
)

// table holds the keys in memory. An entry is in flight, then open if its request
// started a run that has not ended, then ended. Those in flight stay; open and ended
// ones leave when their time is over, or, at the bounds, the oldest first: they are in
// the store, so forgetting them here costs a read, not a second effect.
//
// One lock guards it all: a request with a key waits for a disk anyway, and the lock is
// never held while the store is read (an Update of the store may be waiting for the
// lock, in entry.Row).
type table struct {
	mu      sync.Mutex
	cfg     Config
	entries map[string]*entry
	open    list.List // *entry, by expiry: the time is one for all, so the oldest is in front
	ended   list.List // likewise
	bytes   int64

	// settles counts settled entries; evicted is the highest such number that was
	// evicted. Who reads the store remembers settles before: whatever was settled by
	// then is in what it reads, and anything younger that was evicted meanwhile is not.
	settles uint64
	evicted uint64
}

type entryState uint8

const (
	inFlight entryState = iota
	open
	ended
)

// expire drops what is past its time.
func (t *table) expire(now time.Time) {
	for _, l := range []*list.List{&t.ended, &t.open} {
		for f := l.Front(); f != nil && !f.Value.(*entry).expires.After(now); f = l.Front() {
			t.drop(f.Value.(*entry))
		}
	}
}

// trim evicts until the table has room for n more entries and is within its bytes;
// false means that too many are in flight.
func (t *table) trim(n int) bool {
	for len(t.entries)+n > t.cfg.MaxEntries || t.bytes > t.cfg.MaxBytes {
		f := t.ended.Front()
		if f == nil {
			f = t.open.Front()
		}
		if f == nil {
			return len(t.entries)+n <= t.cfg.MaxEntries
		}
		en := f.Value.(*entry)
		t.evicted = max(t.evicted, en.settleNo)
		t.drop(en)
	}
	return true
}

func (t *table) add(en *entry) {
	t.entries[en.key] = en
	t.resize(en)
}

// resize accounts for what en holds now.
func (t *table) resize(en *entry) {
	size := int64(entryBytes + 2*len(en.key) + len(en.payload))
	t.bytes += size - en.size
	en.size = size
}

// entryBytes is what an entry costs beside its key and answer.
const entryBytes = 320

// drop takes en out. Its claim may live on: it then changes nothing any more.
func (t *table) drop(en *entry) {
	if t.entries[en.key] != en {
		return
	}
	delete(t.entries, en.key)
	t.bytes -= en.size
	en.size = 0
	t.unlist(en)
}

func (t *table) unlist(en *entry) {
	if en.place == nil {
		return
	}
	if en.state == open {
		t.open.Remove(en.place)
	} else {
		t.ended.Remove(en.place)
	}
	en.place = nil
}

// settle moves en, which is in the table, to the state that follows from what its
// request has promised.
func (t *table) settle(en *entry, state entryState, now time.Time) {
	t.unlist(en)
	en.state = state
	if state == open {
		en.expires = now.Add(t.cfg.runTTL())
		en.place = t.open.PushBack(en)
	} else {
		en.expires = now.Add(t.cfg.ttl())
		en.place = t.ended.PushBack(en)
	}
	t.resize(en)
	t.trim(0)
}
