package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// file is what is known of one protected file.
type file struct {
	// SHA256 is lower-case hexadecimal; empty when the file is missing.
	SHA256 string `json:"sha256,omitzero"`
	// Target is where a link leads.
	Target string `json:"target,omitzero"`
	// Mode are the permissions: a file that others may write from now on has changed.
	Mode fs.FileMode `json:"mode,omitzero"`
}

// snapshot is one look at all protected files.
type snapshot struct {
	files map[string]file
	dirs  map[string]bool // folders to watch
	errs  map[string]string
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// look hashes everything below roots. What cannot be read is in errs; the error is
// ctx's.
func look(ctx context.Context, cfg *Config, roots []string) (*snapshot, error) {
	s := &snapshot{files: map[string]file{}, dirs: map[string]bool{}, errs: map[string]string{}}
	for _, root := range roots {
		s.dirs[filepath.Dir(root)] = true
		info, err := os.Stat(root)
		if err == nil && info.IsDir() {
			err = s.walk(ctx, cfg, root)
		} else {
			err = s.add(ctx, cfg, root)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *snapshot) walk(ctx context.Context, cfg *Config, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			s.errs[path] = reason(err)
			return nil
		case len(s.files) > cfg.MaxFiles:
			return fs.SkipAll
		case d.IsDir():
			s.dirs[path] = true
			return nil
		case d.Type()&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeDevice) != 0:
			return nil
		}
		return s.add(ctx, cfg, path)
	})
}

func (s *snapshot) add(ctx context.Context, cfg *Config, path string) error {
	if len(s.files) >= cfg.MaxFiles {
		s.errs[path] = fmt.Sprintf("more than defend.host.maxFiles (%d) files", cfg.MaxFiles)
		return nil
	}
	f, err := hashFile(ctx, cfg, path)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		s.files[path] = file{} // tracked: it must not appear unseen
	case err != nil:
		s.errs[path] = reason(err)
	default:
		s.files[path] = f
		if f.Target != "" {
			s.dirs[filepath.Dir(f.Target)] = true
		}
	}
	return nil
}

// hashFile hashes a regular file, following links and saying where they lead.
func hashFile(ctx context.Context, cfg *Config, path string) (file, error) {
	var out file
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return out, err
	}
	if abs := filepath.Clean(path); real != abs {
		out.Target = real
	}
	// Without O_NONBLOCK a pipe in the file's place would hold the check up for ever.
	f, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return out, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return out, err
	}
	if !info.Mode().IsRegular() {
		return out, errors.New("not a regular file")
	}
	if info.Size() > cfg.MaxFileBytes {
		return out, fmt.Errorf("larger than defend.host.maxFileBytes (%d)", cfg.MaxFileBytes)
	}
	h := sha256.New()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for left := cfg.MaxFileBytes; ; {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		n, err := f.Read(*buf)
		h.Write((*buf)[:n])
		if left -= int64(n); left < 0 {
			return out, fmt.Errorf("it grew beyond defend.host.maxFileBytes (%d)", cfg.MaxFileBytes)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out, err
		}
	}
	out.SHA256, out.Mode = hex.EncodeToString(h.Sum(nil)), info.Mode().Perm()
	return out, nil
}

// reason is an error without the path, which stands beside it.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
