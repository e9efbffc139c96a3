// Package dedupe is the second stage: one idempotency key has one effect.
//
// The key is (identity, namespace, idempotency key); beside it stands a hash of the
// content. The first envelope goes on and holds the key; an identical one gets the
// first's answer, also while the first is in flight; the same key with other content is
// a conflict where the protocol says so (wire.md 3.10). Another identity has its own
// keys: nobody is ever given somebody else's answer. What was acknowledged is stored
// with its effects by the persist stage, so keys survive a restart.
package dedupe

import (
	"context"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
)

// Stage implements pipeline.Stage.
type Stage struct {
	cfg    Config
	store  storage.Store
	resume func(*pipeline.Envelope)
	now    func() time.Time
	seed   maphash.Seed
	shards [shardCount]shard

	Stats Stats
}

// Stats are the stage's counters.
type Stats struct {
	First     atomic.Uint64 // keys seen for the first time
	Replayed  atomic.Uint64 // duplicates that got the first's answer
	Joined    atomic.Uint64 // duplicates that waited for one in flight
	Conflicts atomic.Uint64 // same key, other content
	Refused   atomic.Uint64 // table or waiters at their bound
}

const shardCount = 16

var (
	_ pipeline.Stage   = (*Stage)(nil)
	_ pipeline.Settler = (*entry)(nil)
	_ pipeline.Claim   = (*entry)(nil)
)

// New returns the stage over store. resumeDone is the pipeline's ResumeDone.
func New(cfg Config, store storage.Store, resumeDone func(*pipeline.Envelope)) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Stage{cfg: cfg, store: store, resume: resumeDone, now: time.Now, seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].entries = make(map[string]*entry)
	}
	return s, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "dedupe" }

var (
	errConflict = frames.Invalid("This message ID was already used for different input. Check the conversation history and use a new message ID to send again.").
			WithDetails(map[string]any{"reason": "chat-request-conflict"})
	errTableFull = frames.Unavailable(1000, "too many requests with an idempotency key are in flight; try again")
)

// Process implements pipeline.Stage.
func (s *Stage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	m := e.Frame.Spec
	if m == nil || !m.Effect || e.Peer == nil || e.Source == pipeline.SourceTurn {
		return pipeline.Next, nil
	}
	rule, ok := rules[m.Name]
	if !ok {
		return pipeline.Next, nil
	}
	raw, ok := idempotencyKey(e.Frame.Params)
	if !ok {
		return pipeline.Next, nil
	}
	key := e.Peer.Identity + "\x00" + rule.namespace + "\x00" + raw
	hash := contentHash(m.Name, e.Frame.Params, rule.volatile)
	sh := &s.shards[maphash.String(s.seed, key)%shardCount]
	return s.admit(ctx, sh, e, rule, key, hash)
}

// admit decides under the shard's lock what e is: first, duplicate or conflict.
func (s *Stage) admit(ctx context.Context, sh *shard, e *pipeline.Envelope, rule rule, key string, hash [32]byte) (pipeline.Verdict, error) {
	now := s.now()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.expire(now)
	en := sh.entries[key]
	if en == nil {
		var err error
		if en, err = s.recall(ctx, sh, e.Frame.Method, key, now); err != nil {
			return pipeline.Done, err
		}
	}
	switch {
	case en == nil:
		return s.first(sh, e, key, hash)
	case en.hash != hash && rule.conflict:
		s.Stats.Conflicts.Add(1)
		return pipeline.Done, errConflict
	case en.settled:
		s.Stats.Replayed.Add(1)
		e.Answer(en.payload)
		return pipeline.Done, nil
	case len(en.waiters) >= s.cfg.MaxWaiters:
		s.Stats.Refused.Add(1)
		return pipeline.Done, errTableFull
	}
	s.Stats.Joined.Add(1)
	return e.Park(func() { en.waiters = append(en.waiters, e) }), nil
}

func (s *Stage) first(sh *shard, e *pipeline.Envelope, key string, hash [32]byte) (pipeline.Verdict, error) {
	if len(sh.entries) >= s.cfg.MaxEntries/shardCount+1 && !sh.evict() {
		s.Stats.Refused.Add(1)
		return pipeline.Done, errTableFull
	}
	s.Stats.First.Add(1)
	en := &entry{stage: s, shard: sh, key: key, hash: hash, method: e.Frame.Method}
	sh.entries[key] = en
	e.Claim = en
	e.OnSettle(en)
	return pipeline.Next, nil
}

// recall looks for a key that was acknowledged before a restart, or that the table had
// no room to keep. The store is only asked for keys that the table does not know, and
// its answer is not put into the table: a run that a restart brought back still changes
// it there.
func (s *Stage) recall(ctx context.Context, sh *shard, method, key string, now time.Time) (*entry, error) {
	var row storage.IdempotencyRow
	found := false
	err := s.store.View(ctx, func(r storage.Reader) error {
		var err error
		row, err = storage.GetIdempotency(r, storageKey(key))
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		found = err == nil
		return err
	})
	if err != nil || !found || row.ExpiresAtMs <= now.UnixMilli() {
		return nil, err
	}
	en := &entry{stage: s, shard: sh, key: key, method: method, settled: true,
		payload: append([]byte(nil), row.Answer...), expires: time.UnixMilli(row.ExpiresAtMs)}
	hex.Decode(en.hash[:], []byte(row.ContentHash))
	return en, nil
}

// Size is the number of keys in the table.
func (s *Stage) Size() int {
	n := 0
	for i := range s.shards {
		s.shards[i].mu.Lock()
		n += len(s.shards[i].entries)
		s.shards[i].mu.Unlock()
	}
	return n
}
