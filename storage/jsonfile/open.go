package jsonfile

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

// Open opens or creates the store in the folder path (0700, files 0600). A file that
// cannot be read back is kept beside its place as <name>.damaged-<UTC time>, and only
// its key is missing; Health().SetAside names it. Errors wrap storage.ErrLocked,
// ErrFull or ErrCorrupt.
func Open(path string, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	path = filepath.Clean(path)
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("open %s: it is a file, and the jsonfile store needs a folder; give it another path", path)
	}
	if err := disk.EnsureDir(path); err != nil {
		return nil, err
	}
	if err := disk.Private(path); err != nil {
		return nil, err
	}
	folder, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := disk.Lock(folder, time.Duration(cfg.LockTimeoutMs)*time.Millisecond); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	s := &Store{
		path: path, cfg: cfg, folder: folder, seed: maphash.MakeSeed(),
		cache:  cache{limit: cfg.CacheBytes},
		writer: make(chan struct{}, 1),
		dirty:  make(map[string]struct{}),
	}
	if err := s.load(); err != nil {
		if s.log.file != nil {
			err = errors.Join(err, s.log.file.Close())
		}
		err = errors.Join(err, folder.Close())
		if disk.IsFull(err) {
			err = fmt.Errorf("%w: %w", storage.ErrFull, err)
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) load() error {
	for _, c := range storage.Collections {
		if err := os.MkdirAll(s.dir(c), disk.DirMode); err != nil {
			return err
		}
	}
	if err := disk.SyncDir(s.path); err != nil {
		return err
	}
	if err := s.loadJournal(); err != nil {
		return err
	}
	var all roots
	l := loader{s: s, budget: s.cfg.VerifyMaxBytes}
	for _, c := range storage.Collections {
		root, err := l.collection(c)
		if err != nil {
			return err
		}
		all[c.Index()] = root
	}
	s.roots.Store(&all)
	s.setAside = disk.NewestFirst(append(l.aside, disk.ListSetAside(filepath.Join(s.path, journalName))...))
	return nil
}

// loadJournal opens the journal, brings the files to what it says and empties it.
func (s *Store) loadJournal() error {
	path := filepath.Join(s.path, journalName)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	damaged, err := replay(b, s.applyAll)
	if err != nil {
		return err
	}
	if damaged {
		// Its whole records are applied; the rest is for a person to look at.
		if err := s.checkpoint(); err != nil {
			return err
		}
		if _, err := disk.SetAside(path, time.Now()); err != nil {
			return err
		}
		b = nil
	}
	s.log.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, disk.FileMode)
	if err != nil {
		return err
	}
	if err := disk.Private(path); err != nil {
		return err
	}
	s.log.size = int64(len(b))
	if err := s.checkpoint(); err != nil {
		return err
	}
	return disk.SyncDir(s.path)
}

// loader reads the folders of the collections.
type loader struct {
	s      *Store
	budget int64 // bytes that may still be read for verification
	aside  []string
}

func (l *loader) collection(c storage.Collection) (root *node, err error) {
	dir := l.s.dir(c)
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range names {
		name := d.Name()
		path := filepath.Join(dir, name)
		switch {
		case disk.IsAside(name):
			l.aside = append(l.aside, path)
			continue
		case strings.HasPrefix(name, tmpPrefix):
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		case !d.Type().IsRegular() || !strings.HasSuffix(name, plainExt):
			continue // not ours; a person may keep notes here
		}
		key, e, err := l.file(path, name)
		if err == nil && find(root, key) != nil {
			err = fmt.Errorf("%w: a second file for the key %q", storage.ErrCorrupt, key)
		}
		if errors.Is(err, storage.ErrCorrupt) {
			var aside string
			if aside, err = disk.SetAside(path, time.Now()); err == nil {
				l.aside = append(l.aside, aside)
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		root = insert(root, key, e, l.s.seed)
	}
	return root, nil
}

func isEnvelope(name string) bool { return strings.HasSuffix(name, envelopeExt) }

// file returns the key of one file; an error that wraps storage.ErrCorrupt means that
// the file is not what it should be.
func (l *loader) file(path, name string) (key string, e *entry, err error) {
	if err := disk.Private(path); err != nil {
		return "", nil, err
	}
	e = &entry{file: name}
	wrapped := isEnvelope(name)
	if !wrapped {
		var ok bool
		if key, ok = decodeName(strings.TrimSuffix(name, plainExt)); !ok || storage.CheckKey(storage.Meta, key) != nil {
			return "", nil, fmt.Errorf("%w: %s is not the name of a key", storage.ErrCorrupt, path)
		}
		if l.budget <= 0 {
			return key, e, nil
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	l.budget -= int64(len(content))
	inside, value, err := parse(wrapped, content)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", storage.ErrCorrupt, path, err)
	}
	if wrapped {
		key = inside
		if _, want := fileNames(key); want != name {
			return "", nil, fmt.Errorf("%w: %s holds the key %q, whose file is %s", storage.ErrCorrupt, path, key, want)
		}
	}
	l.s.cache.add(e, value)
	return key, e, nil
}
