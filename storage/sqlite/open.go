package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

const (
	lockSuffix = "-lock"
	tmpSuffix  = ".rewrite"
	// rewriteTxBytes bounds one transaction of a repair.
	rewriteTxBytes = 4 << 20
)

// Open opens or creates the store at path (files 0600, folder 0700). A damaged database
// is kept as <path>.damaged-<UTC time> and what is readable in it goes on living at
// path; Health().SetAside names it. Errors wrap storage.ErrLocked, ErrFull or ErrCorrupt.
func Open(path string, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	path = disk.Resolve(path)
	if err := disk.EnsureDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(path+lockSuffix, os.O_RDWR|os.O_CREATE, disk.FileMode)
	if err != nil {
		return nil, fmt.Errorf("open the lock of %s: %w", path, err)
	}
	if err := disk.Lock(lock, time.Duration(cfg.LockTimeoutMs)*time.Millisecond); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Store{path: path, lock: lock, readers: make(chan *session, cfg.Readers), writer: make(chan *session, 1)}
	if err := s.open(cfg); err != nil {
		err = s.named(err)
		if disk.IsFull(err) && !errors.Is(err, storage.ErrFull) {
			err = fmt.Errorf("%w: %w", storage.ErrFull, err)
		}
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *Store) open(cfg Config) error {
	if err := s.prepare(cfg); err != nil {
		return err
	}
	var extra []string
	if cfg.MaxBytes > 0 {
		extra = append(extra, fmt.Sprintf("max_page_count(%d)", cfg.MaxBytes/pageBytes))
	}
	var err error
	if s.writeDB, err = open(s.path, cfg, false, extra...); err != nil {
		return err
	}
	w, err := newSession(s.writeDB)
	if err != nil {
		return errors.Join(err, s.writeDB.Close())
	}
	if err = createTables(w); err == nil {
		err = compact(w, cfg)
	}
	if err == nil {
		s.readDB, err = open(s.path, cfg, true)
	}
	if err != nil {
		return errors.Join(err, w.close(), s.writeDB.Close())
	}
	s.writeDB.SetMaxOpenConns(1)
	s.readDB.SetMaxOpenConns(cfg.Readers)
	s.readDB.SetMaxIdleConns(cfg.Readers)
	s.writer <- w
	for range cfg.Readers {
		s.readers <- nil
	}
	for _, name := range disk.ListSetAside(s.path) {
		if !strings.HasSuffix(name, "-wal") {
			s.setAside = append(s.setAside, name)
		}
	}
	return nil
}

// pageBytes is SQLite's page size; it has been the default since 3.12.
const pageBytes = 4096

// prepare makes sure that there is a private file, and repairs a damaged one.
func (s *Store) prepare(cfg Config) error {
	// SQLite would create it readable for others; its -wal and -shm take their modes
	// from it.
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, disk.FileMode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, name := range []string{s.path, s.path + "-wal", s.path + "-shm", s.path + lockSuffix} {
		if err := disk.Private(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range []string{tmpSuffix, tmpSuffix + "-wal", tmpSuffix + "-shm", ".probe"} {
		if err := os.Remove(s.path + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the rest of an interrupted repair: %w", err)
		}
	}
	if info.Size() == 0 {
		return nil
	}
	problem, err := s.inspect(cfg, info.Size() <= cfg.VerifyMaxBytes)
	if err != nil || problem == "" {
		return err
	}
	if err := s.repair(cfg); err != nil {
		return fmt.Errorf("%w: %s: %s; what is left of it could not be saved: %w", storage.ErrCorrupt, s.path, problem, err)
	}
	return nil
}

// inspect says what is wrong with the database; "" means nothing was found. Without
// full it looks at the schema only.
func (s *Store) inspect(cfg Config, full bool) (problem string, err error) {
	db, err := open(s.path, cfg, true)
	if err != nil {
		return "", err
	}
	defer db.Close()
	se, err := newSession(db)
	if err == nil {
		defer se.close()
		problem, err = examine(se, full)
	}
	if damaging(err) || errors.Is(err, storage.ErrCorrupt) {
		return err.Error(), nil
	}
	return problem, err
}

func examine(se *session, full bool) (problem string, err error) {
	query := "PRAGMA schema_version"
	if full {
		query = "PRAGMA quick_check(1)"
	}
	if err := se.conn.QueryRowContext(background, query).Scan(&problem); err != nil {
		return "", err
	}
	if !full {
		return "", nil
	}
	if problem != "ok" {
		return problem, nil
	}
	have, err := tables(se)
	if err != nil {
		return "", err
	}
	for _, c := range have {
		err := scan(se, c, storage.Range{}, func(key string, value []byte, crc int64) error {
			_, err := verified(c, key, value, crc)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// tables lists the collections that the database has.
func tables(se *session) (have []storage.Collection, err error) {
	rows, err := se.conn.QueryContext(background, "SELECT name FROM sqlite_master WHERE type = 'table'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		if c := storage.Collection(name); c.Index() >= 0 && !slices.Contains(have, c) {
			have = append(have, c)
		}
	}
	return have, rows.Err()
}

// repair copies what can be read into a new database, and exchanges the two.
func (s *Store) repair(cfg Config) error {
	cfg.MaxBytes = 0 // a bound that was lowered meanwhile must not cost data
	if err := s.salvage(cfg); err != nil {
		return err
	}
	// A write-ahead file that is still there belongs to the damaged database, and would
	// be taken for the new one's.
	now := time.Now()
	if _, err := os.Stat(s.path + "-wal"); err == nil {
		if err := os.Rename(s.path+"-wal", disk.AsideName(s.path, now)+"-wal"); err != nil {
			return err
		}
	}
	if err := os.Remove(s.path + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err := disk.ReplaceAside(s.path, s.path+tmpSuffix, now)
	return err
}

func (s *Store) salvage(cfg Config) error {
	src, err := open(s.path, cfg, true)
	if err != nil {
		return err
	}
	defer src.Close()
	target := s.path + tmpSuffix
	f, err := os.OpenFile(target, os.O_RDWR|os.O_CREATE, disk.FileMode)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dst, err := open(target, cfg, false)
	if err != nil {
		return err
	}
	out, err := newSession(dst)
	if err != nil {
		return errors.Join(err, dst.Close())
	}
	err = createTables(out)
	if in, openErr := newSession(src); err == nil && openErr == nil {
		err = copyReadable(in, out)
		in.close()
	} // else nothing can be read of it: the new database stays empty
	if err == nil {
		err = out.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return errors.Join(err, out.close(), dst.Close())
}

// copyReadable copies every row that can be reached from either end of its table: one
// unreadable page costs its own rows and not those on either side.
func copyReadable(in, out *session) error {
	have, err := tables(in)
	if err != nil {
		have = storage.Collections // the schema is unreadable: try each
	}
	for _, c := range have {
		for _, reverse := range []bool{false, true} {
			if err := copyTable(in, out, c, reverse); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyTable(in, out *session, c storage.Collection, reverse bool) error {
	if err := out.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	size := 0
	var failed error // of the target, in contrast to the damaged source
	_ = scan(in, c, storage.Range{Reverse: reverse}, func(key string, value []byte, crc int64) error {
		if _, err := verified(c, key, value, crc); err != nil || storage.CheckKey(c, key) != nil {
			return nil
		}
		if failed = put(out, c, key, value); failed != nil {
			return failed
		}
		if size += len(key) + len(value); size >= rewriteTxBytes {
			size = 0
			failed = errors.Join(out.exec("COMMIT"), out.exec("BEGIN IMMEDIATE"))
		}
		return failed
	})
	if failed != nil {
		return errors.Join(failed, out.rollback())
	}
	return out.exec("COMMIT")
}

// compact rewrites a database that is mostly free pages. It is housekeeping: without
// room for a second copy the store opens as it is.
func compact(w *session, cfg Config) error {
	var pages, free int64
	err := w.conn.QueryRowContext(background, "PRAGMA page_count").Scan(&pages)
	if err == nil {
		err = w.conn.QueryRowContext(background, "PRAGMA freelist_count").Scan(&free)
	}
	if err != nil {
		return err
	}
	if cfg.CompactFreePercent == 0 || pages*pageBytes < cfg.CompactMinBytes || free*100 <= pages*int64(cfg.CompactFreePercent) {
		return nil
	}
	if err := w.exec("VACUUM"); err != nil && !damaging(err) {
		return nil //nolint:nilerr // see above
	} else if err != nil {
		return err
	}
	return w.exec("PRAGMA wal_checkpoint(TRUNCATE)")
}
