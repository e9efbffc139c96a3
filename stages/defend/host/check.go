package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Check hashes all files now and compares. The error is about the check itself: the
// Store, or ctx; what it finds is in Status.
func (g *Guard) Check(ctx context.Context) error {
	if !g.cfg.Enabled {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	snap, err := look(ctx, &g.cfg, g.roots)
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	return g.compare(ctx, snap, false)
}

// compare notes what changed since the last check. The caller holds mu.
func (g *Guard) compare(ctx context.Context, snap *snapshot, save bool) error {
	g.Stats.Checks.Add(1)
	at := g.deps.Now().UnixMilli()
	for _, c := range g.differences(at, snap) {
		if c.What == Changed || c.What == Missing || c.What == Appeared {
			if g.raise(c) {
				save = true
			}
		}
		g.tell(ctx, c)
	}
	g.now, g.errs, g.dirs = snap.files, snap.errs, snap.dirs
	g.Stats.Errors.Add(uint64(len(snap.errs)))
	g.publish(at)
	if save {
		return g.save(ctx)
	}
	return nil
}

// raise adds c to the alert, unless it stands there already (after a restart).
func (g *Guard) raise(c Change) bool {
	for _, have := range g.base.Alert {
		if have.Path == c.Path && have.What == c.What && have.Is == c.Is {
			return false
		}
	}
	if len(g.base.Alert) == 0 {
		g.base.SinceMs = c.AtMs
	}
	if len(g.base.Alert) < maxChanges {
		g.base.Alert = append(g.base.Alert, c)
	}
	return true
}

// differences lists what is not as it was at the last check; at the first one, what is
// not as the baseline says.
func (g *Guard) differences(at int64, snap *snapshot) []Change {
	var out []Change
	for _, path := range sorted(snap.errs) {
		if g.errs[path] != snap.errs[path] {
			out = append(out, Change{AtMs: at, What: Failed, Name: g.name(path), Path: path, Why: snap.errs[path]})
		}
	}
	for _, path := range sorted(g.errs) {
		if _, still := snap.errs[path]; !still {
			out = append(out, Change{AtMs: at, What: Readable, Name: g.name(path), Path: path})
		}
	}
	paths := sorted(snap.files)
	for path := range g.base.Files { // deleted from a folder: no root names it
		if _, ok := snap.files[path]; !ok && snap.errs[path] == "" {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		is := snap.files[path]
		was := g.base.Files[path]
		last, seen := was, true
		if g.now != nil {
			last, seen = g.now[path]
		}
		if seen && is == last || !seen && is == was {
			continue
		}
		c := Change{AtMs: at, What: Changed, Name: g.name(path), Path: path, Was: was.SHA256, Is: is.SHA256}
		switch {
		case is == was:
			c.What = Restored
		case is.SHA256 == "":
			c.What = Missing
		case was.SHA256 == "":
			c.What = Appeared
		case is.SHA256 == was.SHA256:
			c.Why = fmt.Sprintf("permissions %v, were %v", is.Mode, was.Mode)
			if is.Target != was.Target {
				c.Why = fmt.Sprintf("it is a link to %q, was %q", is.Target, was.Target)
			}
		}
		out = append(out, c)
	}
	return out
}

// publish makes the result what Assess and Status read.
func (g *Guard) publish(at int64) {
	v := &view{Status: Status{Enabled: true, Alert: len(g.base.Alert) > 0, SinceMs: g.base.SinceMs,
		Changes: slices.Clone(g.base.Alert), CheckedMs: at, AcceptedMs: g.base.AcceptedMs, AcceptedBy: g.base.AcceptedBy,
		Files: len(g.base.Files)}}
	for _, f := range g.base.Files {
		if f.SHA256 == "" {
			v.Missing++
		}
	}
	for _, path := range sorted(g.errs) {
		if len(v.Errors) < maxChanges {
			v.Errors = append(v.Errors, path+": "+g.errs[path])
		}
	}
	if v.Alert {
		v.alert = "host integrity: " + names(g.base.Alert) + " changed and nobody has accepted it"
	}
	if len(g.errs) > 0 {
		v.fail = fmt.Sprintf("%d protected files cannot be checked", len(g.errs))
	}
	if g.done != nil {
		v.stale = time.UnixMilli(at).Add(g.staleAfter())
	}
	g.status.Store(v)
	select {
	case g.checked <- struct{}{}:
	default:
	}
}

// staleAfter is when a check that did not come is an error: three intervals, and a
// minute for the hashing.
func (g *Guard) staleAfter() time.Duration {
	return 3*time.Duration(g.cfg.IntervalMs)*time.Millisecond + time.Minute
}

// names lists what changed by name, never by path: clients see it.
func names(list []Change) string {
	var out []string
	for _, c := range list {
		n := c.Name
		if n == "" {
			n = "the baseline"
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return strings.Join(out, ", ")
}

func (g *Guard) save(ctx context.Context) error {
	raw, err := json.Marshal(&g.base, json.Deterministic(true))
	if err == nil {
		err = g.deps.Store.Put(ctx, Key, raw)
	}
	if err != nil {
		return fmt.Errorf("host: the baseline was not stored: %w", err)
	}
	return nil
}

// Accept takes all files as they are for the new baseline and ends the alert. It refuses
// while a file cannot be read. by is who asked, for the ledger.
func (g *Guard) Accept(ctx context.Context, by string) (Status, error) {
	return g.accept(ctx, by, nil)
}

// AcceptPaths is Accept for some paths: those that Sluice itself has just changed for an
// authorised operator, such as the configuration. The alert ends if nothing else is
// different.
func (g *Guard) AcceptPaths(ctx context.Context, by string, paths ...string) (Status, error) {
	return g.accept(ctx, by, paths)
}

// AcceptWhile runs write, by which Sluice changes paths for an authorised operator, and
// takes them as they are then; no check sees them in between. An alert that stands stays:
// who patches a file has not said that what was wrong with it is right. The error is
// write's, or about taking the paths over, which then raise an alert.
func (g *Guard) AcceptWhile(ctx context.Context, by string, write func() error, paths ...string) error {
	if !g.cfg.Enabled {
		return write()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := write(); err != nil {
		return err
	}
	alert, since := g.base.Alert, g.base.SinceMs
	if _, err := g.acceptNow(ctx, by, paths); err != nil {
		return &AcceptError{err}
	}
	if len(alert) > 0 {
		g.base.Alert, g.base.SinceMs = alert, since
		if err := g.save(ctx); err != nil {
			return &AcceptError{err}
		}
		g.publish(g.deps.Now().UnixMilli())
	}
	return nil
}

// AcceptError says that a write was made, and the files could not be taken over.
type AcceptError struct{ Err error }

func (e *AcceptError) Error() string { return e.Err.Error() }
func (e *AcceptError) Unwrap() error { return e.Err }

func (g *Guard) accept(ctx context.Context, by string, only []string) (Status, error) {
	if !g.cfg.Enabled {
		return Status{}, errors.New("host: defend.host.enabled is false")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.acceptNow(ctx, by, only)
}

// acceptNow is accept for who holds mu.
func (g *Guard) acceptNow(ctx context.Context, by string, only []string) (Status, error) {
	snap, err := look(ctx, &g.cfg, g.roots)
	if err != nil {
		return Status{}, fmt.Errorf("host: %w", err)
	}
	for _, path := range sorted(snap.errs) {
		if only == nil || under(only, path) {
			return Status{}, fmt.Errorf("host: nothing was accepted: %s: %s", path, snap.errs[path])
		}
	}
	at := g.deps.Now().UnixMilli()
	old := g.base
	next := baseline{Version: version, AcceptedMs: at, AcceptedBy: by, Roots: g.roots, Files: snap.files}
	if only != nil {
		next = old
		next.Files = merge(old.Files, snap.files, only)
		next.Alert = slices.DeleteFunc(slices.Clone(old.Alert), func(c Change) bool { return under(only, c.Path) })
	}
	if len(next.Alert) == 0 {
		next.SinceMs = 0
	}
	// Stored first: an alert must not come back with the next start, nor end unstored.
	g.base = next
	if err := g.save(ctx); err != nil {
		g.base = old
		return Status{}, err
	}
	g.tell(ctx, Change{AtMs: at, What: Accepted, By: by, Was: describe(old.Alert), Is: fmt.Sprintf("%d files", len(next.Files)),
		Path: strings.Join(only, ", ")})
	if only == nil {
		g.now, g.errs, g.dirs = snap.files, snap.errs, snap.dirs
	} else if g.now != nil {
		g.now = merge(g.now, snap.files, only)
	}
	g.publish(at)
	s := g.status.Load().Status
	s.Watching = g.watching.Load()
	return s, nil
}

func merge(old, now map[string]file, only []string) map[string]file {
	out := map[string]file{}
	for path, f := range old {
		if !under(only, path) {
			out[path] = f
		}
	}
	for path, f := range now {
		if under(only, path) {
			out[path] = f
		}
	}
	return out
}

func describe(alert []Change) string {
	if len(alert) == 0 {
		return "no alert"
	}
	if len(alert) == 1 {
		return "an alert of 1 change"
	}
	return fmt.Sprintf("an alert of %d changes", len(alert))
}
