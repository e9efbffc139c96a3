package badinput_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"sluice/frames/framestest"
)

// impatient are short times for whoever is slow.
var impatient = settings{"gateway.ws.handshakeTimeoutMs": 300, "gateway.ws.frameTimeoutMs": 300, "gateway.ws.pingIntervalMs": 200,
	"gateway.ws.pongTimeoutMs": 300, "gateway.ws.sweepIntervalMs": 20, "gateway.http.readHeaderTimeoutMs": 300, "gateway.http.idleTimeoutMs": 300}

// TestHalfOpen: peers that stop in the middle, with or without a word. None of them may
// hold a place, a goroutine or a buffer longer than its timeout.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	g := start(t, impatient)
	raw := clientText(`{"type":"req","id":"x","method":"health"}`)
	t.Run("nothing is ever sent", func(t *testing.T) {
		c := g.tcp(t)
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
			t.Errorf("%q %v", b, err)
		}
	})
	t.Run("half a request", func(t *testing.T) {
		c := g.tcp(t)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgr")
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 40") {
			t.Errorf("%q %v", b, err)
		}
	})
	t.Run("headers a line at a time", func(t *testing.T) {
		c := g.tcp(t)
		stop := slowly(c, strings.SplitAfter(upgradeRequest("/", strings.Repeat("X-A: b\r\n", 2000)), "\n"), 20*time.Millisecond)
		defer stop()
		if b, _ := io.ReadAll(c); len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 40") {
			t.Errorf("%q", b)
		}
	})
	t.Run("no connect", func(t *testing.T) { g.dial(t).wantClose("1000 ") })
	t.Run("half a connect", func(t *testing.T) {
		p := g.dial(t)
		p.write(raw[:9])
		p.wantClose("1000 ")
	})
	t.Run("a header of a frame", func(t *testing.T) {
		p := g.dial(t)
		p.write(raw[:1])
		p.wantClose("1000 ")
	})
}

// TestHalfOpenAfterHello is the same for clients that are connected.
func TestHalfOpenAfterHello(t *testing.T) {
	t.Parallel()
	g := start(t, impatient)
	raw := clientText(`{"type":"req","id":"x","method":"health"}`)
	t.Run("half a request after hello", func(t *testing.T) {
		p := g.operator(t)
		p.write(raw[:9])
		p.wantClose("1008 frame timeout")
	})
	t.Run("a byte at a time", func(t *testing.T) {
		p := g.operator(t)
		stop := slowly(p, strings.Split(string(clientText(strings.Repeat(" ", 60_000))), ""), 5*time.Millisecond)
		defer stop()
		p.wantClose("1008 frame timeout")
	})
	t.Run("fragments for ever", func(t *testing.T) {
		p := g.operator(t)
		frames := []string{string(framestest.ClientFrame(framestest.OpText, nil))}
		for range 2000 {
			frames = append(frames, string(framestest.ClientFrame(framestest.OpContinuation, nil)))
		}
		stop := slowly(p, frames, 5*time.Millisecond)
		defer stop()
		p.wantClose("1008 frame timeout")
	})
	t.Run("no pong", func(t *testing.T) {
		p := g.operator(t)
		for {
			op, _, err := p.read()
			if op == gws.OpPing {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		p.wantGone()
	})
	t.Run("the client's side closed", func(t *testing.T) {
		for _, p := range []*peer{g.dial(t), g.operator(t)} {
			_ = p.Conn.(interface{ CloseWrite() error }).CloseWrite()
			p.wantGone()
		}
	})
	t.Run("requests and gone", func(t *testing.T) {
		for range 50 {
			p := g.operator(t)
			p.write(append(clientText(requestFrame("w", "agent.wait", `{"runId":"none","timeoutMs":60000}`)), raw...))
			_ = p.Close()
		}
	})
}

// slowly writes parts with pauses until it is stopped or the gateway has had enough.
func slowly(w io.Writer, parts []string, pause time.Duration) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for _, part := range parts {
			select {
			case <-end:
				return
			case <-tick.C:
				if _, err := io.WriteString(w, part); err != nil {
					return
				}
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-done })
}

// TestSlowConsumer: a client that asks and does not read is closed when its outbox is
// full, and reads the reason when it reads after all (wire.md 3.7). Others notice
// nothing.
func TestSlowConsumer(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.ws.maxBufferedBytes": 1 << 20, "gateway.ws.closeGraceMs": 5000,
		"gateway.ws.sweepIntervalMs": 20})
	p := g.operator(t)
	other := g.operator(t)
	full := flood(p)
	if !poll(func() bool { return strings.Contains(g.metrics(t), "sluice_slow_consumers_total 1") }) {
		t.Fatal("the flood filled no outbox")
	}
	other.mustHealth()
	for {
		f, ok := p.frame()
		if !ok {
			if f.raw != "close 1008 slow consumer" {
				t.Errorf("%q", f.raw)
			}
			break
		}
	}
	_ = p.Close()
	<-full
	other.bye()
}

// TestNeverReading: a client that never reads again is cut after the grace.
func TestNeverReading(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.ws.maxBufferedBytes": 1 << 20, "gateway.ws.closeGraceMs": 200,
		"gateway.ws.sweepIntervalMs": 20})
	full := flood(g.operator(t))
	if !poll(func() bool {
		return strings.Contains(g.metrics(t), `sluice_connections_cut_total{reason="close-grace"} 1`)
	}) {
		t.Error("the client was not cut")
	}
	<-full
}

// TestStalledWriter: one that reads nothing but asks little ends by the write timeout.
func TestStalledWriter(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.ws.writeTimeoutMs": 300, "gateway.ws.sweepIntervalMs": 20, "gateway.ws.pingIntervalMs": 60_000})
	p := g.operator(t)
	size := len(p.call("config.schema", "").raw)
	for range (16 << 20) / size { // more than the sockets take, less than the outbox
		p.request("config.schema", "")
	}
	if !poll(func() bool {
		return strings.Contains(g.metrics(t), `sluice_connections_cut_total{reason="write-timeout"} 1`)
	}) {
		t.Error("the client was not cut")
	}
}

// flood asks for large answers until the connection ends; done is closed then.
func flood(p *peer) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		batch := []byte{}
		for range 64 {
			batch = append(batch, clientText(requestFrame("f", "config.schema", ""))...)
		}
		for {
			if _, err := p.Write(batch); err != nil {
				return
			}
		}
	}()
	return done
}

func (g *gateway) metrics(t testing.TB) string {
	t.Helper()
	return g.http(t, http.MethodGet, "/metrics", "", "Authorization", "Bearer "+token).body
}

// TestUnauthenticatedSockets: 32 sockets of one address may wait for their hello
// (wire.md 3.8); the next gets 503, and connected ones do not count.
func TestUnauthenticatedSockets(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	const most = 32
	var held []*peer
	for range most {
		held = append(held, g.dial(t))
	}
	full := func() {
		t.Helper()
		if p, res := g.upgrade(t, upgradeRequest("/")); p != nil || res.StatusCode != http.StatusServiceUnavailable || res.body != "Too many unauthenticated sockets" {
			t.Errorf("the 33rd: %s %s", res.Status, res.body)
		}
	}
	full()
	// HTTP is not in the way of probes meanwhile.
	if res := g.http(t, http.MethodGet, "/healthz", ""); res.StatusCode != 200 {
		t.Errorf("/healthz: %s", res.Status)
	}
	held[0].mustConnect(backend("operator.read"))
	held = append(held, g.dial(t)) // its place is free
	full()
	_ = held[1].Close()
	if !poll(func() bool {
		p, _ := g.upgrade(t, upgradeRequest("/"))
		if p != nil {
			held = append(held, p)
		}
		return p != nil
	}) {
		t.Error("the place of one that left is not free")
	}
	held[0].bye()
	for _, p := range held {
		_ = p.Close()
	}
	g.idle(&g.base) // their places are free when the gateway has noticed
}

// TestPipelinedHandshake: requests behind a connect wait for its hello, 15 at most
// (wire.md 3.3).
func TestPipelinedHandshake(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	t.Run("10 are answered after hello", func(t *testing.T) {
		p := g.dial(t)
		batch := clientText(requestFrame("c", "connect", backend("operator.read").encode(p)))
		for i := range 10 {
			batch = append(batch, clientText(requestFrame(fmt.Sprint("q", i), "health", ""))...)
		}
		p.write(batch)
		if r := p.answer("c"); !r.OK {
			t.Fatal(r)
		}
		seen := map[string]bool{}
		for range 10 {
			r := p.anyAnswer()
			if !r.OK || seen[string(r.ID)] {
				t.Error(r)
			}
			seen[string(r.ID)] = true
		}
		p.bye()
	})
	t.Run("together with the upgrade request", func(t *testing.T) {
		c := g.tcp(t)
		c.Write(append([]byte(upgradeRequest("/")), clientText(requestFrame("early", "health", ""))...))
		p := &peer{t: t, g: g, Conn: c, br: bufio.NewReader(c)}
		if res, err := http.ReadResponse(p.br, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(res, err)
		}
		p.frame() // the challenge
		p.anyAnswer().refused(t, "INVALID_REQUEST", "invalid handshake: first request must be connect")
		p.wantClose("1008 invalid handshake: first request must be connect")
	})
}

// TestTooManyPending: while connect is in flight, here because a wrong token is answered
// late, 15 further frames may wait.
func TestTooManyPending(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.handshake.failureDelayMs": 1000, "gateway.handshake.failureDelayMaxMs": 1000})
	wrong := func(n int) *peer {
		p := g.dial(t)
		batch := clientText(requestFrame("c", "connect", backend("operator.read").with("auth", object{"token": "wrong"}).encode(p)))
		for i := range n {
			batch = append(batch, clientText(requestFrame(fmt.Sprint("q", i), "health", ""))...)
		}
		p.write(batch)
		return p
	}
	t.Run("15 wait, and a refused connect ends them", func(t *testing.T) {
		p := wrong(15)
		p.t = t
		if r := p.answer("c"); r.OK {
			t.Error(r)
		}
		p.wantClose("1008 " + tokenMismatch)
	})
	t.Run("16 are too many", func(t *testing.T) {
		p := wrong(16)
		p.t = t
		p.wantClose("1008 too many pending handshake frames")
	})
	t.Run("64 KiB is the limit for those, too", func(t *testing.T) {
		p := wrong(1)
		p.t = t
		p.write(clientText(strings.Repeat(" ", 65537)))
		p.wantClose("1009 ")
	})
}

const tokenMismatch = "unauthorized: gateway token mismatch (provide gateway auth token)"
