package adapter

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
)

// lane is everything that waits for one channel. Its maps are guarded by Stage.mu.
type lane struct {
	name       string
	ch         Channel
	caps       Capabilities
	slots      chan struct{} // tries under way
	queued     int           // reserved places
	recipients map[string]*recipient
	stats      ChannelStats
}

// recipient is the queue of one address: its messages arrive in the order in which they
// were accepted. It exists while it has work, and so does its goroutine; there are never
// more of them than places in the lane.
type recipient struct{ queue []*job }

func newLane(ch Channel, concurrency int) *lane {
	return &lane{name: ch.Name(), ch: ch, caps: ch.Capabilities(), slots: make(chan struct{}, concurrency),
		recipients: make(map[string]*recipient)}
}

// batch is the deliveries of one envelope.
type batch struct {
	s       *Stage
	e       *pipeline.Envelope
	pending atomic.Int32

	mu    sync.Mutex
	clear []string // outbox rows of deliveries whose outcome is known
}

// job is one delivery.
type job struct {
	batch  *batch
	lane   *lane
	d      *pipeline.Delivery
	chunks []string
	until  time.Time
	values context.Context

	row      string // key of the outbox row; empty when none was written
	attempts int
	sent     int  // chunks that were confirmed
	unknown  bool // a try may have delivered
}

// give hands jobs to their recipients.
func (s *Stage) give(jobs []*job) {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		s.giveBack(jobs)
		for _, j := range jobs {
			j.d.Err = errStopping
			j.batch.done()
		}
		return
	}
	defer s.mu.Unlock()
	for _, j := range jobs {
		l := j.lane
		to := j.d.AccountID + "\x00" + j.d.To + "\x00" + j.d.ThreadID
		r := l.recipients[to]
		if r == nil {
			r = &recipient{}
			l.recipients[to] = r
			s.senders.Go(func() { s.serve(l, to, r) })
		}
		r.queue = append(r.queue, j)
	}
}

// serve delivers a recipient's jobs until there are none.
func (s *Stage) serve(l *lane, to string, r *recipient) {
	for {
		s.mu.Lock()
		if len(r.queue) == 0 {
			delete(l.recipients, to)
			s.mu.Unlock()
			return
		}
		j := r.queue[0]
		r.queue = r.queue[1:]
		s.mu.Unlock()
		s.deliver(j)
		s.mu.Lock()
		l.queued--
		s.mu.Unlock()
		j.batch.done()
	}
}

// done counts one delivery that has its outcome; the last one resumes the envelope.
func (b *batch) done() {
	if b.pending.Add(-1) > 0 {
		return
	}
	b.s.deps.Resume(b.e, b.s.finish(b.e, b.clear))
}

// finish ends an envelope all of whose deliveries have an outcome. Rows of the outbox
// whose outcome is known go with its effects, or at once when it will have none.
func (s *Stage) finish(e *pipeline.Envelope, clear []string) error {
	err := s.conclude(e)
	switch {
	case len(clear) == 0:
	case err == nil:
		e.Effects = append(e.Effects, forget(clear))
	default:
		if err := s.outbox.forget(context.WithoutCancel(s.ctx), clear); err != nil {
			s.deps.Log.Warn("outbox rows stay; they will be reported as unconfirmed after a restart", "rows", len(clear), "err", err)
		}
	}
	return err
}

// conclude asks the envelope what its deliveries mean for its answer.
func (s *Stage) conclude(e *pipeline.Envelope) (err error) {
	if e.OnDelivered != nil {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("adapter: OnDelivered panicked: %v\n%s", r, debug.Stack())
			}
		}()
		return e.OnDelivered(e)
	}
	for _, d := range e.Deliveries {
		if d.Err != nil {
			return d.Err
		}
	}
	return nil
}

// settled says that the outcome of j is known: its row has served its purpose.
func (j *job) settled() {
	if j.row == "" {
		return
	}
	b := j.batch
	b.s.outbox.close(j.row)
	b.mu.Lock()
	b.clear = append(b.clear, j.row)
	b.mu.Unlock()
}

// deliver gives j.d its Receipt or Err.
func (s *Stage) deliver(j *job) {
	defer func() {
		if r := recover(); r != nil {
			s.deps.Log.Error("channel panicked", "channel", j.lane.name, "panic", r, "stack", string(debug.Stack()))
			s.undelivered(j, Unknown("the channel failed; the gateway's log has the cause"))
		}
	}()
	begin := time.Now()
	ctx, cancel := context.WithDeadline(valuesContext{s.ctx, j.values}, j.until)
	defer cancel()
	if err := ctx.Err(); err != nil {
		s.undelivered(j, waited(s.ctx, err))
		return
	}
	if err := s.outbox.begin(ctx, j, j.idempotent()); err != nil {
		j.lane.stats.Failed.Add(1)
		j.d.Err = err
		return
	}
	var receipt pipeline.Receipt
	for i := range j.chunks {
		r, err := s.send(ctx, j, i)
		if err != nil {
			s.undelivered(j, err)
			return
		}
		receipt = r
		j.sent++
	}
	receipt.Chunks, receipt.Attempts, receipt.AtMs = len(j.chunks), j.attempts, time.Now().UnixMilli()
	j.d.Receipt = &receipt
	j.settled()
	j.lane.stats.Delivered.Add(1)
	j.lane.stats.Latency.Observe(int64(time.Since(begin)))
}

func waited(life context.Context, err error) error {
	if life.Err() != nil {
		return Temporary(time.Second, "gateway restart in progress")
	}
	return Temporary(2*time.Second, "it waited too long behind other messages (adapter.retry.totalMs): %w", err)
}

func (j *job) idempotent() bool {
	i, ok := j.lane.ch.(Idempotent)
	return ok && i.Idempotent(j.d)
}

// send delivers the i-th chunk, with as many tries as it may have.
func (s *Stage) send(ctx context.Context, j *job, i int) (pipeline.Receipt, error) {
	d := *j.d
	d.Text = j.chunks[i]
	if len(j.chunks) > 1 {
		d.Key = fmt.Sprintf("%s#%d", d.Key, i+1)
	}
	for try := 1; ; try++ {
		r, err := s.try(ctx, j, &d)
		if err == nil {
			return r, nil
		}
		kind, after := kindOf(err)
		j.unknown = j.unknown || kind == KindUnknown
		if kind == KindPermanent || kind == KindUnknown && !j.idempotent() || try >= s.cfg.Retry.Attempts {
			return r, err
		}
		wait := max(s.cfg.Retry.Delay(try, s.deps.Random()), after)
		if wait >= time.Until(j.until) {
			return r, err
		}
		j.lane.stats.Retries.Add(1)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return r, err
		}
	}
}

// try is one attempt, within a slot of the channel.
func (s *Stage) try(ctx context.Context, j *job, d *pipeline.Delivery) (pipeline.Receipt, error) {
	select {
	case j.lane.slots <- struct{}{}:
	case <-ctx.Done():
		return pipeline.Receipt{}, waited(s.ctx, ctx.Err())
	}
	defer func() { <-j.lane.slots }()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.cfg.Retry.AttemptMs)*time.Millisecond)
	defer cancel()
	j.attempts++
	j.lane.stats.Attempts.Add(1)
	return j.lane.ch.Send(ctx, d)
}

// undelivered words the outcome of a delivery that failed or may have failed.
func (s *Stage) undelivered(j *job, cause error) {
	kind, after := kindOf(cause)
	where := fmt.Sprintf("channel %q to %q", j.lane.name, j.d.To)
	details := map[string]any{"code": CodeDeliveryFailed, "channel": j.lane.name, "attempts": j.attempts,
		"sentChunks": j.sent, "chunks": len(j.chunks)}
	if j.row != "" && (j.unknown || kind == KindUnknown || j.sent > 0) {
		details["code"] = CodeDeliveryUnknown
		s.outbox.markUnknown(j, cause)
		j.lane.stats.Unknown.Add(1)
		j.d.Err = &frames.Error{Code: frames.CodeUnavailable, Details: details, Message: fmt.Sprintf(
			"the delivery through %s may or may not have arrived: %s; it is not repeated by itself", where, cause)}
		return
	}
	j.settled()
	j.lane.stats.Failed.Add(1)
	j.d.Err = &frames.Error{Code: frames.CodeUnavailable, Details: details,
		Message: fmt.Sprintf("the delivery through %s failed: %s", where, cause)}
	if kind == KindTemporary {
		j.d.Err.Retryable, j.d.Err.RetryAfterMs = true, max(1000, after.Milliseconds())
	}
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
