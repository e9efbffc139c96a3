package disk

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"sluice/storage"
)

// Degraded remembers why writes fail, for storage.Health. The zero value is healthy.
// It is safe for concurrent use.
type Degraded struct{ why atomic.Pointer[string] }

// Note records the outcome of a write and returns it with the right sentinel: an
// error that means a full disk wraps storage.ErrFull afterwards. nil clears the state.
func (d *Degraded) Note(path string, err error) error {
	if err == nil {
		if d.why.Load() != nil {
			d.why.Store(nil)
		}
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrClosed) {
		return err
	}
	if IsFull(err) && !errors.Is(err, storage.ErrFull) {
		err = fmt.Errorf("%w: %s: %w; free some space or raise the limit, then write again", storage.ErrFull, path, err)
	}
	why := err.Error()
	d.why.Store(&why)
	return err
}

// Why returns the reason, or "" while writes succeed.
func (d *Degraded) Why() string {
	if p := d.why.Load(); p != nil {
		return *p
	}
	return ""
}
