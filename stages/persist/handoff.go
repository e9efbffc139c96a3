package persist

import "sync"

// handoff passes items from many goroutines to one, in order. It never blocks whoever
// puts: a bound here would let the writer wait for the releaser while a hook that the
// releaser runs waits for the writer. What may be in it is bounded by those who put
// (Stage.held and Stage.slots).
type handoff[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	wake   chan struct{} // holds one signal: there are items, or the end has come
}

func newHandoff[T any]() *handoff[T] { return &handoff[T]{wake: make(chan struct{}, 1)} }

// put appends items; false means that the handoff was closed and they were not taken.
func (h *handoff[T]) put(items ...T) bool {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return false
	}
	h.items = append(h.items, items...)
	h.mu.Unlock()
	h.signal()
	return true
}

// close lets take return what is left and then false.
func (h *handoff[T]) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.signal()
}

func (h *handoff[T]) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// take waits for items and returns all of them; spare's memory is used for those to
// come. Only one goroutine may take. It returns false when closed and empty.
func (h *handoff[T]) take(spare []T) ([]T, bool) {
	clear(spare)
	for {
		h.mu.Lock()
		items, closed := h.items, h.closed
		if len(items) > 0 {
			h.items = spare[:0]
			h.mu.Unlock()
			return items, true
		}
		h.mu.Unlock()
		if closed {
			return nil, false
		}
		<-h.wake
	}
}
