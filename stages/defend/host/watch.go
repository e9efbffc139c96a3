package host

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Start begins to check at the interval and on reported changes. Where the system cannot
// report changes, the interval alone must do; Status says so.
func (g *Guard) Start(context.Context) error {
	if !g.cfg.Enabled || g.cancel != nil {
		return nil
	}
	var w *fsnotify.Watcher
	if g.cfg.Watch {
		var err error
		if w, err = fsnotify.NewWatcher(); err != nil {
			g.deps.Log.Warn("host integrity: changes are found by the interval alone", "err", err)
			w = nil
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.mu.Lock()
	g.cancel, g.done = cancel, make(chan struct{})
	g.mu.Unlock()
	g.rewatch(w)
	go g.loop(ctx, w)
	return nil
}

// Stop ends the checks. It may be called twice, and without Start.
func (g *Guard) Stop(ctx context.Context) error {
	if g.cancel == nil {
		return nil
	}
	g.cancel()
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("host: a check is still running: %w", ctx.Err())
	}
}

// loop is the one goroutine that checks.
func (g *Guard) loop(ctx context.Context, w *fsnotify.Watcher) {
	defer close(g.done)
	var events <-chan fsnotify.Event
	var errs <-chan error
	if w != nil {
		defer w.Close()
		events, errs = w.Events, w.Errors
	}
	interval := time.Duration(g.cfg.IntervalMs) * time.Millisecond
	settle := time.Duration(g.cfg.SettleMs) * time.Millisecond
	next := time.NewTimer(settle) // changes between New and the watch
	defer next.Stop()
	var dueBy time.Time // end of patience with a file that keeps changing
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-events:
			if !ok {
				events = nil
				g.watching.Store(false)
				continue
			}
			if !g.concerns(ev.Name) {
				continue // a neighbour in the same folder: the store is never quiet
			}
			if dueBy.IsZero() {
				dueBy = time.Now().Add(10 * settle)
			}
			next.Reset(max(0, min(settle, time.Until(dueBy))))
		case err := <-errs:
			// An overflow: changes were lost, so everything is looked at.
			g.deps.Log.Warn("host integrity: a reported change was lost", "err", err)
			next.Reset(settle)
		case <-next.C:
			dueBy = time.Time{}
			if err := g.Check(ctx); err != nil && ctx.Err() == nil {
				g.Stats.Errors.Add(1)
				g.deps.Log.Error("host integrity: check failed", "err", err)
			}
			g.rewatch(w)
			next.Reset(interval)
		}
	}
}

// concerns reports whether a change of path may change a protected file: it is one, or in
// one, or a folder above one.
func (g *Guard) concerns(path string) bool {
	for _, root := range g.roots {
		if path == root || strings.HasPrefix(path, root+string(filepath.Separator)) || strings.HasPrefix(root, path+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// maxWatches bounds the folders that the system is asked about.
const maxWatches = 1024

// rewatch watches the folders of the protected files: a file that is replaced by a
// rename is a change of its folder. A folder that is gone is watched again when it is
// back.
func (g *Guard) rewatch(w *fsnotify.Watcher) {
	if w == nil {
		return
	}
	g.mu.Lock()
	dirs := sorted(g.dirs)
	g.mu.Unlock()
	all := len(dirs) > 0 && len(dirs) <= maxWatches
	for _, dir := range dirs[:min(len(dirs), maxWatches)] {
		if err := w.Add(dir); err != nil {
			all = false
		}
	}
	if g.watching.Swap(all) != all && !all {
		g.deps.Log.Warn("host integrity: not all folders can be watched; the interval finds the rest", "folders", len(dirs))
	}
}
