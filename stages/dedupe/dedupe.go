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
	"errors"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
)

// Stage implements pipeline.Stage.
type Stage struct {
	store  storage.Store
	resume func(*pipeline.Envelope)
	now    func() time.Time
	table  table

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
	return &Stage{store: store, resume: resumeDone, now: time.Now,
		table: table{cfg: cfg, entries: make(map[string]*entry)}}, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "dedupe" }

var (
	errConflict = frames.Invalid("This message ID was already used for different input. Check the conversation history and use a new message ID to send again.").
			WithDetails(map[string]any{"reason": "chat-request-conflict"})
	errTableFull = frames.Unavailable(1000, "too many requests with an idempotency key are in flight; try again")
	errWaiters   = frames.Unavailable(1000, "too many repetitions of this request wait for its answer; try again")
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
	return s.admit(ctx, &request{e: e, rule: rule, key: key, hash: contentHash(m.Name, e.Frame.Params, rule.volatile)})
}

// request is what admit decides on.
type request struct {
	e    *pipeline.Envelope
	rule rule
	key  string
	hash [32]byte
	// recalled: the store was read, and certainly shows what had settled by then.
	recalled bool
	settled  uint64
}

// admit decides what r is: first, duplicate or conflict. A key that the table does not
// know may be in the store, from before a restart or from before it was evicted. That
// is read without the table's lock, and read again if meanwhile the table could have
// both learned and forgotten the key.
func (s *Stage) admit(ctx context.Context, r *request) (pipeline.Verdict, error) {
	for {
		if v, err, decided := s.decide(r); decided {
			return v, err
		}
		row, err := s.recall(ctx, r.key)
		if err != nil {
			return pipeline.Done, err
		}
		if row != nil {
			return s.replayRow(r, row)
		}
	}
}

// decide decides under the table's lock, if what is known is enough.
func (s *Stage) decide(r *request) (v pipeline.Verdict, err error, decided bool) {
	t := &s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(s.now())
	if en := t.entries[r.key]; en != nil {
		v, err = s.duplicate(r, en)
		return v, err, true
	}
	if r.recalled && t.evicted <= r.settled {
		v, err = s.first(r)
		return v, err, true
	}
	r.recalled, r.settled = true, t.settles
	return 0, nil, false
}

// duplicate handles a request whose key is in the table.
func (s *Stage) duplicate(r *request, en *entry) (pipeline.Verdict, error) {
	switch {
	case en.hash != r.hash && r.rule.conflict:
		s.Stats.Conflicts.Add(1)
		return pipeline.Done, errConflict
	case en.state != inFlight:
		s.Stats.Replayed.Add(1)
		r.e.Answer(en.payload)
		return pipeline.Done, nil
	case len(en.waiters) >= s.table.cfg.MaxWaiters:
		s.Stats.Refused.Add(1)
		return pipeline.Done, errWaiters
	}
	s.Stats.Joined.Add(1)
	return r.e.Park(func() { en.waiters = append(en.waiters, r.e) }), nil
}

func (s *Stage) first(r *request) (pipeline.Verdict, error) {
	if !s.table.trim(1) {
		s.Stats.Refused.Add(1)
		return pipeline.Done, errTableFull
	}
	s.Stats.First.Add(1)
	en := &entry{stage: s, key: r.key, hash: r.hash, method: r.e.Frame.Method}
	s.table.add(en)
	r.e.Claim = en
	r.e.OnSettle(en)
	return pipeline.Next, nil
}

// recall looks for a key that was acknowledged before a restart, or that the table had
// no room to keep; nil means that there is none. Its answer is not put into the table:
// a run that a restart brought back still changes it in the store.
func (s *Stage) recall(ctx context.Context, key string) (*storage.IdempotencyRow, error) {
	var found *storage.IdempotencyRow
	err := s.store.View(ctx, func(r storage.Reader) error {
		row, err := storage.GetIdempotency(r, storageKey(key))
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err == nil && row.ExpiresAtMs > s.now().UnixMilli() {
			row.Answer = row.Answer.Clone() // it must outlive the transaction
			found = &row
		}
		return err
	})
	return found, err
}

func (s *Stage) replayRow(r *request, row *storage.IdempotencyRow) (pipeline.Verdict, error) {
	if row.ContentHash != hashText(r.hash) && r.rule.conflict {
		s.Stats.Conflicts.Add(1)
		return pipeline.Done, errConflict
	}
	s.Stats.Replayed.Add(1)
	r.e.Answer(row.Answer)
	return pipeline.Done, nil
}

// Size is the number of keys in the table.
func (s *Stage) Size() int {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	return len(s.table.entries)
}

// Bytes is what the table holds, at most Config.MaxBytes and the keys in flight.
func (s *Stage) Bytes() int64 {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	return s.table.bytes
}
