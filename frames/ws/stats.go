package ws

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats is a moment's view of the edge, for metrics. Counters only grow.
type Stats struct {
	Connections   int64 // open sockets
	Authenticated int64 // of these, past hello
	OutboxBytes   int64 // queued for clients or being written

	FramesIn, FramesOut uint64
	BytesIn, BytesOut   uint64

	SlowConsumers uint64            // connections closed for not reading
	Dropped       map[string]uint64 // dropIfSlow events skipped, by event
	Closes        map[uint16]uint64 // close frames sent, by code (0: echo of none)
	Refused       map[string]uint64 // upgrades refused, by reason
	Cut           map[string]uint64 // connections cut without a close, by reason
}

// counters holds what Stats adds up. The per-connection counts live in the connections
// and are folded in here when they end, so that the hot path shares no cache line.
type counters struct {
	authenticated       atomic.Int64
	slowConsumers       atomic.Uint64
	framesIn, framesOut atomic.Uint64
	bytesIn, bytesOut   atomic.Uint64

	mu      sync.Mutex
	dropped map[string]uint64
	closes  map[uint16]uint64
	refused map[string]uint64
	cuts    map[string]uint64
}

// maxEventNames bounds the table of drops: event names come from code, not from
// clients, but a bound costs nothing.
const maxEventNames = 256

func (c *counters) drop(event string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped == nil {
		c.dropped = make(map[string]uint64)
	}
	if _, ok := c.dropped[event]; !ok && len(c.dropped) >= maxEventNames {
		event = "other"
	}
	c.dropped[event]++
}

func (c *counters) closed(code uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closes == nil {
		c.closes = make(map[uint16]uint64)
	}
	c.closes[code]++
}

func (c *counters) refuse(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = make(map[string]uint64)
	}
	c.refused[reason]++
}

func (c *counters) cut(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cuts == nil {
		c.cuts = make(map[string]uint64)
	}
	c.cuts[reason]++
}

// Stats adds up the edge's counters. It takes each connection's lock once, so it is for
// a scrape, not for a loop.
func (s *Server) Stats() Stats {
	k := &s.stats
	st := Stats{
		Connections:   s.count.Load(),
		Authenticated: k.authenticated.Load(),
		SlowConsumers: k.slowConsumers.Load(),
		FramesIn:      k.framesIn.Load(),
		FramesOut:     k.framesOut.Load(),
		BytesIn:       k.bytesIn.Load(),
		BytesOut:      k.bytesOut.Load(),
	}
	s.reg.each(func(c *Conn) {
		st.FramesIn += c.framesIn.Load()
		st.BytesIn += c.bytesIn.Load()
		st.BytesOut += c.bytesOut.Load()
		c.out.mu.Lock()
		st.FramesOut += c.out.frames
		st.OutboxBytes += int64(c.out.bytes)
		c.out.mu.Unlock()
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	st.Dropped, st.Closes = maps.Clone(k.dropped), maps.Clone(k.closes)
	st.Refused, st.Cut = maps.Clone(k.refused), maps.Clone(k.cuts)
	return st
}

// fold keeps the counts of a connection that ends.
func (k *counters) fold(c *Conn) {
	k.framesIn.Add(c.framesIn.Load())
	k.bytesIn.Add(c.bytesIn.Load())
	k.bytesOut.Add(c.bytesOut.Load())
	c.out.mu.Lock()
	k.framesOut.Add(c.out.frames)
	c.out.mu.Unlock()
}
