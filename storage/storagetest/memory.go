package storagetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"sluice/storage"
)

// Memory is a storage.Store in memory, for the tests of packages that need a store
// but not a disk. It keeps the contract (isolation, rollback, keys), is durable for
// nobody, and copies a collection for each Update that writes to it: small data only.
type Memory struct {
	// Fail, when set, is asked before each commit; its error is returned instead.
	Fail func() error

	mu     sync.RWMutex // guards state
	state  [16]map[string]string
	writer chan struct{}
	closed atomic.Bool
	why    atomic.Pointer[string]
}

var _ storage.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{writer: make(chan struct{}, 1)} }

// View implements storage.Store.
func (m *Memory) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.closed.Load() {
		return storage.ErrClosed
	}
	r := memReader{state: m.snapshot()}
	defer r.ended.Store(true)
	return fn(&r)
}

func (m *Memory) snapshot() [16]map[string]string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state
}

// Update implements storage.Store.
func (m *Memory) Update(ctx context.Context, fn func(storage.Tx) error) error {
	select {
	case m.writer <- struct{}{}:
		defer func() { <-m.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.closed.Load() {
		return storage.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w := memWriter{memReader: memReader{state: m.snapshot()}}
	defer w.ended.Store(true)
	err := fn(&w)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && m.Fail != nil {
		if err = m.Fail(); err != nil {
			why := err.Error()
			m.why.Store(&why)
		}
	}
	if err != nil {
		return err
	}
	m.why.Store(nil)
	m.mu.Lock()
	m.state = w.state
	m.mu.Unlock()
	return nil
}

// Health implements storage.Store.
func (m *Memory) Health() storage.Health {
	h := storage.Health{Backend: "memory"}
	if p := m.why.Load(); p != nil {
		h.Degraded = *p
	}
	return h
}

// Close implements storage.Store.
func (m *Memory) Close() error {
	if m.closed.Swap(true) {
		return storage.ErrClosed
	}
	return nil
}

type memReader struct {
	state [16]map[string]string
	ended atomic.Bool
}

func (r *memReader) check(c storage.Collection, key string) error {
	if r.ended.Load() {
		return storage.ErrClosed
	}
	return storage.CheckKey(c, key)
}

// Get implements storage.Reader.
func (r *memReader) Get(c storage.Collection, key string) ([]byte, error) {
	if err := r.check(c, key); err != nil {
		return nil, err
	}
	v, ok := r.state[c.Index()][key]
	if !ok {
		return nil, storage.ErrNotFound
	}
	return []byte(v), nil
}

// Scan implements storage.Reader.
func (r *memReader) Scan(c storage.Collection, rng storage.Range, fn func(string, []byte) error) error {
	if err := r.check(c, "any"); err != nil {
		return err
	}
	low, high, bounded := rng.Bounds()
	keys := slices.Sorted(maps.Keys(r.state[c.Index()]))
	if rng.Reverse {
		slices.Reverse(keys)
	}
	n := 0
	for _, k := range keys {
		if k < low || bounded && k >= high {
			continue
		}
		if n++; rng.Limit > 0 && n > rng.Limit {
			break
		}
		if err := fn(k, []byte(r.state[c.Index()][k])); err != nil {
			if errors.Is(err, storage.ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

type memWriter struct {
	memReader
	copied [16]bool
}

func (w *memWriter) own(c storage.Collection) map[string]string {
	i := c.Index()
	if !w.copied[i] {
		w.copied[i] = true
		if w.state[i] == nil {
			w.state[i] = map[string]string{}
		} else {
			w.state[i] = maps.Clone(w.state[i])
		}
	}
	return w.state[i]
}

// Put implements storage.Tx.
func (w *memWriter) Put(c storage.Collection, key string, value []byte) error {
	if err := w.check(c, key); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	w.own(c)[key] = string(value)
	return nil
}

// Delete implements storage.Tx.
func (w *memWriter) Delete(c storage.Collection, key string) error {
	if err := w.check(c, key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	delete(w.own(c), key)
	return nil
}
