package schedule

import (
	"fmt"
	"time"

	"sluice/frames"
	"sluice/pipeline"
)

// lane is one session's turns. It exists while it has any.
type lane struct {
	key    string
	agent  *agentQueue
	active *ticket
	queue  []*ticket
	listed bool     // is on its agent's ready list
	lost   []string // what DropSummarize has dropped since the last start
	timer  *time.Timer
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
	work  pipeline.Work
	since time.Time // when the state began
	ready time.Time // not before (debounce)
}

// Steerer is Work that can take another message while it runs. It reports false when
// it is too late; a taken message ends with the turn that took it.
type Steerer interface {
	Steer(w pipeline.Work) bool
}

// Noter is Work that can be told about messages that its lane has dropped.
type Noter interface {
	Note(lines []string)
}

// reserve takes a place for a request, or says why there is none.
func (s *Stage) reserve(tg target, mode Mode) (*ticket, *frames.Error) {
	var after []func()
	defer func() {
		for _, fn := range after {
			fn()
		}
	}()
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
	if mode != Interrupt && len(l.queue) >= s.cfg.QueueCap {
		drop, err := s.overflow(l)
		if err != nil {
			return nil, err
		}
		after = append(after, drop)
	}
	t := &ticket{stage: s, lane: l, mode: mode, since: now()}
	l.queue = append(l.queue, t)
	s.Stats.Reserved.Add(1)
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

// overflow makes room in a full lane by the drop policy.
func (s *Stage) overflow(l *lane) (drop func(), refused *frames.Error) {
	victim := -1
	for i, t := range l.queue {
		if t.state == waiting {
			victim = i
			break
		}
	}
	if s.cfg.QueueDrop == DropNew || victim < 0 {
		s.Stats.Refused.Add(1)
		return nil, frames.Unavailable(5000, "session %s has %d messages waiting; try again when it has answered some", l.key, len(l.queue))
	}
	t := l.queue[victim]
	l.queue = append(l.queue[:victim], l.queue[victim+1:]...)
	t.state = gone
	if s.cfg.QueueDrop == DropSummarize {
		l.lost = append(l.lost, t.work.Texts()...)
	}
	s.Stats.Dropped.Add(1)
	return func() {
		t.work.Drop(frames.Unavailable(0, "dropped: %d messages were waiting in session %s (queueCap)", s.cfg.QueueCap, l.key))
	}, nil
}

// Settle implements pipeline.Settler, for the request's envelope and for the turn's.
func (t *ticket) Settle(e *pipeline.Envelope) {
	s := t.stage
	if e.Source == pipeline.SourceTurn {
		s.finish(t)
		return
	}
	if _, err, _ := e.Result(); err != nil || e.Work == nil {
		s.cancelTicket(t)
		return
	}
	s.commit(t, e.Work)
}

// commit makes the place real: its request is durable.
func (s *Stage) commit(t *ticket, w pipeline.Work) {
	s.mu.Lock()
	if t.state == gone { // the lane was aborted meanwhile
		s.mu.Unlock()
		w.Drop(errAborted)
		return
	}
	t.work, t.state, t.since = w, waiting, now()
	var after []func()
	switch l := t.lane; t.mode {
	case Interrupt:
		after = s.interrupt(l, t)
	case Steer:
		if l.active != nil && l.head() == t {
			if st, ok := l.active.work.(Steerer); ok && st.Steer(w) {
				s.remove(t)
				s.Stats.Steered.Add(1)
			}
		}
	case Collect:
		s.collect(l, t)
	}
	s.pump(t.lane)
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

var (
	errAborted     = frames.Unavailable(0, "aborted")
	errInterrupted = frames.Unavailable(0, "superseded by a newer message (queue mode interrupt)")
)

// interrupt ends what runs and what waits before t.
func (s *Stage) interrupt(l *lane, t *ticket) (after []func()) {
	keep := l.queue[:0]
	for _, x := range append([]*ticket(nil), l.queue...) {
		if x == t || x.state == reserved {
			keep = append(keep, x)
			continue
		}
		x.state = gone
		w := x.work
		after = append(after, func() { w.Drop(errInterrupted) })
	}
	l.queue = keep
	if l.active != nil {
		w := l.active.work
		after = append(after, func() { w.Abort("interrupted") })
	}
	s.Stats.Interrupted.Add(uint64(len(after)))
	return after
}

// collect joins t with the one that waits before it, and holds the joined turn until
// no message has come for the debounce time.
func (s *Stage) collect(l *lane, t *ticket) {
	wait := time.Duration(s.cfg.DebounceMs) * time.Millisecond
	t.ready = now().Add(wait)
	for i, x := range l.queue {
		if x == t && i > 0 && l.queue[i-1].state == waiting && l.queue[i-1].work.Merge(t.work) {
			l.queue[i-1].ready = t.ready
			s.remove(t)
			s.Stats.Collected.Add(1)
			break
		}
	}
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, func() { s.wake(l) })
	} else {
		l.timer.Reset(wait)
	}
}

func (s *Stage) wake(l *lane) {
	s.mu.Lock()
	if s.lanes[l.key] == l {
		s.pump(l)
	}
	s.mu.Unlock()
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
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			return
		}
	}
}

func (s *Stage) cancelTicket(t *ticket) {
	s.mu.Lock()
	if t.state != gone {
		s.remove(t)
	}
	s.pump(t.lane)
	s.mu.Unlock()
}

// finish releases the lane after a turn.
func (s *Stage) finish(t *ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.lane.active != t {
		panic(fmt.Sprintf("schedule: lane %s is not held by run %s", t.lane.key, t.work.ID()))
	}
	t.state = gone
	t.lane.active = nil
	s.running--
	t.lane.agent.running--
	s.Stats.Finished.Add(1)
	s.pump(t.lane)
}
