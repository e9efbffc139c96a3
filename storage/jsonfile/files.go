package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

func (s *Store) dir(c storage.Collection) string { return filepath.Join(s.path, string(c)) }

// applyAll applies the operations of one journal record.
func (s *Store) applyAll(ops []op) error {
	for _, o := range ops {
		if err := s.apply(o); err != nil {
			return err
		}
	}
	return nil
}

// apply makes the files hold what o says. It may be repeated. The files are not synced:
// the journal has the content until checkpoint has synced them.
func (s *Store) apply(o op) error {
	dir := s.dir(o.c)
	plain, wrapped := fileNames(o.key)
	keep := ""
	if o.put {
		var content []byte
		keep, content = format(o.key, o.value)
		if err := s.replace(dir, keep, content); err != nil {
			return err
		}
	}
	for _, name := range []string{plain, wrapped} {
		if name == "" || name == keep {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.dirty[dir] = struct{}{}
	return nil
}

// replace writes a file under a temporary name and renames it: whoever looks, also a
// person with an editor, finds the old content or the new, never a half.
func (s *Store) replace(dir, name string, content []byte) (err error) {
	s.tmpSeq++
	tmp := filepath.Join(dir, fmt.Sprintf("%s%d", tmpPrefix, s.tmpSeq))
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	if err := os.WriteFile(tmp, content, disk.FileMode); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	s.dirty[path] = struct{}{}
	return nil
}

// checkpoint syncs what is dirty and empties the journal. When a sync fails, the kernel
// may have dropped the data, so the files are made from the journal again.
func (s *Store) checkpoint() error {
	for path := range s.dirty {
		if err := syncPath(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.redo = true
			return fmt.Errorf("sync %s: %w", path, err)
		}
	}
	clear(s.dirty)
	if s.log.size == 0 {
		return nil
	}
	if err := s.log.cut(0); err != nil {
		s.broken = fmt.Errorf("%s: %w: %w", s.path, errInDoubt, err)
		return s.broken
	}
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// readEntry reads the value of e from its file.
func (s *Store) readEntry(c storage.Collection, e *entry) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(s.dir(c), e.file))
	if err != nil {
		return nil, err
	}
	_, value, err := parse(isEnvelope(e.file), content)
	return value, err
}
