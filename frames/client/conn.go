package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// headerRoom is kept free before each queued payload: the header of a masked client
// frame up to 125 bytes. Longer ones are moved once.
const headerRoom = 6

// retainBytes: a buffer larger than this is given back when it is empty, so that one
// large answer does not stay with an idle connection.
const retainBytes = 64 << 10

// Conn is one WebSocket to a gateway, with reused buffers and no goroutine of its own.
//
// One goroutine may call Read and Buffered while another calls Begin, End, QueueText
// and Flush; a single goroutine may do both. Pings are answered inside Read, without
// waiting for a blocked Flush.
type Conn struct {
	nc    net.Conn
	max   int
	first int
	state ws.State
	quiet time.Duration // renews the read deadline before each read; 0 leaves it alone

	rbuf []byte // rbuf[r:w] is unread
	r, w int
	msg  []byte // a fragmented message being assembled
	bad  error

	wbuf  []byte // whole frames, ready to be written
	start int    // of the frame that Begin opened

	// wait bounds each write, in nanoseconds; 0 leaves the socket's deadline alone.
	wait   atomic.Int64
	wmu    sync.Mutex // owns the socket for writing
	pmu    sync.Mutex // guards pong
	pong   [ws.MaxControlFramePayloadSize]byte
	pongN  int
	ponged atomic.Bool // a pong waits for the owner of wmu
}

// DialConn connects and upgrades; it does no handshake of the protocol (Handshake does).
// ctx and o.DialTimeoutMs bound it.
func DialConn(ctx context.Context, o Options) (*Conn, error) {
	var status *UpgradeError
	d := ws.Dialer{
		Timeout:  ms(o.DialTimeoutMs),
		WrapConn: o.WrapConn,
		OnStatusError: func(code int, _ []byte, body io.Reader) {
			b, _ := io.ReadAll(io.LimitReader(body, 1024))
			status = &UpgradeError{Status: code, Body: string(b)}
		},
	}
	if o.Origin != "" {
		d.Header = ws.HandshakeHeaderHTTP(http.Header{"Origin": {o.Origin}})
	}
	if o.ReceiveWindowBytes > 0 {
		d.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			var nd net.Dialer
			nc, err := nd.DialContext(ctx, network, addr)
			if tc, ok := nc.(*net.TCPConn); ok {
				err = tc.SetReadBuffer(o.ReceiveWindowBytes)
			}
			return nc, err
		}
	}
	nc, br, _, err := d.Dial(ctx, o.URL)
	if status != nil {
		return nil, status
	}
	if err != nil {
		return nil, fmt.Errorf("client: connecting to %s: %w", o.URL, err)
	}
	c := newConn(nc, o)
	if br != nil { // the gateway's challenge often arrives together with the 101
		n := br.Buffered()
		c.rbuf = make([]byte, max(n, o.ReadBufferBytes))
		c.w, err = io.ReadFull(br, c.rbuf[:n])
		ws.PutReader(br)
		if err != nil {
			nc.Close()
			return nil, fmt.Errorf("client: connecting to %s: %w", o.URL, err)
		}
	}
	return c, nil
}

func newConn(nc net.Conn, o Options) *Conn {
	return &Conn{nc: nc, max: o.MaxMessageBytes, first: o.ReadBufferBytes, state: ws.StateClientSide}
}

// NetConn is the socket, for deadlines. Reading or writing it breaks the Conn.
func (c *Conn) NetConn() net.Conn { return c.nc }

// Close closes the socket at once, without a close frame.
func (c *Conn) Close() error { return c.nc.Close() }

// Trim gives back the buffers that are empty, for a connection that will be idle. The
// next Read starts with ReadBufferBytes again.
func (c *Conn) Trim() {
	if c.r == c.w {
		c.rbuf, c.r, c.w = nil, 0, 0
	}
	if len(c.wbuf) == 0 {
		c.wbuf = nil
	}
	c.msg = nil
}

// Begin returns the buffer to append one text message to; pass the result to End.
func (c *Conn) Begin() []byte {
	c.start = len(c.wbuf)
	return append(c.wbuf, make([]byte, headerRoom)...)
}

// End completes the message that Begin opened. It is sent by the next Flush.
func (c *Conn) End(buf []byte) { c.wbuf = finishFrame(buf, c.start, ws.OpText) }

// QueueText queues a copy of one text message for the next Flush.
func (c *Conn) QueueText(p []byte) { c.End(append(c.Begin(), p...)) }

// Queued is the number of bytes that wait for Flush.
func (c *Conn) Queued() int { return len(c.wbuf) }

// Flush writes everything queued with one write to the socket.
func (c *Conn) Flush() error {
	if len(c.wbuf) == 0 {
		return nil
	}
	c.wmu.Lock()
	err := c.writeLocked(c.wbuf)
	c.wbuf = c.wbuf[:0]
	if cap(c.wbuf) > 4*retainBytes {
		c.wbuf = nil
	}
	c.wmu.Unlock()
	if err == nil {
		err = c.writePong()
	}
	return err
}

// finishFrame writes header and mask over the room before the payload buf[start+6:].
func finishFrame(buf []byte, start int, op ws.OpCode) []byte {
	n := len(buf) - start - headerRoom
	grow := 0
	switch {
	case n > 0xffff:
		grow = 8
	case n > 125:
		grow = 2
	}
	if grow > 0 {
		buf = append(buf, make([]byte, grow)...)
		copy(buf[start+headerRoom+grow:], buf[start+headerRoom:start+headerRoom+n])
	}
	h := buf[start:]
	h[0] = 0x80 | byte(op)
	switch grow {
	case 0:
		h[1] = 0x80 | byte(n)
	case 2:
		h[1] = 0x80 | 126
		binary.BigEndian.PutUint16(h[2:], uint16(n))
	default:
		h[1] = 0x80 | 127
		binary.BigEndian.PutUint64(h[2:], uint64(n))
	}
	var mask [4]byte
	binary.NativeEndian.PutUint32(mask[:], rand.Uint32())
	copy(h[2+grow:], mask[:])
	ws.Cipher(h[headerRoom+grow:], mask, 0)
	return buf
}

// writeControl writes one control frame at once; it waits for a running Flush.
func (c *Conn) writeControl(op ws.OpCode, p []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.controlLocked(op, p)
}

func (c *Conn) controlLocked(op ws.OpCode, p []byte) error {
	var room [headerRoom + ws.MaxControlFramePayloadSize]byte
	return c.writeLocked(finishFrame(append(room[:headerRoom], p...), 0, op))
}

// writeLocked writes under wmu. The deadline is set anew each time: one left over from
// an earlier write would fail the pong of half a minute later.
func (c *Conn) writeLocked(b []byte) error {
	if d := c.wait.Load(); d > 0 {
		_ = c.nc.SetWriteDeadline(time.Now().Add(time.Duration(d)))
	}
	_, err := c.nc.Write(b)
	return err
}

// answerPing remembers the pong and sends it, unless a Flush owns the socket: then that
// Flush sends it afterwards. Only the latest ping is answered, as RFC 6455 5.5.3 allows.
func (c *Conn) answerPing(p []byte) error {
	c.pmu.Lock()
	c.pongN = copy(c.pong[:], p)
	c.pmu.Unlock()
	c.ponged.Store(true)
	return c.writePong()
}

func (c *Conn) writePong() error {
	for c.ponged.Load() {
		if !c.wmu.TryLock() {
			return nil // its owner calls writePong after unlocking
		}
		var err error
		if c.ponged.Swap(false) {
			var p [ws.MaxControlFramePayloadSize]byte
			c.pmu.Lock()
			n := copy(p[:], c.pong[:c.pongN])
			c.pmu.Unlock()
			err = c.controlLocked(ws.OpPong, p[:n])
		}
		c.wmu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// SendClose writes a close frame; reason is cut to the 123 bytes that fit.
func (c *Conn) SendClose(code int, reason string) error {
	if len(reason) > ws.MaxControlFramePayloadSize-2 {
		reason = reason[:ws.MaxControlFramePayloadSize-2]
	}
	return c.writeControl(ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(code), reason))
}

// isTimeout tells a deadline from a broken connection.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// past is a deadline that has gone by: it wakes a blocked read or write at once.
func past() time.Time { return time.Unix(1, 0) }
