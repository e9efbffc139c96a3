package jsonfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"

	"sluice/storage"
)

// reader implements storage.Reader over the trees of one moment.
type reader struct {
	s     *Store
	roots roots
	ended atomic.Bool
}

func (r *reader) check(c storage.Collection, key string) error {
	if r.ended.Load() {
		return storage.ErrClosed
	}
	return storage.CheckKey(c, key)
}

// Get implements storage.Reader.
func (r *reader) Get(c storage.Collection, key string) ([]byte, error) {
	if err := r.check(c, key); err != nil {
		return nil, err
	}
	e := find(r.roots[c.Index()], key)
	if e == nil {
		return nil, storage.ErrNotFound
	}
	return r.value(c, e)
}

// value returns the value of e from memory or from its file. data is looked at again
// after reading, as retire sets it before the file is replaced by another version.
func (r *reader) value(c storage.Collection, e *entry) ([]byte, error) {
	if p := e.data.Load(); p != nil {
		return *p, nil
	}
	value, err := r.s.readEntry(c, e)
	if p := e.data.Load(); p != nil {
		return *p, nil
	}
	if err != nil {
		path := filepath.Join(r.s.dir(c), e.file)
		return nil, fmt.Errorf("%w: %s: %w; restart to set the damaged file aside", storage.ErrCorrupt, path, err)
	}
	value = slices.Clip(value)
	r.s.cache.add(e, value)
	return value, nil
}

// Scan implements storage.Reader.
func (r *reader) Scan(c storage.Collection, rng storage.Range, fn func(string, []byte) error) (err error) {
	if err := r.check(c, "any"); err != nil {
		return err
	}
	var b bounds
	b.low, b.high, b.bounded = rng.Bounds()
	walk := ascend
	if rng.Reverse {
		walk = descend
	}
	n := 0
	walk(r.roots[c.Index()], &b, func(x *node) bool {
		if n++; rng.Limit > 0 && n > rng.Limit {
			return false
		}
		var value []byte
		if value, err = r.value(c, x.entry); err == nil {
			err = fn(x.key, value)
		}
		return err == nil
	})
	if errors.Is(err, storage.ErrStop) {
		return nil
	}
	return err
}

type opKey struct {
	c   storage.Collection
	key string
}

// writer implements storage.Tx: it changes trees of its own and lists what it did.
type writer struct {
	reader
	ops   []op
	index map[opKey]int // place in ops: the last change of a key is the one that counts
}

func (w *writer) record(o op) {
	k := opKey{o.c, o.key}
	if i, ok := w.index[k]; ok {
		w.ops[i] = o
		return
	}
	w.index[k] = len(w.ops)
	w.ops = append(w.ops, o)
}

// Put implements storage.Tx.
func (w *writer) Put(c storage.Collection, key string, value []byte) error {
	if err := w.check(c, key); err != nil {
		return err
	}
	value = append(make([]byte, 0, len(value)), value...)
	file, _ := format(key, value)
	e := &entry{file: file}
	e.data.Store(&value)
	i := c.Index()
	w.roots[i] = insert(w.roots[i], key, e, w.s.seed)
	w.record(op{c: c, key: key, value: value, put: true})
	return nil
}

// Delete implements storage.Tx.
func (w *writer) Delete(c storage.Collection, key string) error {
	if err := w.check(c, key); err != nil {
		return err
	}
	i := c.Index()
	if find(w.roots[i], key) == nil {
		return nil
	}
	w.roots[i] = remove(w.roots[i], key)
	w.record(op{c: c, key: key})
	return nil
}
