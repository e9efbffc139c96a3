package dedupe

import (
	"encoding/hex"
	"sync"
	"time"

	"sluice/pipeline"
	"sluice/storage"
)

// shard is a part of the table. Entries expire in the order in which they were settled
// (the TTL is one for all), so expiry pops from the front of a queue: O(1) a request.
type shard struct {
	mu      sync.Mutex
	entries map[string]*entry
	fifo    []*entry // settled, by expiry
}

// entry is one key. Its fields are guarded by its shard's lock.
type entry struct {
	stage    *Stage
	shard    *shard
	key      string
	method   string
	hash     [32]byte
	settled  bool
	payload  []byte
	replaced bool // payload was set by Replace
	expires  time.Time
	waiters  []*pipeline.Envelope
}

// expire drops what is past its time.
func (sh *shard) expire(now time.Time) {
	i := 0
	for i < len(sh.fifo) && !sh.fifo[i].expires.After(now) {
		sh.drop(sh.fifo[i])
		i++
	}
	if i > 0 {
		sh.fifo = append(sh.fifo[:0], sh.fifo[i:]...)
	}
}

// evict makes room by dropping the settled entry that is nearest its end: it stays in
// the store, so forgetting it here costs a read, not a second effect.
func (sh *shard) evict() bool {
	if len(sh.fifo) == 0 {
		return false
	}
	sh.drop(sh.fifo[0])
	sh.fifo = append(sh.fifo[:0], sh.fifo[1:]...)
	return true
}

func (sh *shard) drop(en *entry) {
	if sh.entries[en.key] == en {
		delete(sh.entries, en.key)
	}
}

// Row implements pipeline.Claim.
func (en *entry) Row(answer []byte) storage.IdempotencyRow {
	en.shard.mu.Lock()
	defer en.shard.mu.Unlock()
	if en.replaced {
		answer = en.payload
	}
	return storage.IdempotencyRow{Key: storageKey(en.key), ContentHash: hex.EncodeToString(en.hash[:]),
		Method: en.method, Answer: append([]byte(nil), answer...),
		ExpiresAtMs: en.stage.now().Add(en.stage.ttl()).UnixMilli()}
}

// Replace implements pipeline.Claim.
func (en *entry) Replace(payload []byte) {
	en.shard.mu.Lock()
	defer en.shard.mu.Unlock()
	en.payload, en.replaced = append([]byte(nil), payload...), true
	if en.settled { // a run's end: its time starts anew
		en.shard.unqueue(en)
		en.expires = en.stage.now().Add(en.stage.ttl())
		en.shard.fifo = append(en.shard.fifo, en)
		en.shard.entries[en.key] = en
	}
}

func (sh *shard) unqueue(en *entry) {
	for i, x := range sh.fifo {
		if x == en {
			sh.fifo = append(sh.fifo[:i], sh.fifo[i+1:]...)
			return
		}
	}
}

// Settle implements pipeline.Settler. An error is not kept: nothing was done, so the
// next try is a first one; those that waited get the same error now.
func (en *entry) Settle(e *pipeline.Envelope) {
	payload, err, _ := e.Result()
	en.shard.mu.Lock()
	waiters := en.waiters
	en.waiters = nil
	if err != nil {
		en.shard.drop(en)
	} else {
		if !en.replaced {
			en.payload = append([]byte(nil), payload...)
		}
		en.settled = true
		en.expires = en.stage.now().Add(en.stage.ttl())
		en.shard.fifo = append(en.shard.fifo, en)
	}
	answer := en.payload
	en.shard.mu.Unlock()
	for _, w := range waiters {
		if err != nil {
			w.Fail(err)
		} else {
			w.Answer(answer)
		}
		en.stage.resume(w)
	}
}
