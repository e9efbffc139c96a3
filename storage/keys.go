package storage

import (
	"fmt"
	"unicode/utf8"
)

// Index returns the collection's place in Collections, or -1 for a name that is not
// one of them. Backends use it to keep per-collection state in an array.
func (c Collection) Index() int {
	switch c {
	case Sessions:
		return 0
	case Transcripts:
		return 1
	case Runs:
		return 2
	case Devices:
		return 3
	case Pairings:
		return 4
	case Idempotency:
		return 5
	case Revisions:
		return 6
	case Outbox:
		return 7
	case Meta:
		return 8
	}
	return -1
}

// CheckCollection returns an error that wraps ErrInvalidKey when c is unknown.
func CheckCollection(c Collection) error {
	if c.Index() < 0 {
		return fmt.Errorf("%w: %q is not a collection; storage.Collections lists them", ErrInvalidKey, string(c))
	}
	return nil
}

// CheckKey returns an error that wraps ErrInvalidKey when c is unknown or key is
// empty, longer than MaxKeyBytes, or not valid UTF-8. Every backend calls it first,
// so that all of them refuse the same keys.
func CheckKey(c Collection, key string) error {
	if err := CheckCollection(c); err != nil {
		return err
	}
	switch {
	case key == "":
		return fmt.Errorf("%w: empty key in %s", ErrInvalidKey, c)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("%w: %d bytes in %s, at most %d are allowed", ErrInvalidKey, len(key), c, MaxKeyBytes)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: %q in %s is not valid UTF-8", ErrInvalidKey, key, c)
	}
	return nil
}

// PrefixEnd returns the smallest string that is greater than every string with the
// given prefix, and false when there is none (an empty prefix, or only 0xff bytes).
func PrefixEnd(prefix string) (string, bool) {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return string(end[:i+1]), true
		}
	}
	return "", false
}

// Bounds turns a Range into a half-open interval of keys [low, high); ok is false
// when high is missing, that is, the interval has no upper end. It is the one place
// that says how Prefix, From and Reverse combine.
func (r Range) Bounds() (low, high string, ok bool) {
	low = r.Prefix
	high, ok = PrefixEnd(r.Prefix)
	if r.From == "" {
		return low, high, ok
	}
	if !r.Reverse {
		return max(low, r.From), high, ok
	}
	// From is inclusive: the first string after it is From followed by a zero byte.
	if after := r.From + "\x00"; !ok || after < high {
		high, ok = after, true
	}
	return low, high, ok
}
