package schedule

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Stats are the stage's counters.
type Stats struct {
	Reserved    atomic.Uint64 // places taken
	Started     atomic.Uint64 // turns started
	Finished    atomic.Uint64
	Steered     atomic.Uint64 // messages taken by a running turn
	Collected   atomic.Uint64 // messages joined with a waiting one
	Interrupted atomic.Uint64 // turns ended by a newer message
	Dropped     atomic.Uint64 // messages dropped at the cap
	Refused     atomic.Uint64 // requests refused at a bound
	Aborted     atomic.Uint64 // messages ended by Abort before their turn
	Cancelled   atomic.Uint64 // places given back: the request failed or started no turn
	Ignored     atomic.Uint64 // group messages without a mention
}

// pump starts what can start after lane l has changed. s.mu is held.
func (s *Stage) pump(l *lane) {
	s.offer(l)
	s.arm(l)
	if l.active == nil && len(l.queue) == 0 && s.lanes[l.key] == l {
		s.dropLane(l)
	}
	for s.running < s.cfg.concurrent() && !s.stopped {
		a := s.nextAgent()
		if a == nil {
			return
		}
		next := a.ready[0]
		a.ready = a.ready[1:]
		next.listed = false
		s.list(a)
		if s.startable(next) {
			s.startHead(next)
		}
	}
}

func (s *Stage) dropLane(l *lane) {
	delete(s.lanes, l.key)
	if l.timer != nil {
		l.timer.Stop()
	}
	l.agent.lanes--
	if l.agent.lanes == 0 && l.agent.running == 0 {
		delete(s.agents, l.agent.id)
	}
}

// offer puts l on its agent's ready list if its head can start.
func (s *Stage) offer(l *lane) {
	if !l.listed && s.startable(l) {
		l.listed = true
		l.agent.ready = append(l.agent.ready, l)
		s.list(l.agent)
	}
}

func (s *Stage) startable(l *lane) bool {
	t := l.head()
	return l.active == nil && t != nil && t.state == waiting && !t.ready.After(now())
}

// arm wakes l when its head has waited for its debounce time.
func (s *Stage) arm(l *lane) {
	t := l.head()
	if s.stopped || l.active != nil || t == nil || t.state != waiting {
		return
	}
	wait := t.ready.Sub(now())
	if wait <= 0 {
		return
	}
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, func() { s.wake(l) })
	} else {
		l.timer.Reset(wait)
	}
}

func (s *Stage) wake(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[l.key] == l {
		s.pump(l)
	}
}

// list puts a at the end of the ring if it has something to start.
func (s *Stage) list(a *agentQueue) {
	if !a.listed && len(a.ready) > 0 {
		a.listed = true
		s.ring = append(s.ring, a)
	}
}

// nextAgent takes the first agent off the ring that is below its own bound.
func (s *Stage) nextAgent() *agentQueue {
	for range len(s.ring) {
		a := s.ring[0]
		s.ring = s.ring[1:]
		if s.cfg.MaxPerAgent == 0 || a.running < s.cfg.MaxPerAgent {
			a.listed = false
			if len(a.ready) > 0 {
				return a
			}
			continue
		}
		s.ring = append(s.ring, a)
	}
	return nil
}

func (s *Stage) startHead(l *lane) {
	t := l.queue[0]
	s.remove(t)
	t.state, t.since = running, now()
	l.active = t
	s.running++
	l.agent.running++
	if len(l.lost) > 0 {
		if n, ok := t.work.(Noter); ok {
			if l.lostMore > 0 {
				l.lost = append(l.lost, fmt.Sprintf("(and %d more before these)", l.lostMore))
			}
			n.Note(l.lost)
		}
		l.lost, l.lostMore = nil, 0
	}
	s.Stats.Started.Add(1)
	s.starts <- t
}
