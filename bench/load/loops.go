package load

import (
	"math"
	"sync"
	"time"
)

// flushBytes is how much the open loop queues before it writes.
const flushBytes = 32 << 10

// closedLoop keeps every slot busy: an answer makes room for the next request at once.
// It takes all answers that one read brought before it writes their successors with one
// write. It returns nil when it was told to stop and nothing is in flight any more, else
// the connection's error.
func (w *worker) closedLoop() error {
	w.refill(w.pool.now())
	if err := w.conn.Flush(); err != nil {
		return err
	}
	var now int64
	for w.inFlight() > 0 {
		fresh := !w.conn.Buffered()
		b, err := w.conn.Read()
		if err != nil {
			return err
		}
		if fresh { // one look at the clock for all frames of one read
			now = w.pool.now()
		}
		w.take(b, now)
		w.refill(now)
		if !w.conn.Buffered() {
			if err := w.conn.Flush(); err != nil {
				return err
			}
			w.extend()
		}
	}
	return nil
}

func (w *worker) refill(now int64) {
	for !w.free.empty() && !w.done() {
		w.start(now)
	}
}

// extend lets the drain go on while answers still come: lost means never answered, not
// answered late. The pool's end of patience bounds it.
func (w *worker) extend() {
	if w.done() {
		w.waitAnswers()
	}
}

// waitAnswers gives the gateway the drain time from now to say something.
func (w *worker) waitAnswers() {
	end := time.Now().Add(w.pool.drain)
	if limit := w.pool.patience.Load(); limit != nil && end.After(*limit) {
		end = *limit
	}
	_ = w.conn.NetConn().SetReadDeadline(end)
}

// openLoop sends at rate whatever comes back, with a second goroutine that writes. A
// request's latency counts from when it was due, also if the socket or MaxOutstanding
// kept it from being sent (no coordinated omission).
func (w *worker) openLoop(rate, offset float64, pace time.Duration) error {
	broken := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { w.write(rate, offset, pace, broken) })
	err := w.readOpen()
	close(broken)
	wg.Wait()
	return err
}

func (w *worker) readOpen() error {
	var now int64
	for {
		fresh := !w.conn.Buffered()
		b, err := w.conn.Read()
		if err != nil {
			if isTimeout(err) && w.over() {
				return nil
			}
			return err
		}
		if fresh {
			now = w.pool.now()
		}
		w.take(b, now)
		if w.over() {
			return nil
		}
		if w.pool.stopping.Load() && !w.conn.Buffered() {
			w.waitAnswers()
		}
	}
}

// over: nothing will be sent any more and everything is answered.
func (w *worker) over() bool { return w.written.Load() && w.inFlight() == 0 }

// write sends what is due, step by step, until told to stop.
func (w *worker) write(rate, offset float64, pace time.Duration, broken <-chan struct{}) {
	begin, k := w.pool.now(), 0.0
	// Arrivals come in steps: all that fall into one step are due at its end, so that a
	// timer's grain is part of the load's shape and not of the latency.
	due := func(k float64) int64 {
		t := (k + offset) / rate * 1e9
		return begin + int64(math.Ceil(t/float64(pace)))*int64(pace)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer w.writeEnds()
	for {
		select {
		case <-broken:
			return
		case <-w.pool.stopped:
			w.unsent.Store(uint64(max(0, float64(w.pool.now()-begin)/1e9*rate-offset-k)))
			return
		case <-timer.C:
		}
		for !w.pool.stopping.Load() && !w.free.empty() && due(k) <= w.pool.now() {
			if w.done() {
				_ = w.conn.Flush()
				return
			}
			w.start(due(k))
			k++
			if w.conn.Queued() > flushBytes && w.conn.Flush() != nil {
				return
			}
		}
		if w.conn.Flush() != nil {
			return
		}
		timer.Reset(max(time.Duration(due(k)-w.pool.now()), pace/4))
	}
}

// writeEnds tells the reader that no more will be sent, and how long it should wait.
func (w *worker) writeEnds() {
	w.written.Store(true)
	if w.over() { // the reader may have looked just before, and waits
		_ = w.conn.NetConn().SetReadDeadline(time.Unix(1, 0))
		return
	}
	w.waitAnswers()
}
