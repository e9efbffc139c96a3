package agent

import (
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// streamer turns a model's pieces into delta events at a pace (wire.md 3.11: 75 ms):
// the first at once, later ones collected. A timer sends what has waited long enough
// when the model falls silent.
type streamer struct {
	run  *Run
	pace time.Duration

	mu    sync.Mutex
	item  string
	part  int
	all   strings.Builder
	sent  int // bytes of all that readers have
	last  time.Time
	timer *time.Timer
}

func newStreamer(r *Run, pace time.Duration) *streamer {
	return &streamer{run: r, pace: pace, item: uuid.NewString(), part: 1}
}

// add takes one piece; false means that the answer is over its bound.
func (s *streamer) add(piece string, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all.Len()+len(piece) > limit {
		return false
	}
	s.all.WriteString(piece)
	if since := time.Since(s.last); since >= s.pace {
		s.emit()
	} else if s.timer == nil {
		s.timer = time.AfterFunc(s.pace-since, s.flush)
	}
	return true
}

// flush sends what has not been sent.
func (s *streamer) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit()
}

func (s *streamer) emit() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	text := s.all.String()
	if len(text) == s.sent {
		return
	}
	delta := text[s.sent:]
	s.sent, s.last = len(text), time.Now()
	s.run.delta(text, delta, s.itemID())
}

func (s *streamer) itemID() string {
	return s.item + ":" + string(rune('0'+min(s.part, 9)))
}

func (s *streamer) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// reset begins the next answer of the same turn.
func (s *streamer) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Reset()
	s.sent = 0
	s.part++
}
