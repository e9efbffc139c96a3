package storage

import (
	"errors"
	"fmt"
	"strconv"
)

// The collection Meta holds small facts about the state itself: numbers under the names
// below, and the index of session ids (sessions.go).

// Counter names a number in Meta.
type Counter string

// The counters.
const (
	// CounterSchema is the version of the records; see CheckSchema.
	CounterSchema Counter = "counter/schema"
	// CounterBoots counts the starts on this state.
	CounterBoots Counter = "counter/boots"
	// CounterEvents is the watermark of broadcast events: the numbers up to it may have
	// been used. It is moved ahead in steps, so that an event costs no write.
	CounterEvents Counter = "counter/events"
	// CounterPresence and CounterHealth are the stateVersion counters' watermarks.
	CounterPresence Counter = "counter/presence"
	CounterHealth   Counter = "counter/health"
)

// SchemaVersion is the version of the records that this program writes.
const SchemaVersion = 1

// ReadCounter returns a counter, 0 if it was never set.
func ReadCounter(r Reader, name Counter) (int64, error) {
	raw, err := r.Get(Meta, string(name))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: the counter %s is %.32q", ErrCorrupt, name, raw)
	}
	return n, nil
}

// SetCounter stores a counter.
func SetCounter(tx Tx, name Counter, n int64) error {
	return tx.Put(Meta, string(name), strconv.AppendInt(nil, n, 10))
}

// AddCounter adds to a counter and returns its new value.
func AddCounter(tx Tx, name Counter, delta int64) (int64, error) {
	n, err := ReadCounter(tx, name)
	if err != nil {
		return 0, err
	}
	return n + delta, SetCounter(tx, name, n+delta)
}

// RaiseCounter sets a counter to n unless it is there already or beyond, and returns
// its value: a watermark never goes back.
func RaiseCounter(tx Tx, name Counter, n int64) (int64, error) {
	now, err := ReadCounter(tx, name)
	if err != nil || now >= n {
		return now, err
	}
	return n, SetCounter(tx, name, n)
}

// CheckSchema marks new state with SchemaVersion, and refuses state that a newer
// program wrote: an older one would drop what it does not know.
func CheckSchema(tx Tx) error {
	have, err := ReadCounter(tx, CounterSchema)
	switch {
	case err != nil:
		return err
	case have > SchemaVersion:
		return fmt.Errorf("the state has version %d and this program knows %d: start the newer program again, or give this one another state folder", have, SchemaVersion)
	case have == SchemaVersion:
		return nil
	}
	return SetCounter(tx, CounterSchema, SchemaVersion)
}
