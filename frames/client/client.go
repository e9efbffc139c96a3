package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Event is one event frame.
type Event struct {
	Name    string
	Payload jsontext.Value
	// Seq counts broadcast events on this connection from 1; 0 marks an event without
	// one. A gap means that the gateway dropped an event: ask for the state again.
	Seq int64
	// StateVersion is set on presence and health.
	StateVersion jsontext.Value
}

// Stats are a Client's counters since Dial.
type Stats struct {
	Events        uint64 // received, dropped ones included
	DroppedEvents uint64 // not delivered since nobody read Events
	Unsolicited   uint64 // responses without a waiting call
	Malformed     uint64 // messages that are no frame
}

// Client is one authenticated connection. All methods may be called from any goroutine.
type Client struct {
	conn  *Conn
	opt   Options
	hello *Hello

	events chan Event
	done   chan struct{} // closed when the connection has ended and err is set

	sendMu sync.Mutex // owns the Conn's write side

	mu      sync.Mutex // guards what follows; never held while sending
	pending map[string]*call
	next    uint64
	err     error
	bounded int // pending calls whose context has a deadline

	nEvents, nDropped, nUnsolicited, nMalformed atomic.Uint64
}

// Dial connects, does the handshake and starts reading. ctx bounds only that. A refusal
// by the gateway is a *RemoteError, *CloseError or *UpgradeError.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	conn, err := DialConn(ctx, o)
	if err != nil {
		return nil, err
	}
	hello, err := conn.Handshake(ctx, o)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return start(conn, hello, o), nil
}

func start(conn *Conn, hello *Hello, o Options) *Client {
	c := &Client{conn: conn, opt: o, hello: hello, events: make(chan Event, o.EventBuffer),
		done: make(chan struct{}), pending: make(map[string]*call)}
	conn.wait.Store(int64(ms(o.WriteTimeoutMs)))
	go c.read()
	return c
}

// Hello is what the gateway said about itself; read only.
func (c *Client) Hello() *Hello { return c.hello }

// Events delivers the gateway's events in order. It is closed when the connection ends.
// A reader that is too slow loses the newest ones: see Stats.DroppedEvents.
func (c *Client) Events() <-chan Event { return c.events }

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil while the connection lives; then ErrClosed, ErrTickTimeout, a *CloseError
// or what the socket said.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	return Stats{Events: c.nEvents.Load(), DroppedEvents: c.nDropped.Load(),
		Unsolicited: c.nUnsolicited.Load(), Malformed: c.nMalformed.Load()}
}

// Close sends a close frame, waits up to CloseGraceMs for the gateway's, and frees the
// connection. Calls in flight end with ErrClosed. It returns nil however often it is
// called: a connection that is already gone is closed.
func (c *Client) Close() error {
	if c.fail(ErrClosed) {
		c.closeFrame(1000, "")
	}
	grace := time.NewTimer(ms(c.opt.CloseGraceMs))
	defer grace.Stop()
	select {
	case <-c.done:
	case <-grace.C:
	}
	_ = c.conn.Close()
	<-c.done
	return nil
}

// closeFrame says goodbye if the socket takes it in time.
func (c *Client) closeFrame(code int, reason string) {
	grace := ms(c.opt.CloseGraceMs)
	c.conn.wait.Store(int64(grace))
	_ = c.conn.nc.SetWriteDeadline(time.Now().Add(grace)) // also for a write that is stuck now
	_ = c.conn.SendClose(code, reason)
}

// fail ends the client's life with err, once; it wakes every call.
func (c *Client) fail(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = err
	for id, k := range c.pending {
		delete(c.pending, id)
		close(k.answers)
	}
	return true
}

// read is the only goroutine of a Client. It never waits for anything but the socket.
func (c *Client) read() {
	defer close(c.done)
	defer close(c.events)
	defer c.conn.Close()
	c.conn.quiet = time.Duration(c.hello.Policy.TickIntervalMs) * time.Millisecond * time.Duration(c.opt.TickFactor)
	for {
		b, err := c.conn.Read()
		if err == nil {
			c.handle(b)
			continue
		}
		if isTimeout(err) {
			if c.waitsWithDeadline() { // that call's own deadline decides first
				continue
			}
			err = ErrTickTimeout
			c.closeFrame(4000, "tick timeout")
		}
		c.fail(err)
		return
	}
}

// waitsWithDeadline: upstream's client does not give up on a silent gateway while a
// request with a finite deadline is pending (wire.md 3.7).
func (c *Client) waitsWithDeadline() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bounded > 0 && c.err == nil
}

func (c *Client) handle(b []byte) {
	var f inbound
	if err := json.Unmarshal(b, &f); err != nil {
		c.nMalformed.Add(1)
		return
	}
	switch f.Type {
	case "res":
		c.answer(&f)
	case "event":
		c.nEvents.Add(1)
		select {
		case c.events <- Event{Name: f.Event, Payload: f.Payload, Seq: f.Seq, StateVersion: f.StateVersion}:
		default:
			c.nDropped.Add(1)
		}
	default:
		c.nMalformed.Add(1)
	}
}

// lost turns the reason of the connection's end into a call's error.
func (c *Client) lost(method string) error {
	err := c.Err()
	if errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("client: connection ended before %s was answered: %w", method, err)
}
