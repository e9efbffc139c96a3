package dedupe

import (
	"container/list"
	"time"

	"sluice/pipeline"
	"sluice/storage"
)

// entry is one key, and the claim of the request that came with it first. Its fields
// are guarded by the table's lock.
type entry struct {
	stage    *Stage
	key      string
	method   string
	hash     [32]byte
	state    entryState
	payload  []byte
	replaced int // how often Replace was called
	settleNo uint64
	expires  time.Time
	place    *list.Element // in table.open or table.ended
	size     int64
	waiters  []*pipeline.Envelope
}

// Row implements pipeline.Claim. The row of a request that has started a run lives as
// long as a run may. A nil answer is the caller's to fill in: the run has ended, and
// the row lives on as that of any other request.
func (en *entry) Row(answer []byte) storage.IdempotencyRow {
	t := &en.stage.table
	t.mu.Lock()
	defer t.mu.Unlock()
	ttl := t.cfg.ttl()
	if en.replaced > 0 && answer != nil {
		answer = en.payload
		if en.replaced == 1 {
			ttl = t.cfg.runTTL()
		}
	}
	return storage.IdempotencyRow{Key: storageKey(en.key), ContentHash: hashText(en.hash),
		Method: en.method, Answer: append([]byte(nil), answer...), ExpiresAtMs: en.stage.now().Add(ttl).UnixMilli()}
}

// Replace implements pipeline.Claim. Called before the request has ended it promises
// that it will be called again: what duplicates get until then is not final. An entry
// that has left the table stays out; the store has what duplicates get.
func (en *entry) Replace(payload []byte) {
	t := &en.stage.table
	t.mu.Lock()
	defer t.mu.Unlock()
	en.payload = append([]byte(nil), payload...)
	en.replaced++
	if en.state != inFlight && t.entries[en.key] == en {
		t.settle(en, ended, en.stage.now())
	}
}

// Settle implements pipeline.Settler. An error is not kept: nothing was done, so the
// next try is a first one; those that waited get the same error now.
func (en *entry) Settle(e *pipeline.Envelope) {
	payload, err, _ := e.Result()
	t := &en.stage.table
	t.mu.Lock()
	waiters := en.waiters
	en.waiters = nil
	if err != nil {
		t.drop(en)
	} else {
		if en.replaced == 0 {
			en.payload = append([]byte(nil), payload...)
		}
		state := ended
		if en.replaced == 1 {
			state = open
		}
		t.settles++
		en.settleNo = t.settles
		payload = en.payload
		t.settle(en, state, en.stage.now())
	}
	t.mu.Unlock()
	for _, w := range waiters {
		if err != nil {
			w.Fail(err)
		} else {
			w.Answer(payload)
		}
		en.stage.resume(w)
	}
}
