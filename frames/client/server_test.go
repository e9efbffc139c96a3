package client

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testNonce = "6b0f7f2c-9f0e-4c55-9b43-5f3f0d4a5a11"

const helloOK = `{"type":"hello-ok","protocol":4,"server":{"version":"test","connId":"c1"},` +
	`"features":{"methods":["health"],"events":["tick"]},"snapshot":{"presence":[],"health":{},"stateVersion":{"presence":1,"health":1},"uptimeMs":1},` +
	`"auth":{"role":"operator","scopes":["operator.read"],"deviceToken":"dt"},"policy":{"maxPayload":26214400,"maxBufferedBytes":52428800,"tickIntervalMs":30000}}`

// request is a req frame as the test server sees it.
type request struct {
	Type   string         `json:"type"`
	ID     string         `json:"id"`
	Method string         `json:"method"`
	Params jsontext.Value `json:"params"`
	Trace  string         `json:"traceparent"`
}

// peer is the server's end of one connection.
type peer struct {
	tb testing.TB
	nc net.Conn
}

func (p peer) send(s string) { _ = wsutil.WriteServerText(p.nc, []byte(s)) }

// next reads one request; ok is false when the client has gone.
func (p peer) next() (request, bool) {
	for {
		b, op, err := wsutil.ReadClientData(p.nc)
		if err != nil {
			return request{}, false
		}
		var r request
		if err := json.Unmarshal(b, &r); err != nil || op != ws.OpText {
			p.tb.Errorf("client sent %q (%v): %v", b, op, err)
			return request{}, false
		}
		return r, true
	}
}

func (p peer) reply(id, payload string) {
	p.send(`{"type":"res","id":"` + id + `","ok":true,"payload":` + payload + `}`)
}

// greet does the handshake and returns the connect request.
func (p peer) greet() request {
	p.send(`{"type":"event","event":"connect.challenge","payload":{"nonce":"` + testNonce + `","ts":1795398882925}}`)
	r, _ := p.next()
	p.reply(r.ID, helloOK)
	return r
}

// serve runs handle for each connection and returns the URL; all ends with the test.
func serve(tb testing.TB, handle func(p peer)) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := ws.Upgrade(nc); err == nil {
				handle(peer{tb, nc})
			}
			_ = nc.Close()
		}
	}()
	tb.Cleanup(func() { _ = ln.Close(); <-done })
	return "ws://" + ln.Addr().String()
}

func testOptions(url string) Options {
	o := Default()
	o.URL, o.Auth.Token = url, "tok"
	o.HandshakeTimeoutMs, o.DialTimeoutMs = 5000, 5000
	return o
}

func mustDial(tb testing.TB, o Options) *Client {
	tb.Helper()
	c, err := Dial(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// echo answers until the client goes: method "fail" is refused, "final" answers twice,
// "events" sends three events first, anything else returns its params.
func echo(p peer) {
	p.greet()
	for {
		r, ok := p.next()
		if !ok {
			return
		}
		switch r.Method {
		case "fail":
			p.send(`{"type":"res","id":"` + r.ID + `","ok":false,"error":{"code":"UNAVAILABLE","message":"busy","retryable":true,"retryAfterMs":500,"details":{"a":1}}}`)
		case "final":
			p.reply(r.ID, `{"status":"accepted","runId":"r"}`)
			p.reply(r.ID, `{"status":"ok","runId":"r"}`)
		case "events":
			for _, seq := range []string{"1", "2", "3"} {
				p.send(`{"type":"event","event":"tick","payload":{"ts":1},"seq":` + seq + `}`)
			}
			p.reply(r.ID, `null`)
		case "silent":
		case "trace":
			p.reply(r.ID, `"`+r.Trace+`"`)
		default:
			if r.Params == nil {
				r.Params = jsontext.Value(`"none"`)
			}
			p.reply(r.ID, string(r.Params))
		}
	}
}

// raw writes the bytes after the upgrade and keeps the connection until the client ends.
func raw(wire string) func(p peer) {
	return func(p peer) {
		_, _ = io.Copy(p.nc, strings.NewReader(wire))
		_, _ = io.Copy(io.Discard, p.nc)
	}
}
