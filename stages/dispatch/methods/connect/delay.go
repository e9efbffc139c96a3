package connect

import (
	"sync"
	"time"

	"sluice/frames"
	"sluice/pipeline"
)

// delays holds envelopes whose refusal waits, so that guessing from this machine is
// slow while no worker is. Every envelope in it is resumed exactly once: by its timer,
// or by close.
type delays struct {
	max    int
	resume func(*pipeline.Envelope, error)

	mu      sync.Mutex
	waiting map[*delayed]struct{}
	closed  bool
}

type delayed struct {
	e     *pipeline.Envelope
	err   *frames.Error
	timer *time.Timer
}

func newDelays(maxWaiting int, resume func(*pipeline.Envelope, error)) *delays {
	return &delays{max: maxWaiting, resume: resume, waiting: make(map[*delayed]struct{})}
}

// hold parks e and answers it with err after d; false means that it did not and the
// caller answers at once (too many wait already, or the gateway stops).
func (s *delays) hold(e *pipeline.Envelope, err *frames.Error, d time.Duration) bool {
	s.mu.Lock()
	if s.closed || len(s.waiting) >= s.max {
		s.mu.Unlock()
		return false
	}
	w := &delayed{e: e, err: err}
	s.waiting[w] = struct{}{}
	s.mu.Unlock()
	parked := false
	e.Park(func() {
		parked = true
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			d = 0
		}
		w.timer = time.AfterFunc(d, func() { s.release(w) })
	})
	if !parked { // the stage's timeout has answered it meanwhile
		s.mu.Lock()
		delete(s.waiting, w)
		s.mu.Unlock()
	}
	return true
}

func (s *delays) release(w *delayed) {
	s.mu.Lock()
	_, ok := s.waiting[w]
	delete(s.waiting, w)
	s.mu.Unlock()
	if ok {
		s.resume(w.e, w.err)
	}
}

// close answers all that wait, and from now on everyone at once: a drain must not wait
// for penalties.
func (s *delays) close() {
	s.mu.Lock()
	s.closed = true
	var ready []*delayed
	for w := range s.waiting {
		if w.timer != nil && w.timer.Stop() {
			ready = append(ready, w)
		}
	}
	s.mu.Unlock()
	for _, w := range ready {
		s.release(w)
	}
}

// count is how many answers wait.
func (s *delays) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}
