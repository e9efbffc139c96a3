package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"

	"pgregory.net/rapid"
)

// shim lets a rig report to rapid; the embedded TB is there for its private method.
type shim struct {
	testing.TB
	rt *rapid.T
}

func (s shim) Helper()                      {}
func (s shim) Errorf(f string, args ...any) { s.rt.Errorf(f, args...) }
func (s shim) Error(args ...any)            { s.rt.Error(args...) }
func (s shim) Fatalf(f string, args ...any) { s.rt.Fatalf(f, args...) }
func (s shim) Fatal(args ...any)            { s.rt.Fatal(args...) }
func (s shim) Cleanup(fn func())            { s.rt.Cleanup(fn) }

// machine drives a rig by chance. Every request is held on its way to the disk until
// the machine says that it was stored or refused.
type machine struct {
	*rig
	cfg      Config
	n        int
	sent     map[string]int // run -> its number: the order of sending
	lane     map[string]string
	refused  map[string]bool // runs whose request was refused: they have no fate
	sessions []string
}

func (m *machine) settle() { synctest.Wait() }

func (m *machine) send(rt *rapid.T) {
	m.n++
	id := fmt.Sprint("m", m.n)
	key := rapid.SampledFrom(m.sessions).Draw(rt, "session")
	mode := rapid.SampledFrom([]Mode{Steer, Followup, Collect, Interrupt}).Draw(rt, "mode")
	m.sent[id], m.lane[id] = m.n, key
	m.mu.Lock()
	m.hold[id] = true
	m.mu.Unlock()
	j := m.job(id)
	j.steerable = rapid.Bool().Draw(rt, "steerable")
	j.mergeable = rapid.Bool().Draw(rt, "mergeable")
	m.submit(m.request(key, id, mode))
	m.settle()
	select {
	case a := <-m.c.Answers: // refused at a bound
		if a.OK || a.ID != id || !a.Error.Retryable {
			rt.Fatalf("answer before %s is stored: %+v", id, a)
		}
		m.refused[id] = true
	default:
	}
}

func (m *machine) stuckIDs() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for id := range m.stuck {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

func (m *machine) store(rt *rapid.T) {
	list := m.stuckIDs()
	if len(list) == 0 {
		rt.Skip()
	}
	id := rapid.SampledFrom(list).Draw(rt, "run")
	m.mu.Lock()
	e := m.stuck[id]
	delete(m.stuck, id)
	m.mu.Unlock()
	var err error
	if rapid.IntRange(0, 4).Draw(rt, "luck") == 0 {
		err = frames.Invalid("refused")
		m.refused[id] = true
	}
	m.pipe.Resume(e, err)
	m.settle()
	if a := <-m.c.Answers; a.ID != id || a.OK != (err == nil) {
		rt.Fatalf("%s: %+v", id, a)
	}
}

func (m *machine) end(rt *rapid.T) {
	m.mu.Lock()
	var list []string
	for _, id := range m.active {
		list = append(list, id)
	}
	m.mu.Unlock()
	if len(list) == 0 {
		rt.Skip()
	}
	slices.Sort(list)
	m.jobs[rapid.SampledFrom(list).Draw(rt, "run")].end()
	m.settle()
}

func (m *machine) abort(rt *rapid.T) {
	key := rapid.SampledFrom(m.sessions).Draw(rt, "session")
	id := ""
	if m.n > 0 && rapid.Bool().Draw(rt, "one") {
		id = fmt.Sprint("m", rapid.IntRange(1, m.n).Draw(rt, "run"))
	}
	m.Abort(key, id, "rpc")
	m.settle()
}

func (m *machine) wait(rt *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(1, 700).Draw(rt, "ms")) * time.Millisecond) // synctest's clock
	m.settle()
}

func (m *machine) check(rt *rapid.T) {
	m.settle()
	m.mu.Lock()
	defer m.mu.Unlock()
	perAgent := map[string]int{}
	for key := range m.active {
		k, _ := frames.ParseSessionKey(key)
		perAgent[k.Agent]++
	}
	if m.running > m.cfg.MaxConcurrent {
		rt.Fatalf("%d run at the same time", m.running)
	}
	last := map[string]int{} // turns of a session start in the order of sending
	for _, id := range m.order {
		if n := m.sent[id]; n < last[m.lane[id]] {
			rt.Fatalf("%s started after m%d", id, last[m.lane[id]])
		} else {
			last[m.lane[id]] = n
		}
	}
	s := m.Stage
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != len(m.active) {
		rt.Fatalf("the stage says that %d run, and it is %d", s.running, len(m.active))
	}
	for agent, n := range perAgent {
		if n > m.cfg.MaxPerAgent || s.agents[agent] == nil || s.agents[agent].running != n {
			rt.Fatalf("%d of agent %s run", n, agent)
		}
	}
	for key, l := range s.lanes {
		kept, stored := 0, 0
		for _, t := range l.queue {
			if t.state == waiting {
				stored++
			} else if t.state != reserved {
				rt.Fatalf("%s: a place in state %d is queued", key, t.state)
			}
			if t.mode != Interrupt {
				kept++
			}
		}
		if kept > m.cfg.QueueCap || len(l.queue)-stored > 2*m.cfg.QueueCap {
			rt.Fatalf("%s: %d places, %d stored, with a cap of %d", key, len(l.queue), stored, m.cfg.QueueCap)
		}
		if l.active == nil && len(l.queue) == 0 {
			rt.Fatalf("%s is empty and still there", key)
		}
		if s.startable(l) && s.running < m.cfg.MaxConcurrent && l.agent.running < m.cfg.MaxPerAgent {
			rt.Fatalf("%s could start and does not", key)
		}
		if len(l.lost) > m.cfg.QueueCap+1 {
			rt.Fatalf("%s remembers %d dropped messages", key, len(l.lost))
		}
	}
}

// abandon lets the rig stop when rapid ends a run early.
func (m *machine) abandon() {
	m.settle()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		j.end()
	}
	for id, e := range m.stuck {
		delete(m.stuck, id)
		go m.pipe.Resume(e, errStopping)
	}
}

// drain lets everything end and checks that every run had one end, and nothing is left.
func (m *machine) drain(rt *rapid.T) {
	for _, id := range m.stuckIDs() {
		m.stored(id)
		m.settle()
		<-m.c.Answers
	}
	m.finishAll()
	m.wantEmpty()
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, j := range m.jobs {
		want := 1
		if m.refused[id] {
			want = 0
		}
		if len(j.fates) != want {
			rt.Errorf("%s has the ends %q, refused %v", id, strings.Join(j.fates, "; "), m.refused[id])
		}
	}
	st := &m.Stage.Stats
	ends := st.Finished.Load() + st.Steered.Load() + st.Collected.Load() + st.Dropped.Load() + st.Aborted.Load() + st.Cancelled.Load()
	// Interrupted counts the turn that it ended besides what it dropped.
	if got := st.Reserved.Load(); got < ends || got > ends+st.Interrupted.Load() {
		rt.Errorf("%d places were taken, %d ended, %d of them or others by an interrupt", got, ends, st.Interrupted.Load())
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			cfg := Default()
			cfg.MaxConcurrent = rapid.IntRange(1, 3).Draw(rt, "maxConcurrent")
			cfg.MaxPerAgent = rapid.IntRange(1, 3).Draw(rt, "maxPerAgent")
			cfg.QueueCap = rapid.IntRange(1, 4).Draw(rt, "queueCap")
			cfg.QueueDrop = rapid.SampledFrom([]string{DropSummarize, DropOld, DropNew}).Draw(rt, "queueDrop")
			m := &machine{rig: newRig(shim{t, rt}, cfg), cfg: cfg, sent: map[string]int{}, lane: map[string]string{}, refused: map[string]bool{},
				sessions: []string{"agent:main:a", "agent:main:b", "agent:other:c"}}
			rt.Cleanup(m.abandon)
			rt.Repeat(map[string]func(*rapid.T){
				"send": m.send, "send more": m.send, "send yet more": m.send, "store": m.store, "store more": m.store, "store yet more": m.store,
				"end": m.end, "abort": m.abort, "wait": m.wait, "": m.check,
			})
			m.drain(rt)
		})
	})
}
