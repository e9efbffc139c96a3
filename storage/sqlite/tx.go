package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

// reader implements storage.Reader on one session's open transaction.
type reader struct {
	store   *Store
	session *session
	ended   atomic.Bool
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
	st, err := r.session.stmt("SELECT v, crc FROM " + table(c) + " WHERE k = ?")
	if err != nil {
		return nil, r.store.named(err)
	}
	var value []byte
	var crc int64
	err = st.QueryRowContext(background, key).Scan(&value, &crc)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, r.store.named(err)
	}
	return verified(c, key, value, crc)
}

func verified(c storage.Collection, key string, value []byte, crc int64) ([]byte, error) {
	if int64(disk.Checksum(c, key, value)) != crc {
		return nil, fmt.Errorf("%w: the checksum of %s/%s does not match; restart to set the damaged file aside", storage.ErrCorrupt, c, key)
	}
	return value[:len(value):len(value)], nil
}

// Scan implements storage.Reader.
func (r *reader) Scan(c storage.Collection, rng storage.Range, fn func(string, []byte) error) error {
	if err := r.check(c, "any"); err != nil {
		return err
	}
	err := scan(r.session, c, rng, func(key string, value []byte, crc int64) error {
		value, err := verified(c, key, value, crc)
		if err != nil {
			return err
		}
		if err := fn(key, value); err != nil {
			return callerError{err}
		}
		return nil
	})
	var mine callerError
	if errors.As(err, &mine) {
		if errors.Is(mine.error, storage.ErrStop) {
			return nil
		}
		return mine.error
	}
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return r.store.named(err)
	}
	return err
}

// callerError keeps what a caller's function returned apart from SQLite's errors.
type callerError struct{ error }

// scan visits the rows of a range. The value is the visitor's to keep.
func scan(s *session, c storage.Collection, rng storage.Range, fn func(string, []byte, int64) error) error {
	low, high, bounded := rng.Bounds()
	query, args := "SELECT k, v, crc FROM "+table(c)+" WHERE k >= ?", []any{low}
	if bounded {
		query, args = query+" AND k < ?", append(args, high)
	}
	query += " ORDER BY k"
	if rng.Reverse {
		query += " DESC"
	}
	if rng.Limit > 0 {
		query, args = query+" LIMIT ?", append(args, rng.Limit)
	}
	st, err := s.stmt(query)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(background, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var value []byte
		var crc int64
		if err := rows.Scan(&key, &value, &crc); err != nil {
			return err
		}
		if err := fn(key, value, crc); err != nil {
			return err
		}
	}
	return rows.Err()
}

// writer implements storage.Tx.
type writer struct{ reader }

// Put implements storage.Tx.
func (w *writer) Put(c storage.Collection, key string, value []byte) error {
	if err := w.check(c, key); err != nil {
		return err
	}
	if err := put(w.session, c, key, value); err != nil {
		return w.store.named(err)
	}
	return nil
}

func put(s *session, c storage.Collection, key string, value []byte) error {
	st, err := s.stmt("INSERT INTO " + table(c) + " (k, v, crc) VALUES (?, ?, ?)" +
		" ON CONFLICT (k) DO UPDATE SET v = excluded.v, crc = excluded.crc")
	if err != nil {
		return err
	}
	if value == nil {
		value = []byte{} // NULL is no value
	}
	_, err = st.ExecContext(background, key, value, int64(disk.Checksum(c, key, value)))
	return err
}

// Delete implements storage.Tx.
func (w *writer) Delete(c storage.Collection, key string) error {
	if err := w.check(c, key); err != nil {
		return err
	}
	st, err := w.session.stmt("DELETE FROM " + table(c) + " WHERE k = ?")
	if err != nil {
		return w.store.named(err)
	}
	if _, err := st.ExecContext(background, key); err != nil {
		return w.store.named(err)
	}
	return nil
}
