// Package bufpool lends byte buffers: every frame that enters or leaves Sluice lives in
// a Lease, which is handed on or released exactly once (design.md, law 7).
//
// A Lease is counted. Get returns it with one hold; Retain adds one, Release gives one
// up, and the last Release returns the memory to its size class. Bytes of a lease must
// not be read or written after the hold that covered them is gone: the build tag
// bufdebug turns such a use, and a second Release, into something that is noticed.
//
// The classes are valyala/bytebufferpool pools, one a class, because that package's
// calibration takes a mixed pool for its 95th percentile and then never pools the rest
// (libraries.md 2.2). The pool is the one package-level state of Sluice: memory is a
// property of the process, and a pool an owner would only be several pools to starve.
package bufpool

import (
	"sync"
	"sync/atomic"

	"github.com/valyala/bytebufferpool"
)

// The size classes. A request above MaxPooled is served by make and left to the
// collector: a 25 MiB frame once a day must not stay in memory for the day.
const (
	class0 = 512
	class1 = 4 << 10
	class2 = 32 << 10
	class3 = 256 << 10
	class4 = 2 << 20

	classes = 5

	// MaxPooled is the largest capacity that is ever kept for reuse.
	MaxPooled = class4

	// slack is by how much a buffer may outgrow its class and still be kept: an append
	// that doubled once is normal; more would let small requests pin large memory.
	slack = 2
)

var (
	sizes       = [classes]int{class0, class1, class2, class3, class4}
	pools       [classes]bytebufferpool.Pool
	leases      = sync.Pool{New: func() any { return new(Lease) }}
	outstanding atomic.Int64
)

// Lease is a counted hold on a byte buffer. It implements frames.Buffer.
//
// B is the buffer, for append-style use by its only holder; once the lease was retained
// or handed on, B is read-only. B may be reassigned by append: the lease then owns the
// new array.
type Lease struct {
	B []byte

	bb    *bytebufferpool.ByteBuffer // nil when the memory is not pooled
	refs  atomic.Int32
	trace trace
}

// Get lends an empty buffer with room for at least n bytes (n <= 0 is taken as the
// smallest class). It never fails; the caller bounds n, and never takes it from a length
// that a peer declared.
func Get(n int) *Lease {
	l := newLease()
	l.take(n)
	l.refs.Store(1)
	outstanding.Add(1)
	return l
}

// Copy lends a buffer that holds a copy of p.
func Copy(p []byte) *Lease {
	l := Get(len(p))
	l.B = append(l.B, p...)
	return l
}

// take gives l an empty buffer of capacity n or more.
func (l *Lease) take(n int) {
	c := classFor(n)
	if c < 0 {
		l.B = make([]byte, 0, n)
		return
	}
	l.bb = pools[c].Get()
	if cap(l.bb.B) < sizes[c] {
		l.bb.B = make([]byte, 0, sizes[c])
	}
	l.B = l.bb.B[:0]
}

// Bytes returns the buffer's content; it lives as long as the caller's hold.
func (l *Lease) Bytes() []byte { return l.B }

// Len returns the number of bytes held.
func (l *Lease) Len() int { return len(l.B) }

// Write appends p; it never fails. It makes a Lease an io.Writer.
func (l *Lease) Write(p []byte) (int, error) {
	l.Grow(len(p))
	l.B = append(l.B, p...)
	return len(p), nil
}

// Grow makes room for n more bytes, at least doubling, by moving to a larger class and
// giving the smaller array back at once. Only the single holder may call it.
func (l *Lease) Grow(n int) {
	if cap(l.B)-len(l.B) >= n {
		return
	}
	want := max(len(l.B)+n, 2*cap(l.B))
	old, oldBB := l.B, l.bb
	l.bb = nil
	l.take(want)
	l.B = append(l.B, old...)
	recycle(oldBB, old)
}

// Retain adds a hold and returns l. Only a holder may retain.
func (l *Lease) Retain() *Lease {
	if l.refs.Add(1) < 2 {
		panic("bufpool: Retain of a released lease: the caller held nothing" + l.trace.String())
	}
	return l
}

// Release gives up one hold; the last returns the memory. A release too many panics,
// as long as the lease has not been lent again; with bufdebug it always does.
func (l *Lease) Release() {
	n := l.refs.Add(-1)
	if n > 0 {
		return
	}
	if n < 0 {
		panic("bufpool: lease released twice: two owners believe that they hold it" + l.trace.String())
	}
	outstanding.Add(-1)
	l.free()
}

// Outstanding returns how many leases are held in the process: 0 when all work is done.
func Outstanding() int64 { return outstanding.Load() }

// recycle puts an array back into the class that it can serve, or drops it. It never
// resets first: bytebufferpool calibrates on len at Put, and would learn that all
// buffers are small and keep none (libraries.md 2.2, trap 2), so the full capacity is
// shown to it.
func recycle(bb *bytebufferpool.ByteBuffer, b []byte) {
	if bb == nil {
		return
	}
	c := classOf(cap(b))
	if c < 0 {
		return
	}
	bb.B = b[:cap(b)]
	poison(bb.B)
	if !reuse {
		return
	}
	pools[c].Put(bb)
}

// classFor returns the smallest class that holds n bytes, or -1.
func classFor(n int) int {
	switch {
	case n <= class0:
		return 0
	case n <= class1:
		return 1
	case n <= class2:
		return 2
	case n <= class3:
		return 3
	case n <= class4:
		return 4
	}
	return -1
}

// classOf returns the largest class that a capacity can serve, or -1 when it is over
// that class's bound and must not be kept.
func classOf(capacity int) int {
	for c := classes - 1; c >= 0; c-- {
		if capacity < sizes[c] {
			continue
		}
		if capacity > min(sizes[c]*slack, MaxPooled) {
			return -1
		}
		return c
	}
	return -1
}
