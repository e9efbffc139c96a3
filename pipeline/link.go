package pipeline

import "context"

// link is the bounded channel before one worker of a stage. Its capacity bounds the
// count; the bytes of all links together are bounded by the pipeline's budget, which
// Submit takes and settle gives back: an envelope is on one link at a time, so one
// counter bounds them all and costs two atomic adds a frame instead of fourteen.
type link struct{ ch chan *Envelope }

func newLink(frames int) *link { return &link{ch: make(chan *Envelope, frames)} }

// offer puts e on the link if there is room.
func (l *link) offer(e *Envelope) bool {
	select {
	case l.ch <- e:
		return true
	default:
		return false
	}
}

// push waits for room: backpressure on the stage before.
func (l *link) push(ctx context.Context, e *Envelope) bool {
	if ctx.Err() != nil { // nobody reads the link any more
		return false
	}
	if l.offer(e) {
		return true
	}
	select {
	case l.ch <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *link) depth() int { return len(l.ch) }

func (e *Envelope) size() int64 {
	if e.lease == nil {
		return 0
	}
	return int64(len(e.lease.B))
}
