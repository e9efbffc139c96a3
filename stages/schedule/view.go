package schedule

import (
	"slices"
	"sort"
	"sync"
	"time"

	"sluice/pipeline"
)

// LaneView is one lane for people: who holds it, since when, and what waits
// (demands.md 24: an operator must see why a session is blocked).
type LaneView struct {
	SessionKey string     `json:"sessionKey"`
	AgentID    string     `json:"agentId"`
	Holder     string     `json:"holder,omitempty"` // run id of the running turn
	HeldMs     int64      `json:"heldMs,omitempty"`
	Waiting    []WaitView `json:"waiting,omitempty"`
}

// WaitView is one place in a lane.
type WaitView struct {
	RunID  string `json:"runId,omitempty"` // empty while its request is being stored
	Mode   Mode   `json:"mode"`
	AgeMs  int64  `json:"ageMs"`
	Stored bool   `json:"stored"`
}

// View is all lanes.
type View struct {
	Running       int        `json:"running"`
	MaxConcurrent int        `json:"maxConcurrent"`
	Queued        int        `json:"queued"`
	Lanes         []LaneView `json:"lanes"`
}

// maxViewedLanes bounds a view; the oldest holders come first.
const maxViewedLanes = 200

// View returns the lanes as they are now.
func (s *Stage) View() View {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := now()
	v := View{Running: s.running, MaxConcurrent: s.cfg.concurrent(), Lanes: []LaneView{}}
	for _, l := range s.lanes {
		lv := LaneView{SessionKey: l.key, AgentID: l.agent.id}
		if l.active != nil {
			lv.Holder, lv.HeldMs = l.active.work.ID(), ms(at, l.active.since)
		}
		for _, t := range l.queue {
			w := WaitView{Mode: t.mode, AgeMs: ms(at, t.since), Stored: t.state == waiting}
			if t.work != nil {
				w.RunID = t.work.ID()
			}
			lv.Waiting = append(lv.Waiting, w)
		}
		v.Queued += len(l.queue)
		v.Lanes = append(v.Lanes, lv)
	}
	sort.Slice(v.Lanes, func(i, j int) bool {
		if v.Lanes[i].HeldMs != v.Lanes[j].HeldMs {
			return v.Lanes[i].HeldMs > v.Lanes[j].HeldMs
		}
		return v.Lanes[i].SessionKey < v.Lanes[j].SessionKey
	})
	if len(v.Lanes) > maxViewedLanes {
		v.Lanes = v.Lanes[:maxViewedLanes]
	}
	return v
}

func ms(at, since time.Time) int64 { return at.Sub(since).Milliseconds() }

// Active returns the run that holds the session's lane and those that wait in it.
func (s *Stage) Active(sessionKey string) (holder string, waiting []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[sessionKey]
	if l == nil {
		return "", nil
	}
	if l.active != nil {
		holder = l.active.work.ID()
	}
	for _, t := range l.queue {
		if t.work != nil {
			waiting = append(waiting, t.work.ID())
		}
	}
	return holder, waiting
}

// Abort ends turns of a session: the one with runID, or with an empty runID all that
// wait and then the running one. Messages that are still being stored are ended too,
// once they are. It returns the ids in that order, when the ends of those that waited
// are stored. The lane itself is released when the running turn has ended, which Abort
// does not wait for.
func (s *Stage) Abort(sessionKey, runID, reason string) []string {
	s.mu.Lock()
	l := s.lanes[sessionKey]
	if l == nil {
		s.mu.Unlock()
		return nil
	}
	ids := []string{}
	var dropped []pipeline.Work
	for _, t := range slices.Clone(l.queue) {
		if runID != "" && t.runID != runID {
			continue
		}
		s.remove(t)
		s.Stats.Aborted.Add(1)
		if t.runID != "" {
			ids = append(ids, t.runID)
		}
		if t.work != nil {
			dropped = append(dropped, t.work)
		} else {
			t.why = errAborted
		}
	}
	var active pipeline.Work
	if l.active != nil && (runID == "" || l.active.runID == runID) {
		active = l.active.work
		ids = append(ids, l.active.runID)
	}
	s.steer(l)
	s.pump(l)
	s.mu.Unlock()
	var wg sync.WaitGroup // side by side, so that one commit stores all their ends
	for _, w := range dropped {
		wg.Go(func() { s.guard(func() { w.Drop(errAborted) }) })
	}
	wg.Wait()
	if active != nil {
		active.Abort(reason)
	}
	return ids
}

// Restore puts work back into its lane after a restart: it was acknowledged before.
func (s *Stage) Restore(w pipeline.Work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tg := target{key: w.SessionKey(), agent: w.AgentID()}
	l := s.lanes[tg.key]
	if l == nil {
		l = s.addLane(tg)
	}
	l.queue = append(l.queue, &ticket{stage: s, lane: l, mode: Followup, state: waiting, work: w, runID: w.ID(), since: now()})
	s.Stats.Reserved.Add(1)
	s.pump(l)
}

// AbortAll ends every running turn; a drain whose time is over calls it.
func (s *Stage) AbortAll(reason string) {
	s.mu.Lock()
	var works []pipeline.Work
	for _, l := range s.lanes {
		if l.active != nil {
			works = append(works, l.active.work)
		}
	}
	s.stopped = true
	s.mu.Unlock()
	for _, w := range works {
		w.Abort(reason)
	}
}
