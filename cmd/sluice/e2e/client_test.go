//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// client is a small gateway client for the tests that need control over the socket: kill -9 in the
// middle of a burst, traceparent on a request. The real clients cover the rest.
type client struct {
	nc      net.Conn
	write   sync.Mutex
	mu      sync.Mutex
	pending map[string]chan response
	events  []event
	wake    chan struct{}
	closed  chan struct{}
	n       int
}

type response struct {
	ID      string         `json:"id"`
	OK      bool           `json:"ok"`
	Payload jsontext.Value `json:"payload"`
	Error   *struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details jsontext.Value `json:"details"`
	} `json:"error"`
}

// details decodes the details of an error.
func (r *response) details(out any) error { return json.Unmarshal(r.Error.Details, out) }

type event struct {
	Event   string         `json:"event"`
	Payload jsontext.Value `json:"payload"`
}

// dial connects as a backend client with the shared secret and every operator scope.
func dial(tb testing.TB, url string) *client {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	nc, br, _, err := ws.Dialer{}.Dial(ctx, url)
	if err != nil {
		tb.Fatalf("dial %s: %v", url, err)
	}
	c := &client{nc: nc, pending: map[string]chan response{}, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	var rw net.Conn = nc
	if br != nil { // frames that arrived with the upgrade answer
		rw = &buffered{Conn: nc, read: br.Read}
	}
	go c.readLoop(rw)
	tb.Cleanup(c.close)
	c.waitEvent(tb, "connect.challenge", 20*time.Second, func(event) bool { return true })
	c.call(tb, "connect", map[string]any{
		"minProtocol": 4, "maxProtocol": 4, "role": "operator",
		"client": map[string]any{"id": "gateway-client", "version": "1.0.0", "platform": "linux", "mode": "backend"},
		"scopes": []string{"operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"},
		"caps":   []string{"tool-events"}, "auth": map[string]any{"token": token},
	}, nil)
	return c
}

type buffered struct {
	net.Conn
	read func([]byte) (int, error)
}

func (b *buffered) Read(p []byte) (int, error) { return b.read(p) }

func (c *client) readLoop(rw net.Conn) {
	defer close(c.closed)
	for {
		data, op, err := wsutil.ReadServerData(rw)
		if err != nil {
			return
		}
		if op != ws.OpText {
			continue
		}
		var kind struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(data, &kind) != nil {
			continue
		}
		c.mu.Lock()
		if kind.Type == "res" {
			var r response
			if json.Unmarshal(data, &r) == nil {
				if ch := c.pending[r.ID]; ch != nil {
					delete(c.pending, r.ID)
					ch <- r
				}
			}
		} else {
			var e event
			if json.Unmarshal(data, &e) == nil {
				c.events = append(c.events, e)
			}
		}
		c.mu.Unlock()
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

func (c *client) close() {
	_ = c.nc.Close()
	<-c.closed
}

// send writes a request and returns the channel on which its (first) answer arrives.
func (c *client) send(method string, params any, extra map[string]any) (chan response, error) {
	c.mu.Lock()
	c.n++
	id := fmt.Sprintf("%d", c.n)
	ch := make(chan response, 1)
	c.pending[id] = ch
	c.mu.Unlock()
	frame := map[string]any{"type": "req", "id": id, "method": method, "params": params}
	for k, v := range extra {
		frame[k] = v
	}
	b, err := json.Marshal(frame)
	if err != nil {
		return nil, err
	}
	c.write.Lock()
	defer c.write.Unlock()
	return ch, wsutil.WriteClientText(c.nc, b)
}

// call sends a request, waits for its answer and decodes the payload; an error answer fails the test.
func (c *client) call(tb testing.TB, method string, params, out any) {
	tb.Helper()
	c.callWith(tb, method, params, nil, out)
}

func (c *client) callWith(tb testing.TB, method string, params any, extra map[string]any, out any) {
	tb.Helper()
	ch, err := c.send(method, params, extra)
	if err != nil {
		tb.Fatalf("%s: %v", method, err)
	}
	select {
	case r := <-ch:
		if !r.OK {
			tb.Fatalf("%s: %+v", method, r.Error)
		}
		if out != nil {
			if err := json.Unmarshal(r.Payload, out); err != nil {
				tb.Fatalf("%s: %v in %s", method, err, r.Payload)
			}
		}
	case <-c.closed:
		tb.Fatalf("%s: the connection closed", method)
	case <-time.After(30 * time.Second):
		tb.Fatalf("%s: no answer in 30 s", method)
	}
}

// waitEvent returns the first event, past or future, that matches.
func (c *client) waitEvent(tb testing.TB, name string, deadline time.Duration, match func(event) bool) event {
	tb.Helper()
	end := time.After(deadline)
	for {
		c.mu.Lock()
		i := slices.IndexFunc(c.events, func(e event) bool { return e.Event == name && match(e) })
		var e event
		if i >= 0 {
			e = c.events[i]
		}
		c.mu.Unlock()
		if i >= 0 {
			return e
		}
		select {
		case <-c.wake:
		case <-end:
			tb.Fatalf("no %s event within %s", name, deadline)
		case <-c.closed:
			tb.Fatalf("the connection closed while waiting for %s", name)
		}
	}
}

// history is what chat.history says of a session.
type history struct {
	Messages []struct {
		Role    string         `json:"role"`
		Content jsontext.Value `json:"content"`
	} `json:"messages"`
	Total int `json:"totalMessages"`
}

func (h history) texts() []string {
	var out []string
	for _, m := range h.Messages {
		var s string
		if json.Unmarshal(m.Content, &s) != nil {
			var blocks []struct {
				Text string `json:"text"`
			}
			if json.Unmarshal(m.Content, &blocks) == nil && len(blocks) > 0 {
				s = blocks[0].Text
			}
		}
		out = append(out, m.Role+": "+s)
	}
	return out
}

// turn sends a chat message and waits for the final event of its run.
func (c *client) turn(tb testing.TB, sessionKey, message, runID string, extra map[string]any) {
	tb.Helper()
	c.callWith(tb, "chat.send", map[string]any{"sessionKey": sessionKey, "message": message, "idempotencyKey": runID}, extra, nil)
	c.waitEvent(tb, "chat", 60*time.Second, func(e event) bool {
		var p struct {
			RunID string `json:"runId"`
			State string `json:"state"`
			Error string `json:"errorMessage"`
		}
		if json.Unmarshal(e.Payload, &p) != nil || p.RunID != runID {
			return false
		}
		if p.State == "error" || p.State == "aborted" {
			tb.Fatalf("the turn ended as %s: %s", p.State, p.Error)
		}
		return p.State == "final"
	})
}
