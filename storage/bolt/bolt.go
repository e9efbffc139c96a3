// Package bolt keeps the state in one bbolt file: the default backend.
//
// A Store is opened by Open, which checks the whole file, sets a damaged one aside and
// compacts one that is mostly free; it owns the file and its lock until Close. Views
// run side by side on memory-mapped pages (about 1 us for a View with one Get);
// Updates run one at a time, each with one sync. The persist stage makes few, large
// Updates out of many small effects.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

// Store implements storage.Store on one bbolt file. It is safe for concurrent use.
type Store struct {
	path     string
	db       *bbolt.DB
	writer   chan struct{} // holds one token while an Update runs: a lock that heeds ctx
	closed   atomic.Bool
	broken   atomic.Pointer[error]
	degraded disk.Degraded
	setAside []string
}

var _ storage.Store = (*Store)(nil)

func (s *Store) createBuckets() error {
	missing := false
	err := s.db.View(func(tx *bbolt.Tx) error {
		for _, c := range storage.Collections {
			missing = missing || tx.Bucket([]byte(c)) == nil
		}
		return nil
	})
	if err != nil || !missing {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, c := range storage.Collections {
			if _, err := tx.CreateBucketIfNotExists([]byte(c)); err != nil {
				return fmt.Errorf("create the collection %s in %s: %w", c, s.path, err)
			}
		}
		return nil
	})
}

// View implements storage.Store. ctx is looked at before fn starts.
func (s *Store) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	tx, err := s.begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// A page that the disk cannot deliver is a fault in mapped memory, which would end
	// the process; this makes it a panic, and catch makes that an error.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	r := reader{tx: tx}
	return fn(&r)
}

// Update implements storage.Store. ctx is heeded while it waits for its turn and once
// more before the commit; a commit that has begun is finished.
func (s *Store) Update(ctx context.Context, fn func(storage.Tx) error) error {
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.broken.Load(); err != nil {
		return *err
	}
	tx, err := s.begin(true)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	w := writer{reader: reader{tx: tx}}
	if err := fn(&w); err != nil {
		if errors.Is(err, storage.ErrFull) {
			s.degraded.Note(s.path, err) // MaxBytes is met by a Put
		}
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !w.dirty {
		return nil // a commit would cost its two syncs all the same
	}
	id := tx.ID()
	return s.settle(id, commit(tx, s.path))
}

// settle notes how a commit ended. When the last sync fails, the new meta page may be
// readable all the same: the transaction is neither in nor out. Then no further write
// is taken, so that nothing is acknowledged on top of it.
func (s *Store) settle(id int, err error) error {
	if err == nil {
		return s.degraded.Note(s.path, nil)
	}
	err = s.degraded.Note(s.path, err)
	tx, beginErr := s.db.Begin(false)
	if beginErr != nil {
		return err
	}
	defer tx.Rollback()
	if tx.ID() >= id {
		broken := fmt.Errorf("%s takes no more writes, as a failed sync left its last transaction in doubt; restart when the disk is well: %w", s.path, err)
		s.broken.Store(&broken)
		s.degraded.Note(s.path, broken)
	}
	return err
}

func commit(tx *bbolt.Tx, path string) (err error) {
	defer catch(&err, path)
	if err := tx.Commit(); err != nil {
		return named(err, path)
	}
	return nil
}

// begin starts a transaction with the error names of package storage.
func (s *Store) begin(writable bool) (*bbolt.Tx, error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	tx, err := s.db.Begin(writable)
	if err != nil {
		return nil, named(err, s.path)
	}
	return tx, nil
}

// Health implements storage.Store.
func (s *Store) Health() storage.Health {
	return storage.Health{
		Backend:  storage.KindBolt,
		Path:     s.path,
		Degraded: s.degraded.Why(),
		SetAside: append([]string(nil), s.setAside...),
	}
}

// Close waits for running transactions, then releases the file and its lock.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// named gives a bbolt error the sentinel that callers look for.
func named(err error, path string) error {
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen), errors.Is(err, berrors.ErrTxClosed):
		return fmt.Errorf("%w: %s", storage.ErrClosed, path)
	case errors.Is(err, berrors.ErrMaxSizeReached):
		return fmt.Errorf("%w: %s has reached storage.bolt.maxBytes; raise it or delete something", storage.ErrFull, path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// catch turns a panic of bbolt over unreadable pages into storage.ErrCorrupt. It is
// deferred only around calls into bbolt, never around a caller's function.
func catch(err *error, path string) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %s: %v; restart to set the damaged file aside", storage.ErrCorrupt, path, p)
	}
}
