package badinput_test

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"sluice/bufpool"
	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/frames/ws"
)

// edgeHandler accepts whoever comes.
type edgeHandler struct{}

func (edgeHandler) Frame(c *ws.Conn, l *bufpool.Lease) {
	c.Send(l)
	if c.Peer() == nil {
		c.Accept(&frames.Peer{ConnID: c.ID(), Role: frames.RoleOperator, Scopes: frames.Scopes(frames.ScopeRead)})
	}
}

func (edgeHandler) Closed(*ws.Conn) {}

// TestClockJumpsAtTheEdge: a wall clock that jumps by years cuts no connection, ends no
// handshake and stops no tick; only the times on the wire follow it. What the rest of
// the gateway does is TestClockJumps, which needs a build of its own (-tags e2e).
func TestClockJumpsAtTheEdge(t *testing.T) {
	bufpooltest.NoLeaks(t)
	var jump atomic.Int64
	cfg := ws.Default()
	cfg.SweepIntervalMs, cfg.TickIntervalMs, cfg.PingIntervalMs, cfg.PongTimeoutMs = 5, 100, 60_000, 60_000
	s, err := ws.New(cfg, edgeHandler{}, ws.Options{Log: slog.New(slog.DiscardHandler),
		Wall: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(s)
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context(), "end"); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		hs.Close()
	})
	g := &gateway{t: t, addr: strings.TrimPrefix(hs.URL, "http://")}
	old := g.dial(t)
	old.write(clientText(`"hello"`))
	waiting := g.dial(t)
	for _, by := range []time.Duration{365 * 24 * time.Hour, -365 * 24 * time.Hour, -50 * 365 * 24 * time.Hour, 0} {
		jump.Store(int64(by))
		for range 3 { // events since the jump
			if f, ok := old.event("tick"); !ok {
				t.Fatalf("after a jump by %s: %s", by, f.raw)
			}
		}
		fresh := g.dial(t)
		if off := time.UnixMilli(fresh.challenge.TS).Sub(time.Now().Add(by)).Abs(); off > time.Minute {
			t.Errorf("the challenge's time is off by %s", off)
		}
		_ = fresh.Close()
	}
	waiting.write(clientText(`"hello"`))
	if op, _, err := waiting.read(); err != nil || op != gws.OpText {
		t.Error(op, err)
	}
	for _, p := range []*peer{old, waiting} {
		_ = p.Close()
		_, _ = io.Copy(io.Discard, p.br)
	}
}

// event reads up to the next event of that name.
func (p *peer) event(name string) (reply, bool) {
	p.t.Helper()
	for {
		op, b, err := p.read()
		switch {
		case err != nil:
			return reply{raw: err.Error()}, false
		case op == gws.OpClose:
			return reply{raw: "close " + closeText(b)}, false
		case strings.Contains(string(b), `"event":"`+name+`"`):
			return reply{raw: string(b)}, true
		}
	}
}
