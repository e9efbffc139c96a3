// Package ws is the WebSocket edge: it upgrades, challenges, reads frames, writes
// frames, keeps each connection's times and limits, and fans events out (wire.md 3.1 to
// 3.3, 3.7 to 3.9). It knows nothing of what a frame says.
//
// Life of a connection: ServeHTTP upgrades it, sends connect.challenge and starts its
// reader. The first message goes to Handler.Frame; later ones wait until the handler
// calls Accept. Close queues the reason behind what is queued; when the peer has ended,
// or the grace is over, the reader closes the socket and calls Handler.Closed, last.
//
// Goroutines: one reader a connection, one writer while there is something to write,
// one timer for all. Nothing else touches a socket.
package ws

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gws "github.com/gobwas/ws"
	"github.com/google/uuid"

	"sluice/bufpool"
	"sluice/frames"
)

// Handler takes what comes from clients.
type Handler interface {
	// Frame takes over one whole message, valid UTF-8, text or binary, and releases the
	// lease when done. It runs on the connection's reader (or in Accept): while it
	// blocks, this client is not read, which is its back-pressure, and only its.
	Frame(c *Conn, l *bufpool.Lease)
	// Closed is called once for each connection that had been upgraded, after its last
	// Frame, when its socket is closed.
	Closed(c *Conn)
}

// Options are what New may be given beside its Config.
type Options struct {
	// Log takes the edge's own messages; nil discards them.
	Log *slog.Logger
	// Wall is the clock of timestamps on the wire; nil is time.Now. Deadlines run on a
	// monotonic clock.
	Wall func() time.Time
	// ChallengeCapabilities are listed in connect.challenge; only what is served
	// belongs there (law 12).
	ChallengeCapabilities []string
}

// Server is the WebSocket edge. Create it with New, serve it with ServeHTTP, end it
// with Shutdown.
type Server struct {
	cfg     atomic.Pointer[settings]
	handler Handler
	log     *slog.Logger
	wall    func() time.Time
	caps    string // raw JSON array, or ""

	reg        registry
	count      atomic.Int64
	subscribed frames.SubscriptionCount
	budget     ipBudget
	stats      counters
	warned     atomic.Bool

	started   time.Time
	nowMs     atomic.Int64
	stop      chan struct{}
	timerDone chan struct{}

	life struct {
		mu       sync.Mutex
		stopping bool
		conns    sync.WaitGroup
	}
}

// New starts the edge's timer and returns the edge. cfg must be valid.
func New(cfg Config, h Handler, opt Options) (*Server, error) {
	s := &Server{handler: h, log: opt.Log, wall: opt.Wall, started: time.Now(),
		stop: make(chan struct{}), timerDone: make(chan struct{})}
	if err := s.SetConfig(cfg); err != nil {
		return nil, err
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.wall == nil {
		s.wall = time.Now
	}
	if len(opt.ChallengeCapabilities) > 0 {
		var b []byte
		for i, name := range opt.ChallengeCapabilities {
			b = frames.AppendString(append(b, "[,"[min(i, 1)]), name)
		}
		s.caps = string(append(b, ']'))
	}
	s.reg.seed = maphash.MakeSeed()
	s.advance()
	go s.timer()
	return s, nil
}

// SetConfig replaces the limits of live and new connections at once.
func (s *Server) SetConfig(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	proxies, err := parseProxies(cfg.TrustedProxies)
	if err != nil {
		return err
	}
	s.cfg.Store(&settings{Config: cfg, proxies: proxies})
	return nil
}

// IsUpgrade reports whether r asks for a WebSocket.
func IsUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// noSuchSocket are paths that the real gateway keeps for other protocols; Sluice speaks
// none of them, and must not take their clients for its own.
func noSuchSocket(path string) (status int, body string) {
	switch {
	case strings.HasPrefix(path, "/__openclaw__/worker"):
		return http.StatusNotFound, "Not Found"
	case path == "/desktop/observe":
		return http.StatusServiceUnavailable, "desktop observe unavailable"
	case path == "/node-desktop/attach":
		return http.StatusServiceUnavailable, "node desktop attach unavailable"
	case path == "/node-portal/attach":
		return http.StatusServiceUnavailable, "node portal attach unavailable"
	}
	return 0, ""
}

const textPlain = "text/plain; charset=utf-8"

// ServeHTTP upgrades a request on any path and returns; the connection lives on in
// goroutines of its own, because the handler's would keep net/http's 12 KiB alive.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cfg := s.cfg.Load()
	in, ok := attribute(r, cfg.proxies)
	if !ok {
		s.stats.refuse("proxy")
		if s.warned.CompareAndSwap(false, true) {
			s.log.Warn("ws: forwarding headers from an address that is no trusted proxy were refused; list the proxy in trustedProxies and make it overwrite them", "remoteIp", in.RemoteIP)
		}
		RefuseProxy(w)
		return
	}
	if status, body := noSuchSocket(r.URL.Path); status != 0 {
		s.stats.refuse("path")
		refuse(w, status, textPlain, body)
		return
	}
	if !s.enter() {
		s.stats.refuse("stopping")
		refuse(w, http.StatusServiceUnavailable, textPlain, "Gateway websocket admission closed")
		return
	}
	if !s.upgrade(w, r, in, cfg) {
		s.life.conns.Done()
	}
}

// enter counts a connection in, unless the edge is stopping.
func (s *Server) enter() bool {
	s.life.mu.Lock()
	defer s.life.mu.Unlock()
	if s.life.stopping {
		return false
	}
	s.life.conns.Add(1)
	return true
}

// upgrade makes the connection; false means that it was refused and answered.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, in Ingress, cfg *settings) bool {
	if s.count.Add(1) > int64(cfg.MaxConnections) {
		s.count.Add(-1)
		s.stats.refuse("max-connections")
		refuse(w, http.StatusServiceUnavailable, textPlain, "Too many connections")
		return false
	}
	if !s.budget.acquire(in.RemoteIP, cfg.MaxUnauthenticatedPerIP) {
		s.count.Add(-1)
		s.stats.refuse("unauthenticated-per-ip")
		refuse(w, http.StatusServiceUnavailable, textPlain, "Too many unauthenticated sockets")
		return false
	}
	// No Negotiate: compression is never offered back (wire.md 3.1), and gobwas sees
	// only compressed sizes (libraries.md 2.1, trap 2).
	up := gws.HTTPUpgrader{Timeout: time.Duration(cfg.WriteTimeoutMs) * time.Millisecond}
	conn, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			_ = conn.Close() // it is returned open together with the error (trap 6)
		}
		s.budget.release(in.RemoteIP)
		s.count.Add(-1)
		s.stats.refuse("bad-handshake")
		return false
	}
	c := s.newConn(conn, r, in)
	if n := rw.Reader.Buffered(); n > 0 {
		// The first frames may have come with the request (trap 6).
		early, _ := rw.Reader.Peek(n)
		c.in.buf = bufpool.Get(max(n, readBytes))
		c.in.buf.B = append(c.in.buf.B, early...)
	}
	s.start(c)
	return true
}

func (s *Server) newConn(conn net.Conn, r *http.Request, in Ingress) *Conn {
	wall := s.wall().UnixMilli()
	c := &Conn{
		srv: s, conn: conn, raw: rawConn(conn), id: uuid.NewString(),
		hs: frames.Handshake{
			Nonce: uuid.NewString(), TsMs: wall, ConnectedAtMs: wall,
			Origin: r.Header.Get("Origin"), Host: r.Host, UserAgent: r.UserAgent(),
			RemoteIP: in.RemoteIP, PeerLoopback: in.PeerLoopback, Local: in.Local,
		},
		connectedMs: s.now(),
	}
	c.subs.CountIn(&s.subscribed)
	c.readable, c.write = c.onReadable, c.writeLoop
	return c
}

// start sends the challenge before anything else and lets the connection run.
func (s *Server) start(c *Conn) {
	s.reg.add(c)
	l := bufpool.Get(256)
	l.B = append(l.B, `{"type":"event","event":"connect.challenge","payload":{"nonce":"`...)
	l.B = append(l.B, c.hs.Nonce...)
	l.B = append(l.B, `","ts":`...)
	l.B = strconv.AppendInt(l.B, c.hs.TsMs, 10)
	if s.caps != "" {
		l.B = append(append(l.B, `,"capabilities":`...), s.caps...)
	}
	l.B = append(l.B, `}}`...)
	c.Send(l)
	go c.run()
}

// admitted counts a connection that was granted a peer.
func (s *Server) admitted(c *Conn) {
	s.stats.authenticated.Add(1)
	s.budget.release(c.hs.RemoteIP)
}

// remove forgets a connection that has ended.
func (s *Server) remove(c *Conn, accepted bool) {
	if accepted {
		s.stats.authenticated.Add(-1)
	} else {
		s.budget.release(c.hs.RemoteIP)
	}
	s.reg.remove(c)
	c.subs.End()
	s.stats.fold(c)
	s.count.Add(-1)
}

// Shutdown ends the edge: no new connections, the event shutdown {reason} to everyone,
// close 1012 "service restart", and a wait for all to end. When ctx ends first the
// rest is cut. It returns ctx's error then, nil otherwise.
func (s *Server) Shutdown(ctx context.Context, reason string) error {
	s.life.mu.Lock()
	first := !s.life.stopping
	s.life.stopping = true
	s.life.mu.Unlock()
	if first {
		p := frames.AppendString([]byte(`{"reason":`), reason)
		s.Broadcast(frames.Event{Name: "shutdown", Payload: append(p, '}'), ToNodes: true})
		s.reg.each(func(c *Conn) {
			c.Close(frames.Close{Code: frames.CloseServiceRestart, Reason: "service restart"})
		})
	}
	ended := make(chan struct{})
	go func() {
		s.life.conns.Wait()
		close(ended)
	}()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = ctx.Err()
		s.reg.each((*Conn).terminate)
		<-ended
	}
	if first {
		close(s.stop)
	}
	<-s.timerDone
	return err
}
