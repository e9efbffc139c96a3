package config

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Manager keeps the current snapshot, replaces it when the file changes, and writes the
// file for config.set, patch and apply. It is safe for concurrent use; reading Current
// is one atomic load. Writes and reloads are serialised by mu, which is also held while
// subscribers run: they must not call Set, Patch, Apply or Reload.
type Manager struct {
	opts Options
	boot *Snapshot
	cur  atomic.Pointer[Snapshot]
	stat atomic.Pointer[Status]

	mu      sync.Mutex
	seen    []byte // the file's bytes at the last load, good or bad
	seenSet bool   // whether the file was there then
	nextID  int
	subs    []subscriber
}

type subscriber struct {
	id int
	fn func(old, new *Snapshot)
}

// Status tells how the file and the running configuration relate.
type Status struct {
	// LastGoodHash is the hash of the snapshot that is in force.
	LastGoodHash string `json:"lastGoodHash"`
	// Error is why the file as it is now was not accepted; empty when it was.
	Error string `json:"error,omitzero"`
	// Issues are the single problems behind Error.
	Issues []Issue `json:"issues,omitzero"`
	// AtMs is when the file was last read, Unix ms.
	AtMs int64 `json:"atMs"`
	// RestartPending lists keys that changed since the start and that only a restart
	// brings into force.
	RestartPending []string `json:"restartPending,omitzero"`
	// Warnings are those of the snapshot in force.
	Warnings []string `json:"warnings,omitzero"`
	// Reloads and Failures count since the start.
	Reloads  uint64 `json:"reloads"`
	Failures uint64 `json:"failures"`
}

// Open loads the configuration; an error means that the gateway must not start.
func Open(o Options) (*Manager, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	m := &Manager{opts: o}
	raw, exists, err := readFile(o.Path, o.limits(nil).MaxFileBytes)
	if err != nil {
		return nil, err
	}
	if !exists && o.MustExist {
		return nil, fmt.Errorf("config: %s does not exist; create it or leave the option out", o.Path)
	}
	s, err := o.build(raw, exists)
	if err != nil {
		return nil, err
	}
	if w := s.permissionWarning(); w != "" {
		s.Warnings = append(s.Warnings, w)
	}
	m.boot, m.seen, m.seenSet = s, raw, exists
	m.cur.Store(s)
	m.stat.Store(&Status{LastGoodHash: s.Hash, AtMs: s.LoadedAtMs, Warnings: s.Warnings})
	return m, nil
}

// Current returns the snapshot in force. Never nil.
func (m *Manager) Current() *Snapshot { return m.cur.Load() }

// Boot returns the snapshot of the start: what keys with reload "restart" still obey.
func (m *Manager) Boot() *Snapshot { return m.boot }

// Schema returns the registered schema.
func (m *Manager) Schema() *Schema { return m.opts.Schema }

// Status returns the state of the file. The slices must not be written to.
func (m *Manager) Status() Status { return *m.stat.Load() }

// Subscribe calls fn after each change with the snapshot before and after, in order and
// never at the same time. cancel ends it.
func (m *Manager) Subscribe(fn func(old, new *Snapshot)) (cancel func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextID++
	id := m.nextID
	m.subs = append(m.subs, subscriber{id, fn})
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, s := range m.subs {
			if s.id == id {
				m.subs = append(m.subs[:i:i], m.subs[i+1:]...)
				return
			}
		}
	}
}

// Reload reads the file again. When it is bad the last good snapshot stays in force and
// the error is returned, logged and kept in Status. A file that has not changed since
// the last look is not judged again.
func (m *Manager) Reload() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reload(false)
}

func (m *Manager) reload(force bool) error {
	old := m.cur.Load()
	raw, exists, err := readFile(m.opts.Path, m.opts.limits(old).MaxFileBytes)
	if err == nil && !exists && old.Exists {
		err = fmt.Errorf("config: %s is gone; the configuration in force is kept", m.opts.Path)
	}
	if err != nil {
		if m.stat.Load().Error == err.Error() {
			return err // said already: polling must not fill the log
		}
		m.failed(err)
		return err
	}
	if !force && exists == m.seenSet && bytes.Equal(raw, m.seen) {
		if m.stat.Load().Error != "" && hashRaw(raw, m.opts.HashKey) == old.Hash {
			m.adopted(old, old) // the file went away and came back as it was
		}
		return nil
	}
	previous, hadPrevious := m.seen, m.seenSet
	m.seen, m.seenSet = raw, exists
	s, err := m.opts.build(raw, exists)
	if err != nil {
		m.failed(err)
		return err
	}
	if m.opts.OnRevision != nil && hadPrevious {
		r := Revision{Path: m.opts.Path, Raw: previous, Hash: hashRaw(previous, m.opts.HashKey), AtMs: s.LoadedAtMs, Reason: "file"}
		if err := m.opts.OnRevision(r); err != nil {
			m.opts.Log.Warn("the previous config could not be kept", "path", m.opts.Path, "error", err)
		}
	}
	m.adopt(old, s)
	return nil
}

// adopt puts a snapshot in force and tells the subscribers.
func (m *Manager) adopt(old, s *Snapshot) {
	if w := s.permissionWarning(); w != "" {
		s.Warnings = append(s.Warnings, w)
	}
	m.cur.Store(s)
	m.adopted(old, s)
	for _, sub := range m.subs {
		m.tell(sub, old, s)
	}
}

func (m *Manager) adopted(old, s *Snapshot) {
	st := *m.stat.Load()
	st.LastGoodHash, st.AtMs, st.Error, st.Issues = s.Hash, m.opts.Now().UnixMilli(), "", nil
	st.Warnings = s.Warnings
	st.RestartPending = m.opts.Schema.needRestart(Diff(m.boot, s))
	st.Reloads++
	m.stat.Store(&st)
	changed := Diff(old, s)
	m.opts.Log.Info("config loaded", "path", s.Path, "hash", s.Hash, "changed", changed, "restartPending", st.RestartPending)
	for _, w := range s.Warnings {
		m.opts.Log.Warn(w)
	}
}

func (m *Manager) failed(err error) {
	st := *m.stat.Load()
	st.Error, st.Issues, st.AtMs = err.Error(), nil, m.opts.Now().UnixMilli()
	var inv *InvalidError
	if errors.As(err, &inv) {
		st.Issues = inv.Issues
	}
	st.Failures++
	m.stat.Store(&st)
	m.opts.Log.Error("the config file is not usable; the last good one stays in force", "path", m.opts.Path, "error", err)
}

// tell runs one subscriber. A panic in it must not stop the others or the gateway.
func (m *Manager) tell(sub subscriber, old, s *Snapshot) {
	defer func() {
		if r := recover(); r != nil {
			m.opts.Log.Error("a config subscriber panicked", "panic", fmt.Sprint(r))
		}
	}()
	sub.fn(old, s)
}
