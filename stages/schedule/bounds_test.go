package schedule

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

func ids(prefix string, from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprint(prefix, i))
	}
	return list
}

func TestACapOfTwenty(t *testing.T) {
	const why = "dropped: dropped: 20 messages were waiting in session agent:main:main (queueCap)"
	t.Run("old: the oldest goes and is told so", func(t *testing.T) {
		bubble(t, func(c *Config) { c.QueueDrop = DropOld }, func(r *rig) {
			r.sendAll(Followup, ids("m", 0, 23)...)
			if got := r.fates(); !strings.Contains(got, "m1 "+why+";") || !strings.Contains(got, "m3 "+why) || strings.Count(got, why) != 3 {
				r.t.Error(got)
			}
			r.finishAll()
			if want := "m0 " + strings.Join(ids("m", 4, 23), " "); r.started() != want {
				r.t.Errorf("started %q", r.started())
			}
			if notes := r.jobs["m4"].Notes(); len(notes) != 0 {
				r.t.Errorf("notes: %q", notes)
			}
		})
	})
	t.Run("summarize: and the next turn is told about it", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll(Followup, ids("m", 0, 23)...)
			if got := r.fates(); strings.Count(got, why) != 3 {
				r.t.Error(got)
			}
			r.finishAll()
			if notes := strings.Join(r.jobs["m4"].Notes(), "|"); notes != "text of m1|text of m2|text of m3" {
				r.t.Errorf("notes: %q", notes)
			}
			if notes := r.jobs["m5"].Notes(); len(notes) != 0 {
				r.t.Errorf("told twice: %q", notes)
			}
		})
	})
	t.Run("summarize: a flood is summarized in a few lines", func(t *testing.T) {
		bubble(t, func(c *Config) { c.QueueCap = 4 }, func(r *rig) {
			r.sendAll(Followup, ids("m", 0, 104)...)
			r.finishAll()
			want := "text of m97|text of m98|text of m99|text of m100|(and 96 more before these)"
			if notes := strings.Join(r.jobs["m101"].Notes(), "|"); notes != want {
				r.t.Errorf("notes: %q", notes)
			}
		})
	})
	t.Run("new: the new one is refused", func(t *testing.T) {
		bubble(t, func(c *Config) { c.QueueDrop = DropNew }, func(r *rig) {
			r.sendAll(Followup, ids("m", 0, 23)...)
			refused := 0
			for range 24 {
				if a := r.c.Next(r.t); !a.OK {
					refused++
					if a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable || a.Error.RetryAfterMs == 0 || !strings.Contains(a.Error.Message, "20 messages waiting") {
						r.t.Errorf("refusal: %+v", a.Error)
					}
				}
			}
			if refused != 3 {
				r.t.Errorf("%d refused", refused)
			}
			r.finishAll()
			if want := strings.Join(ids("m", 0, 20), " "); r.started() != want {
				r.t.Errorf("started %q", r.started())
			}
			for _, id := range ids("m", 21, 23) {
				delete(r.jobs, id)
			}
			r.want(strings.Join(ids("m", 0, 20), " "), "")
		})
	})
	t.Run("one that is being stored is never dropped", func(t *testing.T) {
		bubble(t, func(c *Config) { c.QueueCap = 3 }, func(r *rig) {
			for _, id := range ids("m", 0, 2) {
				r.hold[id] = true
			}
			r.sendAll(Followup, ids("m", 0, 3)...)
			if a := r.c.Next(r.t); a.OK || a.ID != "m3" || !a.Error.Retryable {
				r.t.Fatalf("the fourth: %+v", a)
			}
			delete(r.jobs, "m3")
			for _, id := range ids("m", 0, 2) {
				r.stored(id)
			}
			r.finishAll()
			r.want("m0 m1 m2", "")
		})
	})
}

func TestSummaryLines(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		" a\n\tb   c ":             "a b c",
		strings.Repeat("é", 160):   strings.Repeat("é", 160),
		strings.Repeat("é", 161):   strings.Repeat("é", 159) + "…",
		strings.Repeat("x", 1<<20): strings.Repeat("x", 159) + "…",
		strings.Repeat("\xf0\x9f\x94\x91", 1<<18): strings.Repeat("🔑", 159) + "…",
	} {
		if got := summary(in); got != want {
			t.Errorf("%.20q: %q", in, got)
		}
	}
}

func TestTheMainLane(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxConcurrent = 3 }, func(r *rig) {
		for i := range 9 {
			r.send(fmt.Sprint("agent:main:s", i), fmt.Sprint("t", i), "")
			synctest.Wait()
		}
		r.want("t0 t1 t2", "t0 ; t1 ; t2 ; t3 ; t4 ; t5 ; t6 ; t7 ; t8 ")
		if v := r.View(); v.Running != 3 || v.MaxConcurrent != 3 || v.Queued != 6 || len(v.Lanes) != 9 {
			r.t.Errorf("view: %+v", v)
		}
		r.jobs["t1"].end()
		r.want("t0 t1 t2 t3", "t0 ; t2 ; t3 ; t4 ; t5 ; t6 ; t7 ; t8 ")
		r.finishAll()
		if len(r.order) != 9 || r.fates() != "" {
			r.t.Errorf("started %q, fates %q", r.started(), r.fates())
		}
		if r.most != 3 {
			r.t.Errorf("%d ran at the same time", r.most)
		}
	})
}

func TestAnAgentsOwnBound(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxConcurrent, c.MaxPerAgent = 4, 2 }, func(r *rig) {
		for i := range 5 {
			r.send(fmt.Sprint("agent:main:s", i), fmt.Sprint("m", i), "")
			synctest.Wait()
		}
		r.want("m0 m1", "m0 ; m1 ; m2 ; m3 ; m4 ")
		r.send("agent:other:s", "o", "")
		r.want("m0 m1 o", "m0 ; m1 ; m2 ; m3 ; m4 ; o ")
		r.jobs["m0"].end()
		r.want("m0 m1 o m2", "m1 ; m2 ; m3 ; m4 ; o ")
	})
}

func TestLanesAreBounded(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxLanes = 2 }, func(r *rig) {
		r.send("agent:main:a", "a", "")
		synctest.Wait()
		r.send("agent:main:b", "b", "")
		synctest.Wait()
		r.send("agent:main:c", "c", "")
		synctest.Wait()
		delete(r.jobs, "c")
		for range 2 {
			r.c.Next(r.t)
		}
		if a := r.c.Next(r.t); a.OK || a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable {
			r.t.Errorf("the third session: %+v", a)
		}
		r.jobs["a"].end()
		r.want("a b", "b ")
		r.send("agent:main:c", "c", "")
		r.want("a b c", "b ; c ")
	})
}

// A hog with a hundred sessions must not hold up agents with one message: each of those
// starts within the next round.
func TestFairnessBetweenAgents(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxConcurrent = 4 }, func(r *rig) {
		for i := range 100 {
			r.send(fmt.Sprint("agent:main:s", i), fmt.Sprint("hog", i), "")
			synctest.Wait()
		}
		const light = 5
		for i := range light {
			r.agents = append(r.agents, fmt.Sprint("light", i))
			r.send(fmt.Sprintf("agent:light%d:main", i), fmt.Sprint("l", i), "")
			synctest.Wait()
		}
		before := len(r.order)
		for range 2 * light { // in one round the hog gets one turn for each of theirs
			r.mu.Lock()
			for _, id := range r.order {
				if j := r.jobs[id]; len(j.fates) == 0 {
					r.mu.Unlock()
					j.end()
					r.mu.Lock()
					break
				}
			}
			r.mu.Unlock()
			synctest.Wait()
		}
		r.mu.Lock()
		round := strings.Join(r.order[before:], " ")
		r.mu.Unlock()
		if n := strings.Count(round, "l"); n != light {
			r.t.Errorf("%d of %d light agents started in a round: %s", n, light, round)
		}
	})
}
