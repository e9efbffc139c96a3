// Package sqlite keeps the state in one SQLite database (modernc.org/sqlite, no cgo):
// slower than bolt to read, and open to every tool that speaks SQL.
//
// A table for each collection, WAL with synchronous=FULL, one connection that writes
// and a few that read. A Store owns its database, by a lock on <path>-lock, from Open
// to Close; reading it meanwhile with the sqlite3 tool is fine.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

// Store implements storage.Store on one SQLite database. It is safe for concurrent use.
type Store struct {
	path     string
	lock     *os.File
	degraded disk.Degraded
	setAside []string
	closed   atomic.Bool
	life     sync.RWMutex // read-held by every View; Close waits for it

	readDB  *sql.DB
	readers chan *session // idle ones; a nil stands for one that is yet to be opened

	writeDB *sql.DB
	writer  chan *session // holds the one writing session while no Update runs
	broken  atomic.Pointer[error]
}

var _ storage.Store = (*Store)(nil)

// View implements storage.Store. ctx is heeded until fn starts.
func (s *Store) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	var se *session
	select {
	case se = <-s.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.readers <- se }()
	if se == nil {
		var err error
		if se, err = newSession(s.readDB); err != nil {
			return s.named(err)
		}
	}
	if err := se.exec("BEGIN"); err != nil {
		return s.named(err)
	}
	r := reader{store: s, session: se}
	defer func() {
		r.ended.Store(true)
		if err := se.rollback(); err != nil {
			se.close()
			se = nil
		}
	}()
	// BEGIN alone takes no snapshot; the first read does.
	if st, err := se.stmt("SELECT 1 FROM " + table(storage.Meta) + " LIMIT 1"); err == nil {
		var one int
		if err := st.QueryRowContext(background).Scan(&one); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return s.named(err)
		}
	} else {
		return s.named(err)
	}
	return fn(&r)
}

// Update implements storage.Store. ctx is heeded while it waits for its turn and once
// more before the commit; a commit that has begun is finished.
func (s *Store) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if s.closed.Load() {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	var se *session
	select {
	case se = <-s.writer:
		defer func() { s.writer <- se }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	if err := s.broken.Load(); err != nil {
		return *err
	}
	if err := se.exec("BEGIN IMMEDIATE"); err != nil {
		return s.degraded.Note(s.path, s.named(err))
	}
	w := writer{reader{store: s, session: se}}
	committed := false
	defer func() {
		w.ended.Store(true)
		if committed {
			return
		}
		if err := se.rollback(); err != nil {
			s.breakWith(fmt.Errorf("roll back: %w", err))
		}
	}()
	if err := fn(&w); err != nil {
		if errors.Is(err, storage.ErrFull) {
			s.degraded.Note(s.path, err) // met by a Put
		}
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := se.exec("COMMIT"); err != nil {
		var e *driver.Error
		if errors.As(err, &e) && e.Code() == lib.SQLITE_IOERR_FSYNC {
			// Its frames may be on the disk or not: nothing may be built on them.
			s.breakWith(err)
		}
		return s.degraded.Note(s.path, s.named(err))
	}
	committed = true
	return s.degraded.Note(s.path, nil)
}

// breakWith refuses further writes: the last transaction is in doubt.
func (s *Store) breakWith(err error) {
	broken := fmt.Errorf("%s takes no more writes, as its last transaction is in doubt; restart when the disk is well: %w", s.path, err)
	s.broken.Store(&broken)
	s.degraded.Note(s.path, broken)
}

// named gives a SQLite error the sentinel that callers look for.
func (s *Store) named(err error) error {
	var e *driver.Error
	if err == nil || !errors.As(err, &e) {
		if errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) {
			return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
		}
		return err
	}
	switch {
	case e.Code()&0xff == lib.SQLITE_FULL:
		return fmt.Errorf("%w: %s: %w; free some space or raise storage.sqlite.maxBytes, then write again", storage.ErrFull, s.path, err)
	case damaging(err):
		return fmt.Errorf("%w: %s: %w; restart to set the damaged file aside", storage.ErrCorrupt, s.path, err)
	case e.Code() == lib.SQLITE_IOERR_WRITE:
		// SQLite names only ENOSPC; a quota or a limit is "some write failed". Ask the
		// file system what it says to a write at the same place.
		if why := probe(s.path); why != nil {
			return fmt.Errorf("%s: %w: %w", s.path, err, why)
		}
	}
	return fmt.Errorf("%s: %w", s.path, err)
}

// probe writes a page where the write-ahead file ends, to a file of its own, and
// returns the operating system's error.
func probe(path string) error {
	info, err := os.Stat(path + "-wal")
	if err != nil {
		return err
	}
	name := path + ".probe"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, disk.FileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 64<<10), info.Size())
	return errors.Join(err, f.Close(), os.Remove(name))
}

// damaging reports whether SQLite says that the file is not a sound database.
func damaging(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && (e.Code()&0xff == lib.SQLITE_CORRUPT || e.Code()&0xff == lib.SQLITE_NOTADB)
}

// Health implements storage.Store.
func (s *Store) Health() storage.Health {
	return storage.Health{
		Backend:  storage.KindSQLite,
		Path:     s.path,
		Degraded: s.degraded.Why(),
		SetAside: append([]string(nil), s.setAside...),
	}
}

// Close waits for running transactions, moves the write-ahead file's content into the
// database and gives it up.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	w := <-s.writer
	defer func() { s.writer <- nil }() // an Update that waited sees closed
	s.life.Lock()
	defer s.life.Unlock()
	return errors.Join(s.closeReaders(), s.closeWriter(w), s.lock.Close())
}

func (s *Store) closeReaders() error {
	var errs []error
	for range cap(s.readers) {
		if se := <-s.readers; se != nil {
			errs = append(errs, se.close())
		}
	}
	return errors.Join(append(errs, s.readDB.Close())...)
}

func (s *Store) closeWriter(w *session) error {
	// Best effort: what stays in the write-ahead file is read from there by the next Open.
	_ = w.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(w.close(), s.writeDB.Close())
}
