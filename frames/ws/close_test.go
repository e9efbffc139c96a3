package ws_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/frames/ws"
)

// TestCloseFlushes: everything queued before Close arrives, then the reason, although
// the client goes on sending.
func TestCloseFlushes(t *testing.T) {
	const n = 500
	big := strings.Repeat("b", 100_000)
	e := mustServe(t, fast(), handler{frame: func(c *ws.Conn, l *bufpool.Lease) {
		l.Release()
		for i := range n {
			if i%50 == 0 {
				c.Send(bufpool.Copy([]byte(big)))
			}
			c.Send(bufpool.Copy(fmt.Append(nil, i)))
		}
		c.Close(frames.Close{Code: 1008, Reason: "unauthorized: gateway token mismatch"})
		if c.Send(bufpool.Copy([]byte("late"))) {
			t.Error("Send after Close was taken")
		}
		c.Close(frames.Close{Code: 1000})
	}})
	p := e.mustDial(t)
	p.send(text("go"))
	for range 100 {
		p.send(text(strings.Repeat("more", 1000)))
	}
	for i := range n {
		if i%50 == 0 {
			if _, b := p.mustRead(); string(b) != big {
				t.Fatalf("%d bytes instead of the big frame", len(b))
			}
		}
		if _, b := p.mustRead(); string(b) != fmt.Sprint(i) {
			t.Fatalf("frame %.40q, want %d", b, i)
		}
	}
	p.wantClose(1008, "unauthorized: gateway token mismatch")
}

func TestCloseReasonIsCut(t *testing.T) {
	e := mustServe(t, fast(), handler{frame: func(c *ws.Conn, l *bufpool.Lease) {
		l.Release()
		c.Close(frames.Close{Code: 1008, Reason: strings.Repeat("ä", 100)})
	}})
	p := e.mustDial(t)
	p.send(text("x"))
	p.wantClose(1008, strings.Repeat("ä", 60))
}

// TestSlowConsumer: a client that stopped reading gets the reason once it reads again
// within the grace, although megabytes were waiting for it.
func TestSlowConsumer(t *testing.T) {
	cfg := fast()
	cfg.MaxBufferedBytes = 1 << 20
	cfg.CloseGraceMs = 5000
	conns := make(chan *ws.Conn, 1)
	h := accepting()
	echo := h.frame
	h.frame = func(c *ws.Conn, l *bufpool.Lease) { echo(c, l); conns <- c }
	for _, size := range []int{100, 10_000, 200_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			e := mustServe(t, cfg, h)
			p := e.mustDialAccepted(t)
			c := get(t, conns)
			payload := []byte(strings.Repeat("x", size))
			sent := 0
			for c.Send(bufpool.Copy(payload)) {
				sent++
			}
			read := 0
			for {
				op, b := p.mustRead()
				if op == gws.OpClose {
					if string(b[2:]) != "slow consumer" || b[0] != 1008>>8 || b[1] != 1008&0xff {
						t.Errorf("close %q", b)
					}
					p.wantEnd()
					break
				}
				if len(b) != size {
					t.Fatalf("a frame of %d bytes was cut to %d", size, len(b))
				}
				read++
			}
			if read > sent {
				t.Errorf("%d frames read, %d sent", read, sent)
			}
			if st := e.Stats(); st.SlowConsumers != 1 || st.Closes[1008] != 1 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// TestNeverReading: the grace ends a client that does not even take the reason.
func TestNeverReading(t *testing.T) {
	cfg := fast()
	cfg.MaxBufferedBytes = 1 << 20
	cfg.CloseGraceMs = 50
	gone := make(chan struct{}, 1)
	h := accepting()
	echo := h.frame
	h.frame = func(c *ws.Conn, l *bufpool.Lease) {
		echo(c, l)
		go func() {
			for c.Send(bufpool.Copy(make([]byte, 100_000))) {
			}
		}()
	}
	h.closed = func(*ws.Conn) { gone <- struct{}{} }
	e := mustServe(t, cfg, h)
	e.mustDial(t).send(text("connect"))
	get(t, gone)
	if n := e.Stats().Cut["close-grace"]; n != 1 {
		t.Errorf("cut %v", e.Stats().Cut)
	}
}

// TestWriteStall: a client that stops reading under little traffic ends by the write
// timeout, long before its outbox is full.
func TestWriteStall(t *testing.T) {
	cfg := fast()
	cfg.WriteTimeoutMs = 100
	gone := make(chan struct{}, 1)
	h := accepting()
	echo := h.frame
	h.frame = func(c *ws.Conn, l *bufpool.Lease) {
		echo(c, l)
		c.Send(bufpool.Copy(make([]byte, 20<<20)))
	}
	h.closed = func(*ws.Conn) { gone <- struct{}{} }
	e := mustServe(t, cfg, h)
	e.mustDialAccepted(t)
	get(t, gone)
	if n := e.Stats().Cut["write-timeout"]; n != 1 {
		t.Errorf("cut %v", e.Stats().Cut)
	}
}

// TestHalfOpen: a peer that is there no more, or that does not answer pings, is cut.
func TestHalfOpen(t *testing.T) {
	cfg := fast()
	cfg.PingIntervalMs, cfg.PongTimeoutMs = 100, 1000
	gone := make(chan struct{}, 1)
	h := accepting()
	h.closed = func(*ws.Conn) { gone <- struct{}{} }
	e := mustServe(t, cfg, h)
	p := e.mustDialAccepted(t)
	for range 3 { // answered pings keep it
		if op, _ := p.mustRead(); op != gws.OpPing {
			t.Fatalf("opcode %v, want a ping", op)
		}
		p.send(frame(0x8a, ""))
	}
	if op, _ := p.mustRead(); op != gws.OpPing {
		t.Fatalf("opcode %v, want a ping", op)
	}
	get(t, gone) // no answer
	if n := e.Stats().Cut["pong-timeout"]; n != 1 {
		t.Errorf("cut %v", e.Stats().Cut)
	}
	p.wantGone()
}

// TestTrickle: a message that comes a byte at a time ends by the frame timeout, however
// alive its sender is.
func TestTrickle(t *testing.T) {
	cfg := fast()
	cfg.FrameTimeoutMs = 150
	e := mustServe(t, cfg, accepting())
	p := e.mustDialAccepted(t)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw := text(strings.Repeat("x", 60_000))
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := range raw {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := p.Write(raw[i : i+1]); err != nil {
					return
				}
			}
		}
	}()
	p.wantClose(1008, "frame timeout")
	close(stop)
	<-done
}

// TestSteadyStreamIsNoTrickle: reads that always end inside a frame are not one slow
// message.
func TestSteadyStreamIsNoTrickle(t *testing.T) {
	cfg := fast()
	cfg.FrameTimeoutMs = 1000
	e := mustServe(t, cfg, accepting())
	p := e.mustDialAccepted(t)
	raw := join(text("abc"), text("abc"))
	half := len(raw) / 4
	p.send(raw[:half])
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		p.send(join(raw[half:len(raw)/2], raw[:half]))
		if op, b := p.mustRead(); op != gws.OpText {
			t.Fatalf("%v %q", op, b)
		}
	}
}

// TestEndWithoutClose: a client that just goes is noticed at once, also when its end
// came together with its last bytes.
func TestEndWithoutClose(t *testing.T) {
	gone := make(chan struct{}, 1)
	h := accepting()
	h.closed = func(*ws.Conn) { gone <- struct{}{} }
	e := mustServe(t, fast(), h)
	for range 200 {
		p := e.mustDialAccepted(t)
		p.send(text("last words"))
		_ = p.Close()
		get(t, gone)
	}
}

// TestIdleReaderMoves: the move of an idle reader to a fresh goroutine loses nothing.
func TestIdleReaderMoves(t *testing.T) {
	e := mustServe(t, fast(), accepting())
	p := e.mustDialAccepted(t)
	eventually(t, "accepted", func() bool { return len(e.Conns()) == 1 })
	c := e.Conns()[0]
	for i := range 60 {
		want := fmt.Sprint("round ", i)
		raw := text(want)
		p.send(raw[:i%len(raw)]) // also in the middle of a frame
		if i%2 == 0 {
			eventually(t, "the reader was asked to move", func() bool { return !c.Deep() })
		}
		p.send(raw[i%len(raw):])
		if _, b := p.mustRead(); string(b) != want {
			t.Fatalf("%q, want %q", b, want)
		}
	}
}

func TestShutdown(t *testing.T) {
	e := mustServe(t, fast(), accepting())
	p, q := e.mustDialAccepted(t), e.mustDial(t)
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- e.Shutdown(ctx, "gateway stopping")
	}()
	if _, b := p.mustRead(); string(b) != `{"type":"event","event":"shutdown","payload":{"reason":"gateway stopping"},"seq":1}` {
		t.Errorf("event %s", b)
	}
	p.wantClose(1012, "service restart")
	q.wantClose(1012, "service restart") // no event before hello
	if err := get(t, done); err != nil {
		t.Error(err)
	}
	if _, got := e.dial(t, upgrade+"\r\n"); !strings.HasPrefix(got, "503") {
		t.Errorf("a socket while stopping: %s", got)
	}
}

// TestShutdownIsBounded: clients that do not react are cut when the context ends.
func TestShutdownIsBounded(t *testing.T) {
	cfg := fast()
	cfg.CloseGraceMs = 60_000
	e := mustServe(t, cfg, accepting())
	p := e.mustDialAccepted(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := e.Shutdown(ctx, "gateway stopping"); err == nil {
		t.Error("Shutdown claims that all ended in order")
	}
	_, _ = io.Copy(io.Discard, p)
}

// TestPanicIsOneConnections: a handler that panics costs the connection it handled.
func TestPanicIsOneConnections(t *testing.T) {
	h := accepting()
	echo := h.frame
	h.frame = func(c *ws.Conn, l *bufpool.Lease) {
		if string(l.B) == "panic" {
			l.Release()
			panic("handler")
		}
		echo(c, l)
	}
	e := mustServe(t, fast(), h)
	p, q := e.mustDialAccepted(t), e.mustDialAccepted(t)
	p.send(text("panic"))
	p.wantGone()
	q.send(text("still here"))
	if _, b := q.mustRead(); string(b) != "still here" {
		t.Errorf("%s", b)
	}
	if n := e.Stats().Cut["panic"]; n != 1 {
		t.Errorf("cut %v", e.Stats().Cut)
	}
}
