// Package jsonfile keeps the state in a folder that a person can read: a folder for
// each collection, in it one JSON file for each key, named after the key.
//
// It is for small installations and for looking inside; bolt is faster. A transaction
// is one synced record in a journal, then the files are replaced one by one; Open
// replays the journal. Values may be edited by hand while the gateway is stopped.
//
// A Store owns its folder, by a lock on the folder itself, from Open to Close.
package jsonfile

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

// Store implements storage.Store on a folder. It is safe for concurrent use.
//
// Lock order: life before writer before cache.mu.
type Store struct {
	path     string
	cfg      Config
	seed     maphash.Seed
	folder   *os.File // holds the lock
	cache    cache
	roots    atomic.Pointer[roots]
	degraded disk.Degraded
	setAside []string
	closed   atomic.Bool
	life     sync.RWMutex // read-held by every View and Update; Close waits for it

	writer chan struct{} // one token while an Update runs; guards what follows
	log    journal
	broken error
	// dirty names files and folders that are changed and not synced; the journal still
	// holds what is in them.
	dirty map[string]struct{}
	// unapplied are values that are in the journal and could not be written to their
	// files (a full disk); they are served from memory until a later Update writes them.
	unapplied []*entry
	redo      bool // the files must be made from the journal again
	tmpSeq    uint64
}

var _ storage.Store = (*Store)(nil)

// View implements storage.Store. ctx is looked at before fn starts.
func (s *Store) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	r := reader{s: s, roots: *s.roots.Load()}
	defer r.ended.Store(true)
	return fn(&r)
}

// Update implements storage.Store. ctx is heeded while it waits for its turn and once
// more before the commit; a commit that has begun is finished.
func (s *Store) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if s.closed.Load() {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	if err := s.ready(); err != nil {
		return s.degraded.Note(s.path, err)
	}
	w := writer{reader: reader{s: s, roots: *s.roots.Load()}, index: make(map[opKey]int)}
	defer w.ended.Store(true)
	if err := fn(&w); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(w.ops) == 0 {
		return nil
	}
	return s.commit(&w)
}

// ready makes sure that the files hold what the journal says, after an earlier failure.
func (s *Store) ready() error {
	if s.broken != nil {
		return s.broken
	}
	if !s.redo {
		return nil
	}
	if err := s.replayFile(); err != nil {
		return fmt.Errorf("write the files of an earlier transaction: %w", err)
	}
	s.redo = false
	for _, e := range s.unapplied {
		if p := e.data.Load(); p != nil {
			s.cache.add(e, *p)
		}
	}
	s.unapplied = nil
	return nil
}

// replayFile applies the journal in this process again.
func (s *Store) replayFile() error {
	b, err := os.ReadFile(filepath.Join(s.path, journalName))
	if err != nil {
		return err
	}
	_, err = replay(b[:min(int64(len(b)), s.log.size)], s.applyAll)
	return err
}

// commit makes w's changes durable, then visible, then readable as files.
func (s *Store) commit(w *writer) error {
	if err := s.log.append(frame(w.ops)); err != nil {
		if errors.Is(err, errInDoubt) {
			s.broken = fmt.Errorf("%s: %w", s.path, err)
		}
		return s.degraded.Note(s.path, fmt.Errorf("write the journal: %w", err))
	}
	s.degraded.Note(s.path, nil)
	before := s.roots.Load()
	for _, o := range w.ops {
		if old := find(before[o.c.Index()], o.key); old != nil {
			s.cache.retire(old, func() ([]byte, error) { return s.readEntry(o.c, old) })
		}
	}
	after := w.roots
	s.roots.Store(&after)
	for i, o := range w.ops {
		err := s.apply(o)
		if err == nil {
			if o.put {
				s.cache.add(find(after[o.c.Index()], o.key), o.value)
			}
			continue
		}
		// The transaction is durable: it succeeded. Its files wait for room.
		s.redo = true
		for _, rest := range w.ops[i:] {
			if rest.put {
				s.unapplied = append(s.unapplied, find(after[rest.c.Index()], rest.key))
			}
		}
		s.degraded.Note(s.path, err)
		return nil
	}
	if s.log.size > s.cfg.JournalMaxBytes || len(s.dirty) > s.cfg.JournalMaxFiles {
		if err := s.checkpoint(); err != nil {
			s.degraded.Note(s.path, err)
		}
	}
	return nil
}

// Health implements storage.Store.
func (s *Store) Health() storage.Health {
	return storage.Health{
		Backend:  storage.KindJSONFile,
		Path:     s.path,
		Degraded: s.degraded.Why(),
		SetAside: append([]string(nil), s.setAside...),
	}
}

// Close waits for running transactions, syncs the files and gives the folder up. If
// they cannot be synced the journal stays, and the next Open replays it.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return fmt.Errorf("%w: %s", storage.ErrClosed, s.path)
	}
	s.writer <- struct{}{}
	defer func() { <-s.writer }()
	s.life.Lock()
	defer s.life.Unlock()
	err := s.ready()
	if err == nil {
		err = s.checkpoint()
	}
	if err != nil {
		err = fmt.Errorf("close %s: nothing is lost, the journal will be replayed: %w", s.path, err)
	}
	return errors.Join(err, s.log.file.Close(), s.folder.Close())
}
