package storage

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// The collection Idempotency holds
//
//	key/<dedupe key>                      -> IdempotencyRow
//	exp/<13-digit expiry>/<dedupe key>    -> (empty)

// IdempotencyRow is the answer to a request that had an effect: who sends the same
// again, also after a restart, gets it instead of a second effect (wire.md 3.10).
type IdempotencyRow struct {
	Key         string         `json:"key"` // made by the dedupe stage
	ContentHash string         `json:"contentHash"`
	Method      string         `json:"method"`
	Answer      jsontext.Value `json:"answer,omitzero"` // the payload, or
	Error       jsontext.Value `json:"error,omitzero"`  // the error; neither while in flight
	ExpiresAtMs int64          `json:"expiresAtMs"`
}

// GetIdempotency returns a row, also an expired one, or ErrNotFound.
func GetIdempotency(r Reader, key string) (IdempotencyRow, error) {
	row, err := getJSON[IdempotencyRow](r, Idempotency, idKey("key", key))
	if err == nil && row.Key != key {
		return IdempotencyRow{}, ErrNotFound
	}
	return row, err
}

// PutIdempotency stores a row, replacing the one with its key.
func PutIdempotency(tx Tx, row *IdempotencyRow) error {
	if row.Key == "" || row.ExpiresAtMs <= 0 {
		return fmt.Errorf("%w: an idempotency row needs a key and an expiry", ErrInvalidKey)
	}
	old, err := GetIdempotency(tx, row.Key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil && old.ExpiresAtMs != row.ExpiresAtMs {
		if err := tx.Delete(Idempotency, expiryKey(&old)); err != nil {
			return err
		}
	}
	if err := tx.Put(Idempotency, expiryKey(row), nil); err != nil {
		return err
	}
	return putJSON(tx, Idempotency, idKey("key", row.Key), row)
}

func expiryKey(row *IdempotencyRow) string {
	return idKey("exp/"+timeKey(row.ExpiresAtMs), row.Key)
}

// DeleteIdempotency removes a row, so that its request may run again; a missing one is
// no error.
func DeleteIdempotency(tx Tx, key string) error {
	row, err := GetIdempotency(tx, key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(tx.Delete(Idempotency, expiryKey(&row)), tx.Delete(Idempotency, idKey("key", key)))
}

// LoadIdempotency calls fn for each row that expires after nowMs, the one that lives
// longest first, so that a bounded table can stop (ErrStop) when it is full.
func LoadIdempotency(r Reader, nowMs int64, fn func(*IdempotencyRow) error) error {
	end := "exp/" + timeKey(nowMs+1)
	return r.Scan(Idempotency, Range{Prefix: "exp/", Reverse: true}, func(key string, _ []byte) error {
		if key < end {
			return ErrStop
		}
		row, err := getJSON[IdempotencyRow](r, Idempotency, "key"+key[len("exp/")+timeDigits:])
		if err != nil {
			return fmt.Errorf("the idempotency row of %s: %w", key, err)
		}
		return fn(&row)
	})
}

// PruneIdempotency removes at most step rows that expired at or before nowMs; more says
// that it should be called again, in another transaction.
func PruneIdempotency(tx Tx, nowMs int64, step int) (deleted int, more bool, err error) {
	keys, err := keysOf(tx, Idempotency, Range{Prefix: "exp/"}, step+1)
	if err != nil {
		return 0, false, err
	}
	end := "exp/" + timeKey(nowMs+1)
	for _, key := range keys {
		if key >= end {
			break
		}
		if deleted == step {
			return deleted, true, nil
		}
		err := errors.Join(tx.Delete(Idempotency, key), tx.Delete(Idempotency, "key"+key[len("exp/")+timeDigits:]))
		if err != nil {
			return deleted, false, err
		}
		deleted++
	}
	return deleted, false, nil
}
