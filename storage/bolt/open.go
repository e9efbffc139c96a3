package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

const (
	// openAttempts bounds how often Open starts again because another process replaced
	// the file while this one waited for its lock.
	openAttempts = 5
	// rewriteTxBytes bounds one transaction of a salvage or a compaction.
	rewriteTxBytes = 4 << 20
	tmpSuffix      = ".rewrite"
)

// errReplaced says that the locked file is no longer the one at the path.
var errReplaced = errors.New("the file was replaced while waiting for its lock")

// Open opens or creates the store at path (file 0600, folder 0700). A damaged file is
// kept as <path>.damaged-<UTC time> and what is whole in it goes on living at path;
// Health().SetAside names it. Errors wrap storage.ErrLocked, ErrFull or ErrCorrupt.
func Open(path string, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	path = disk.Resolve(path)
	if err := disk.EnsureDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(time.Duration(cfg.LockTimeoutMs) * time.Millisecond)
	for range openAttempts {
		s, err := openOnce(path, cfg, time.Until(deadline))
		if errors.Is(err, errReplaced) {
			continue
		}
		return s, err
	}
	return nil, fmt.Errorf("%w: %s: %w; is another process repairing it?", storage.ErrLocked, path, errReplaced)
}

func openOnce(path string, cfg Config, wait time.Duration) (*Store, error) {
	if err := prepare(path, cfg, wait); err != nil {
		return nil, err
	}
	var file *os.File
	opts := options(cfg, max(wait, time.Millisecond))
	opts.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}
	db, err := openBolt(path, opts)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, db: db, writer: make(chan struct{}, 1)}
	same, err := disk.SameFile(file, path)
	if err == nil && !same {
		err = errReplaced
	}
	if err == nil {
		db.AllocSize = int(cfg.GrowBytes)
		if cfg.MaxBytes > 0 { // bbolt counts a whole step against the bound
			db.AllocSize = int(min(cfg.GrowBytes, cfg.MaxBytes/16))
		}
		err = s.createBuckets()
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.setAside = disk.ListSetAside(path)
	return s, nil
}

func options(cfg Config, wait time.Duration) *bbolt.Options {
	return &bbolt.Options{
		Timeout:         wait, // zero would wait for ever
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: int(cfg.InitialMmapBytes),
		MaxSize:         int(cfg.MaxBytes),
		NoStatistics:    true,
	}
}

// openBolt opens with the error names of package storage, and turns bbolt's panics
// over a file it cannot read into errors.
func openBolt(path string, opts *bbolt.Options) (db *bbolt.DB, err error) {
	defer catch(&err, path)
	db, err = bbolt.Open(path, disk.FileMode, opts)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s; stop the other process or give this one another path", storage.ErrLocked, path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %w", storage.ErrCorrupt, path, err)
	case err != nil && disk.IsFull(err):
		return nil, fmt.Errorf("%w: open %s: %w", storage.ErrFull, path, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// prepare looks at the file under its lock before bbolt maps it: it repairs a damaged
// one, and compacts one that is mostly free.
func prepare(path string, cfg Config, wait time.Duration) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, disk.FileMode)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer file.Close() // ends the lock
	if err := disk.Lock(file, wait); err != nil {
		return err
	}
	if same, err := disk.SameFile(file, path); err != nil || !same {
		return errors.Join(err, errReplaced)
	}
	if err := disk.Private(path); err != nil {
		return err
	}
	if err := os.Remove(path + tmpSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the rest of an interrupted repair: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	var found inspection
	if info.Size() <= cfg.VerifyMaxBytes {
		found, err = inspect(file, info.Size(), nil)
	} else {
		found = inspectMeta(file, info.Size())
	}
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", path, err)
	case found.damaged():
		return repair(path, file, cfg, found)
	case found.used > 0 && info.Size() >= cfg.CompactMinBytes && cfg.CompactFreePercent > 0 && found.freePercent() > cfg.CompactFreePercent:
		return compact(path, file, cfg)
	}
	return nil
}

// repair writes what is whole in the damaged file to a new one, and exchanges them.
func repair(path string, file *os.File, cfg Config, found inspection) error {
	cfg.MaxBytes = 0 // a bound that was lowered meanwhile must not cost data
	if err := rewrite(path+tmpSuffix, file, cfg); err != nil {
		return fmt.Errorf("%w: %s: %s; what is left of it could not be saved: %w", storage.ErrCorrupt, path, strings.Join(found.problems, "; "), err)
	}
	_, err := disk.ReplaceAside(path, path+tmpSuffix, time.Now())
	return err
}

// compact replaces the file by one without its free pages. It is housekeeping: when it
// fails (no room for a second copy) the store opens as it is.
func compact(path string, file *os.File, cfg Config) error {
	if err := rewrite(path+tmpSuffix, file, cfg); err != nil {
		return nil //nolint:nilerr // see above; the copy is removed already
	}
	if err := os.Rename(path+tmpSuffix, path); err != nil {
		return fmt.Errorf("put the compacted file in place of %s: %w", path, err)
	}
	return disk.SyncDir(filepath.Dir(path))
}

// rewrite copies every whole pair of file into a new, synced bolt file at target.
func rewrite(target string, file *os.File, cfg Config) (err error) {
	defer func() {
		if err != nil {
			os.Remove(target)
		}
	}()
	opts := options(cfg, time.Second)
	opts.InitialMmapSize = 0
	opts.NoSync = true // one Sync at the end: a half-written copy is thrown away
	db, err := openBolt(target, opts)
	if err != nil {
		return err
	}
	c := &copier{db: db}
	info, err := file.Stat()
	if err == nil {
		_, err = inspect(file, info.Size(), c.put)
	}
	if err == nil {
		err = c.flush()
	}
	if c.tx != nil {
		c.tx.Rollback()
	}
	if err == nil {
		err = db.Sync()
	}
	return errors.Join(err, db.Close())
}

// copier puts pairs into a database in transactions of bounded size.
type copier struct {
	db   *bbolt.DB
	tx   *bbolt.Tx
	size int
}

func (c *copier) put(bucket, key string, raw []byte) (err error) {
	if storage.Collection(bucket).Index() < 0 {
		return nil // of a newer version; the set-aside file still has it
	}
	if c.tx == nil {
		if c.tx, err = c.db.Begin(true); err != nil {
			return err
		}
		c.size = 0
	}
	b, err := c.tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	b.FillPercent = 0.9
	// raw is the walker's buffer, and bbolt keeps values until the commit.
	if err := b.Put([]byte(key), append([]byte(nil), raw...)); err != nil {
		return err
	}
	if c.size += len(key) + len(raw); c.size < rewriteTxBytes {
		return nil
	}
	return c.flush()
}

func (c *copier) flush() error {
	if c.tx == nil {
		return nil
	}
	tx := c.tx
	c.tx = nil
	return tx.Commit()
}
