package defend

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
)

// job is one parked envelope. Whoever claims it, the slot that judged it or the timer
// that ended its time, owns the envelope and resumes it; the other must not touch it.
type job struct {
	s       *Stage
	cfg     *Config
	e       *pipeline.Envelope
	a       *Action
	d       *pipeline.Decision // made already: only the evidence is to be written
	values  context.Context
	until   time.Time
	bytes   *bufpool.Lease // keeps what a aliases while the slot looks at it
	timer   *time.Timer
	claimed atomic.Bool
}

// unread stands for a decision on an action whose params were not read yet.
var unread = &pipeline.Decision{}

var errBusy = frames.Unavailable(1000, "the defender is busy. Please try again in a moment.")

// park hands e to a slot, to be judged until the deadline, or, with a decision, to have
// its evidence written. With d unread the slot reads the params first.
func (s *Stage) park(cfg *Config, e *pipeline.Envelope, a *Action, d *pipeline.Decision, until time.Time) pipeline.Verdict {
	j := &job{s: s, cfg: cfg, e: e, a: a, d: d, until: until, values: e.Ctx, bytes: e.RetainBytes()}
	given := false
	v := e.Park(func() {
		given = true
		if d == nil || d == unread {
			brief := a.brief()
			if d == unread { // nobody has read whether it says that it is somebody else's
				brief.Origin = max(brief.Origin, OriginSender)
			}
			j.timer = time.AfterFunc(time.Until(until), func() { j.expire(brief) })
		}
		select {
		case s.slots <- j:
		default:
			s.stats.Busy.Add(1)
			if j.timer != nil {
				j.timer.Stop()
			}
			if j.claim() {
				s.deps.Resume(j.e, s.refuse(j.e, errBusy))
			}
			j.release()
		}
	})
	if !given { // the stage's own timeout was faster; e is no longer ours
		j.release()
	}
	return v
}

func (j *job) claim() bool { return j.claimed.CompareAndSwap(false, true) }

func (j *job) release() {
	if j.bytes != nil {
		j.bytes.Release()
	}
	// j.a is left to the collector: the timer or a defender may still be reading it.
}

// expire gives the verdict of the timeout. A slot may be reading the action's texts.
func (j *job) expire(brief *Action) {
	if j.claim() {
		j.finish(brief, j.s.timeout(brief))
	}
}

// finish concludes with d and resumes the envelope, which the caller has claimed. A panic
// fails closed.
func (j *job) finish(a *Action, d *pipeline.Decision) {
	resumed := false
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if j.s.panicked(r); !resumed {
			j.s.deps.Resume(j.e, j.s.refuse(j.e, errFailed))
		}
	}()
	err, ask := j.s.conclude(j.cfg, j.e, a, d)
	resumed = true
	if ask {
		j.ask(a, d)
		return
	}
	j.s.deps.Resume(j.e, err)
}

// ask parks the envelope on, for as long as operators take to decide. Its bytes no longer
// count as queued ones: an approval must not keep others from being read.
func (j *job) ask(a *Action, d *pipeline.Decision) {
	s, e := j.s, j.e
	if !e.Detach() {
		s.deps.Resume(e, s.refuse(e, errWaiting))
		return
	}
	ask := newAsk(e, a, d)
	var ended atomic.Bool
	done := func(err *frames.Error) {
		switch {
		case !ended.CompareAndSwap(false, true): // e is no longer ours
		case err != nil:
			s.deps.Resume(e, s.refuse(e, err))
		default:
			s.enter(e, ask.SessionKey)
			s.deps.Resume(e, nil)
		}
	}
	defer func() {
		if r := recover(); r != nil {
			s.panicked(r)
			done(errFailed)
		}
	}()
	s.deps.Approve(ask, done)
}

var errWaiting = frames.Unavailable(1000, "too many requests wait for an approval already; try again")

var errFailed = &frames.Error{Code: frames.CodeUnavailable, Message: "the defender failed; the gateway's log has the cause"}

func (s *Stage) panicked(value any) {
	s.stats.Errors.Add(1)
	s.deps.Log.Error("defender panicked", "panic", value, "stack", string(debug.Stack()))
}

// slot judges parked actions until the stage stops.
func (s *Stage) slot() {
	for {
		select {
		case j := <-s.slots:
			j.run()
		case <-s.ctx.Done():
			return
		}
	}
}

func (j *job) run() {
	defer j.release()
	defer func() {
		if r := recover(); r != nil {
			j.s.panicked(r)
			if j.claim() {
				j.s.deps.Resume(j.e, j.s.refuse(j.e, errFailed))
			}
		}
	}()
	if j.claimed.Load() {
		return
	}
	d := j.d
	if d == unread {
		d = nil
		if err := j.a.extract(); err != nil || j.a.Empty() {
			j.passed(err)
			return
		}
	}
	if d == nil {
		d = j.evaluate()
		j.timer.Stop()
	}
	switch {
	case !j.claim():
	case d.Action == pipeline.Allow:
		j.finish(j.a, d)
	default: // it waits for the disk: the slot does not
		j.s.wg.Go(func() { j.finish(j.a, d) })
	}
}

// passed ends an action that cannot be read (err) or holds nothing.
func (j *job) passed(err error) {
	j.timer.Stop()
	if !j.claim() {
		return
	}
	if err != nil {
		j.s.deps.Resume(j.e, j.s.refuse(j.e, unreadable(j.e, err)))
		return
	}
	j.s.stats.Empty.Add(1)
	j.s.deps.Resume(j.e, nil)
}

func (j *job) evaluate() *pipeline.Decision {
	base := context.Context(valuesContext{j.s.ctx, j.values})
	ctx, cancel := context.WithDeadline(base, j.until)
	defer cancel()
	return j.s.evaluate(ctx, j.cfg, j.a, j.values != nil)
}

// valuesContext lives as long as the stage and carries the frame's span.
type valuesContext struct {
	context.Context
	values context.Context
}

func (c valuesContext) Value(key any) any {
	if c.values != nil {
		return c.values.Value(key)
	}
	return c.Context.Value(key)
}

// flush refuses what no slot will take any more.
func (s *Stage) flush() {
	for {
		select {
		case j := <-s.slots:
			if j.timer != nil {
				j.timer.Stop()
			}
			if j.claim() {
				s.deps.Resume(j.e, s.refuse(j.e, errStopping))
			}
			j.release()
		default:
			return
		}
	}
}

var errStopping = frames.Unavailable(1000, "gateway restart in progress")
