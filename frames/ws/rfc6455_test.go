package ws_test

import (
	"strings"
	"testing"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/frames/ws"
)

// TestBrokenFrames is the table of raw bytes that RFC 6455 forbids, each sent to an
// accepted connection in one piece and byte by byte.
func TestBrokenFrames(t *testing.T) {
	e := mustServe(t, fast(), accepting())
	unmasked := []byte{0x81, 0x02, '{', '}'}
	for _, tc := range []struct {
		name string
		raw  []byte
		code uint16
	}{
		{"rsv1", frame(0xc1, "{}"), 1002},
		{"rsv2", frame(0xa1, "{}"), 1002},
		{"rsv3", frame(0x91, "{}"), 1002},
		{"reserved data opcode 3", frame(0x83, "{}"), 1002},
		{"reserved data opcode 7", frame(0x87, "{}"), 1002},
		{"reserved control opcode b", frame(0x8b, ""), 1002},
		{"reserved control opcode f", frame(0x8f, ""), 1002},
		{"unmasked text", unmasked, 1002},
		{"unmasked ping", []byte{0x89, 0x00}, 1002},
		{"ping of 126 bytes", frame(0x89, strings.Repeat("p", 126)), 1002},
		{"ping of 70000 bytes", frame(0x89, strings.Repeat("p", 70000)), 1002},
		{"fragmented ping", frame(0x09, "p"), 1002},
		{"fragmented close", frame(0x08, "\x03\xe8"), 1002},
		{"continuation without a beginning", frame(0x80, "{}"), 1002},
		{"unfinished continuation without a beginning", frame(0x00, "{}"), 1002},
		{"text inside a fragmented text", join(frame(0x01, "{"), frame(0x81, "}")), 1002},
		{"binary inside a fragmented text", join(frame(0x01, "{"), frame(0x82, "}")), 1002},
		{"64-bit length with the top bit set", []byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4}, 1002},
		{"64-bit length of 2^62", []byte{0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1009},
		{"broken UTF-8", text("\"\xff\""), 1007},
		{"overlong UTF-8", text("\xc0\xaf"), 1007},
		{"UTF-8 surrogate", text("\xed\xa0\x80"), 1007},
		{"cut UTF-8", text("\"\xe2\x82"), 1007},
		{"broken UTF-8 over a fragment's edge", join(frame(0x01, "\xe2\x82"), frame(0x80, "\x28")), 1007},
		{"broken UTF-8 in binary", frame(0x82, "\xff"), 1007},
		{"close of one byte", frame(0x88, "\x03"), 1002},
		{"close with code 999", closeFrame(999, ""), 1002},
		{"close with code 1005", closeFrame(1005, ""), 1002},
		{"close with code 1006", closeFrame(1006, ""), 1002},
		{"close with code 2000", closeFrame(2000, ""), 1002},
		{"close with code 5000", closeFrame(5000, ""), 1002},
		{"close with a broken reason", closeFrame(1000, "\xff"), 1007},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := e.mustDialAccepted(t)
			p.send(tc.raw)
			p.wantClose(tc.code, "")
		})
		if len(tc.raw) < 200 {
			t.Run(tc.name+" byte by byte", func(t *testing.T) {
				p := e.mustDialAccepted(t)
				for i := range tc.raw {
					if _, err := p.Write(tc.raw[i : i+1]); err != nil {
						break // the server ended before the last byte
					}
				}
				p.wantClose(tc.code, "")
			})
		}
	}
}

// TestGoodFrames is what must arrive, however it is cut.
func TestGoodFrames(t *testing.T) {
	e := mustServe(t, fast(), accepting())
	big := strings.Repeat("0123456789abcdef", 100_000)
	for _, tc := range []struct {
		name string
		raw  []byte
		want []string
	}{
		{"empty", text(""), []string{""}},
		{"text", text(`{"a":1}`), []string{`{"a":1}`}},
		{"binary", frame(0x82, `{"a":1}`), []string{`{"a":1}`}},
		{"125 and 126 bytes", join(text(strings.Repeat("x", 125)), text(strings.Repeat("y", 126))), []string{strings.Repeat("x", 125), strings.Repeat("y", 126)}},
		{"65535 and 65536 bytes", join(text(strings.Repeat("x", 65535)), text(strings.Repeat("y", 65536))), []string{strings.Repeat("x", 65535), strings.Repeat("y", 65536)}},
		{"1.6 MB", text(big), []string{big}},
		{"three fragments", join(frame(0x01, "{"), frame(0x00, `"a"`), frame(0x80, ":1}")), []string{`{"a":1}`}},
		{"empty fragments", join(frame(0x01, ""), frame(0x00, ""), frame(0x00, "{}"), frame(0x80, "")), []string{`{}`}},
		{"a rune over a fragment's edge", join(frame(0x01, "\xe2\x82"), frame(0x80, "\xac")), []string{"€"}},
		{"ping between fragments", join(frame(0x01, "{"), frame(0x89, "in"), frame(0x80, "}")), []string{"pong:in", "{}"}},
		{"ping with 125 bytes", frame(0x89, strings.Repeat("p", 125)), []string{"pong:" + strings.Repeat("p", 125)}},
		{"unasked pong", join(frame(0x8a, "x"), text("{}")), []string{"{}"}},
		{"big between small", join(text("a"), text(big), text("b")), []string{"a", big, "b"}},
		{"length written longer than needed", join([]byte{0x81, 0xfe, 0, 2}, mask[:], frame(0x81, "hi")[6:]), []string{"hi"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := e.mustDialAccepted(t)
			go func() { _, _ = p.Write(tc.raw) }()
			for _, want := range tc.want {
				op, b := p.mustRead()
				got := string(b)
				if op == 0xa {
					got = "pong:" + got
				}
				if got != want {
					t.Fatalf("got %d bytes %.60q, want %d bytes %.60q", len(got), got, len(want), want)
				}
			}
		})
	}
}

// TestManyPipelined sends frames of all sizes in one stream and checks order and content.
func TestManyPipelined(t *testing.T) {
	e := mustServe(t, fast(), accepting())
	p := e.mustDialAccepted(t)
	const n = 2000
	body := strings.Repeat("abcdefghij", 2000)
	go func() {
		var out []byte
		for i := range n {
			out = append(out, text(body[:i*7%len(body)])...)
		}
		_, _ = p.Write(out)
	}()
	for i := range n {
		if _, b := p.mustRead(); string(b) != body[:i*7%len(body)] {
			t.Fatalf("frame %d: %d bytes, want %d", i, len(b), i*7%len(body))
		}
	}
}

// TestClientClose echoes the code and the reason and ends in order.
func TestClientClose(t *testing.T) {
	closed := make(chan struct{}, 8)
	h := accepting()
	h.closed = func(*ws.Conn) { closed <- struct{}{} }
	e := mustServe(t, fast(), h)
	for _, tc := range []struct {
		raw    []byte
		code   uint16
		reason string
	}{
		{closeFrame(1000, "bye"), 1000, "bye"}, {closeFrame(1001, ""), 1001, ""},
		{closeFrame(4000, "tick timeout"), 4000, "tick timeout"},
		{closeFrame(1012, ""), 1012, ""}, {frame(0x88, ""), 0, ""},
	} {
		p := e.mustDialAccepted(t)
		p.send(tc.raw)
		p.wantClose(tc.code, tc.reason)
		get(t, closed)
	}
}

// TestSizeLimits is wire.md 3.6: 64 KiB before hello, 25 MiB after, both 1009.
func TestSizeLimits(t *testing.T) {
	cfg := fast()
	cfg.MaxFrameBytes = 1 << 20
	e := mustServe(t, cfg, accepting())
	t.Run("at the limit before hello", func(t *testing.T) {
		p := e.mustDial(t)
		p.send(text(strings.Repeat("x", 65536)))
		if _, b := p.mustRead(); len(b) != 65536 {
			t.Errorf("%d bytes", len(b))
		}
	})
	t.Run("over it before hello", func(t *testing.T) {
		p := e.mustDial(t)
		p.send(text(strings.Repeat("x", 65537)))
		p.wantClose(1009, "")
	})
	t.Run("over it before hello in fragments", func(t *testing.T) {
		p := e.mustDial(t)
		p.send(join(frame(0x01, strings.Repeat("x", 65000)), frame(0x80, strings.Repeat("x", 537))))
		p.wantClose(1009, "")
	})
	t.Run("at the limit after hello", func(t *testing.T) {
		p := e.mustDialAccepted(t)
		p.send(text(strings.Repeat("x", 1<<20)))
		if _, b := p.mustRead(); len(b) != 1<<20 {
			t.Errorf("%d bytes", len(b))
		}
	})
	t.Run("over it after hello", func(t *testing.T) {
		p := e.mustDialAccepted(t)
		p.send(text(strings.Repeat("x", 1<<20+1))[:20]) // the header is enough
		p.wantClose(1009, "")
	})
}

// TestDeclaredLengthCostsNothing: 100 peers that announce 25 MiB and send little must
// not make the server take memory for it.
func TestDeclaredLengthCostsNothing(t *testing.T) {
	e := mustServe(t, fast(), accepting())
	for range 100 {
		p := e.mustDialAccepted(t)
		p.send([]byte{0x81, 0xff, 0, 0, 0, 0, 1, 0x90, 0, 0, 1, 2, 3, 4, 'x', 'x', 'x'})
	}
	// The leases held are the small classes; the assertion is NoLeaks and the race-free
	// end, the bound is target(): capacity at most twice what arrived.
	if n := bufpool.Outstanding(); n > 300 {
		t.Errorf("%d leases for 100 idle messages", n)
	}
}

// TestFullSize is the real 25 MiB limit.
func TestFullSize(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 50 MiB")
	}
	got := make(chan int, 1)
	e := mustServe(t, fast(), handler{frame: func(c *ws.Conn, l *bufpool.Lease) {
		defer l.Release()
		if c.Peer() == nil {
			c.Accept(operator(c))
			c.Send(bufpool.Copy([]byte("connect")))
			return
		}
		got <- len(l.B)
	}})
	p := e.mustDialAccepted(t)
	go func() { _, _ = p.Write(text(strings.Repeat("[", frames.MaxFrameBytes))) }()
	if n := get(t, got); n != frames.MaxFrameBytes {
		t.Errorf("%d bytes arrived", n)
	}
	p.send(text(strings.Repeat("[", frames.MaxFrameBytes+1))[:1<<20])
	p.wantClose(1009, "")
}
