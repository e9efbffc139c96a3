// Package disk holds the few file-system habits that the storage backends share:
// atomic replacement, durable directories, an advisory lock, setting a damaged file
// aside under a dated name, and telling a full disk from other errors.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Modes of what the backends create: the state holds tokens and conversations, so
// only its owner may look.
const (
	FileMode fs.FileMode = 0o600
	DirMode  fs.FileMode = 0o700
)

// maxListed bounds ListSetAside; more than this many damaged files is one message.
const maxListed = 32

// asideMark separates a file's name from the time at which it was set aside.
const asideMark = ".damaged-"

// EnsureDir makes dir (0700) with its parents.
func EnsureDir(dir string) error {
	if err := os.MkdirAll(dir, DirMode); err != nil {
		return fmt.Errorf("create the state folder %s: %w", dir, err)
	}
	return nil
}

// Resolve returns the file that path means: a repair renames files, and must not put one
// in the place of a symbolic link. A path that does not exist yet is itself.
func Resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// SyncDir makes renames, creations and removals in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		// EINVAL: some network file systems cannot sync a folder and need not.
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// Private narrows the permissions of an existing file to its owner.
func Private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		if err := os.Chmod(path, perm&^0o077); err != nil {
			return fmt.Errorf("%s is open to other users (%v) and cannot be narrowed to its owner: %w", path, perm, err)
		}
	}
	return nil
}

// AsideName returns a free name for a damaged file: <path>.damaged-<UTC time>.
func AsideName(path string, now time.Time) string {
	base := path + asideMark + now.UTC().Format("20060102T150405.000Z")
	name := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
}

// IsAside reports whether a file name is one that AsideName makes.
func IsAside(name string) bool { return strings.Contains(filepath.Base(name), asideMark) }

// SetAside renames a damaged file out of the way and returns its new name.
func SetAside(path string, now time.Time) (string, error) {
	name := AsideName(path, now)
	if err := os.Rename(path, name); err != nil {
		return "", fmt.Errorf("set the damaged file %s aside: %w", path, err)
	}
	return name, SyncDir(filepath.Dir(path))
}

// ReplaceAside keeps the damaged file at path under a dated name and puts the file
// replacement in its place, such that path exists at every moment: a crash between
// the steps must not look like an empty store.
func ReplaceAside(path, replacement string, now time.Time) (string, error) {
	name := AsideName(path, now)
	if err := os.Link(path, name); err != nil {
		// No hard links here (some network and FAT file systems): two renames, with a
		// short moment in between in which path is missing.
		if err := os.Rename(path, name); err != nil {
			return "", fmt.Errorf("set the damaged file %s aside: %w", path, err)
		}
	}
	if err := os.Rename(replacement, path); err != nil {
		return "", fmt.Errorf("put the repaired file in place of %s: %w", path, err)
	}
	return name, SyncDir(filepath.Dir(path))
}

// ListSetAside returns what SetAside left beside path, newest first, at most 32.
func ListSetAside(path string) []string {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base+asideMark) {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return NewestFirst(names)
}

// NewestFirst orders names of set-aside files by their date and keeps the first 32.
func NewestFirst(names []string) []string {
	date := func(name string) string { return name[strings.LastIndex(name, asideMark)+len(asideMark):] }
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(date(b), date(a)) })
	return names[:min(len(names), maxListed)]
}

// IsFull reports whether err says that there is no room: the disk, a quota, or a
// limit on the size of a file.
func IsFull(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return true
	}
	if err == nil {
		return false
	}
	// Libraries flatten errors to text: bbolt's "file resize error: ...".
	text := err.Error()
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if strings.Contains(text, no.Error()) {
			return true
		}
	}
	return false
}

// SameFile reports whether the open file f is what path names now. After waiting for
// a lock it may not be: the previous holder may have replaced the file.
func SameFile(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	theirs, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(mine, theirs), nil
}
