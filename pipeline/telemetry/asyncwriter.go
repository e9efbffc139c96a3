package telemetry

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// asyncWriter takes log lines without waiting for the terminal or the disk: they are
// appended to a bounded buffer that one goroutine writes out. Lines that do not fit are
// dropped, counted, and reported in the log as soon as there is room (law 9: slow is
// local).
type asyncWriter struct {
	w    io.Writer
	max  int
	lost atomic.Uint64

	mu      sync.Mutex
	buf     []byte
	spare   []byte
	unsaid  uint64 // lost lines not yet reported in the log
	waiting []chan struct{}
	closed  bool
	wake    chan struct{}
	done    chan struct{}
}

func newAsyncWriter(w io.Writer, maxBytes int) *asyncWriter {
	a := &asyncWriter{w: w, max: maxBytes, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go a.loop()
	return a
}

// Write queues one line (slog writes one a call). It never fails: a logger could do
// nothing about it.
func (a *asyncWriter) Write(line []byte) (int, error) {
	a.mu.Lock()
	if a.closed || len(a.buf)+len(line) > a.max {
		a.unsaid++
		a.mu.Unlock()
		a.lost.Add(1)
		return len(line), nil
	}
	a.buf = append(a.buf, line...)
	a.mu.Unlock()
	a.kick()
	return len(line), nil
}

func (a *asyncWriter) kick() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *asyncWriter) loop() {
	defer close(a.done)
	for range a.wake {
		a.mu.Lock()
		out, waiting, unsaid, closed := a.buf, a.waiting, a.unsaid, a.closed
		a.buf, a.spare, a.waiting, a.unsaid = a.spare[:0], nil, nil, 0
		a.mu.Unlock()
		if unsaid > 0 {
			out = append(out, lostLine(unsaid)...)
		}
		if len(out) > 0 {
			_, _ = a.w.Write(out) // nowhere to say that the log cannot be written
		}
		for _, w := range waiting {
			close(w)
		}
		a.mu.Lock()
		// A burst must not keep its buffer for ever.
		if cap(out) <= 64<<10 {
			a.spare = out[:0]
		}
		a.mu.Unlock()
		if closed {
			return
		}
	}
}

func lostLine(n uint64) string {
	return fmt.Sprintf("{\"time\":%q,\"level\":\"WARN\",\"message\":\"%d log lines were dropped because this log is written too slowly\"}\n",
		time.Now().Format(time.RFC3339Nano), n)
}

// sync waits until what was written before is out, or ctx ends.
func (a *asyncWriter) sync(ctx context.Context) error {
	answer := make(chan struct{})
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.waiting = append(a.waiting, answer)
	a.mu.Unlock()
	a.kick()
	select {
	case <-answer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close writes the rest and stops. A sink that blocks is left behind when ctx ends.
func (a *asyncWriter) close(ctx context.Context) error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.closed = true
	a.mu.Unlock()
	a.kick()
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("telemetry: the last log lines could not be written: %w", ctx.Err())
	}
}
