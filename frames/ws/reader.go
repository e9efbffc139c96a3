package ws

import (
	"encoding/binary"
	"runtime"
	"time"
	"unicode/utf8"

	gws "github.com/gobwas/ws"

	"sluice/bufpool"
	"sluice/frames"
)

const (
	// readBytes is the buffer of a connection on which bytes are arriving; bigReadBytes
	// that of one that filled it. An idle connection has none.
	readBytes    = 4 << 10
	bigReadBytes = 32 << 10
	// directBytes is from how many missing payload bytes on the socket is read straight
	// into the message.
	directBytes = 4 << 10
)

// input is the reader's state. Only the reader's goroutine touches it.
type input struct {
	buf *bufpool.Lease // bytes read and not yet parsed: buf.B[pos:]
	pos int
	big bool

	msg      *bufpool.Lease // the message so far, unmasked
	missing  int64          // payload bytes of the current frame still to come
	mask     [4]byte
	masked   int // payload bytes of the current frame already unmasked
	fin      bool
	fragment bool // a fragmented message is under way
	direct   bool // the last target was in msg
	drain    bool // the connection is over; bytes are thrown away
	timed    bool // the timer watches an incomplete message (Conn.frameMs)
}

func (in *input) release() {
	if in.buf != nil {
		in.buf.Release()
		in.buf = nil
	}
	if in.msg != nil {
		in.msg.Release()
		in.msg = nil
	}
}

// readLoop reads until the peer ends, the connection is terminated, or an error. moved
// means that it was asked to go on in a fresh goroutine.
func (c *Conn) readLoop() (moved bool) {
	if c.in.buf != nil && !c.parse() { // what came together with the upgrade request
		c.startDrain()
	}
	if c.raw != nil {
		err := c.raw.Read(c.readable)
		return err != nil && c.mayMove()
	}
	for !c.dead.Load() {
		p := c.target()
		n, err := c.conn.Read(p)
		if n > 0 {
			c.feed(n)
			c.rest()
		}
		if err != nil {
			return false
		}
		if n == len(p) {
			runtime.Gosched() // see onReadable
		}
	}
	return false
}

// askMove asks a reader that has become idle to go on in a fresh goroutine. Handling a
// message grows its stack to 4 KiB or more, and the runtime never shrinks that back to
// 2 KiB while the goroutine waits: at 10 000 idle connections 20 MiB. The fresh reader
// also reads once before it waits, which finds an end of stream that onReadable could
// not see. The timer calls it.
func (c *Conn) askMove() {
	if c.raw == nil || !c.deep.CompareAndSwap(true, false) {
		return
	}
	c.moving.Store(true)
	_ = c.conn.SetReadDeadline(past)
}

// mayMove undoes askMove's wake-up and reports whether it was one.
func (c *Conn) mayMove() bool {
	if !c.moving.CompareAndSwap(true, false) {
		return false
	}
	_ = c.conn.SetReadDeadline(time.Time{})
	// terminate sets dead before its own deadline, which may just have been undone.
	return !c.dead.Load()
}

// target returns where the next bytes go: into the message when a large part of its
// frame is missing, into the read buffer otherwise. It never asks for more memory than
// has already arrived, doubled: a declared length costs the peer that many bytes first.
func (c *Conn) target() []byte {
	in := &c.in
	if in.missing >= directBytes && !in.drain {
		in.direct = true
		m := in.msg
		if cap(m.B) == len(m.B) {
			m.Grow(int(min(in.missing, int64(max(len(m.B), directBytes)))))
		}
		n := min(int64(cap(m.B)-len(m.B)), in.missing)
		return m.B[len(m.B) : len(m.B)+int(n)]
	}
	in.direct = false
	if in.buf == nil {
		size := readBytes
		if in.big {
			size = bigReadBytes
		}
		in.buf, in.pos = bufpool.Get(size), 0
	}
	b := in.buf
	if in.pos > 0 { // at most a header or a control frame is left: it moves to the front
		b.B = b.B[:copy(b.B, b.B[in.pos:])]
		in.pos = 0
	}
	return b.B[len(b.B):cap(b.B)]
}

// feed takes n bytes that were read into target.
func (c *Conn) feed(n int) {
	in := &c.in
	c.bytesIn.Add(uint64(n))
	c.readMs.Store(c.srv.now())
	if !c.deep.Load() {
		c.deep.Store(true)
	}
	switch {
	case in.drain || c.ending.Load():
		c.startDrain()
	case in.direct:
		from := len(in.msg.B)
		in.msg.B = in.msg.B[:from+n]
		gws.Cipher(in.msg.B[from:], in.mask, in.masked)
		in.masked += n
		in.missing -= int64(n)
		if in.missing == 0 && !c.frameDone() {
			c.startDrain()
		}
	default:
		in.big = n == cap(in.buf.B) || in.big && n > readBytes
		in.buf.B = in.buf.B[:len(in.buf.B)+n]
		if !c.parse() {
			c.startDrain()
		}
	}
}

// startDrain throws away what is here and all that comes: the peer must be read until
// its end, or the kernel resets the connection and it loses the close frame.
func (c *Conn) startDrain() {
	in := &c.in
	in.drain = true
	in.missing = 0
	if in.buf != nil {
		in.buf.B, in.pos = in.buf.B[:0], 0
	}
	if in.msg != nil {
		in.msg.Release()
		in.msg = nil
	}
	c.untime()
}

// untime takes a message that is complete, or given up, from under the timer's eye.
func (c *Conn) untime() {
	if c.in.timed {
		c.in.timed = false
		c.frameMs.Store(0)
	}
}

// rest is called before the reader waits: an idle connection holds no buffer, and an
// incomplete message is under the timer's eye.
func (c *Conn) rest() {
	in := &c.in
	if in.buf != nil && in.pos == len(in.buf.B) {
		in.buf.Release()
		in.buf, in.pos = nil, 0
	}
	if in.buf == nil && in.msg == nil {
		c.untime()
		return
	}
	got := 0
	if in.msg != nil {
		got = len(in.msg.B)
	}
	c.frameGot.Store(int64(got))
	if !in.timed && !in.drain {
		in.timed = true
		c.frameMs.Store(c.srv.now())
	}
}

// parse takes what is in the read buffer; false means that the connection is over.
func (c *Conn) parse() bool {
	in := &c.in
	for in.pos < len(in.buf.B) {
		b := in.buf.B[in.pos:]
		if in.missing > 0 {
			c.take(b)
			if in.missing == 0 && !c.frameDone() {
				return false
			}
			continue
		}
		h, n, err := parseHeader(b)
		if err == nil && n == 0 {
			return true
		}
		if err == nil {
			err = gws.CheckHeader(h, in.state())
		}
		if err != nil {
			c.fail(frames.CloseProtocolError)
			return false
		}
		if h.OpCode.IsControl() {
			end := n + int(h.Length)
			if len(b) < end {
				return true
			}
			in.pos += end
			gws.Cipher(b[n:end], h.Mask, 0)
			if in.msg == nil {
				c.untime()
			}
			if !c.control(h.OpCode, b[n:end]) {
				return false
			}
			continue
		}
		in.pos += n
		if !c.frameStart(h, len(b)-n) {
			return false
		}
	}
	return true
}

func (in *input) state() gws.State {
	if in.fragment {
		return gws.StateServerSide | gws.StateFragmented
	}
	return gws.StateServerSide
}

// frameStart begins a data frame of which here bytes have arrived.
func (c *Conn) frameStart(h gws.Header, here int) bool {
	in := &c.in
	got := 0
	if in.msg != nil {
		got = len(in.msg.B)
	}
	if h.Length > int64(c.limit()-got) {
		c.fail(frames.CloseTooBig)
		return false
	}
	if in.msg == nil {
		in.msg = bufpool.Get(int(min(h.Length, int64(here))))
	}
	in.mask, in.masked, in.missing = h.Mask, 0, h.Length
	in.fin, in.fragment = h.Fin, !h.Fin
	if h.Length == 0 {
		return c.frameDone()
	}
	return true
}

// limit is the largest message in the connection's phase.
func (c *Conn) limit() int {
	cfg := c.srv.cfg.Load()
	if c.peer.Load() == nil {
		return cfg.MaxPreAuthFrameBytes
	}
	return cfg.MaxFrameBytes
}

// take moves payload bytes from the read buffer into the message.
func (c *Conn) take(b []byte) {
	in := &c.in
	n := int(min(int64(len(b)), in.missing))
	in.msg.Grow(n)
	from := len(in.msg.B)
	in.msg.B = append(in.msg.B, b[:n]...)
	gws.Cipher(in.msg.B[from:], in.mask, in.masked)
	in.masked += n
	in.missing -= int64(n)
	in.pos += n
}

// frameDone ends a data frame; false means that the connection is over. The whole
// message is checked for UTF-8 once: the byte-wise check of wsutil costs 20 times the
// read itself (libraries.md 2.1, trap 1). Binary frames are JSON too, so they are
// checked as well.
func (c *Conn) frameDone() bool {
	in := &c.in
	if !in.fin {
		return true
	}
	l := in.msg
	in.msg = nil
	c.untime()
	c.framesIn.Add(1)
	if !utf8.Valid(l.B) {
		l.Release()
		c.fail(frames.CloseInvalidPayload)
		return false
	}
	c.deliver(l)
	return !c.ending.Load()
}

// fail closes with a code and no reason, as the real gateway's WebSocket library does.
func (c *Conn) fail(code uint16) { c.Close(frames.Close{Code: code}) }

// control handles a control frame; false means that the connection is over.
func (c *Conn) control(op gws.OpCode, p []byte) bool {
	switch op {
	case gws.OpPing:
		c.sendControl(gws.OpPong, p)
		return true
	case gws.OpPong:
		c.pongByMs.Store(0)
		return true
	}
	code, status := peerClose(p)
	if status != 0 {
		c.fail(status)
		return false
	}
	cl := frames.Close{Code: code} // the echo that RFC 6455 5.5.1 asks for
	if code != 0 {
		cl.Reason = string(p[2:])
	}
	c.Close(cl)
	return false
}

// peerClose reads a peer's close payload: its code (0 for none), or the status to fail
// with. 1012 to 1014 are registered since RFC 6455 and real clients may echo them, so
// ws.CheckCloseFrameData is too strict here.
func peerClose(p []byte) (code, status uint16) {
	if len(p) == 0 {
		return 0, 0
	}
	if len(p) == 1 {
		return 0, frames.CloseProtocolError
	}
	code = binary.BigEndian.Uint16(p)
	switch {
	case code >= 3000 && code <= 4999:
	case code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006:
	default:
		return 0, frames.CloseProtocolError
	}
	if !utf8.Valid(p[2:]) {
		return 0, frames.CloseInvalidPayload
	}
	return code, 0
}
