// Package host holds files to a baseline of SHA-256 hashes: the running binary, the
// configuration, the policy and what else is configured.
//
// The baseline is made at the first start and kept in a Store. Files that are missing
// then are tracked too. A difference raises an alert that stands, also over restarts,
// until an operator accepts the files as they are; meanwhile every action gets more risk.
// Checks run at an interval and when the system reports a change. Assess reads the last
// check's result and waits for nothing.
//
// It finds tampering by who cannot write the Store. Who can, can also rewrite the
// baseline: for that, the ledger keeps every change of it.
//
// Lifecycle: New (loads and checks), Start, Accept at any time, Stop.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/stages/defend"

	"github.com/go-json-experiment/json"
)

// Store keeps the baseline. Get returns nil bytes for a key that was never put.
type Store interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
}

// Key is the baseline's key in the Store.
const Key = "defend.host.baseline"

// Protected is one file or folder with what to call it in reasons, which clients see:
// "the running binary", "the configuration".
type Protected struct {
	Name string
	Path string
}

// Deps are what the guard needs from outside.
type Deps struct {
	Store Store
	// Files are protected beside Config.Paths.
	Files []Protected
	// Changed is told of every change, one at a time: a ledger entry. It must not call
	// back into the Guard. May be nil.
	Changed func(ctx context.Context, c Change)
	Log     *slog.Logger     // may be nil
	Now     func() time.Time // may be nil
}

// What happened to a file, or to the baseline.
const (
	Changed  = "changed"
	Missing  = "missing"
	Appeared = "appeared"
	Restored = "restored" // as the baseline says again; the alert stands
	Failed   = "error"    // it cannot be checked
	Readable = "checked"  // it can be checked again
	Created  = "baseline" // the first baseline was made
	Added    = "added"    // protected from now on, as it is
	Removed  = "removed"  // no longer protected
	Accepted = "accepted" // an operator took the files as they are
	Damaged  = "damaged"  // the stored baseline could not be read
)

// Change is something that happened to one path (empty = to the baseline as a whole).
type Change struct {
	AtMs int64  `json:"atMs"`
	What string `json:"what"`
	Name string `json:"name,omitzero"`
	Path string `json:"path,omitzero"`
	Was  string `json:"was,omitzero"` // hashes, or what was accepted
	Is   string `json:"is,omitzero"`
	By   string `json:"by,omitzero"`
	Why  string `json:"why,omitzero"`
}

// String words c for people.
func (c Change) String() string {
	s := c.What
	if c.Path != "" {
		s = c.Path + ": " + s
	}
	if c.Why != "" {
		s += ": " + c.Why
	}
	switch {
	case c.What == Accepted:
		s += fmt.Sprintf(": there was %s; the baseline has %s now", c.Was, c.Is)
	case c.What == Created:
		s += ": the first one has " + c.Is
	case c.Was != "" || c.Is != "":
		s += fmt.Sprintf(" (baseline %s, now %s)", short(c.Was), short(c.Is))
	}
	return s
}

func short(sum string) string {
	if sum == "" {
		return "missing"
	}
	return sum[:min(12, len(sum))]
}

// Status is what health, metrics and sluice doctor show.
type Status struct {
	Enabled    bool     `json:"enabled"`
	Alert      bool     `json:"alert"`
	SinceMs    int64    `json:"sinceMs,omitzero"`
	Changes    []Change `json:"changes,omitempty"` // why there is an alert; at most maxChanges
	Errors     []string `json:"errors,omitempty"`  // what could not be checked
	CheckedMs  int64    `json:"checkedMs,omitzero"`
	AcceptedMs int64    `json:"acceptedMs,omitzero"`
	AcceptedBy string   `json:"acceptedBy,omitzero"`
	Files      int      `json:"files"`
	Missing    int      `json:"missing"` // files that the baseline has as missing
	Watching   bool     `json:"watching"`
}

const maxChanges = 100

// baseline is what the Store keeps.
type baseline struct {
	Version    int             `json:"version"`
	AcceptedMs int64           `json:"acceptedMs"`
	AcceptedBy string          `json:"acceptedBy"`
	Roots      []string        `json:"roots"`
	Files      map[string]file `json:"files"`
	SinceMs    int64           `json:"sinceMs,omitzero"`
	Alert      []Change        `json:"alert,omitempty"`
}

const version = 1

// Guard is the defender. It is safe for concurrent use.
type Guard struct {
	cfg   Config
	deps  Deps
	names map[string]string // root -> name
	roots []string

	mu     sync.Mutex // guards what follows, and one check at a time
	base   baseline
	now    map[string]file // as of the last check
	errs   map[string]string
	dirs   map[string]bool
	status atomic.Pointer[view]

	watching atomic.Bool
	cancel   context.CancelFunc
	done     chan struct{}
	checked  chan struct{} // for tests: one signal a check

	// Stats are the counters.
	Stats Stats
}

// Stats are the guard's counters.
type Stats struct {
	Checks  atomic.Uint64
	Changes atomic.Uint64
	Errors  atomic.Uint64
}

// view is the last check's result as Assess and Status read it.
type view struct {
	Status
	alert string // reasons; empty = none
	fail  string
	stale time.Time // from when on the result is too old
}

var (
	_ defend.Defender = (*Guard)(nil)
	_ defend.Quick    = (*Guard)(nil)
)

// New loads the baseline, or makes the first one, and checks all files once. Files that
// cannot be read are no error of New: they show in Status.
func New(ctx context.Context, cfg Config, deps Deps) (*Guard, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Store == nil {
		return nil, errors.New("host: Deps.Store is missing: the baseline must be kept")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	g := &Guard{cfg: cfg, deps: deps, names: map[string]string{}, checked: make(chan struct{}, 1)}
	if !cfg.Enabled {
		g.status.Store(&view{})
		return g, nil
	}
	if err := g.takeRoots(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g, g.load(ctx)
}

func (g *Guard) takeRoots() error {
	files := slices.Clone(g.deps.Files)
	for _, p := range g.cfg.Paths {
		files = append(files, Protected{"a protected path", p})
	}
	for _, f := range files {
		abs, err := filepath.Abs(f.Path)
		if err != nil {
			return fmt.Errorf("host: %s: %w", f.Path, err)
		}
		if g.names[abs] == "" {
			g.names[abs] = f.Name
			g.roots = append(g.roots, abs)
		}
	}
	sort.Strings(g.roots)
	return nil
}

// load reads the baseline and compares. The caller holds mu.
func (g *Guard) load(ctx context.Context) error {
	raw, err := g.deps.Store.Get(ctx, Key)
	if err != nil {
		return fmt.Errorf("host: the baseline cannot be read: %w", err)
	}
	snap, err := look(ctx, &g.cfg, g.roots)
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	at := g.deps.Now().UnixMilli()
	save := true
	switch {
	case raw == nil:
		g.base = baseline{Version: version, AcceptedMs: at, AcceptedBy: "first start", Roots: g.roots, Files: snap.files}
		g.tell(ctx, Change{AtMs: at, What: Created, By: "first start", Is: fmt.Sprintf("%d files", len(snap.files))})
	case json.Unmarshal(raw, &g.base) != nil || g.base.Version != version:
		c := Change{AtMs: at, What: Damaged, Why: "the stored baseline cannot be read; accept the files to make a new one"}
		g.base = baseline{Version: version, Roots: g.roots, Files: snap.files, SinceMs: at, Alert: []Change{c}}
		g.tell(ctx, c)
	default:
		save = g.reroot(ctx, at, snap)
	}
	return g.compare(ctx, snap, save)
}

// reroot takes paths in that are protected from now on and drops those that are not. It
// reports whether there were any.
func (g *Guard) reroot(ctx context.Context, at int64, snap *snapshot) bool {
	if slices.Equal(g.base.Roots, g.roots) {
		return false
	}
	if g.base.Files == nil {
		g.base.Files = map[string]file{}
	}
	for path := range g.base.Files {
		if !under(g.roots, path) {
			delete(g.base.Files, path)
			g.tell(ctx, Change{AtMs: at, What: Removed, Path: path})
		}
	}
	for _, path := range sorted(snap.files) {
		if _, known := g.base.Files[path]; !known && !under(g.base.Roots, path) {
			g.base.Files[path] = snap.files[path]
			g.tell(ctx, Change{AtMs: at, What: Added, Name: g.name(path), Path: path, Is: snap.files[path].SHA256})
		}
	}
	g.base.Roots = g.roots
	return true
}

func under(roots []string, path string) bool {
	for _, r := range roots {
		if path == r || strings.HasPrefix(path, r+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

func (g *Guard) name(path string) string {
	for root, name := range g.names {
		if under([]string{root}, path) {
			return name
		}
	}
	return "a protected path"
}

func (g *Guard) tell(ctx context.Context, c Change) {
	g.Stats.Changes.Add(1)
	level := slog.LevelWarn
	switch c.What {
	case Created, Added, Removed, Accepted, Readable, Restored:
		level = slog.LevelInfo
	}
	g.deps.Log.Log(ctx, level, "host integrity", "change", c.String(), "by", c.By)
	if g.deps.Changed != nil {
		g.deps.Changed(ctx, c)
	}
}

// Name implements defend.Defender.
func (g *Guard) Name() string { return "host" }

// QuickBytes implements defend.Quick: the text does not matter.
func (g *Guard) QuickBytes() int { return 1 << 30 }

// Assess implements defend.Defender (first-runtime.md 6.2, 7).
func (g *Guard) Assess(_ context.Context, a *defend.Action, f *defend.Findings) error {
	v := g.status.Load()
	if !v.Enabled || a.Administrative() && a.Admin { // an operator must be able to mend what is wrong
		return nil
	}
	if v.alert != "" {
		f.Add(g.cfg.Risk, "host_integrity", v.alert)
	}
	switch {
	case v.fail != "":
		f.Add(g.cfg.ErrorRisk, "host_integrity_error", v.fail)
	case !v.stale.IsZero() && g.deps.Now().After(v.stale):
		f.Add(g.cfg.ErrorRisk, "host_integrity_error", "the host's files were not checked for too long")
	}
	return nil
}

// Status returns the last check's result.
func (g *Guard) Status() Status {
	s := g.status.Load().Status
	s.Watching = g.watching.Load()
	return s
}

// Health says in one line what is wrong; empty when nothing is.
func (g *Guard) Health() string {
	v := g.status.Load()
	switch {
	case v.alert != "":
		return v.alert + "; sluice doctor lists the files, sluice integrity accept takes them as they are"
	case v.fail != "":
		return "host integrity: " + v.fail
	}
	return ""
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
