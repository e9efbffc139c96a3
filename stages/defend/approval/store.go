package approval

import (
	"context"
	"strings"

	"sluice/frames"
	"sluice/storage"
)

// Change is one record to keep under a key, or to forget when Value is nil.
type Change struct {
	Key   string
	Value []byte

	err error // the record could not be encoded
}

// put is the change that keeps record under key.
func put(key string, record any) Change {
	raw, err := frames.MarshalPayload(record)
	return Change{Key: key, Value: raw, err: err}
}

// Store keeps what must survive a restart: standing grants, decided approvals, and which
// ones were waiting.
type Store interface {
	// Load calls fn for every record, in any order. fn does not keep value.
	Load(ctx context.Context, fn func(key string, value []byte) error) error
	// Write makes all changes durable, or none.
	Write(ctx context.Context, changes ...Change) error
}

// metaPrefix is the broker's part of storage.Meta.
const metaPrefix = "approval/"

// MetaStore keeps records in storage.Meta under approval/.
type MetaStore struct {
	// View is the store's, Update the one door to its writer (persist.Stage.Update).
	View   func(ctx context.Context, fn func(storage.Reader) error) error
	Update func(ctx context.Context, fn func(storage.Tx) error) error
}

var _ Store = MetaStore{}

// Load implements Store.
func (m MetaStore) Load(ctx context.Context, fn func(key string, value []byte) error) error {
	return m.View(ctx, func(r storage.Reader) error {
		return r.Scan(storage.Meta, storage.Range{Prefix: metaPrefix}, func(key string, value []byte) error {
			return fn(strings.TrimPrefix(key, metaPrefix), value)
		})
	})
}

// Write implements Store.
func (m MetaStore) Write(ctx context.Context, changes ...Change) error {
	return m.Update(ctx, func(tx storage.Tx) error {
		for _, c := range changes {
			var err error
			if c.Value == nil {
				err = tx.Delete(storage.Meta, metaPrefix+c.Key)
			} else {
				err = tx.Put(storage.Meta, metaPrefix+c.Key, c.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
