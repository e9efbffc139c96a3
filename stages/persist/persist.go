// Package persist is the last stage: it makes the effects of many envelopes durable in
// one transaction and lets their answers go only after that (design.md, law 3).
//
// One goroutine writes. It takes what is queued, runs every envelope's effects inside
// one storage.Update, and resumes them all after the fsync: latency is one fsync, with
// no artificial delay, and throughput grows with the number of writers that wait
// (group commit; libraries.md 2.4 measures 10 us a write at 256 callers against 660 us
// alone).
package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
)

// Config bounds the write queue.
type Config struct {
	QueueEnvelopes int `json:"queueEnvelopes" doc:"envelopes that wait to be written; at the bound writes are refused with UNAVAILABLE" min:"1"`
	BatchEnvelopes int `json:"batchEnvelopes" doc:"envelopes in one transaction" min:"1"`
}

// Default returns the embedded defaults; libraries.md 2.4 measured batches of 256.
func Default() Config { return Config{QueueEnvelopes: 4096, BatchEnvelopes: 256} }

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	if c.QueueEnvelopes < 1 {
		return fmt.Errorf("queueEnvelopes: %d; at least 1", c.QueueEnvelopes)
	}
	if c.BatchEnvelopes < 1 {
		return fmt.Errorf("batchEnvelopes: %d; at least 1", c.BatchEnvelopes)
	}
	return nil
}

// Stage implements pipeline.Stage.
type Stage struct {
	cfg    Config
	store  storage.Store
	log    *slog.Logger
	resume func(*pipeline.Envelope, error)

	queue   chan item
	quit    chan struct{}
	done    chan struct{}
	stop    sync.Once
	overlay *storage.Overlay
	results []error // of the batch being written, by index

	Stats Stats
}

// Stats are the stage's counters.
type Stats struct {
	Commits atomic.Uint64 // transactions
	Written atomic.Uint64 // envelopes made durable
	Failed  atomic.Uint64 // envelopes refused because the store could not write
	Commit  pipeline.Histogram
}

var (
	_ pipeline.Stage    = (*Stage)(nil)
	_ pipeline.Starter  = (*Stage)(nil)
	_ pipeline.Stopper  = (*Stage)(nil)
	_ pipeline.Healther = (*Stage)(nil)
)

// New returns the stage. resume is the pipeline's Resume.
func New(cfg Config, store storage.Store, resume func(*pipeline.Envelope, error), log *slog.Logger) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Stage{cfg: cfg, store: store, log: log, resume: resume,
		queue: make(chan item, cfg.QueueEnvelopes),
		quit:  make(chan struct{}), done: make(chan struct{}),
		overlay: storage.NewOverlay(nil), results: make([]error, cfg.BatchEnvelopes)}, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "persist" }

// Start implements pipeline.Starter.
func (s *Stage) Start(context.Context) error {
	go s.write()
	return nil
}

// Stop implements pipeline.Stopper: what is queued is still written.
func (s *Stage) Stop(ctx context.Context) error {
	s.stop.Do(func() { close(s.quit) })
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("persist: still writing: %w", ctx.Err())
	}
}

// Health implements pipeline.Healther.
func (s *Stage) Health() string { return s.store.Health().Degraded }

// Process implements pipeline.Stage: an envelope without effects has nothing to wait
// for; one that failed earlier has none to write.
func (s *Stage) Process(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if len(e.Effects) == 0 {
		return pipeline.Next, nil
	}
	if len(s.queue) == cap(s.queue) {
		s.Stats.Failed.Add(1)
		return pipeline.Done, errQueueFull
	}
	return e.Park(func() { s.queue <- item{e: e} }), nil
}

// item is one entry of the write queue: an envelope, or a change of Sluice's own.
type item struct {
	e    *pipeline.Envelope
	fn   func(storage.Tx) error
	done chan error // of fn; buffered
}

// Update runs fn in the next batch and returns when it is durable. It is for changes
// that no envelope carries (a run that starts, a device that was seen): there is one
// writer, and this is its door. fn must not block.
func (s *Stage) Update(ctx context.Context, fn func(storage.Tx) error) error {
	it := item{fn: fn, done: make(chan error, 1)}
	select {
	case s.queue <- it:
	case <-s.quit:
		return storage.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-it.done:
		return err
	case <-s.done:
		select {
		case err := <-it.done:
			return err
		default:
			return storage.ErrClosed
		}
	}
}

var errQueueFull = frames.Unavailable(1000, "the disk cannot keep up with writes; nothing was changed; try again")

func (s *Stage) write() {
	defer close(s.done)
	batch := make([]item, 0, s.cfg.BatchEnvelopes)
	for {
		select {
		case it := <-s.queue:
			batch = s.fill(append(batch[:0], it))
			s.commit(batch)
		case <-s.quit:
			if batch = s.fill(batch[:0]); len(batch) == 0 {
				return
			}
			s.commit(batch)
		}
	}
}

// fill takes what else is queued, up to the batch bound.
func (s *Stage) fill(batch []item) []item {
	for len(batch) < s.cfg.BatchEnvelopes {
		select {
		case it := <-s.queue:
			batch = append(batch, it)
		default:
			return batch
		}
	}
	return batch
}

// commit writes one batch and resumes its envelopes. The batch is all or nothing on
// the disk's part; an effect that refuses (a conflict, a missing session) undoes only
// its own envelope's writes.
func (s *Stage) commit(batch []item) {
	begin := pipeline.Now()
	err := s.store.Update(context.Background(), func(tx storage.Tx) error {
		for i, it := range batch {
			err := s.apply(tx, it)
			s.results[i] = err
			if err != nil && isStorage(err) {
				return err
			}
		}
		return nil
	})
	s.Stats.Commit.Observe(pipeline.Now() - begin)
	s.Stats.Commits.Add(1)
	if err != nil {
		s.failed(batch, err)
		return
	}
	for i, it := range batch {
		if s.results[i] == nil {
			s.Stats.Written.Add(1)
		}
		batch[i] = item{}
		s.finish(it, s.results[i])
	}
}

func (s *Stage) finish(it item, err error) {
	if it.e == nil {
		it.done <- err
		return
	}
	s.resume(it.e, err)
}

func (s *Stage) failed(batch []item, err error) {
	s.Stats.Failed.Add(uint64(len(batch)))
	s.log.Error("state could not be saved", "err", err, "requests", len(batch))
	answer := frames.Unavailable(2000, "state could not be saved (%s); nothing was changed; try again", why(err))
	for i, it := range batch {
		batch[i] = item{}
		s.finish(it, answer)
	}
}

// why names the cause in words that a client may see: no paths.
func why(err error) string {
	switch {
	case errors.Is(err, storage.ErrFull):
		return "the disk is full"
	case errors.Is(err, storage.ErrClosed):
		return "the gateway is stopping"
	}
	return "the store failed; the gateway's log has the cause"
}

// apply runs one item's effects above tx. A panic is its own failure, not the batch's.
func (s *Stage) apply(tx storage.Tx, it item) (err error) {
	s.overlay.Reset(tx)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("effect panicked: %v", r)
		}
	}()
	if err := s.run(it); err != nil {
		return err
	}
	if err := s.overlay.Flush(); err != nil {
		return storageError{err}
	}
	return nil
}

func (s *Stage) run(it item) error {
	if it.e == nil {
		return it.fn(s.overlay)
	}
	for _, eff := range it.e.Effects {
		if err := eff.Apply(s.overlay, it.e); err != nil {
			return err
		}
	}
	return s.remember(it.e)
}

// remember stores the answer under the idempotency key in the same transaction, so
// that a client that never saw the acknowledgement and asks again, even after a
// restart, gets it instead of a second effect.
func (s *Stage) remember(e *pipeline.Envelope) error {
	if e.Claim == nil {
		return nil
	}
	payload, _, ok := e.Result()
	if !ok {
		return nil
	}
	row := e.Claim.Row(payload)
	return storage.PutIdempotency(s.overlay, &row)
}

// storageError marks failures of the store itself, which fail the whole batch.
type storageError struct{ error }

func (e storageError) Unwrap() error { return e.error }

func isStorage(err error) bool {
	var se storageError
	return errors.As(err, &se) || errors.Is(err, storage.ErrFull) || errors.Is(err, storage.ErrClosed)
}
