package storage

import (
	"errors"
	"sort"
	"strings"
)

// Overlay is a Tx on top of another Tx whose writes reach the lower one only by
// Flush. The persist stage gives every effect its own Overlay, so that one effect
// that fails half-way leaves no trace in a batch whose other effects commit.
// It is not safe for concurrent use; Reset makes it ready for the next effect.
type Overlay struct {
	lower  Tx
	writes map[overlayKey]overlayValue
	order  []overlayKey
}

type overlayKey struct {
	c   Collection
	key string
}

type overlayValue struct {
	value   []byte
	deleted bool
}

// NewOverlay returns an empty overlay above lower.
func NewOverlay(lower Tx) *Overlay {
	return &Overlay{lower: lower, writes: make(map[overlayKey]overlayValue)}
}

// Reset drops unflushed writes and puts the overlay above lower.
func (o *Overlay) Reset(lower Tx) {
	o.lower = lower
	clear(o.writes)
	o.order = o.order[:0]
}

// Get implements Reader.
func (o *Overlay) Get(c Collection, key string) ([]byte, error) {
	if v, ok := o.writes[overlayKey{c, key}]; ok {
		if v.deleted {
			return nil, ErrNotFound
		}
		return v.value, nil
	}
	return o.lower.Get(c, key)
}

// Put implements Tx.
func (o *Overlay) Put(c Collection, key string, value []byte) error {
	// Checked here, as a key that only Flush found invalid would fail the whole batch.
	if err := CheckKey(c, key); err != nil {
		return err
	}
	o.record(overlayKey{c, key}, overlayValue{value: append([]byte(nil), value...)})
	return nil
}

// Delete implements Tx.
func (o *Overlay) Delete(c Collection, key string) error {
	if err := CheckKey(c, key); err != nil {
		return err
	}
	o.record(overlayKey{c, key}, overlayValue{deleted: true})
	return nil
}

func (o *Overlay) record(k overlayKey, v overlayValue) {
	if _, ok := o.writes[k]; !ok {
		o.order = append(o.order, k)
	}
	o.writes[k] = v
}

// Scan implements Reader: it merges the lower range with the overlay's writes.
func (o *Overlay) Scan(c Collection, r Range, fn func(string, []byte) error) error {
	own := o.inRange(c, r)
	if len(own) == 0 {
		return o.lower.Scan(c, r, fn)
	}
	limit := r.Limit
	r.Limit = 0
	visited := 0
	emit := func(key string, value []byte) error {
		if limit > 0 && visited == limit {
			return ErrStop
		}
		visited++
		return fn(key, value)
	}
	before := func(a, b string) bool {
		if r.Reverse {
			return a > b
		}
		return a < b
	}
	next := 0
	emitOwn := func(until string, all bool) error {
		for next < len(own) && (all || before(own[next], until)) {
			key := own[next]
			next++
			if v := o.writes[overlayKey{c, key}]; !v.deleted {
				if err := emit(key, v.value); err != nil {
					return err
				}
			}
		}
		return nil
	}
	stopped := false
	err := o.lower.Scan(c, r, func(key string, value []byte) error {
		if err := emitOwn(key, false); err != nil {
			stopped = true
			return err
		}
		if next < len(own) && own[next] == key {
			v := o.writes[overlayKey{c, key}]
			next++
			if v.deleted {
				return nil
			}
			value = v.value
		}
		err := emit(key, value)
		stopped = stopped || err != nil
		return err
	})
	if err == nil && !stopped {
		err = emitOwn("", true)
	}
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

func (o *Overlay) inRange(c Collection, r Range) []string {
	var keys []string
	for k := range o.writes {
		if k.c != c || !strings.HasPrefix(k.key, r.Prefix) {
			continue
		}
		if r.From != "" && ((!r.Reverse && k.key < r.From) || (r.Reverse && k.key > r.From)) {
			continue
		}
		keys = append(keys, k.key)
	}
	sort.Strings(keys)
	if r.Reverse {
		for i, j := 0, len(keys)-1; i < j; i, j = i+1, j-1 {
			keys[i], keys[j] = keys[j], keys[i]
		}
	}
	return keys
}

// Flush writes the overlay into the lower transaction in the order of first writes.
func (o *Overlay) Flush() error {
	for _, k := range o.order {
		v := o.writes[k]
		var err error
		if v.deleted {
			err = o.lower.Delete(k.c, k.key)
		} else {
			err = o.lower.Put(k.c, k.key, v.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
