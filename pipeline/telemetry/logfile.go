package telemetry

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// logFile is the file behind logs.tail: JSON lines, owner only, rotated by size
// (sluice.log, sluice.log.1, …). One goroutine writes; readers open it by its path.
type logFile struct {
	path     string
	maxBytes int64
	maxFiles int
	f        *os.File
	size     int64
}

func openLogFile(path string, maxBytes int64, maxFiles int) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("telemetry: log folder: %w", err)
	}
	l := &logFile{path: path, maxBytes: maxBytes, maxFiles: maxFiles}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("telemetry: log file: %w", err)
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	if info.Mode().Perm()&0o077 != 0 { // an older file of somebody less careful
		if err := f.Chmod(0o600); err != nil {
			f.Close()
			return err
		}
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write appends whole lines and rotates before the bound; a line that is longer than a
// whole file gets one of its own. On an error the file is opened again with the next
// write: a full disk must not end logging for good.
func (l *logFile) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		part := p
		if room := l.maxBytes - l.size; int64(len(p)) > room {
			cut := bytes.LastIndexByte(p[:max(0, room)], '\n') + 1
			if cut == 0 && l.size > 0 {
				l.rotate()
				continue
			}
			if cut == 0 {
				cut = bytes.IndexByte(p, '\n') + 1
			}
			if cut > 0 {
				part = p[:cut]
			}
		}
		if l.f == nil {
			if err := l.open(); err != nil {
				return written, err
			}
		}
		n, err := l.f.Write(part)
		l.size += int64(n)
		written += n
		if err != nil {
			l.close()
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// rotate moves each file one number up and drops the oldest.
func (l *logFile) rotate() {
	l.close()
	l.size = 0
	name := func(i int) string {
		if i == 0 {
			return l.path
		}
		return fmt.Sprintf("%s.%d", l.path, i)
	}
	if l.maxFiles == 1 {
		os.Remove(l.path)
		return
	}
	for i := l.maxFiles - 2; i >= 0; i-- {
		_ = os.Rename(name(i), name(i+1)) // a gap in the numbers is no harm
	}
}

func (l *logFile) close() {
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
