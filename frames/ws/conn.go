package ws

import (
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	gws "github.com/gobwas/ws"

	"sluice/bufpool"
	"sluice/frames"
)

var _ frames.Client = (*Conn)(nil)

// phase is how far a connection's frames are let through.
type phase uint32

const (
	phaseFirst phase = iota // nothing came yet
	phaseWait               // the first frame is with the handler; further ones wait
	phaseOpen               // accepted: every frame goes to the handler
)

// Conn is one client's WebSocket. One goroutine reads it; one at a time writes it.
//
// Lock order: pending.mu and out.mu are never held together; a registry shard's lock
// may be held when either is taken, never the reverse.
type Conn struct {
	srv  *Server
	conn net.Conn
	raw  syscall.RawConn // nil when conn is no plain socket
	id   string
	hs   frames.Handshake
	peer atomic.Pointer[frames.Peer]
	subs frames.Subscriptions

	// What the timer goroutine looks at, in milliseconds of Server.now; 0 is "not".
	connectedMs int64
	frameMs     atomic.Int64 // since when a message is incomplete
	frameGot    atomic.Int64 // bytes of it so far
	writeMs     atomic.Int64 // since when one write runs
	pongByMs    atomic.Int64
	closeByMs   atomic.Int64
	nextPingMs  atomic.Int64
	readMs      atomic.Int64 // when bytes last came

	phase  atomic.Uint32
	caps   atomic.Uint32
	ending atomic.Bool // out.state is no longer outOpen: the reader only drains
	dead   atomic.Bool
	deep   atomic.Bool // bytes were handled since the reader's goroutine is new
	moving atomic.Bool // the reader was woken to move to a new one

	in  input
	out outbox

	// pending is what waits for Accept, and whether that came.
	pending struct {
		mu       sync.Mutex
		frames   []*bufpool.Lease
		accepted bool
		gone     bool
	}

	framesIn, bytesIn, bytesOut atomic.Uint64

	readable func(fd uintptr) bool // c.onReadable, made once: a method value allocates
	write    func()                // c.writeLoop, likewise
	slot     int                   // place in its registry shard; guarded by that
}

// ID is the connection's UUID.
func (c *Conn) ID() string { return c.id }

// Peer is who this is; nil before Accept.
func (c *Conn) Peer() *frames.Peer { return c.peer.Load() }

// Handshake is what was seen at the upgrade.
func (c *Conn) Handshake() *frames.Handshake { return &c.hs }

// Subscriptions is the connection's own set.
func (c *Conn) Subscriptions() *frames.Subscriptions { return &c.subs }

// Send queues one text frame (frames.Conn). The bytes are copied when they are small
// and the buffer is released at once; a large one is held until it was written.
func (c *Conn) Send(b frames.Buffer) bool {
	p := b.Bytes()
	o := &c.out
	o.mu.Lock()
	if o.state != outOpen || !c.admit(len(p)) {
		o.mu.Unlock()
		b.Release()
		return false
	}
	o.push(gws.OpText, p, b)
	c.wake()
	o.mu.Unlock()
	return true
}

// sendControl queues a ping or a pong.
func (c *Conn) sendControl(op gws.OpCode, p []byte) {
	o := &c.out
	o.mu.Lock()
	if o.state == outOpen && c.admit(len(p)) {
		o.push(op, p, nil)
		c.wake()
	}
	o.mu.Unlock()
}

// admit checks the outbox bound and closes the slow consumer that breaks it. The
// caller holds out.mu.
func (c *Conn) admit(n int) bool {
	if !c.out.over(n, c.srv.cfg.Load().MaxBufferedBytes) {
		return true
	}
	c.srv.stats.slowConsumers.Add(1)
	// What is queued would keep the reason from arriving within the grace; the
	// connection ends either way, so the reason goes first.
	c.out.discard(false)
	c.end(frames.Close{Code: frames.ClosePolicyViolation, Reason: "slow consumer"})
	return false
}

// sendEvent queues one event that is encoded up to its tail. It counts the sequence
// number also when the event is dropped, so that the client sees the gap.
func (c *Conn) sendEvent(head *bufpool.Lease, ev *frames.Event) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outOpen {
		return
	}
	n := len(head.B) + maxTail
	if ev.DropIfSlow && o.over(n, c.srv.cfg.Load().MaxBufferedBytes) {
		if !ev.Unsequenced {
			o.seq++
		}
		c.srv.stats.drop(ev.Name)
		return
	}
	if !c.admit(n) {
		return
	}
	var tail [maxTail]byte
	t := tail[:0]
	if !ev.Unsequenced {
		o.seq++
		t = frames.AppendEventTail(t, o.seq, ev.State)
	}
	o.pushEvent(head, t)
	c.wake()
}

// Close ends the connection after what is queued was written (frames.Conn).
func (c *Conn) Close(cl frames.Close) {
	c.out.mu.Lock()
	c.end(cl)
	c.out.mu.Unlock()
}

// end queues the close frame behind what is queued, once. The caller holds out.mu.
func (c *Conn) end(cl frames.Close) {
	o := &c.out
	if o.state != outOpen {
		return
	}
	o.state = outClosing
	c.closeByMs.Store(c.srv.now() + int64(c.srv.cfg.Load().CloseGraceMs))
	c.ending.Store(true)
	o.pushClose(cl)
	c.srv.stats.closed(cl.Code)
	c.wake()
}

// terminate cuts the connection: nothing more is written, reader and writer end. The
// reader closes the socket; closing it here would wait for a reader inside the handler.
func (c *Conn) terminate() {
	o := &c.out
	o.mu.Lock()
	if o.state != outDead {
		o.state = outDead
		o.discard(true)
	}
	o.mu.Unlock()
	c.ending.Store(true)
	c.dead.Store(true)
	_ = c.conn.SetDeadline(past) // fails only on a socket that is closed already
}

var past = time.Unix(1, 0)

// Accept grants peer to the connection (frames.Client). A second call replaces the
// grants and nothing else.
func (c *Conn) Accept(peer *frames.Peer) {
	c.pending.mu.Lock()
	first := !c.pending.accepted
	if c.pending.gone {
		c.pending.mu.Unlock()
		return
	}
	c.pending.accepted = true
	if first {
		c.nextPingMs.Store(c.srv.now() + int64(c.srv.cfg.Load().PingIntervalMs))
		c.srv.admitted(c)
	}
	c.caps.Store(capBits(peer))
	c.peer.Store(peer)
	c.pending.mu.Unlock()
	for first {
		c.pending.mu.Lock()
		waiting := c.pending.frames
		c.pending.frames = nil
		if len(waiting) == 0 {
			c.phase.Store(uint32(phaseOpen))
			c.pending.mu.Unlock()
			return
		}
		c.pending.mu.Unlock()
		// The phase is still phaseWait, so the reader queues behind these: order holds.
		for _, l := range waiting {
			c.submit(l)
		}
	}
}

// deliver takes one whole message from the reader.
func (c *Conn) deliver(l *bufpool.Lease) {
	if phase(c.phase.Load()) == phaseOpen {
		c.submit(l)
		return
	}
	c.pending.mu.Lock()
	switch {
	case phase(c.phase.Load()) == phaseOpen:
	case phase(c.phase.Load()) == phaseFirst:
		c.phase.Store(uint32(phaseWait))
	case len(c.pending.frames) >= c.srv.cfg.Load().MaxHandshakeFrames:
		c.pending.mu.Unlock()
		l.Release()
		c.Close(frames.Close{Code: frames.ClosePolicyViolation, Reason: "too many pending handshake frames"})
		return
	default:
		c.pending.frames = append(c.pending.frames, l)
		c.pending.mu.Unlock()
		return
	}
	c.pending.mu.Unlock()
	c.submit(l)
}

func (c *Conn) submit(l *bufpool.Lease) {
	if c.ending.Load() {
		l.Release()
		return
	}
	c.srv.handler.Frame(c, l)
}

// run is the reader's goroutine and the connection's life.
func (c *Conn) run() {
	if c.guardedRead() {
		go c.run()
		return
	}
	c.finish()
}

// guardedRead keeps a panic of the handler to the connection that it was handling.
func (c *Conn) guardedRead() (moved bool) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.log.Error("ws: panic while handling a frame; the connection is cut", "conn", c.id, "panic", p, "stack", string(debug.Stack()))
			c.srv.cut(c, "panic")
			moved = false
		}
	}()
	return c.readLoop()
}

// finish ends what readLoop left: the writer, the leases, the socket, the registry.
func (c *Conn) finish() {
	o := &c.out
	o.mu.Lock()
	flush := o.state == outClosing && !c.dead.Load()
	o.mu.Unlock()
	if flush {
		c.waitWriter() // bounded: the timer terminates at closeByMs
	}
	c.terminate()
	c.waitWriter()
	c.in.release()
	c.pending.mu.Lock()
	for _, l := range c.pending.frames {
		l.Release()
	}
	c.pending.frames, c.pending.gone = nil, true // a late Accept changes nothing
	accepted := c.pending.accepted
	c.pending.mu.Unlock()
	_ = c.conn.Close()
	c.srv.remove(c, accepted)
	c.srv.handler.Closed(c)
	c.srv.life.conns.Done()
}

// waitWriter returns when no writer runs.
func (c *Conn) waitWriter() {
	o := &c.out
	o.mu.Lock()
	if !o.writing {
		o.mu.Unlock()
		return
	}
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	idle := o.idle
	o.mu.Unlock()
	<-idle
}
