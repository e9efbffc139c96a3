package limit

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"sluice/frames/client"

	"github.com/gobwas/ws"
)

var (
	errTooLong = errors.New("bench limit: frame too long")
	errFrame   = errors.New("bench limit: not a request")
)

// conn holds one connection's reused buffers.
type conn struct {
	nc  net.Conn
	br  *bufio.Reader
	max int
	// coalesce keeps answers in out until the read buffer is empty.
	coalesce bool

	hdr [ws.MaxHeaderSize]byte
	in  []byte
	out []byte
}

// flushBytes is how much a coalescing connection keeps at most.
const flushBytes = 64 << 10

// one reads one frame and answers it.
func (c *conn) one() error {
	h, err := ws.ReadHeaderBuffer(c.br, c.hdr[:])
	if err != nil {
		return err
	}
	if h.Length > int64(c.max) {
		return errTooLong
	}
	n := int(h.Length)
	if cap(c.in) < n {
		c.in = make([]byte, n, max(n, 512))
	}
	c.in = c.in[:n]
	if _, err := io.ReadFull(c.br, c.in); err != nil {
		return err
	}
	ws.Cipher(c.in, h.Mask, 0)
	switch h.OpCode {
	case ws.OpText, ws.OpBinary:
		return c.answer()
	case ws.OpClose:
		_, _ = c.nc.Write(ws.CompiledCloseNormalClosure)
		return io.EOF
	case ws.OpPing:
		_, err = c.nc.Write(ws.MustCompileFrame(ws.NewPongFrame(c.in)))
	}
	return err
}

// answer writes the canned response with the request's id, now or with later ones.
func (c *conn) answer() error {
	var h client.Head
	if !client.ScanHead(c.in, &h) || h.ID == nil || h.Method == nil {
		return errFrame
	}
	payload := okJSON
	switch string(h.Method) { // does not allocate
	case "health":
		payload = healthJSON
	case "system-presence":
		payload = presenceJSON
	case "connect":
		payload = helloJSON
	}
	n := len(`{"type":"res","id":"`) + len(h.ID) + len(`","ok":true,"payload":`) + len(payload) + 1
	c.out = append(c.out, 0x80|byte(ws.OpText))
	switch {
	case n <= 125:
		c.out = append(c.out, byte(n))
	case n <= 0xffff:
		c.out = binary.BigEndian.AppendUint16(append(c.out, 126), uint16(n))
	default:
		c.out = binary.BigEndian.AppendUint64(append(c.out, 127), uint64(n))
	}
	c.out = append(c.out, `{"type":"res","id":"`...)
	c.out = append(c.out, h.ID...)
	c.out = append(c.out, `","ok":true,"payload":`...)
	c.out = append(c.out, payload...)
	c.out = append(c.out, '}')
	if c.coalesce && c.br.Buffered() > 0 && len(c.out) < flushBytes {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// okJSON answers every method without a payload of its own, so that any mix runs
// against the limit; key and runId serve sessions.create and chat.send.
var okJSON = []byte(`{"ok":true,"status":"ok"}`)
