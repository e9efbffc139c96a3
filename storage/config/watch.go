package config

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Watch reloads the file when it changes, until ctx ends. It watches the folder, not the
// file, because editors and config.patch replace the file by renaming; the folder of a
// symlink's target too. Without notifications (no inotify left, NFS) polling remains.
func (m *Manager) Watch(ctx context.Context) error {
	var events <-chan fsnotify.Event
	var errs <-chan error
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer w.Close()
		err = w.Add(filepath.Dir(m.opts.Path))
	}
	if err != nil {
		m.opts.Log.Warn("the config folder cannot be watched; it is only polled", "path", m.opts.Path, "error", err)
	} else {
		events, errs = w.Events, w.Errors
		if target, err := filepath.EvalSymlinks(m.opts.Path); err == nil && filepath.Dir(target) != filepath.Dir(m.opts.Path) {
			if err := w.Add(filepath.Dir(target)); err != nil {
				m.opts.Log.Warn("the folder of the config file's target cannot be watched", "path", target, "error", err)
			}
		}
	}
	// A change between Open and here had no watcher.
	_ = m.Reload()
	limits := m.limits()
	debounce := time.NewTimer(time.Hour)
	debounce.Stop()
	// The store may live in the same folder and never be quiet: patience ends.
	var dueBy time.Time
	settle := func() {
		wait := ms(m.limits().ReloadDebounceMs)
		if dueBy.IsZero() {
			dueBy = time.Now().Add(patience * wait)
		}
		debounce.Reset(max(0, min(wait, time.Until(dueBy))))
	}
	poll := time.NewTimer(pollAfter(limits))
	defer debounce.Stop()
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			// Any event counts: a ConfigMap is swapped by renaming another name.
			// Reload compares bytes, so a neighbour's write costs one read.
			settle()
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			m.opts.Log.Warn("watching the config folder failed", "error", err)
			settle()
		case <-debounce.C:
			dueBy = time.Time{}
			_ = m.Reload() // logged and kept in Status
		case <-poll.C:
			limits = m.limits()
			if limits.PollIntervalMs > 0 {
				_ = m.Reload()
			}
			poll.Reset(pollAfter(limits))
		}
	}
}

// patience is how many times ReloadDebounceMs a change waits at most for the folder to be
// quiet.
const patience = 5

func (m *Manager) limits() Config { return m.opts.limits(m.cur.Load()) }

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// pollAfter is the polling interval, or how often to look whether polling was turned on.
func pollAfter(c Config) time.Duration {
	if c.PollIntervalMs > 0 {
		return ms(c.PollIntervalMs)
	}
	return time.Minute
}
