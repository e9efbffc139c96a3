package schedule

import (
	"strings"
	"time"
	"unicode/utf8"

	"sluice/frames"
	"sluice/pipeline"
)

// lane is one session's turns. It exists while it has any.
type lane struct {
	key    string
	agent  *agentQueue
	active *ticket
	queue  []*ticket
	listed bool // is on its agent's ready list
	timer  *time.Timer

	// What DropSummarize has dropped since the last start: the first words of the newest
	// messages, and how many more there were.
	lost     []string
	lostMore int
}

// agentQueue holds an agent's lanes that can start, so that an agent with one message
// waits for its share and not behind another agent's hundred (demands.md 11).
type agentQueue struct {
	id      string
	ready   []*lane
	running int
	listed  bool // is on the ring
	lanes   int
}

type ticketState uint8

const (
	reserved ticketState = iota // its request is still on the way to the disk
	waiting                     // durable, waits for its turn
	running
	gone
)

// ticket is one place in a lane.
type ticket struct {
	stage *Stage
	lane  *lane
	mode  Mode
	state ticketState
	work  pipeline.Work // nil while reserved
	runID string        // known before work is, when the request names it
	since time.Time     // when the state began
	ready time.Time     // not before (debounce)
	taken int           // other messages that its work has taken by Merge or Steer
	// why is what its work is dropped with when it was given up while reserved.
	why *frames.Error
}

// Steerer is Work that can take another message while it runs. It reports false when
// it is too early or too late; a taken message ends with the turn that took it.
type Steerer interface {
	Steer(w pipeline.Work) bool
}

// Noter is Work that can be told about messages that its lane has dropped.
type Noter interface {
	Note(lines []string)
}

// reserve takes a place for a request, or says why there is none.
func (s *Stage) reserve(tg target, mode Mode) (*ticket, *frames.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, errStopping
	}
	l := s.lanes[tg.key]
	if l == nil {
		if len(s.lanes) >= s.cfg.MaxLanes {
			s.Stats.Refused.Add(1)
			return nil, frames.Unavailable(2000, "%d sessions have turns running or waiting; try again", len(s.lanes))
		}
		l = s.addLane(tg)
	}
	if err := s.makeRoom(l, mode); err != nil {
		s.Stats.Refused.Add(1)
		return nil, err
	}
	t := &ticket{stage: s, lane: l, mode: mode, runID: tg.runID, since: now()}
	l.queue = append(l.queue, t)
	s.Stats.Reserved.Add(1)
	s.pump(l) // what follows a dropped message may be ready
	return t, nil
}

func (s *Stage) addLane(tg target) *lane {
	a := s.agents[tg.agent]
	if a == nil {
		a = &agentQueue{id: tg.agent}
		s.agents[tg.agent] = a
	}
	a.lanes++
	l := &lane{key: tg.key, agent: a}
	s.lanes[tg.key] = l
	return l
}

// makeRoom keeps a lane within its cap. A message that interrupts will drop what waits,
// so only those that are still being stored count against it.
func (s *Stage) makeRoom(l *lane, mode Mode) *frames.Error {
	if mode == Interrupt {
		n := 0
		for _, t := range l.queue {
			if t.state == reserved {
				n++
			}
		}
		if n >= s.cfg.QueueCap {
			return s.laneFull(l)
		}
		return nil
	}
	for len(l.queue) >= s.cfg.QueueCap {
		if !s.dropOldest(l) {
			return s.laneFull(l)
		}
	}
	return nil
}

func (s *Stage) laneFull(l *lane) *frames.Error {
	return frames.Unavailable(5000, "session %s has %d messages waiting; try again when it has answered some", l.key, len(l.queue))
}

// dropOldest makes room in a full lane by the drop policy. A place whose request is
// still being stored is never dropped: it may yet be refused.
func (s *Stage) dropOldest(l *lane) bool {
	if s.cfg.QueueDrop == DropNew {
		return false
	}
	for _, t := range l.queue {
		if t.state != waiting {
			continue
		}
		s.remove(t)
		if s.cfg.QueueDrop == DropSummarize {
			l.note(t.work.Texts(), s.cfg.QueueCap)
		}
		s.Stats.Dropped.Add(1)
		s.dropLater(t.work, frames.Unavailable(0, "dropped: %d messages were waiting in session %s (queueCap)", s.cfg.QueueCap, l.key))
		return true
	}
	return false
}

// note remembers the first words of dropped messages, at most limit of them.
func (l *lane) note(texts []string, limit int) {
	for _, text := range texts {
		l.lost = append(l.lost, summary(text))
	}
	if over := len(l.lost) - limit; over > 0 {
		l.lostMore += over
		l.lost = append(l.lost[:0], l.lost[over:]...)
	}
}

// summaryChars is how much of a dropped message the next turn is told, as in the real
// gateway.
const summaryChars = 160

func summary(text string) string {
	if len(text) > 8*summaryChars { // it may be megabytes; its beginning is enough
		text = strings.ToValidUTF8(text[:8*summaryChars], "")
	}
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) <= summaryChars {
		return text
	}
	return string([]rune(text)[:summaryChars-1]) + "…"
}

func (l *lane) head() *ticket {
	if len(l.queue) == 0 {
		return nil
	}
	return l.queue[0]
}

// remove takes t off its lane's queue.
func (s *Stage) remove(t *ticket) {
	l := t.lane
	t.state = gone
	for i, x := range l.queue {
		if x == t {
			copy(l.queue[i:], l.queue[i+1:])
			l.queue[len(l.queue)-1] = nil
			l.queue = l.queue[:len(l.queue)-1]
			return
		}
	}
}
