package config

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
)

// replaceFile writes a file so that after a crash either the old or the new content is
// there, whole: a temporary neighbour, fsync, rename, fsync of the folder. The file is
// readable by its owner only, because a config holds secrets.
func replaceFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp := filepath.Join(dir, fmt.Sprintf(".%s.%s.tmp", filepath.Base(path), rand.Text()[:8]))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(tmp)
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil // the rename is done; only its durability could not be forced
	}
	defer d.Close()
	_ = d.Sync() // not every file system can; the content itself is synced
	return nil
}
