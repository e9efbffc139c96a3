package schedule

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

func TestAbort(t *testing.T) {
	t.Run("all of a session: what waits, then what runs", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			jobs := r.sendAll(Followup, "a", "b", "c")
			r.send("agent:main:x", "o", "")
			r.hold["d"] = true
			r.sendAll(Followup, "d")
			ids := r.Abort(session, "", "rpc")
			if fmt.Sprint(ids) != "[b c d a]" {
				r.t.Errorf("ids: %v", ids)
			}
			r.want("a o", "b dropped: aborted; c dropped: aborted; d ; o ")
			if jobs[0].aborted != "rpc" {
				r.t.Errorf("aborted: %q", jobs[0].aborted)
			}
			r.sendAll(Followup, "e") // what comes later is not meant
			r.stored("d")
			r.want("a o e", "b dropped: aborted; c dropped: aborted; d dropped: aborted; e ; o ")
		})
	})
	t.Run("one of them", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.sendAll(Followup, "a", "b", "c")
			r.hold["d"] = true
			r.sendAll(Followup, "d")
			for id, want := range map[string]string{"b": "[b]", "d": "[d]", "zz": "[]"} {
				if ids := r.Abort(session, id, "rpc"); fmt.Sprint(ids) != want {
					r.t.Errorf("%s: %v", id, ids)
				}
			}
			r.stored("d")
			r.want("a", "a ; b dropped: aborted; c ; d dropped: aborted")
			if ids := r.Abort(session, "a", "rpc"); fmt.Sprint(ids) != "[a]" {
				r.t.Errorf("%v", ids)
			}
			r.want("a c", "b dropped: aborted; c ; d dropped: aborted")
		})
	})
	t.Run("an unknown session", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			if ids := r.Abort("agent:main:none", "", "rpc"); ids != nil {
				r.t.Errorf("%v", ids)
			}
		})
	})
	t.Run("one that is refused after it was aborted", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.hold["a"] = true
			r.sendAll(Followup, "a")
			r.Abort(session, "", "rpc")
			r.mu.Lock()
			e := r.stuck["a"]
			r.mu.Unlock()
			r.pipe.Resume(e, errStopping)
			r.want("", "a ")
			r.wantEmpty()
		})
	})
	t.Run("all sessions", func(t *testing.T) {
		bubble(t, nil, func(r *rig) {
			r.send("agent:main:a", "a", "")
			r.send("agent:main:b", "b", "")
			synctest.Wait()
			r.AbortAll("restart")
			synctest.Wait()
			if r.jobs["a"].aborted != "restart" || r.jobs["b"].aborted != "restart" {
				r.t.Error("not all")
			}
			r.send("agent:main:c", "c", "")
			for range 3 {
				if a := r.c.Next(r.t); a.ID == "c" && (a.OK || !a.Error.Retryable) {
					r.t.Errorf("afterwards: %+v", a)
				}
			}
			delete(r.jobs, "c")
		})
	})
}

// A turn that fails on the way, before or after its work ran, releases the lane and
// leaves nobody waiting.
func TestATurnThatFails(t *testing.T) {
	for name, fn := range map[string]func() error{
		"blocked":  func() error { return frames.Invalid("blocked") },
		"no words": func() error { return errors.New("/etc/x") },
		"a panic":  func() error { panic("blocked") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) {
				r.block["a"] = fn
				r.sendAll(Followup, "a", "b")
				synctest.Wait()
				if got := r.fates(); !strings.HasPrefix(got, "a dropped: ") || strings.Contains(got, "/etc") {
					r.t.Errorf("fates: %q", got)
				}
				if r.started() != "b" {
					r.t.Errorf("started: %q", r.started())
				}
			})
		})
	}
}

func TestManySessionsAtOnce(t *testing.T) {
	bufpooltest.NoLeaks(t)
	cfg := Default()
	cfg.MaxConcurrent, cfg.QueueCap, cfg.QueueMode = 8, 1000, Followup
	r := newRig(t, cfg)
	const senders, each, sessions = 8, 100, 10
	var wg sync.WaitGroup
	for g := range senders {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("g%d-%d", g, i)
				r.job(id).auto = true
				key := fmt.Sprintf("agent:%s:s%d", []string{"main", "other"}[i%2], i%sessions)
				e := r.request(key, id, "")
				e.Shard = uint32(g)
				if err := r.pipe.Submit(e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for range senders * each {
		if a := r.c.Next(t); !a.OK {
			t.Fatalf("refused: %+v", a.Error)
		}
	}
	for end := time.Now().Add(10 * time.Second); r.Stats.Finished.Load() < senders*each && time.Now().Before(end); {
		runtime.Gosched()
	}
	r.pipe.Drain(t.Context())
	if n := len(r.order); n != senders*each || r.most > 8 {
		t.Errorf("%d of %d started, %d at the same time", n, senders*each, r.most)
	}
	if f := r.fates(); f != "" {
		t.Errorf("fates: %s", f)
	}
	r.wantEmpty()
	last := map[string]int{} // the order of one sender in one session is kept
	for _, id := range r.order {
		g, n, _ := strings.Cut(id, "-")
		var i int
		fmt.Sscan(n, &i)
		lane := fmt.Sprint(g, "/", i%sessions)
		if prev, ok := last[lane]; ok && prev > i {
			t.Errorf("%s started after %d", id, prev)
		}
		last[lane] = i
	}
}

func TestHoldAndStop(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Default())
		a := r.sendAll(Followup, "a", "b")[0]
		r.Hold()
		r.send(session, "c", Followup)
		synctest.Wait()
		delete(r.jobs, "c")
		for range 3 {
			if a := r.c.Next(t); a.ID == "c" && (a.OK || a.Error.Message != "gateway restart in progress") {
				t.Errorf("a new one: %+v", a)
			}
		}
		a.end()
		r.want("a", "b ") // b is stored: the next process starts it
		if err := r.Stage.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.want("a", "b ")
	})
}

func TestWhatWasAcknowledgedIsRestored(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxConcurrent = 2 }, func(r *rig) {
		for i, id := range []string{"a", "b", "c", "d"} {
			j := r.job(id)
			j.Work = r.work(id, []string{session, session, "agent:other:x", "agent:main:y"}[i], "text")
			r.Restore(j)
			synctest.Wait()
		}
		r.want("a c", "a ; b ; c ; d ")
		r.sendAll(Followup, "e")
		r.jobs["a"].end()
		r.want("a c d", "b ; c ; d ; e ")
		r.jobs["c"].end()
		r.want("a c d b", "b ; d ; e ")
	})
}

// What a stop leaves in the list of turns to inject is not lost: it is stored, and the
// stage ends although the pipeline does not take it.
func TestStopWhileTheStoppedPipelineTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int32
		s, err := New(Default(), Deps{Inject: func(ctx context.Context, _ *pipeline.Envelope, _ string) bool {
			<-ctx.Done()
			return false
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			w := pipelinetest.NewWork(fmt.Sprint("w", i), "main", fmt.Sprint("agent:main:s", i), "x")
			w.OnDrop = func(*frames.Error) { dropped.Add(1) }
			s.Restore(w)
		}
		synctest.Wait()
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if dropped.Load() != 0 {
			t.Errorf("%d turns that are stored were dropped", dropped.Load())
		}
	})
}

// A Drop that waits for a disk holds up neither the lanes nor Stop beyond its context.
func TestASlowDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{QueueMode: Followup, QueueCap: 1, QueueDrop: DropOld, MaxLanes: 10, GroupActivation: "mention", MaxConcurrent: 1},
			Deps{Inject: func(context.Context, *pipeline.Envelope, string) bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
		s.Start(t.Context())
		disk := make(chan struct{})
		for i := range 3 {
			w := pipelinetest.NewWork(fmt.Sprint("w", i), "main", session, "x")
			w.OnDrop = func(*frames.Error) { <-disk }
			s.Restore(w)
		}
		tk, refused := s.reserve(target{key: session, agent: "main"}, Followup)
		if refused != nil {
			t.Fatal(refused)
		}
		synctest.Wait()
		s.cancelTicket(tk)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); err == nil {
			t.Error("stop did not say that a turn is still being ended")
		}
		close(disk)
		synctest.Wait()
	})
}
