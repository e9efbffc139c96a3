// Package persist is the last stage: it makes the effects of many envelopes durable in
// one transaction and lets their answers go only after that (design.md, law 3).
//
// One goroutine writes. It takes what is queued, runs every envelope's effects inside
// one storage.Update, and hands the envelopes to a second goroutine that resumes them
// after the fsync: latency is one fsync, with no artificial delay, and throughput grows
// with the number of writers that wait (group commit; libraries.md 2.4 measures 10 us a
// write at 256 callers against 660 us alone). The second goroutine is there because
// resuming an envelope runs whatever hangs on its end, and that may itself want to
// write (Update): on the writer's own goroutine it would wait for itself.
package persist

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
)

// Stage implements pipeline.Stage.
type Stage struct {
	cfg    Config
	store  storage.Store
	log    *slog.Logger
	resume func(*pipeline.Envelope, error)

	queue   *handoff[item]    // to the writer
	written *handoff[outcome] // to the releaser
	held    atomic.Int64      // envelopes taken and not yet resumed
	slots   chan struct{}     // one for each Update under way
	mu      sync.Mutex        // guards started
	started bool
	ended   chan struct{} // closed when both goroutines have ended

	overlay *storage.Overlay
	results []error // of the batch being written, by index

	Stats Stats
}

// Stats are the stage's counters.
type Stats struct {
	Commits atomic.Uint64 // transactions
	Written atomic.Uint64 // envelopes and updates made durable
	Failed  atomic.Uint64 // envelopes and updates refused because the store could not write
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
		queue: newHandoff[item](), written: newHandoff[outcome](),
		slots: make(chan struct{}, cfg.QueueUpdates), ended: make(chan struct{}),
		overlay: storage.NewOverlay(nil), results: make([]error, cfg.BatchEnvelopes)}, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "persist" }

// Start implements pipeline.Starter.
func (s *Stage) Start(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return nil
	}
	s.started = true
	go s.write()
	go s.release()
	return nil
}

// Stop implements pipeline.Stopper: what is queued is still written and answered; what
// comes later is refused. It may be called twice, and without Start.
func (s *Stage) Stop(ctx context.Context) error {
	s.queue.close()
	s.mu.Lock()
	if !s.started { // there is no writer, so this goroutine does its last round
		s.started = true
		go s.write()
		go s.release()
	}
	s.mu.Unlock()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("persist: still writing: %w", ctx.Err())
	}
}

// Health implements pipeline.Healther.
func (s *Stage) Health() string { return s.store.Health().Degraded }

// Waiting returns how many envelopes wait to be written or answered, and how many
// Updates are under way.
func (s *Stage) Waiting() (envelopes, updates int) { return int(s.held.Load()), len(s.slots) }

var (
	errQueueFull = frames.Unavailable(1000, "the disk cannot keep up with writes; nothing was changed; try again")
	errStopping  = frames.Unavailable(1000, "gateway restart in progress")
)

// Process implements pipeline.Stage: an envelope without effects has nothing to wait
// for; one that failed earlier has none to write.
func (s *Stage) Process(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if len(e.Effects) == 0 {
		return pipeline.Next, nil
	}
	if _, err, _ := e.Result(); err != nil {
		return pipeline.Next, nil
	}
	if s.held.Add(1) > int64(s.cfg.QueueEnvelopes) {
		s.held.Add(-1)
		s.Stats.Failed.Add(1)
		return pipeline.Done, errQueueFull
	}
	given := false
	v := e.Park(func() {
		given = true
		if !s.queue.put(item{e: e}) {
			s.held.Add(-1)
			s.resume(e, errStopping)
		}
	})
	if !given { // the stage's timeout has answered e; nothing of it may be written
		s.held.Add(-1)
	}
	return v, nil
}

// item is one entry of the write queue: an envelope, or a change of Sluice's own.
type item struct {
	e *pipeline.Envelope
	u *update
}

// outcome is a written envelope.
type outcome struct {
	e   *pipeline.Envelope
	err error
}

// update is a change that no envelope carries.
type update struct {
	fn    func(storage.Tx) error
	done  chan error // buffered
	state atomic.Int32
}

// The states of an update: whoever moves it on from queued decides its fate.
const (
	queued int32 = iota
	writing
	withdrawn
)

// Update runs fn in the next batch and returns when it is durable. It is for changes
// that no envelope carries (a run that starts, a device that was seen): there is one
// writer, and this is its door. fn must not block. It may be called from hooks of an
// envelope's end, but not from an Effect.
//
// ctx bounds the wait for fn's turn: when it ends before that, fn never runs. A
// transaction that has begun is waited for. After Stop it returns storage.ErrClosed.
func (s *Stage) Update(ctx context.Context, fn func(storage.Tx) error) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.ended:
		return storage.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	u := &update{fn: fn, done: make(chan error, 1)}
	if !s.queue.put(item{u: u}) {
		return storage.ErrClosed
	}
	select {
	case err := <-u.done:
		return err
	case <-ctx.Done():
		if u.state.CompareAndSwap(queued, withdrawn) {
			return ctx.Err()
		}
		return <-u.done
	}
}
