package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	gws "github.com/gobwas/ws"

	"sluice/bufpool"
	"sluice/frames"
)

// scripted is a connection that reads a script in small pieces and keeps what is written.
type scripted struct {
	in    []byte
	piece int
	mu    sync.Mutex
	out   bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.in[:min(len(s.in), s.piece)])
	s.in = s.in[n:]
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (*scripted) Close() error                     { return nil }
func (*scripted) LocalAddr() net.Addr              { return nil }
func (*scripted) RemoteAddr() net.Addr             { return nil }
func (*scripted) SetDeadline(time.Time) error      { return nil }
func (*scripted) SetReadDeadline(time.Time) error  { return nil }
func (*scripted) SetWriteDeadline(time.Time) error { return nil }

// collector accepts at the first message and keeps all.
type collector struct{ got [][]byte }

func (h *collector) Frame(c *Conn, l *bufpool.Lease) {
	h.got = append(h.got, bytes.Clone(l.B))
	l.Release()
	if c.Peer() == nil {
		c.Accept(&frames.Peer{Role: frames.RoleOperator})
	}
}
func (*collector) Closed(*Conn) {}

const fuzzLimit = 4096

// reference reads the script with gobwas's own reader: the messages, the close code
// that must follow (0: none), and whether the script ends inside a header.
func reference(script []byte) (msgs [][]byte, code int, cut bool) {
	r := bytes.NewReader(script)
	var msg []byte
	state := gws.StateServerSide
	for {
		h, err := gws.ReadHeader(r)
		switch {
		case errors.Is(err, gws.ErrHeaderLengthMSB):
			return msgs, 1002, false
		case err != nil:
			return msgs, 0, !errors.Is(err, io.EOF)
		case gws.CheckHeader(h, state) != nil:
			return msgs, 1002, false
		case !h.OpCode.IsControl() && h.Length > int64(fuzzLimit-len(msg)):
			return msgs, 1009, false
		}
		p := make([]byte, min(h.Length, fuzzLimit))
		if _, err := io.ReadFull(r, p); err != nil {
			return msgs, 0, false
		}
		gws.Cipher(p, h.Mask, 0)
		if h.OpCode == gws.OpClose {
			c, fail := peerClose(p)
			if fail != 0 {
				return msgs, int(fail), false
			}
			return msgs, int(c), false
		}
		if h.OpCode.IsControl() {
			continue
		}
		msg = append(msg, p...)
		state = state.Set(gws.StateFragmented)
		if h.Fin {
			if !utf8.Valid(msg) {
				return msgs, 1007, false
			}
			msgs = append(msgs, msg)
			msg, state = nil, state.Clear(gws.StateFragmented)
		}
	}
}

// closeCode returns the code of the close frame in what the server wrote, 0 for none.
func closeCode(t *testing.T, out []byte) int {
	r := bytes.NewReader(out)
	for {
		h, err := gws.ReadHeader(r)
		if err != nil {
			return 0
		}
		if err := gws.CheckHeader(h, gws.StateClientSide); err != nil {
			t.Fatalf("the server wrote a broken frame: %v", err)
		}
		p := make([]byte, h.Length)
		if _, err := io.ReadFull(r, p); err != nil {
			t.Fatalf("the server wrote a cut frame: %v", err)
		}
		if h.OpCode == gws.OpClose {
			if r.Len() > 0 {
				t.Fatal("the server wrote behind its close frame")
			}
			if len(p) < 2 {
				return 0
			}
			return int(binary.BigEndian.Uint16(p))
		}
	}
}

// FuzzReader reads any bytes, cut into any pieces, and agrees with gobwas's reader.
func FuzzReader(f *testing.F) {
	m := [4]byte{1, 2, 3, 4}
	seed := func(piece uint16, fs ...gws.Frame) {
		var b bytes.Buffer
		for _, fr := range fs {
			_ = gws.WriteFrame(&b, gws.MaskFrameWith(fr, m))
		}
		f.Add(b.Bytes(), piece)
	}
	seed(1, gws.NewTextFrame([]byte(`{"a":1}`)), gws.NewPingFrame([]byte("x")), gws.NewTextFrame(nil))
	seed(7, gws.NewFrame(gws.OpText, false, []byte("{")), gws.NewPongFrame(nil), gws.NewFrame(gws.OpContinuation, true, []byte("}")))
	seed(4096, gws.NewTextFrame(bytes.Repeat([]byte("x"), 4096)), gws.NewTextFrame(bytes.Repeat([]byte("x"), 4097)))
	seed(100, gws.NewTextFrame([]byte("\xff")), gws.NewTextFrame([]byte("x")))
	seed(3, gws.NewCloseFrame(gws.NewCloseFrameBody(1000, "bye")), gws.NewTextFrame([]byte("x")))
	f.Add([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, uint16(5))
	f.Add([]byte{0xc1, 0x80, 0, 0, 0, 0}, uint16(5))

	cfg := Default()
	cfg.MaxPreAuthFrameBytes, cfg.MaxFrameBytes = fuzzLimit, fuzzLimit
	f.Fuzz(func(t *testing.T, script []byte, piece uint16) {
		before := bufpool.Outstanding()
		h := &collector{}
		s, err := New(cfg, h, Options{})
		if err != nil {
			t.Fatal(err)
		}
		conn := &scripted{in: bytes.Clone(script), piece: int(piece) + 1}
		c := s.newConn(conn, &http.Request{}, Ingress{RemoteIP: "test"})
		s.count.Add(1)
		s.budget.acquire("test", 1)
		s.life.conns.Add(1)
		s.reg.add(c)
		c.run()
		if err := s.Shutdown(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		msgs, code, cut := reference(script)
		if len(h.got) != len(msgs) {
			t.Fatalf("%d messages, want %d", len(h.got), len(msgs))
		}
		for i := range msgs {
			if !bytes.Equal(h.got[i], msgs[i]) {
				t.Fatalf("message %d: %q, want %q", i, h.got[i], msgs[i])
			}
		}
		if got := closeCode(t, conn.out.Bytes()); got != code && !(cut && got == 1002) {
			t.Fatalf("close %d, want %d", got, code)
		}
		if n := bufpool.Outstanding(); n != before {
			t.Fatalf("%d leases leaked", n-before)
		}
	})
}

// FuzzHeader reads any header as gobwas does.
func FuzzHeader(f *testing.F) {
	f.Add([]byte{0x81, 0x85, 1, 2, 3, 4})
	f.Add([]byte{0x81, 0xfe, 1, 2, 3, 4, 5, 6})
	f.Add([]byte{0x81, 0xff, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parseHeader(b)
		r := bytes.NewReader(b)
		want, werr := gws.ReadHeader(r)
		switch {
		case err != nil:
			if werr == nil {
				t.Fatalf("%v, gobwas reads it", err)
			}
		case n == 0:
			if werr == nil {
				t.Fatal("part of a header, gobwas reads it")
			}
		case werr != nil || h != want || n != len(b)-r.Len():
			t.Fatalf("%+v (%d bytes), gobwas %+v %v (%d)", h, n, want, werr, len(b)-r.Len())
		}
	})
}
