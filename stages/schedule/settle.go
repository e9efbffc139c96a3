package schedule

import (
	"fmt"
	"time"

	"sluice/frames"
	"sluice/pipeline"
)

var (
	errAborted     = frames.Unavailable(0, "aborted")
	errInterrupted = frames.Unavailable(0, "superseded by a newer message (queue mode interrupt)")
	errStopping    = frames.Unavailable(1000, "gateway restart in progress")
)

// Settle implements pipeline.Settler, for the request's envelope and for the turn's.
func (t *ticket) Settle(e *pipeline.Envelope) {
	s := t.stage
	_, err, _ := e.Result()
	switch {
	case e.Source == pipeline.SourceTurn:
		s.finish(t, err)
	case err != nil || e.Work == nil:
		s.cancelTicket(t)
	default:
		s.commit(t, e.Work)
	}
}

// commit makes the place real: its request is durable.
func (s *Stage) commit(t *ticket, w pipeline.Work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.state == gone { // aborted or superseded while it was being stored
		s.dropLater(w, t.why)
		return
	}
	t.work, t.runID, t.state, t.since = w, w.ID(), waiting, now()
	switch t.mode {
	case Interrupt:
		s.interrupt(t)
	case Collect:
		s.collect(t)
	}
	s.steer(t.lane)
	s.pump(t.lane)
}

// interrupt ends what runs and what came before t; what came after it stays.
func (s *Stage) interrupt(t *ticket) {
	l := t.lane
	for l.head() != t {
		x := l.head()
		s.remove(x)
		s.Stats.Interrupted.Add(1)
		if x.work == nil {
			x.why = errInterrupted
			s.superseded(x)
			continue
		}
		s.dropLater(x.work, errInterrupted)
	}
	if l.active != nil {
		w := l.active.work
		s.Stats.Interrupted.Add(1)
		s.later(func() { w.Abort("interrupted") })
	}
}

// superseded tells whoever still works on the request of a place that was given up, such
// as an operator who is asked about it, that nobody wants its turn any more.
func (s *Stage) superseded(t *ticket) {
	if s.deps.Superseded == nil || t.runID == "" {
		return
	}
	key, runID := t.lane.key, t.runID
	s.later(func() { s.deps.Superseded(key, runID) })
}

// steer gives the running turn the messages that want to be put into it. Only the head
// may go, so that none overtakes another, and a turn takes as many as a lane holds.
func (s *Stage) steer(l *lane) {
	if l.active == nil {
		return
	}
	st, ok := l.active.work.(Steerer)
	if !ok {
		return
	}
	for t := l.head(); t != nil && t.state == waiting && t.mode == Steer; t = l.head() {
		if l.active.taken >= s.cfg.QueueCap || !st.Steer(t.work) {
			return
		}
		l.active.taken++
		s.remove(t)
		s.Stats.Steered.Add(1)
	}
}

// collect joins t with the message that waits before it, and holds the joined turn
// until no message has come for the debounce time. A message that finds its session
// idle starts at once. A turn takes as many messages as a lane holds, so its wait ends.
func (s *Stage) collect(t *ticket) {
	l := t.lane
	if l.active == nil && l.head() == t {
		return
	}
	t.ready = now().Add(time.Duration(s.cfg.DebounceMs) * time.Millisecond)
	for i, x := range l.queue {
		if x != t || i == 0 {
			continue
		}
		before := l.queue[i-1]
		if before.state == waiting && before.mode == Collect && before.taken < s.cfg.QueueCap && before.work.Merge(t.work) {
			before.taken++
			before.ready = t.ready
			s.remove(t)
			s.Stats.Collected.Add(1)
		}
		return
	}
}

// cancelTicket gives a place back: its request failed, or started no turn after all.
func (s *Stage) cancelTicket(t *ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.state != gone {
		s.remove(t)
		s.Stats.Cancelled.Add(1)
	}
	s.steer(t.lane)
	s.pump(t.lane)
}

// finish releases the lane after a turn. A turn that failed on the way, before or
// after its work ran, may have left whoever waits for it without an end: Drop tells
// them, and does nothing when they were told.
func (s *Stage) finish(t *ticket, err *frames.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.lane.active != t {
		panic(fmt.Sprintf("schedule: lane %s is not held by run %s", t.lane.key, t.work.ID()))
	}
	if err != nil {
		s.dropLater(t.work, err)
	}
	s.Stats.Finished.Add(1)
	s.leave(t)
}

// leave takes a turn off the main lane and its own.
func (s *Stage) leave(t *ticket) {
	t.state = gone
	t.lane.active = nil
	s.running--
	t.lane.agent.running--
	s.pump(t.lane)
}

// later runs fn on a goroutine of the stage's own, in order. Drop and Abort belong
// there: they may wait for the disk, and neither a lane's lock nor the pipeline's
// goroutine that settles everyone's envelopes may wait with them. Each ticket is in the
// list at most once, so the lanes' bounds are its bound.
func (s *Stage) later(fn func()) {
	s.after = append(s.after, fn)
	select {
	case s.wakeAfter <- struct{}{}:
	default:
	}
}

func (s *Stage) dropLater(w pipeline.Work, err *frames.Error) {
	s.later(func() { w.Drop(err) })
}

// runAfter runs what later was given, until the stage stops.
func (s *Stage) runAfter() {
	for {
		s.mu.Lock()
		fns := s.after
		s.after = nil
		s.mu.Unlock()
		for _, fn := range fns {
			s.guard(fn)
		}
		if len(fns) > 0 {
			continue
		}
		select {
		case <-s.wakeAfter:
		case <-s.ctx.Done():
			return
		}
	}
}

// guard keeps a panic of one Work from ending the stage.
func (s *Stage) guard(fn func()) {
	defer func() {
		if r := recover(); r != nil && s.deps.Log != nil {
			s.deps.Log.Error("ending a turn panicked", "panic", r)
		}
	}()
	fn()
}
