package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// The typed records live in sessions.go, transcripts.go, runs.go, idempotency.go,
// revisions.go and meta.go: small structs as JSON, and functions over a Reader or Tx
// without state of their own. Unknown members are ignored when a record is read, so an
// older program can read a newer one's state.
//
// Ids come from clients. They are parts of keys, never of paths, and an id that is too
// long for a key is replaced by its hash there; the record always has the whole id.

// ErrStaleRow: the row that was to be extended is not the stored one any more. Read it
// again in the same transaction.
var ErrStaleRow = errors.New("storage: stale row")

// maxIDBytes is the longest id that stands in a key as it is: two of them and a prefix
// fit into MaxKeyBytes.
const maxIDBytes = 480

// idKey returns prefix/id, or prefix#hash for an id that cannot stand in a key. No id
// can imitate another's key, as the two forms differ right after the prefix.
func idKey(prefix, id string) string {
	if len(id) <= maxIDBytes && utf8.ValidString(id) {
		return prefix + "/" + id
	}
	sum := sha256.Sum256([]byte(id))
	return prefix + "#" + hex.EncodeToString(sum[:])
}

// timeDigits is the width of a time in a key; later than 2286 is 2286.
const timeDigits = 13

// timeKey writes milliseconds such that keys sort by time.
func timeKey(ms int64) string { return digits(min(max(ms, 0), 9_999_999_999_999), timeDigits) }

// seqKey writes a sequence number such that keys sort by it.
func seqKey(seq int64) string { return digits(seq, 12) }

func digits(n int64, width int) string {
	s := strconv.FormatInt(n, 10)
	if len(s) >= width {
		return s
	}
	return strings.Repeat("0", width-len(s)) + s
}

// getJSON reads the record under key. An undecodable one wraps ErrCorrupt.
func getJSON[T any](r Reader, c Collection, key string) (rec T, err error) {
	raw, err := r.Get(c, key)
	if err != nil {
		return rec, err
	}
	return rec, decode(c, key, raw, &rec)
}

func decode[T any](c Collection, key string, raw []byte, rec *T) error {
	if err := json.Unmarshal(raw, rec); err != nil {
		return fmt.Errorf("%w: the record %s/%s: %w", ErrCorrupt, c, key, err)
	}
	return nil
}

func putJSON[T any](tx Tx, c Collection, key string, rec *T) error {
	raw, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode the record %s/%s: %w", c, key, err)
	}
	return tx.Put(c, key, raw)
}

// keysOf lists at most limit keys of a range: to delete them, as a Scan's function must
// not write.
func keysOf(r Reader, c Collection, rng Range, limit int) (keys []string, err error) {
	rng.Limit = limit
	err = r.Scan(c, rng, func(key string, _ []byte) error {
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

// deleteSome removes at most step keys with a prefix and reports whether more are left.
func deleteSome(tx Tx, c Collection, prefix string, step int) (deleted int, more bool, err error) {
	keys, err := keysOf(tx, c, Range{Prefix: prefix}, step+1)
	if err != nil {
		return 0, false, err
	}
	for _, key := range keys {
		if deleted == step {
			return deleted, true, nil
		}
		if err := tx.Delete(c, key); err != nil {
			return deleted, false, err
		}
		deleted++
	}
	return deleted, false, nil
}
