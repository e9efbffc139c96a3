package ws

import (
	"time"

	gws "github.com/gobwas/ws"

	"sluice/frames"
)

// timer is the one goroutine that keeps all connections' times: a sweep over ten
// thousand costs about a millisecond, ten thousand runtime timers 1.5 MiB and a heap
// operation with every frame.
func (s *Server) timer() {
	defer close(s.timerDone)
	t := time.NewTicker(time.Duration(s.cfg.Load().SweepIntervalMs) * time.Millisecond)
	defer t.Stop()
	nextTick := s.now() + int64(s.cfg.Load().TickIntervalMs)
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		s.advance()
		now := s.now()
		s.reg.each(func(c *Conn) { s.check(c, now) })
		if now >= nextTick {
			s.Tick()
			nextTick = now + int64(s.cfg.Load().TickIntervalMs)
		}
	}
}

// advance moves the coarse clock. It is monotonic: a jump of the wall clock cuts nobody.
func (s *Server) advance() { s.nowMs.Store(time.Since(s.started).Milliseconds() + 1) }

// now is the coarse clock, as precise as the sweep; it costs one load.
func (s *Server) now() int64 { return s.nowMs.Load() }

// check applies every deadline of one connection.
func (s *Server) check(c *Conn, now int64) {
	cfg := s.cfg.Load()
	if c.deep.Load() && now-c.readMs.Load() >= int64(cfg.SweepIntervalMs) {
		c.askMove()
	}
	if by := c.closeByMs.Load(); by != 0 {
		if now >= by && !c.dead.Load() {
			s.cut(c, "close-grace")
		}
		return
	}
	if since := c.writeMs.Load(); since != 0 && now-since >= int64(cfg.WriteTimeoutMs) {
		s.cut(c, "write-timeout")
		return
	}
	if c.peer.Load() == nil {
		if now-c.connectedMs >= int64(cfg.HandshakeTimeoutMs) {
			c.Close(frames.Close{Code: frames.CloseNormal}) // wire.md 3.3: 1000, no reason
		}
		return
	}
	late := s.checkFrame(c, now, cfg)
	s.checkPing(c, now, cfg, late)
}

// checkFrame ends a message that arrives too slowly; it reports whether one is on its
// way, in which case the pong behind it may take longer.
func (s *Server) checkFrame(c *Conn, now int64, cfg *settings) (underWay bool) {
	since := c.frameMs.Load()
	if since == 0 {
		return false
	}
	over := now - since - int64(cfg.FrameTimeoutMs)
	if over > 0 && c.frameGot.Load() < over*int64(cfg.MinFrameBytesPerSec)/1000 {
		c.Close(frames.Close{Code: frames.ClosePolicyViolation, Reason: "frame timeout"})
	}
	return true
}

// checkPing sends a ping when it is time and cuts a peer that never answered the last.
func (s *Server) checkPing(c *Conn, now int64, cfg *settings, late bool) {
	if by := c.pongByMs.Load(); by != 0 {
		if now >= by && !late {
			s.cut(c, "pong-timeout")
		}
		return
	}
	if next := c.nextPingMs.Load(); next != 0 && now >= next {
		c.nextPingMs.Store(now + int64(cfg.PingIntervalMs))
		c.pongByMs.Store(now + int64(cfg.PongTimeoutMs))
		c.sendControl(gws.OpPing, nil)
	}
}

func (s *Server) cut(c *Conn, why string) {
	s.stats.cut(why)
	s.log.Info("ws: connection cut", "conn", c.id, "cause", why, "remoteIp", c.hs.RemoteIP)
	c.terminate()
}
