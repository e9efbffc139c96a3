package ws

import (
	"runtime"
	"strconv"

	"sluice/bufpool"
	"sluice/frames"
)

var (
	_ frames.Broadcaster = (*Server)(nil)
	_ frames.Audience    = (*Server)(nil)
)

// Client capabilities that decide about events (wire.md 3.7).
const (
	capToolEvents    uint32 = 1 << iota // "tool-events"
	capSessionScoped                    // "session-scoped-events"
)

func capBits(p *frames.Peer) uint32 {
	var bits uint32
	if p.HasCap("tool-events") {
		bits |= capToolEvents
	}
	if p.HasCap("session-scoped-events") {
		bits |= capSessionScoped
	}
	return bits
}

// yieldEvery is after how many receivers a broadcast lets their writers run: ten
// thousand writers at once would need 20 MiB of stacks, this many need 1 MiB. Fewer
// receivers than that are not interrupted, so that events in a row share one write: at
// 64, chat.inject told to 64 readers cost twice the processor time.
const yieldEvery = 256

// fanout is one broadcast under way.
type fanout struct {
	ev   *frames.Event
	need frames.Scope
	head *bufpool.Lease // made for the first receiver
	sent int
}

// Broadcast delivers one event (frames.Broadcaster). Order and sequence numbers are
// each connection's own: what one goroutine broadcasts arrives in that order, and no
// number is ever missing or out of place on a socket. An event whose scope is unknown
// reaches nobody (law 6), except a node that it names.
func (s *Server) Broadcast(ev frames.Event) {
	need, known := ev.Scope, true
	if need == frames.ScopeNone {
		need, known = frames.EventScope(ev.Name)
	}
	if !known {
		if ev.Reach != frames.ReachConn && !ev.ToNodes {
			s.log.Warn("ws: event without a scope was not sent; list it in frames.EventScope", "event", ev.Name)
			return
		}
		need = frames.ScopeDynamic // granted to nobody
	}
	f := fanout{ev: &ev, need: need}
	switch ev.Reach {
	case frames.ReachConn, frames.ReachRun:
		if c := s.reg.get(ev.ConnID); c != nil {
			f.to(c)
		}
	default:
		s.reg.each(f.to)
	}
	if f.head != nil {
		f.head.Release()
	}
}

// Wanted implements frames.Audience. What needs a subscription is wanted when anybody
// has one, of any session; the rest when anybody is connected.
func (s *Server) Wanted(ev *frames.Event) bool {
	switch ev.Reach {
	case frames.ReachSessions:
		return s.subscribed.Sessions() > 0
	case frames.ReachSession:
		return s.subscribed.Sessions() > 0 || s.subscribed.Keyed() > 0
	case frames.ReachApprovals:
		return s.subscribed.Keyed() > 0
	}
	return s.count.Load() > 0
}

// to delivers to one connection if the event is for it.
func (f *fanout) to(c *Conn) {
	peer := c.peer.Load()
	if peer == nil || !f.reaches(c, peer) {
		return
	}
	if f.head == nil {
		f.encode()
	}
	c.sendEvent(f.head, f.ev)
	if f.sent++; f.sent%yieldEvery == 0 {
		runtime.Gosched()
	}
}

// encode makes the bytes that all receivers share: the whole event when it carries no
// number, all but its tail otherwise.
func (f *fanout) encode() {
	ev := f.ev
	f.head = bufpool.Get(len(ev.Payload) + len(ev.Name) + maxTail)
	f.head.B = frames.AppendEventHead(f.head.B, ev.Name, ev.Payload)
	if ev.Unsequenced {
		f.head.B = frames.AppendEventTail(f.head.B, 0, ev.State)
	}
}

// reaches applies role, scope and reach.
func (f *fanout) reaches(c *Conn, peer *frames.Peer) bool {
	ev := f.ev
	switch peer.Role {
	case frames.RoleNode:
		return ev.ToNodes || ev.Reach == frames.ReachConn
	case frames.RoleOperator:
		if !peer.Scopes.Allows(f.need) {
			return false
		}
	default:
		return false
	}
	switch ev.Reach {
	case frames.ReachSessions:
		return c.subs.Sessions()
	case frames.ReachSession:
		_, ok := c.subs.Has(ev.SessionKey)
		return ok || c.subs.Sessions()
	case frames.ReachApprovals:
		o, ok := c.subs.Has(ev.SessionKey)
		return ok && o.IncludeApprovals
	case frames.ReachRun:
		return c.caps.Load()&capToolEvents != 0
	case frames.ReachReaders:
		if c.caps.Load()&capSessionScoped == 0 {
			return true
		}
		_, ok := c.subs.Has(ev.SessionKey)
		return ok
	}
	return true
}

// Tick broadcasts {"ts":<ms>} to operators and nodes. The server's own timer calls it
// every tickIntervalMs, so that ticks come while every worker is busy (law 9).
func (s *Server) Tick() {
	p := append(make([]byte, 0, 32), `{"ts":`...)
	p = strconv.AppendInt(p, s.wall().UnixMilli(), 10)
	s.Broadcast(frames.Event{Name: "tick", Payload: append(p, '}'), DropIfSlow: true, ToNodes: true})
}

// Conns returns the authenticated connections of this moment.
func (s *Server) Conns() []*Conn {
	var out []*Conn
	s.reg.each(func(c *Conn) {
		if c.peer.Load() != nil {
			out = append(out, c)
		}
	})
	return out
}

// Find returns the authenticated connection of that id; nil when there is none.
func (s *Server) Find(id string) *Conn {
	c := s.reg.get(id)
	if c == nil || c.peer.Load() == nil {
		return nil
	}
	return c
}

// CloseWhere closes every authenticated connection whose peer pred picks, and returns
// how many: a revoked token or a rotated secret ends live sockets (wire.md 3.4).
func (s *Server) CloseWhere(pred func(*frames.Peer) bool, cl frames.Close) int {
	n := 0
	s.reg.each(func(c *Conn) {
		if p := c.peer.Load(); p != nil && pred(p) {
			c.Close(cl)
			n++
		}
	})
	return n
}
