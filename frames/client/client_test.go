package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gobwas/ws"
)

func TestCall(t *testing.T) {
	c := mustDial(t, testOptions(serve(t, echo)))
	if h := c.Hello(); h.Protocol != 4 || h.Auth.DeviceToken != "dt" || h.Policy.TickIntervalMs != 30000 || !h.Raw.IsValid() {
		t.Errorf("hello = %+v", h)
	}
	for _, tc := range []struct {
		params any
		want   string
	}{
		{nil, `"none"`},
		{jsontext.Value(`{"a":[1,2]}`), `{"a":[1,2]}`},
		{map[string]string{"k": "ü\n\""}, `{"k":"ü\n\""}`},
		{strings.Repeat("x", 70_000), `"` + strings.Repeat("x", 70_000) + `"`},
	} {
		got, err := c.Call(t.Context(), "echo", tc.params)
		if err != nil || string(got) != tc.want {
			t.Errorf("Call(%.40v) = %.60s, %v", tc.params, got, err)
		}
	}
	if _, err := c.Call(t.Context(), "echo", jsontext.Value(`{`)); err == nil {
		t.Error("broken params were sent")
	}
	got, err := c.Call(WithTraceparent(t.Context(), "00-01-02-01"), "trace", nil)
	if err != nil || string(got) != `"00-01-02-01"` {
		t.Errorf("trace = %s, %v", got, err)
	}
}

func TestRemoteError(t *testing.T) {
	c := mustDial(t, testOptions(serve(t, echo)))
	_, err := c.Call(t.Context(), "fail", nil)
	var re *RemoteError
	if !errors.As(err, &re) {
		t.Fatalf("err = %v", err)
	}
	if re.Code != "UNAVAILABLE" || re.Message != "busy" || !re.Retryable || re.RetryAfterMs != 500 || string(re.Details) != `{"a":1}` {
		t.Errorf("%+v", re)
	}
}

func TestCallFinal(t *testing.T) {
	c := mustDial(t, testOptions(serve(t, echo)))
	var accepted string
	got, err := c.CallFinal(t.Context(), "final", nil, func(v jsontext.Value) { accepted = string(v) })
	if err != nil || string(got) != `{"status":"ok","runId":"r"}` || accepted != `{"status":"accepted","runId":"r"}` {
		t.Errorf("final %s, accepted %s, %v", got, accepted, err)
	}
	// Call takes the first answer; the second is counted and harms nobody.
	got, err = c.Call(t.Context(), "final", nil)
	if err != nil || string(got) != `{"status":"accepted","runId":"r"}` {
		t.Errorf("first %s, %v", got, err)
	}
	if _, err := c.Call(t.Context(), "echo", nil); err != nil {
		t.Error(err)
	}
	if n := c.Stats().Unsolicited; n != 1 {
		t.Errorf("unsolicited = %d", n)
	}
}

func TestEventsBounded(t *testing.T) {
	o := testOptions(serve(t, echo))
	o.EventBuffer = 2
	c := mustDial(t, o)
	if _, err := c.Call(t.Context(), "events", nil); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Events != 3 || s.DroppedEvents != 1 {
		t.Errorf("stats = %+v", s)
	}
	if e := <-c.Events(); e.Name != "tick" || e.Seq != 1 || string(e.Payload) != `{"ts":1}` {
		t.Errorf("event = %+v", e)
	}
	_ = c.Close()
	n := 0
	for range c.Events() {
		n++
	}
	if n != 1 {
		t.Errorf("%d events after the first, want 1", n)
	}
}

func TestContextAndClose(t *testing.T) {
	o := testOptions(serve(t, echo))
	o.MaxPending = 1
	c := mustDial(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Call(ctx, "silent", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	got := make(chan error, 1)
	go func() {
		err := ErrBusy
		for errors.Is(err, ErrBusy) { // the loop below may hold the place just now
			_, err = c.Call(context.Background(), "silent", nil)
		}
		got <- err
	}()
	deadline := time.Now().Add(5 * time.Second)
	for { // until the call above holds the only place
		_, err := c.Call(t.Context(), "echo", nil)
		if errors.Is(err, ErrBusy) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("never busy: %v", err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("pending call: %v", err)
	}
	if _, err := c.Call(t.Context(), "echo", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("call after Close: %v", err)
	}
	if err := c.Close(); err != nil || !errors.Is(c.Err(), ErrClosed) {
		t.Errorf("second Close: %v, Err %v", err, c.Err())
	}
}

func TestGatewayCloses(t *testing.T) {
	url := serve(t, func(p peer) {
		p.greet()
		p.next()
		_ = ws.WriteFrame(p.nc, ws.NewCloseFrame(ws.NewCloseFrameBody(1012, "service restart")))
		_, _ = io.Copy(io.Discard, p.nc)
	})
	c := mustDial(t, testOptions(url))
	_, err := c.Call(t.Context(), "x", nil)
	var ce *CloseError
	if !errors.As(err, &ce) || ce.Code != 1012 || ce.Reason != "service restart" {
		t.Errorf("err = %v", err)
	}
	<-c.Done()
	if !errors.As(c.Err(), &ce) {
		t.Errorf("Err = %v", c.Err())
	}
}

func TestHandshakeRefused(t *testing.T) {
	const challenge = `{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}`
	for name, tc := range map[string]struct {
		handle func(p peer)
		want   any
	}{
		"error": {func(p peer) {
			p.send(challenge)
			r, _ := p.next()
			p.send(`{"type":"res","id":"` + r.ID + `","ok":false,"error":{"code":"INVALID_REQUEST","message":"protocol mismatch","details":{"code":"PROTOCOL_MISMATCH"}}}`)
			_, _ = io.Copy(io.Discard, p.nc)
		}, new(*RemoteError)},
		"close before the challenge": {func(p peer) {
			_ = ws.WriteFrame(p.nc, ws.NewCloseFrame(ws.NewCloseFrameBody(1013, "gateway starting")))
		}, new(*CloseError)},
		"connection cut": {func(p peer) { p.send(challenge) }, new(*CloseError)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Dial(t.Context(), testOptions(serve(t, tc.handle)))
			if !errors.As(err, tc.want) {
				t.Errorf("err = %v (%T)", err, err)
			}
		})
	}
	t.Run("not a challenge", func(t *testing.T) {
		_, err := Dial(t.Context(), testOptions(serve(t, func(p peer) {
			p.send(`{"type":"event","event":"connect.challenge","payload":{"ts":"soon"}}`)
			_, _ = io.Copy(io.Discard, p.nc)
		})))
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, errors.New("enough"))
		defer cancel()
		_, err := Dial(ctx, testOptions(serve(t, func(p peer) { _, _ = io.Copy(io.Discard, p.nc) })))
		if err == nil || !strings.Contains(err.Error(), "enough") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestUpgradeRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		nc, err := ln.Accept()
		if err == nil {
			fmt.Fprint(nc, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
			_ = nc.Close()
		}
	}()
	_, err = Dial(t.Context(), testOptions("ws://"+ln.Addr().String()))
	var ue *UpgradeError
	if !errors.As(err, &ue) || ue.Status != 503 {
		t.Errorf("err = %v", err)
	}
}

// TestTick runs on a virtual clock: a gateway that says nothing is left after twice its
// interval with 4000, one that sends anything is not, and a call with a deadline decides
// for itself.
func TestTick(t *testing.T) {
	hello := &Hello{}
	if err := json.Unmarshal([]byte(helloOK), hello); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := Default()
		c := start(newConn(near, o), hello, o)
		begin := time.Now()
		closed := make(chan ws.Frame, 1)
		go func() {
			f, _ := ws.ReadFrame(far) // the pong of the ping below
			time.Sleep(time.Second)   // virtual
			g, _ := ws.ReadFrame(far) // the request
			h, _ := ws.ReadFrame(far)
			_, _ = f, g
			closed <- ws.UnmaskFrameInPlace(h)
			_, _ = io.Copy(io.Discard, far)
			_ = far.Close()
		}()
		time.Sleep(59 * time.Second)
		if err := ws.WriteFrame(far, ws.NewPingFrame([]byte("hi"))); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		if _, err := c.Call(ctx, "silent", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the call ended with %v", err)
		}
		<-c.Done()
		if !errors.Is(c.Err(), ErrTickTimeout) {
			t.Errorf("Err = %v", c.Err())
		}
		code, reason := ws.ParseCloseFrameData((<-closed).Payload)
		if code != 4000 || reason != "tick timeout" {
			t.Errorf("closed with %d %q", code, reason)
		}
		// Bytes came at 59 s; looks at 119 s (a call waits), then again 60 s later.
		if d := time.Since(begin); d != 179*time.Second {
			t.Errorf("gave up after %v", d)
		}
	})
}

// TestPongAfterCall: the write deadline of a call does not outlive it.
func TestPongAfterCall(t *testing.T) {
	hello := &Hello{}
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := Default()
		c := start(newConn(near, o), hello, o)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Call(ctx, "silent", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if _, err := far.Write(ws.MustCompileFrame(ws.NewPingFrame(nil))); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := c.Err(); err != nil {
			t.Error(err)
		}
		_ = far.Close()
		<-c.Done()
	})
}

func TestOptionsValidate(t *testing.T) {
	for name, edit := range map[string]func(o *Options){
		"url":       func(o *Options) { o.URL = "http://x" },
		"no url":    func(o *Options) { o.URL = "" },
		"protocols": func(o *Options) { o.MinProtocol = 5 },
		"role":      func(o *Options) { o.Role = "king" },
		"client.id": func(o *Options) { o.Client.ID = "" },
		"limit":     func(o *Options) { o.MaxPending = 0 },
	} {
		o := testOptions("ws://127.0.0.1:1")
		edit(&o)
		if _, err := Dial(t.Context(), o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := testOptions("wss://h/path").Validate(); err != nil {
		t.Error(err)
	}
}
