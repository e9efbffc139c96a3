package ws_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/frames/ws"
)

func TestChallengeAndHandshake(t *testing.T) {
	conns := make(chan *ws.Conn, 1)
	e := mustServe(t, fast(), handler{frame: func(c *ws.Conn, l *bufpool.Lease) { l.Release(); conns <- c }})
	p, _ := e.dial(t, upgrade+"Origin: http://localhost:5173\r\nUser-Agent: cli/1\r\n\r\n"+string(text("early")))
	_, challenge := p.mustRead()
	c := get(t, conns)
	hs := c.Handshake()
	want := fmt.Sprintf(`{"type":"event","event":"connect.challenge","payload":{"nonce":"%s","ts":%d}}`, hs.Nonce, hs.TsMs)
	if string(challenge) != want {
		t.Errorf("challenge %s, want %s", challenge, want)
	}
	if hs.Origin != "http://localhost:5173" || hs.UserAgent != "cli/1" || hs.Host != "gateway" ||
		hs.RemoteIP != "127.0.0.1" || !hs.PeerLoopback || !hs.Local || len(c.ID()) != 36 {
		t.Errorf("handshake %+v", hs)
	}
}

func TestForwardedHeaders(t *testing.T) {
	conns := make(chan *ws.Conn, 1)
	h := handler{frame: func(c *ws.Conn, l *bufpool.Lease) { l.Release(); conns <- c }}
	const refused = `403 Forbidden|application/json; charset=utf-8|{"error":{"message":"Proxy client attribution is required. Configure gateway.trustedProxies narrowly and make the proxy overwrite or safely rebuild forwarded client headers.","type":"proxy_attribution_required"}}`
	t.Run("from anyone", func(t *testing.T) {
		e := mustServe(t, fast(), h)
		for _, header := range []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4", "Tailscale-User-Login: me"} {
			if _, got := e.dial(t, upgrade+header+"\r\n\r\n"); got != refused {
				t.Errorf("%s: %s", header, got)
			}
		}
	})
	t.Run("from a trusted proxy", func(t *testing.T) {
		cfg := fast()
		cfg.TrustedProxies = []string{"127.0.0.1", "10.0.0.0/8"}
		e := mustServe(t, cfg, h)
		p, status := e.dial(t, upgrade+"X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.2.3\r\n\r\n"+string(text("x")))
		if !strings.HasPrefix(status, "101") {
			t.Fatal(status)
		}
		p.mustRead()
		hs := get(t, conns).Handshake()
		if hs.RemoteIP != "203.0.113.9" || !hs.PeerLoopback || hs.Local {
			t.Errorf("handshake %+v", hs)
		}
		for _, header := range []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: nonsense", "X-Forwarded-Proto: https"} {
			if _, got := e.dial(t, upgrade+header+"\r\n\r\n"); got != refused {
				t.Errorf("%s: %s", header, got)
			}
		}
	})
}

func TestBadUpgrades(t *testing.T) {
	e := mustServe(t, fast(), accepting())
	for _, tc := range []struct{ name, request, want string }{
		{"version 12", strings.Replace(upgrade, "Version: 13", "Version: 12", 1), "426"},
		{"no key", strings.Replace(upgrade, "Sec-WebSocket-Key", "X-Key", 1), "400"},
		{"POST", strings.Replace(upgrade, "GET", "POST", 1), "405"},
		{"worker path", strings.Replace(upgrade, "/any/path", "/__openclaw__/worker/1", 1), "404"},
		{"desktop path", strings.Replace(upgrade, "/any/path", "/desktop/observe", 1), "503"},
		{"header of 1 MiB", upgrade + "X-Big: " + strings.Repeat("x", 1<<20) + strings.Repeat("y", 8<<10) + "\r\n", "431"},
	} {
		if _, got := e.dial(t, tc.request+"\r\n"); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if n := e.Stats().Refused; n["bad-handshake"] != 3 || n["path"] != 2 {
		t.Errorf("refused: %v", n)
	}
}

func TestUnauthenticatedBudget(t *testing.T) {
	cfg := fast()
	cfg.MaxUnauthenticatedPerIP = 3
	e := mustServe(t, cfg, accepting())
	var held []*peer
	for range 3 {
		held = append(held, e.mustDial(t))
	}
	const busy = "503 Service Unavailable|text/plain; charset=utf-8|Too many unauthenticated sockets"
	if _, got := e.dial(t, upgrade+"\r\n"); got != busy {
		t.Errorf("fourth: %s", got)
	}
	held[0].send(text("connect")) // accepted: its place is free
	held[0].mustRead()
	held = append(held, e.mustDial(t))
	_ = held[1].Close() // gone: its place is free, too
	eventually(t, "a closed socket's place is free", func() bool {
		p, got := e.dial(t, upgrade+"\r\n")
		held = append(held, p)
		return strings.HasPrefix(got, "101")
	})
}

func TestMaxConnections(t *testing.T) {
	cfg := fast()
	cfg.MaxConnections = 2
	e := mustServe(t, cfg, accepting())
	e.mustDialAccepted(t)
	e.mustDialAccepted(t)
	if _, got := e.dial(t, upgrade+"\r\n"); !strings.HasSuffix(got, "Too many connections") {
		t.Errorf("third: %s", got)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	cfg := fast()
	cfg.HandshakeTimeoutMs = 100
	e := mustServe(t, cfg, handler{})
	p := e.mustDial(t)
	p.wantClose(1000, "")
	p = e.mustDial(t)
	p.send(text("never granted"))
	p.wantClose(1000, "")
	p = e.mustDial(t)
	p.send(text("half")[:3])
	p.wantClose(1000, "")
}

// TestFramesWaitForAccept is wire.md 3.3: what comes while connect is in flight is
// answered after it, in order.
func TestFramesWaitForAccept(t *testing.T) {
	frames := make(chan string, 100)
	conns := make(chan *ws.Conn, 1)
	e := mustServe(t, fast(), handler{frame: func(c *ws.Conn, l *bufpool.Lease) {
		frames <- string(l.B)
		l.Release()
		if c.Peer() == nil {
			conns <- c
		}
	}})
	p := e.mustDial(t)
	for i := range 11 {
		p.send(text(fmt.Sprint(i)))
	}
	p.send(frame(0x89, "sync")) // the pong proves that all were read
	p.mustRead()
	if got := get(t, frames); got != "0" || len(frames) != 0 {
		t.Fatalf("%q and %d more came before Accept", got, len(frames))
	}
	get(t, conns).Accept(&peerOperator)
	for i := 11; i < 50; i++ {
		p.send(text(fmt.Sprint(i)))
	}
	for i := 1; i < 50; i++ {
		if got := get(t, frames); got != fmt.Sprint(i) {
			t.Fatalf("frame %s, want %d", got, i)
		}
	}
}

var peerOperator = frames.Peer{Role: frames.RoleOperator, Scopes: frames.Scopes(frames.ScopeRead)}

func TestTooManyPendingFrames(t *testing.T) {
	e := mustServe(t, fast(), handler{})
	p := e.mustDial(t)
	for i := range 16 { // one with the handler, 15 waiting
		p.send(text(fmt.Sprint(i)))
	}
	p.send(frame(0x89, "sync"))
	p.mustRead()
	p.send(text("one too many"))
	p.wantClose(1008, "too many pending handshake frames")
}
