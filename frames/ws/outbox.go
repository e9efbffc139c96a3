package ws

import (
	"encoding/binary"
	"sync"

	gws "github.com/gobwas/ws"

	"sluice/bufpool"
	"sluice/frames"
)

const (
	// batchBytes is how much is gathered into one buffer, and so into one write. It is
	// a class of bufpool; a larger one gains little over a syscall a 32 KiB.
	batchBytes = 32 << 10
	// copyBytes is up to which size a frame is copied into the batch; a larger payload
	// is queued by reference, which all receivers of an event share.
	copyBytes = 16 << 10
	// writeBytes is how much is handed to the kernel at once, so that writeTimeoutMs
	// measures a stall and not the size of an answer.
	writeBytes = 256 << 10
	// maxTail is more than AppendEventTail ever appends.
	maxTail = 128
)

// outState is how far a connection's way out is.
type outState uint8

const (
	outOpen    outState = iota // takes frames
	outClosing                 // the close frame is the last in the queue
	outDead                    // nothing leaves any more
)

// segment is bytes that are ready for the socket. cont marks one that goes on with the
// frame of the segment before it, so that the two must not be parted.
type segment struct {
	buf  frames.Buffer
	cont bool
}

// outbox is what waits for one client, already framed. Frames are copied into the open
// buffer, which the writer takes whole: one write for all that came while the last
// write ran, and an exact count of the memory held.
//
// It is bounded by maxBufferedBytes. There is at most one writer goroutine a
// connection; it starts with the first bytes and ends when none are left, because an
// idle goroutine costs 2.5 KiB and starting one no more than waking one (170 ns).
type outbox struct {
	mu      sync.Mutex
	sealed  []segment
	head    int
	open    *bufpool.Lease
	bytes   int // queued or being written
	seq     uint64
	frames  uint64
	state   outState
	writing bool
	idle    chan struct{} // made by who waits for the writer to end
}

// push appends one whole frame with payload p and takes over ref, the hold on p's
// memory: it is kept while a large p waits by reference, and released at once
// otherwise. A nil ref always copies. The caller holds mu.
func (o *outbox) push(op gws.OpCode, p []byte, ref frames.Buffer) {
	o.frames++
	if len(p) <= copyBytes || ref == nil {
		l := o.room(maxHeader + len(p))
		before := len(l.B)
		l.B = append(appendHeader(l.B, op, len(p)), p...)
		o.bytes += len(l.B) - before
		if ref != nil {
			ref.Release()
		}
		return
	}
	o.pushHead(op, len(p))
	o.pushCont(ref)
}

// pushEvent appends one event frame of a shared head and a tail of its own. It takes a
// hold of its own on head where it needs one. The caller holds mu.
func (o *outbox) pushEvent(head *bufpool.Lease, tail []byte) {
	o.frames++
	n := len(head.B) + len(tail)
	if n <= copyBytes {
		l := o.room(maxHeader + n)
		before := len(l.B)
		l.B = append(append(appendHeader(l.B, gws.OpText, n), head.B...), tail...)
		o.bytes += len(l.B) - before
		return
	}
	o.pushHead(gws.OpText, n)
	o.pushCont(head.Retain())
	if len(tail) > 0 {
		o.pushCont(bufpool.Copy(tail))
	}
}

// pushHead appends a frame header whose payload follows as segments.
func (o *outbox) pushHead(op gws.OpCode, n int) {
	l := o.room(maxHeader)
	before := len(l.B)
	l.B = appendHeader(l.B, op, n)
	o.bytes += len(l.B) - before
	o.seal()
}

func (o *outbox) pushCont(b frames.Buffer) {
	o.sealed = append(o.sealed, segment{buf: b, cont: true})
	o.bytes += len(b.Bytes())
}

// room returns the open buffer with space for n more bytes.
func (o *outbox) room(n int) *bufpool.Lease {
	switch {
	case o.open == nil:
		o.open = bufpool.Get(n)
	case len(o.open.B)+n > max(batchBytes, cap(o.open.B)):
		o.seal()
		o.open = bufpool.Get(max(n, batchBytes))
	default:
		o.open.Grow(n)
	}
	return o.open
}

func (o *outbox) seal() {
	if o.open != nil {
		o.sealed = append(o.sealed, segment{buf: o.open})
		o.open = nil
	}
}

// pop takes the next bytes to write; nil when there are none. The caller holds mu.
func (o *outbox) pop() frames.Buffer {
	if o.head < len(o.sealed) {
		b := o.sealed[o.head].buf
		o.sealed[o.head] = segment{}
		o.head++
		if o.head == len(o.sealed) {
			o.sealed, o.head = o.sealed[:0], 0
			if cap(o.sealed) > 16 {
				o.sealed = nil // an idle connection keeps no backlog's memory
			}
		}
		return b
	}
	if l := o.open; l != nil {
		o.open = nil
		return l
	}
	return nil
}

// discard drops what is queued and not begun; the rest of a frame whose beginning is
// already with the writer stays unless all is set. The caller holds mu.
func (o *outbox) discard(all bool) {
	keep := o.head
	for !all && keep < len(o.sealed) && o.sealed[keep].cont {
		keep++
	}
	for i := keep; i < len(o.sealed); i++ {
		o.drop(o.sealed[i].buf)
		o.sealed[i] = segment{}
	}
	o.sealed = o.sealed[:keep]
	if o.open != nil {
		o.drop(o.open)
		o.open = nil
	}
}

func (o *outbox) drop(b frames.Buffer) {
	o.bytes -= len(b.Bytes())
	b.Release()
}

// pushClose appends a close frame. Code 0 is a close without a code. The caller
// holds mu.
func (o *outbox) pushClose(cl frames.Close) {
	var p [2 + frames.MaxCloseReasonBytes]byte
	n := 0
	if cl.Code != 0 {
		binary.BigEndian.PutUint16(p[:], cl.Code)
		n = 2 + copy(p[2:], frames.CutReason(cl.Reason))
	}
	o.push(gws.OpClose, p[:n], nil)
}

// over reports whether n more bytes break the bound. One frame always fits an empty
// outbox, or a bound below an answer's size could never be kept.
func (o *outbox) over(n, bound int) bool {
	return o.bytes > 0 && o.bytes+n > bound
}
