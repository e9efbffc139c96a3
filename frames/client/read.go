package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// Read returns the next text or binary message, whole. The slice is the Conn's own and
// valid until the next Read.
//
// Control frames are dealt with inside: pings are answered, pongs ignored, a close is
// echoed and returned as *CloseError. A deadline error leaves the Conn usable; any
// other error is final and repeated.
func (c *Conn) Read() ([]byte, error) {
	if c.bad != nil {
		return nil, c.bad
	}
	for {
		h, size, err := c.header()
		if err == nil && size+int(h.Length) > c.w-c.r {
			size, err = 0, c.fill(size+int(h.Length))
		}
		if err != nil {
			if !isTimeout(err) {
				c.bad = err
			}
			return nil, err
		}
		if size == 0 { // not a whole frame yet
			continue
		}
		payload := c.rbuf[c.r+size : c.r+size+int(h.Length)]
		c.r += size + int(h.Length)
		msg, done, err := c.take(h, payload)
		if err != nil {
			c.bad = err
			return nil, err
		}
		if done {
			return msg, nil
		}
	}
}

// Buffered tells whether a whole message (or the close) is in memory, so that Read will
// not wait. Pings and fragments alone are none: who holds back its writes until nothing
// is buffered would otherwise wait in Read for answers to requests that it never sent.
func (c *Conn) Buffered() bool {
	for at := c.r; ; {
		h, size, ok := parseHeader(c.rbuf[at:c.w])
		if !ok || h.Length < 0 || h.Length > int64(c.w-at-size) {
			return false
		}
		if h.OpCode == ws.OpClose || (h.Fin && !h.OpCode.IsControl()) {
			return true
		}
		at += size + int(h.Length)
	}
}

// take handles one frame; done says that msg is a whole message.
func (c *Conn) take(h ws.Header, p []byte) (msg []byte, done bool, err error) {
	switch h.OpCode {
	case ws.OpPing:
		if err := c.answerPing(p); err != nil {
			// Not wrapped: a write's timeout must not pass for a quiet gateway.
			return nil, false, fmt.Errorf("client: answering a ping: %v", err)
		}
		return nil, false, nil
	case ws.OpPong:
		return nil, false, nil
	case ws.OpClose:
		return nil, false, c.closed(p)
	case ws.OpContinuation:
		c.msg = append(c.msg, p...)
		if h.Fin {
			c.state = c.state.Clear(ws.StateFragmented)
			msg, c.msg = c.msg, c.msg[:0]
			return msg, true, nil
		}
		return nil, false, nil
	}
	if h.Fin {
		return p, true, nil
	}
	c.state = c.state.Set(ws.StateFragmented)
	c.msg = append(c.msg[:0], p...)
	return nil, false, nil
}

func (c *Conn) closed(p []byte) error {
	e := &CloseError{Code: int(ws.StatusNoStatusRcvd)}
	if len(p) >= 2 {
		code, reason := ws.ParseCloseFrameData(p)
		e.Code, e.Reason = int(code), reason
		p = p[:2]
	} else {
		p = nil
	}
	if c.wmu.TryLock() { // a writer that is stuck would only delay the end
		_ = c.controlLocked(ws.OpClose, p)
		c.wmu.Unlock()
	}
	return e
}

// header parses the next frame's header, reading as much as it needs. It checks length
// and RFC 6455's rules before a byte of payload is waited for.
func (c *Conn) header() (ws.Header, int, error) {
	for {
		h, size, ok := parseHeader(c.rbuf[c.r:c.w])
		if !ok {
			if err := c.fill(c.w - c.r + 1); err != nil {
				return h, 0, err
			}
			continue
		}
		if err := ws.CheckHeader(h, c.state); err != nil {
			return h, 0, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if h.Length < 0 || h.Length > int64(c.max-len(c.msg)) {
			return h, 0, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, h.Length, c.max)
		}
		return h, size, nil
	}
}

// parseHeader reads a frame header from the front of b; ok is false while b is short.
func parseHeader(b []byte) (h ws.Header, size int, ok bool) {
	if len(b) < 2 {
		return h, 0, false
	}
	h.Fin, h.Rsv, h.OpCode = b[0]&0x80 != 0, b[0]>>4&7, ws.OpCode(b[0]&15)
	h.Masked = b[1]&0x80 != 0
	size = 2
	switch n := b[1] & 0x7f; n {
	case 126:
		if len(b) < 4 {
			return h, 0, false
		}
		h.Length, size = int64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return h, 0, false
		}
		h.Length, size = int64(binary.BigEndian.Uint64(b[2:])), 10 // the top bit makes it negative: refused
	default:
		h.Length = int64(n)
	}
	return h, size, true
}

// fill reads once, after making room for a frame of need bytes.
func (c *Conn) fill(need int) error {
	c.reserve(need)
	if c.quiet > 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.quiet))
	}
	n, err := c.nc.Read(c.rbuf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	switch {
	case err == nil:
		return io.ErrNoProgress
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET): // a reset is an end with data unread
		return &CloseError{Code: int(ws.StatusAbnormalClosure), Reason: "connection ended without a close frame"}
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	}
	return fmt.Errorf("client: reading from the gateway: %w", err)
}

// reserve makes room to read into. It grows at most to twice what has arrived: a length
// that the peer only declares allocates nothing.
func (c *Conn) reserve(need int) {
	if c.r == c.w {
		c.r, c.w = 0, 0
		if len(c.rbuf) > retainBytes && need <= retainBytes {
			c.rbuf = nil
		}
	}
	if c.rbuf == nil {
		c.rbuf = make([]byte, max(c.first, 128))
	}
	if c.w < len(c.rbuf) && c.r+need <= len(c.rbuf) {
		return
	}
	if c.r > 0 {
		c.w = copy(c.rbuf, c.rbuf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.rbuf) {
		bigger := make([]byte, max(c.first, min(2*len(c.rbuf), need+c.first)))
		c.w = copy(bigger, c.rbuf[:c.w])
		c.rbuf = bigger
	}
}
