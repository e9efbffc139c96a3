package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
)

// write is the writer: it ends when the queue is closed and empty.
func (s *Stage) write() {
	defer s.written.close()
	var all []item
	for {
		var ok bool
		if all, ok = s.queue.take(all); !ok {
			return
		}
		for rest := all; len(rest) > 0; {
			n := min(len(rest), s.cfg.BatchEnvelopes)
			s.commit(rest[:n])
			rest = rest[n:]
		}
	}
}

// release resumes what was written, in the order in which it was.
func (s *Stage) release() {
	defer close(s.ended)
	var all []outcome
	for {
		var ok bool
		if all, ok = s.written.take(all); !ok {
			return
		}
		for _, o := range all {
			s.resume(o.e, o.err)
			s.held.Add(-1)
		}
	}
}

// commit writes one batch and hands its envelopes on. The batch is all or nothing on
// the disk's part; an effect that refuses (a conflict, a missing session) undoes only
// its own envelope's writes.
func (s *Stage) commit(batch []item) {
	if batch = begin(batch); len(batch) == 0 {
		return
	}
	at := pipeline.Now()
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
	s.overlay.Reset(nil)
	s.Stats.Commit.Observe(pipeline.Now() - at)
	s.Stats.Commits.Add(1)
	if err != nil {
		s.Stats.Failed.Add(uint64(len(batch)))
		s.log.Error("state could not be saved", "err", err, "requests", len(batch))
		answer := frames.Unavailable(2000, "state could not be saved (%s); nothing was changed; try again", why(err))
		for i := range batch {
			s.results[i] = answer
		}
	}
	s.finish(batch)
}

// begin leaves out the updates whose callers have gone meanwhile.
func begin(batch []item) []item {
	keep := batch[:0]
	for _, it := range batch {
		if it.u == nil || it.u.state.CompareAndSwap(queued, writing) {
			keep = append(keep, it)
		}
	}
	return keep
}

// finish answers the updates at once and hands the envelopes to the releaser. It never
// waits for it: what the releaser runs may be waiting for one of these updates.
func (s *Stage) finish(batch []item) {
	out := make([]outcome, 0, len(batch))
	for i, it := range batch {
		err := s.results[i]
		if err == nil {
			s.Stats.Written.Add(1)
		}
		if it.u != nil {
			it.u.done <- err
		} else {
			out = append(out, outcome{it.e, err})
		}
	}
	s.written.put(out...)
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
			s.log.LogAttrs(context.Background(), slog.LevelError, "an effect panicked", slog.Any("panic", r),
				slog.String("stack", string(debug.Stack())))
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
	if it.u != nil {
		return it.u.fn(s.overlay)
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
// restart, gets it instead of a second effect. A refusal is not kept.
func (s *Stage) remember(e *pipeline.Envelope) error {
	if e.Claim == nil {
		return nil
	}
	payload, failed, ok := e.Result()
	if !ok || failed != nil {
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
