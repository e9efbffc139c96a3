package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Messages that clients recognise; they are the real gateway's.
const (
	msgChanged  = "config changed since last load; re-run config.get and retry"
	msgRequired = "config base hash required; re-run config.get and retry"
)

// hashless are keys whose patch needs no base hash: last write wins. The Control UI
// stores its preferences so.
var hashless = []string{"ui", "prefs"}

// WriteRequest is the content of config.set, config.apply and config.patch.
type WriteRequest struct {
	// Raw is JSON5: the whole document for set and apply, a merge patch for patch.
	Raw string
	// BaseHash is the hash of the file that the caller has read.
	BaseHash string
	// ReplacePaths are the arrays that a patch may shorten.
	ReplacePaths []string
}

// WriteResult is what a write did. It marshals to the payload that the real gateway
// answers with, without restart and sentinel.
type WriteResult struct {
	OK   bool           `json:"ok"`
	Noop bool           `json:"noop,omitzero"`
	Path string         `json:"path"`
	Hash string         `json:"hash,omitzero"`
	Conf map[string]any `json:"config"` // redacted, effective
	// ChangedPaths are the effective keys that changed; nil for set and apply.
	ChangedPaths []string `json:"changedPaths,omitzero"`
	// RestartPaths are those of them that only a restart brings into force.
	RestartPaths []string `json:"-"`
	// Shadowed says which written keys the environment or a flag overrides.
	Shadowed []string `json:"-"`
	// Snapshot is the configuration now in force.
	Snapshot *Snapshot `json:"-"`
}

// Set replaces the document (config.set). Refusals are *RequestError; other errors mean
// that the file could not be read or written.
func (m *Manager) Set(r WriteRequest) (*WriteResult, error) { return m.replace(r, "config.set") }

// Apply is Set under the name that also asks for a restart; the caller does that part.
func (m *Manager) Apply(r WriteRequest) (*WriteResult, error) { return m.replace(r, "config.apply") }

func (m *Manager) replace(r WriteRequest, name string) (*WriteResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	disk, err := m.disk()
	if err != nil {
		return nil, err
	}
	if err := m.checkBase(r, disk); err != nil {
		return nil, err
	}
	submitted, root, err := m.parseRaw(r.Raw, name)
	if err != nil {
		return nil, err
	}
	// What clients edit is the effective configuration; with a broken file on disk there
	// is none that belongs to it, and the submission is taken as it is.
	var runtime, source any = map[string]any{}, map[string]any{}
	if disk.snap != nil {
		runtime, source = disk.snap.effective, disk.doc.tree
	}
	restored, err := m.opts.Schema.restore(submitted, runtime)
	if err != nil {
		return nil, err
	}
	want := restored
	if disk.snap != nil {
		want = project(source, runtime, restored)
	}
	tree, ok := want.(map[string]any)
	if !ok {
		return nil, refuse("%s raw must be an object", name)
	}
	out, kept := []byte(nil), false
	if !disk.doc.toml {
		// Start from the submitted text: it carries the caller's comments.
		out, kept = edit([]byte(r.Raw), root, tree)
	}
	if !kept {
		if out, err = render(tree, disk.doc.toml); err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
	}
	res, err := m.commit(disk, out, name)
	if res != nil {
		res.ChangedPaths = nil
	}
	return res, err
}

// Patch merges into the document (config.patch).
func (m *Manager) Patch(r WriteRequest) (*WriteResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	disk, err := m.disk()
	if err != nil {
		return nil, err
	}
	loose := strings.TrimSpace(r.BaseHash) == "" && disk.doc.exists
	if !loose {
		if err := m.checkBase(r, disk); err != nil {
			return nil, err
		}
	}
	if disk.snap == nil {
		var inv *InvalidError
		if errors.As(disk.err, &inv) {
			return nil, &RequestError{Message: inv.Error() + "; fix the file (`sluice config check`) before patching", Issues: inv.Issues}
		}
		return nil, disk.err
	}
	patch, _, err := m.parseRaw(r.Raw, "config.patch")
	if err != nil {
		return nil, err
	}
	tree, err := m.merge(disk, patch, normalReplacePaths(r.ReplacePaths))
	if err != nil {
		return nil, err
	}
	changed := diffPaths(disk.doc.tree, tree, nil)
	if guarded := slices.DeleteFunc(slices.Clone(changed), isHashless); loose && len(guarded) > 0 {
		return nil, refuse("config base hash required for %s; re-run config.get and retry with baseHash", strings.Join(guarded, ", "))
	}
	if len(changed) == 0 {
		return &WriteResult{OK: true, Noop: true, Path: m.opts.Path, Conf: disk.snap.Redacted(), ChangedPaths: []string{}, Snapshot: disk.snap}, nil
	}
	out, kept := []byte(nil), false
	if disk.doc.root != nil {
		out, kept = edit(disk.doc.raw, disk.doc.root, tree)
	}
	if !kept {
		if out, err = render(tree, disk.doc.toml); err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
	}
	return m.commit(disk, out, "config.patch")
}

// merge applies a patch to what the file says and refuses what would lose array entries.
func (m *Manager) merge(disk *onDisk, patch map[string]any, replace map[string]bool) (map[string]any, error) {
	if err := checkDuplicateIDs(disk.snap.effective, patch, replace, ""); err != nil {
		return nil, err
	}
	merged := mergePatch(disk.doc.tree, patch, replace, "")
	restored, err := m.opts.Schema.restore(merged, disk.snap.effective)
	if err != nil {
		return nil, err
	}
	tree := restored.(map[string]any)
	after := *disk.snap.layers
	doc := *after.doc
	doc.tree = tree
	after.doc = &doc
	var lost []string
	for _, p := range destroyedArrays(disk.snap.effective, patch, after.merged(), "") {
		if !replace[p] {
			lost = append(lost, p)
		}
	}
	if len(lost) > 0 {
		return nil, refuse("config.patch would remove entries from array path(s): %s. Pass replacePaths with the exact path(s) when this is intentional, or use config.apply for full-config replacement.", strings.Join(lost, ", "))
	}
	return tree, nil
}

// isHashless reports whether a path is one whose last writer wins: below ui.prefs.
func isHashless(path string) bool {
	prefix := strings.Join(hashless, ".")
	return path == prefix || strings.HasPrefix(path, prefix+".")
}

// onDisk is the file as it is now, which may be newer than the snapshot in force.
type onDisk struct {
	raw  []byte
	doc  *document
	snap *Snapshot // nil when the content is not valid
	err  error     // why not
	hash string
}

func (m *Manager) disk() (*onDisk, error) {
	cur := m.cur.Load()
	raw, exists, err := readFile(m.opts.Path, m.opts.limits(cur).MaxFileBytes)
	if err != nil {
		return nil, err
	}
	d := &onDisk{raw: raw, doc: missingDocument(m.opts.Path), hash: hashRaw(raw, m.opts.HashKey)}
	if exists == cur.Exists && d.hash == cur.Hash {
		d.snap, d.doc = cur, cur.layers.doc
		return d, nil
	}
	if d.snap, d.err = m.opts.build(raw, exists); d.snap != nil {
		d.doc = d.snap.layers.doc
	} else {
		d.doc.exists = exists
	}
	return d, nil
}

func (m *Manager) checkBase(r WriteRequest, disk *onDisk) error {
	base := strings.TrimSpace(r.BaseHash)
	switch {
	case !disk.doc.exists:
		return nil
	case base == "":
		return &RequestError{Message: msgRequired}
	case base != disk.hash:
		return &RequestError{Message: msgChanged}
	}
	return nil
}

func (m *Manager) parseRaw(raw, name string) (map[string]any, *node, error) {
	if limit := m.limits().MaxFileBytes; len(raw) > limit {
		return nil, nil, refuse("%s raw is larger than %d bytes (maxFileBytes)", name, limit)
	}
	root, err := parseJSON5([]byte(raw))
	if err != nil {
		return nil, nil, refuse("%s", err)
	}
	tree, ok := root.plain().(map[string]any)
	if !ok {
		return nil, nil, refuse("%s raw must be an object", name)
	}
	return tree, root, nil
}

// commit validates the new bytes, keeps the old ones, replaces the file and puts the
// new configuration in force.
func (m *Manager) commit(disk *onDisk, out []byte, reason string) (*WriteResult, error) {
	old := m.cur.Load()
	if limit := m.opts.limits(old).MaxFileBytes; len(out) > limit {
		return nil, refuse("the new config is larger than %d bytes (maxFileBytes)", limit)
	}
	next, err := m.opts.build(out, true)
	if err != nil {
		return nil, refusal(err)
	}
	written := diffPaths(disk.doc.tree, next.layers.doc.tree, nil)
	paths, shadowed := next.layers.shadowed(written)
	if len(paths) > 0 { // a start without the flag or variable must not refuse the file
		if _, err := m.opts.build(out, true, paths...); err != nil {
			return nil, refusal(err)
		}
	}
	if m.opts.OnRevision != nil && disk.doc.exists {
		r := Revision{Path: m.opts.Path, Raw: disk.raw, Hash: disk.hash, AtMs: m.opts.Now().UnixMilli(), Reason: reason}
		if err := m.opts.OnRevision(r); err != nil {
			return nil, fmt.Errorf("config: nothing was written because the previous revision could not be kept: %w", err)
		}
	}
	target := m.opts.Path
	if resolved, err := filepath.EvalSymlinks(target); err == nil {
		target = resolved // replace what the link points to, not the link
	}
	if err := replaceFile(target, out); err != nil {
		return nil, fmt.Errorf("config: nothing was changed: %w", err)
	}
	changed := Diff(old, next)
	m.seen, m.seenSet = out, true
	m.adopt(old, next)
	return &WriteResult{
		OK: true, Path: m.opts.Path, Hash: next.Hash, Conf: next.Redacted(), ChangedPaths: changed,
		RestartPaths: m.opts.Schema.needRestart(changed), Shadowed: shadowed, Snapshot: next,
	}, nil
}

// refusal is the answer to a document that is not valid.
func refusal(err error) error {
	var inv *InvalidError
	if errors.As(err, &inv) {
		return &RequestError{Message: inv.Error(), Issues: inv.Issues}
	}
	return err
}
