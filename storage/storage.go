// Package storage holds what must survive the process: the interfaces that the rest
// of Sluice writes against, their sentinel errors, and the typed records.
//
// A Store is an ordered key-value map in named collections with two verbs, View and
// Update. That is little enough for three backends (bolt, jsonfile, sqlite) to agree
// on to the letter (storagetest is the proof) and enough for group commit: the
// persist stage runs the effects of many envelopes inside one Update.
//
// Lifecycle: a backend's Open returns a Store that owns its files until Close.
package storage

import (
	"context"
	"errors"
)

// Sentinel errors. Backends wrap them with the path and the operating system's
// reason, so errors.Is decides and the text explains.
var (
	// ErrNotFound: the key does not exist.
	ErrNotFound = errors.New("storage: key not found")
	// ErrFull: the disk, the quota or the configured size bound is reached. Nothing of
	// the transaction was applied; a later Update may succeed when there is room.
	ErrFull = errors.New("storage: no space left")
	// ErrCorrupt: the file could not be read back. Open sets a damaged file aside (the
	// error and Health name where) instead of returning this, unless even that fails.
	ErrCorrupt = errors.New("storage: damaged state")
	// ErrLocked: another process holds the store.
	ErrLocked = errors.New("storage: in use by another process")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("storage: closed")
	// ErrInvalidKey: a key is empty, longer than MaxKeyBytes, or not valid UTF-8, or
	// the collection is not one of Collections.
	ErrInvalidKey = errors.New("storage: invalid key")
	// ErrStop ends a Scan early without an error.
	ErrStop = errors.New("storage: stop")
)

// MaxKeyBytes bounds a key; session keys are at most 512 bytes on the wire.
const MaxKeyBytes = 1024

// Collection names one keyspace.
type Collection string

// The collections. A backend creates all of them on Open and refuses others.
const (
	Sessions    Collection = "sessions"    // session key -> SessionRow
	Transcripts Collection = "transcripts" // session id "/" 12-digit seq -> Message
	Runs        Collection = "runs"        // run id -> RunRow
	Devices     Collection = "devices"     // device id -> paired device with its hashed tokens
	Pairings    Collection = "pairings"    // request id -> pending pairing request
	Idempotency Collection = "idempotency" // dedupe key -> result of an acknowledged side effect
	Revisions   Collection = "revisions"   // 12-digit revision -> config document
	Outbox      Collection = "outbox"      // delivery id -> channel delivery not yet confirmed
	Meta        Collection = "meta"        // watermarks, boot counters, flags
)

// Collections lists every collection in a fixed order.
var Collections = []Collection{Sessions, Transcripts, Runs, Devices, Pairings, Idempotency, Revisions, Outbox, Meta}

// Range selects keys of one collection in byte order.
type Range struct {
	// Prefix keeps keys that start with it; empty keeps all.
	Prefix string
	// From is the first key to visit (inclusive), or with Reverse the last one
	// (inclusive); empty starts at the end of the range that the direction begins at.
	From string
	// Limit bounds the number of visited keys; 0 means no bound.
	Limit int
	// Reverse visits from the greatest key to the smallest.
	Reverse bool
}

// Reader reads one consistent snapshot. In an Update it also sees that
// transaction's own writes.
type Reader interface {
	// Get returns the value, or ErrNotFound. The bytes belong to the transaction:
	// copy what must outlive it, and never write to them.
	Get(c Collection, key string) ([]byte, error)
	// Scan calls fn for each key in the range, in order. fn's value has the lifetime of
	// Get's; fn must not write to the store. ErrStop from fn ends the scan with nil.
	Scan(c Collection, r Range, fn func(key string, value []byte) error) error
}

// Tx is a Reader that also writes.
type Tx interface {
	Reader
	// Put stores value under key, replacing what was there. The value is copied.
	Put(c Collection, key string, value []byte) error
	// Delete removes key; deleting a missing key is no error.
	Delete(c Collection, key string) error
}

// Store is one open backend. It is safe for concurrent use.
type Store interface {
	// View runs fn over a consistent snapshot of committed state.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn in a read-write transaction. When it returns nil every write of fn
	// is durable (fsynced); when it returns an error none is visible. Updates are
	// serialised. fn may run only once per call.
	Update(ctx context.Context, fn func(Tx) error) error
	// Health reports the state of the backend; it does no I/O.
	Health() Health
	// Close releases the files. Calls after Close return ErrClosed.
	Close() error
}

// Health is what a backend says about itself.
type Health struct {
	Backend string `json:"backend"` // bolt, jsonfile, sqlite
	Path    string `json:"path"`
	// Degraded says why writes fail now (a full disk, a read-only file); empty when they
	// do not. It clears itself with the next write that succeeds.
	Degraded string `json:"degraded,omitempty"`
	// SetAside lists damaged files that Open moved out of the way, newest first.
	SetAside []string `json:"setAside,omitempty"`
}
