package bolt

import (
	"errors"

	"go.etcd.io/bbolt"

	"sluice/storage"
)

// reader implements storage.Reader. It belongs to one transaction and goroutine.
type reader struct {
	tx      *bbolt.Tx
	buckets [16]*bbolt.Bucket // by Collection.Index; found once a transaction
}

// writer implements storage.Tx.
type writer struct {
	reader
	dirty bool // something was put or deleted, so there is something to commit
}

// bucket returns the bucket of c, which CheckKey or CheckCollection has accepted.
func (r *reader) bucket(c storage.Collection) (b *bbolt.Bucket, err error) {
	if r.tx.DB() == nil {
		return nil, storage.ErrClosed // used after its transaction ended
	}
	i := c.Index()
	if r.buckets[i] == nil {
		defer catch(&err, string(c))
		r.buckets[i] = r.tx.Bucket([]byte(c))
	}
	return r.buckets[i], nil
}

// Get implements storage.Reader.
func (r *reader) Get(c storage.Collection, key string) (value []byte, err error) {
	if err := storage.CheckKey(c, key); err != nil {
		return nil, err
	}
	b, err := r.bucket(c)
	if err != nil {
		return nil, err
	}
	defer catch(&err, string(c))
	raw := b.Get([]byte(key))
	if raw == nil {
		return nil, storage.ErrNotFound
	}
	return unseal(c, key, raw)
}

// Scan implements storage.Reader.
func (r *reader) Scan(c storage.Collection, rng storage.Range, fn func(string, []byte) error) error {
	if err := storage.CheckCollection(c); err != nil {
		return err
	}
	b, err := r.bucket(c)
	if err != nil {
		return err
	}
	low, high, bounded := rng.Bounds()
	cur := cursor{c: string(c), cur: b.Cursor(), reverse: rng.Reverse}
	k, raw, err := cur.first(low, high, bounded)
	for n := 0; err == nil && k != nil; n++ {
		if rng.Limit > 0 && n == rng.Limit || string(k) < low || bounded && string(k) >= high {
			return nil
		}
		key := string(k)
		var value []byte
		if value, err = unseal(c, key, raw); err != nil {
			return err
		}
		if err = fn(key, value); err != nil {
			if errors.Is(err, storage.ErrStop) {
				return nil
			}
			return err
		}
		k, raw, err = cur.next()
	}
	return err
}

// cursor moves in one direction; its steps turn bbolt's panics into errors.
type cursor struct {
	c       string
	cur     *bbolt.Cursor
	reverse bool
}

func (c *cursor) first(low, high string, bounded bool) (k, v []byte, err error) {
	defer catch(&err, c.c)
	if !c.reverse {
		k, v = c.cur.Seek([]byte(low))
		return k, v, nil
	}
	if !bounded {
		k, v = c.cur.Last()
		return k, v, nil
	}
	// Seek finds the first key at or after high, or nothing; the one before is ours.
	if k, _ = c.cur.Seek([]byte(high)); k == nil {
		k, v = c.cur.Last()
	} else {
		k, v = c.cur.Prev()
	}
	return k, v, nil
}

func (c *cursor) next() (k, v []byte, err error) {
	defer catch(&err, c.c)
	if c.reverse {
		k, v = c.cur.Prev()
	} else {
		k, v = c.cur.Next()
	}
	return k, v, nil
}

// Put implements storage.Tx.
func (w *writer) Put(c storage.Collection, key string, value []byte) (err error) {
	if err := storage.CheckKey(c, key); err != nil {
		return err
	}
	b, err := w.bucket(c)
	if err != nil {
		return err
	}
	defer catch(&err, string(c))
	w.dirty = true
	if err := b.Put([]byte(key), seal(c, key, value)); err != nil {
		return named(err, string(c))
	}
	return nil
}

// Delete implements storage.Tx.
func (w *writer) Delete(c storage.Collection, key string) (err error) {
	if err := storage.CheckKey(c, key); err != nil {
		return err
	}
	b, err := w.bucket(c)
	if err != nil {
		return err
	}
	defer catch(&err, string(c))
	w.dirty = true
	if err := b.Delete([]byte(key)); err != nil {
		return named(err, string(c))
	}
	return nil
}
