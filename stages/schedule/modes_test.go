package schedule

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

const session = "agent:main:main"

// bubble runs fn with a rig in synctest's time; at the end every turn has been let go
// and nothing may be left.
func bubble(t *testing.T, change func(*Config), fn func(r *rig)) {
	t.Helper()
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		if change != nil {
			change(&cfg)
		}
		r := newRig(t, cfg)
		fn(r)
		r.finishAll()
		r.wantEmpty()
	})
}

// finishAll ends every turn, also those that start meanwhile.
func (r *rig) finishAll() {
	for range 1000 {
		synctest.Wait()
		r.mu.Lock()
		left := len(r.active)
		for _, id := range r.active {
			r.jobs[id].end()
		}
		r.mu.Unlock()
		if left == 0 {
			time.Sleep(2 * time.Minute) // synctest's clock: past every debounce
			synctest.Wait()
			if r.View().Running == 0 {
				return
			}
		}
	}
	r.t.Fatal("turns go on without end")
}

func (r *rig) want(started, fates string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.started(); got != started {
		r.t.Errorf("started %q, want %q", got, started)
	}
	if got := r.fates(); got != fates {
		r.t.Errorf("fates %q, want %q", got, fates)
	}
}

// sendAll sends requests one after the other, each stored before the next.
func (r *rig) sendAll(mode Mode, ids ...string) (jobs []*job) {
	r.t.Helper()
	for _, id := range ids {
		jobs = append(jobs, r.send(session, id, mode))
		synctest.Wait()
	}
	return jobs
}

func TestConformance(t *testing.T) {
	pipelinetest.Conformance(t, func() pipeline.Stage {
		s, err := New(Default(), Deps{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestConfig(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"queueMode":       func(c *Config) { c.QueueMode = "x" },
		"queueCap":        func(c *Config) { c.QueueCap = 0 },
		"queueDrop":       func(c *Config) { c.QueueDrop = "" },
		"debounceMs":      func(c *Config) { c.DebounceMs = -1 },
		"maxConcurrent":   func(c *Config) { c.MaxConcurrent = -1 },
		"maxLanes":        func(c *Config) { c.MaxLanes = 0 },
		"groupActivation": func(c *Config) { c.GroupActivation = "x" },
	} {
		c := Default()
		change(&c)
		if _, err := New(c, Deps{}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestFollowupIsFirstInFirstOut(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		jobs := r.sendAll(Followup, "a", "b", "c")
		other := r.send("agent:main:x", "o", Followup)
		synctest.Wait()
		r.want("a o", "a ; b ; c ; o ")
		jobs[0].end()
		r.want("a o b", "b ; c ; o ")
		if holder, waiting := r.Active(session); holder != "b" || fmt.Sprint(waiting) != "[c]" {
			r.t.Errorf("holder %s, waiting %v", holder, waiting)
		}
		jobs[1].end()
		r.want("a o b c", "c ; o ")
		other.end()
	})
}

// The order is that in which the requests came, not that in which they were stored.
func TestARequestOnItsWayToTheDiskKeepsItsPlace(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.hold["a"] = true
		r.sendAll(Followup, "a", "b")
		r.want("", "a ; b ")
		r.stored("a")
		r.want("a", "a ; b ")
		r.finishAll()
		r.want("a b", "")

		r.hold["c"] = true // and one that is refused in the end makes way
		r.sendAll(Followup, "c", "d")
		r.want("a b", "c ; d ")
		r.mu.Lock()
		e := r.stuck["c"]
		r.mu.Unlock()
		r.pipe.Resume(e, errStopping)
		r.finishAll()
		r.want("a b d", "c ")
	})
}

func TestARequestThatIsRefusedLeavesNoPlace(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.refuse["a"] = true
		r.sendAll(Followup, "a")
		r.wantEmpty()
		r.submit(r.request(session, "no job", Followup)) // a command: it starts no turn after all
		synctest.Wait()
		r.wantEmpty()
		if n := r.Stats.Cancelled.Load(); n != 2 {
			r.t.Errorf("%d cancelled", n)
		}
		delete(r.jobs, "a")
	})
}

func TestSteer(t *testing.T) {
	t.Run("goes into the running turn", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll("", "a", "b", "c") // the default
			r.want("a", "a ; b steered into a; c steered into a")
		})
	})
	t.Run("waits when the turn cannot take it, and none overtakes it", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			a := r.sendAll("", "a")[0]
			a.steerable = false
			r.sendAll("", "b")
			a.steerable = true
			r.sendAll("", "c") // b was only too early; both go in now, in order
			r.want("a", "a ; b steered into a; c steered into a")
			a.steerable = false
			r.sendAll(Followup, "d")
			a.steerable = true
			r.sendAll("", "e")
			r.want("a", "a ; b steered into a; c steered into a; d ; e ")
			a.end()
			r.want("a d", "b steered into a; c steered into a; d ; e ")
		})
	})
	t.Run("waits for the one that is being stored before it", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll("", "a")
			r.hold["b"] = true
			r.sendAll("", "b", "c")
			r.want("a", "a ; b ; c ")
			r.stored("b")
			r.want("a", "a ; b steered into a; c steered into a")
			r.hold["d"] = true
			r.sendAll("", "d", "e")
			r.mu.Lock()
			d := r.stuck["d"]
			r.mu.Unlock()
			r.pipe.Resume(d, errStopping)
			synctest.Wait()
			delete(r.jobs, "d")
			r.want("a", "a ; b steered into a; c steered into a; e steered into a")
		})
	})
	t.Run("a turn takes as many as a lane holds", func(t *testing.T) {
		bubble(t, func(c *Config) { c.QueueCap = 3 }, func(r *rig) {
			r.sendAll("", "a", "b", "c", "d", "e")
			r.want("a", "a ; b steered into a; c steered into a; d steered into a; e ")
		})
	})
	t.Run("a turn that takes nothing", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			w := pipelinetest.NewWork("plain", "main", session, "x")
			s := &Stage{cfg: Default()}
			l := &lane{active: &ticket{work: plain{w}}, queue: []*ticket{{state: waiting, mode: Steer}}}
			s.steer(l) // Work without Steer must not be asked
		})
	})
}

// plain is Work that is nothing more.
type plain struct{ pipeline.Work }

func TestCollect(t *testing.T) {
	t.Run("an idle session starts at once", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll(Collect, "a")
			r.want("a", "a ")
		})
	})
	t.Run("what waits is joined, and starts when it was quiet for the debounce time", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			jobs := r.sendAll(Collect, "a", "b", "c")
			time.Sleep(300 * time.Millisecond) // synctest's clock
			r.sendAll(Collect, "d")
			r.want("a", "a ; b ; c merged into b; d merged into b")
			jobs[0].end()
			time.Sleep(499 * time.Millisecond)
			r.want("a", "b ; c merged into b; d merged into b")
			time.Sleep(time.Millisecond)
			r.want("a b", "b ; c merged into b; d merged into b")
		})
	})
	t.Run("a session that was quiet long enough does not wait again", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			jobs := r.sendAll(Collect, "a", "b")
			time.Sleep(time.Second) // synctest's clock
			jobs[0].end()
			r.want("a b", "b ")
		})
	})
	t.Run("what cannot be joined keeps its own time", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			jobs := r.sendAll(Collect, "a", "b")
			jobs[1].mergeable = false
			time.Sleep(400 * time.Millisecond) // synctest's clock
			r.sendAll(Collect, "c")
			jobs[0].end()
			r.want("a", "b ; c ")
			time.Sleep(100 * time.Millisecond)
			r.want("a b", "b ; c ")
			jobs[1].end()
			r.want("a b", "c ")
			time.Sleep(400 * time.Millisecond)
			r.want("a b c", "c ")
		})
	})
	t.Run("a followup is not joined", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll(Followup, "a", "b")
			r.sendAll(Collect, "c")
			r.want("a", "a ; b ; c ")
		})
	})
	t.Run("a stream of messages does not hold a turn up for ever", func(t *testing.T) {
		bubble(t, func(c *Config) { c.QueueCap = 4 }, func(r *rig) {
			a := r.sendAll(Collect, "a")[0]
			r.sendAll(Collect, "b0")
			a.end()
			for i := 1; i < 12; i++ {
				time.Sleep(400 * time.Millisecond) // synctest's clock
				r.sendAll(Collect, fmt.Sprint("b", i))
			}
			if got := r.started(); !strings.HasPrefix(got, "a b0") {
				r.t.Errorf("started %q", got)
			}
		})
	})
	t.Run("without a debounce", func(t *testing.T) {
		bubble(t, func(c *Config) { c.DebounceMs = 0 }, func(r *rig) {
			r.sendAll(Collect, "a", "b", "c")[0].end()
			r.want("a b", "b ; c merged into b")
		})
	})
	t.Run("the timer does not outlive the stage", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll(Collect, "a", "b")[0].end()
			synctest.Wait()
			r.Abort(session, "", "rpc")
			r.want("a", "b dropped: aborted")
			r.wantEmpty()
		})
	})
}

func TestInterrupt(t *testing.T) {
	t.Run("ends what runs and what waits", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			jobs := r.sendAll(Followup, "a", "b", "c")
			r.sendAll(Interrupt, "d")
			r.want("a d", "b dropped: "+errInterrupted.Message+"; c dropped: "+errInterrupted.Message+"; d ")
			if jobs[0].aborted != "interrupted" {
				r.t.Errorf("aborted: %q", jobs[0].aborted)
			}
		})
	})
	t.Run("an idle session starts at once", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll(Interrupt, "a")
			r.want("a", "a ")
		})
	})
	t.Run("also what came before it and is stored after it, but not what came after it", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll(Followup, "a")
			r.hold["before"], r.hold["x"] = true, true
			r.sendAll(Followup, "before")
			r.sendAll(Interrupt, "x")
			r.sendAll(Followup, "after")
			r.want("a", "a ; after ; before ; x ")
			r.stored("x")
			r.want("a x", "after ; before ; x ")
			r.stored("before")
			r.want("a x", "after ; before dropped: "+errInterrupted.Message+"; x ")
			r.finishAll()
			r.want("a x after", "before dropped: "+errInterrupted.Message)
		})
	})
	t.Run("is not refused by a full lane, but a flood of it is", func(t *testing.T) {
		bubble(t, func(c *Config) { c.QueueCap, c.QueueDrop = 3, DropNew }, func(r *rig) {
			r.sendAll(Followup, "a", "b", "c", "d")
			r.hold["i1"], r.hold["i2"], r.hold["i3"] = true, true, true
			r.sendAll(Interrupt, "i1", "i2", "i3", "i4")
			delete(r.jobs, "i4")
			if n := r.Stats.Refused.Load(); n != 1 {
				r.t.Errorf("%d refused", n)
			}
			for _, id := range []string{"i1", "i2", "i3"} {
				r.stored(id)
			}
			synctest.Wait()
			if got := r.started(); !strings.HasPrefix(got, "a ") || !strings.HasSuffix(got, " i3") {
				r.t.Errorf("started %q", got)
			}
		})
	})
	t.Run("sessions.steer interrupts", func(t *testing.T) {
		if tg, err := targetOf("sessions.steer", []byte(`{"key":"main","message":"m"}`)); err != nil || tg.mode != Interrupt {
			t.Errorf("%+v %v", tg, err)
		}
	})
}

func TestTheModesPrecedence(t *testing.T) {
	cfg := Default()
	cfg.QueueMode = Followup
	s, err := New(cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ request, session, want Mode }{
		{"", "", Followup}, {"", Collect, Collect}, {Interrupt, Collect, Interrupt}, {"bogus", "", Followup}, {"", "bogus", Followup}, {"bogus", Steer, Steer},
	} {
		if got := s.mode(target{mode: tc.request}, Policy{QueueMode: tc.session}); got != tc.want {
			t.Errorf("request %q, session %q: %q, want %q", tc.request, tc.session, got, tc.want)
		}
	}
}
