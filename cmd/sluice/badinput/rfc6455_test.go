package badinput_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	gws "github.com/gobwas/ws"

	"sluice/frames/framestest"
)

// TestWireCases runs the shared table of RFC 6455 bytes against the whole gateway, on
// sockets that have not said who they are and on accepted ones.
func TestWireCases(t *testing.T) {
	const limit = 65536
	g := start(t, settings{"gateway.ws.maxFrameBytes": limit})
	for _, tc := range framestest.WireCases(limit) {
		t.Run("before hello/"+tc.Name, func(t *testing.T) {
			p, tc := g.dial(t), tc
			p.sendCase(tc)
			if len(tc.Messages) > 0 { // its first message is no connect
				tc.Messages, tc.Pongs, tc.Close = nil, nil, append([]uint16{1008}, tc.Close...)
			}
			p.wantCase(tc)
		})
		t.Run("after hello/"+tc.Name, func(t *testing.T) {
			p := g.operator(t)
			p.sendCase(tc)
			p.wantCase(tc)
		})
	}
}

// sendCase writes a case's bytes; when the connection should survive them, a ping comes
// after. The gateway may end before the last byte went.
func (p *peer) sendCase(tc framestest.WireCase) {
	go func() {
		step := len(tc.Bytes)
		if tc.Trickle {
			step = 1
		}
		for part := range slices.Chunk(tc.Bytes, step) {
			if _, err := p.Write(part); err != nil {
				return
			}
		}
		if len(tc.Close) == 0 {
			_, _ = p.Write(framestest.ClientFrame(framestest.Fin|framestest.OpPing, []byte("still open")))
		}
	}()
}

// wantCase reads what the gateway makes of a case: one refusal for each message, since
// none is a request, then pongs, then the end.
func (p *peer) wantCase(tc framestest.WireCase) {
	p.t.Helper()
	refusals := 0
	var pongs [][]byte
	for over := false; !over; {
		op, b, err := p.read()
		switch {
		case err != nil:
			p.t.Fatalf("read: %v", err)
		case op == gws.OpClose:
			var code uint16
			if _, err := fmt.Sscan(closeText(b), &code); err != nil || !slices.Contains(tc.Close, code) {
				p.t.Errorf("close %s, want one of %v", closeText(b), tc.Close)
			}
			p.wantEnd()
			over = true
		case op == gws.OpPong && string(b) == "still open":
			// The answers go another way than pongs: they may still come. Before hello the
			// close does.
			for ; refusals < len(tc.Messages); refusals++ {
				p.anyAnswer()
			}
			if over = len(tc.Close) == 0; over {
				p.bye()
			}
		case op == gws.OpPong:
			pongs = append(pongs, b)
		case bytes.HasPrefix(b, []byte(`{"type":"res"`)):
			if !strings.Contains(string(b), `"id":"invalid","ok":false`) {
				p.t.Errorf("%s", b)
			}
			refusals++
		case !bytes.HasPrefix(b, []byte(`{"type":"event"`)):
			p.t.Errorf("%s", b)
		}
	}
	// A message that came before a breach may have been refused or not: the close wins.
	if refusals > len(tc.Messages) || refusals < len(tc.Messages) && len(tc.Close) == 0 {
		p.t.Errorf("%d refusals of %d messages", refusals, len(tc.Messages))
	}
	if len(tc.Close) == 0 && !slices.EqualFunc(pongs, tc.Pongs, bytes.Equal) {
		p.t.Errorf("pongs %q, want %q", pongs, tc.Pongs)
	}
}

// TestTrickledRequest: a request that comes a byte at a time is answered like any other.
func TestTrickledRequest(t *testing.T) {
	g := start(t, nil)
	p := g.dial(t)
	for _, b := range framestest.ClientFrame(framestest.Fin|framestest.OpText, []byte(requestFrame("c", "connect", backend("operator.read").encode(p)))) {
		p.write([]byte{b})
	}
	if r := p.answer("c"); !r.OK {
		t.Fatal(r)
	}
	// And in fragments of one byte, with a ping in each gap, as a binary message.
	var raw []byte
	text := requestFrame("h", "health", "")
	for i := range text {
		head := framestest.OpContinuation
		if i == 0 {
			head = framestest.OpBinary
		}
		if i == len(text)-1 {
			head |= framestest.Fin
		}
		raw = append(raw, framestest.ClientFrame(head, []byte{text[i]})...)
		raw = append(raw, framestest.ClientFrame(framestest.Fin|framestest.OpPing, []byte{byte(i)})...)
	}
	p.write(raw)
	if r := p.answer("h"); !r.OK {
		t.Error(r)
	}
	p.bye()
}

// TestBadUpgrades: what asks for a WebSocket and is none.
func TestBadUpgrades(t *testing.T) {
	g := start(t, nil)
	whole := upgradeRequest("/")
	for _, c := range []struct {
		name, request string
		status        []int
	}{
		{"version 12", strings.Replace(whole, "Version: 13", "Version: 12", 1), []int{426}},
		{"no key", strings.Replace(whole, "Sec-WebSocket-Key", "X-Key", 1), []int{400}},
		{"a short key", strings.Replace(whole, "dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 1), []int{400}},
		{"POST", strings.Replace(whole, "GET", "POST", 1), []int{405}},
		{"HTTP/1.0", strings.Replace(whole, "HTTP/1.1", "HTTP/1.0", 1), []int{400, 505}},
		{"no Host", strings.Replace(whole, "Host: 127.0.0.1:18789\r\n", "", 1), []int{400}},
		{"no Connection", strings.Replace(whole, "Connection: Upgrade", "Connection: close", 1), []int{400}},
		{"the worker's path", strings.Replace(whole, "GET /", "GET /__openclaw__/worker/1", 1), []int{404, 503}},
		{"the desktop's path", strings.Replace(whole, "GET /", "GET /desktop/observe", 1), []int{503, 404}},
		{"a header of 1 MiB", strings.TrimSuffix(whole, "\r\n") + "X-Big: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", []int{431}},
		{"1 MiB of headers", strings.TrimSuffix(whole, "\r\n") + strings.Repeat("X-A: y\r\n", 1<<17) + "\r\n", []int{431}},
		{"a path of 1 MiB", strings.Replace(whole, "GET /", "GET /"+strings.Repeat("x", 1<<20), 1), []int{414, 431}},
		{"a header that never ends", strings.TrimSuffix(whole, "\r\n") + strings.Repeat("x", 1<<20), []int{431}},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
		{"two lengths", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", []int{400}},
		{"length and chunks", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400, 405}},
		{"a header with a line break", strings.TrimSuffix(whole, "\r\n") + "X-A: a\r\n b\x00c\r\n\r\n", []int{400}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if res := g.rawHTTP(t, c.request); !slices.Contains(c.status, res.StatusCode) {
				t.Errorf("%s %.200s, want %v", res.Status, res.body, c.status)
			}
		})
	}
	t.Run("compression is not negotiated", func(t *testing.T) {
		p, res := g.upgrade(t, upgradeRequest("/", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "Sec-WebSocket-Protocol: chat"))
		if p == nil || res.Header.Get("Sec-WebSocket-Extensions") != "" || res.Header.Get("Sec-WebSocket-Protocol") != "" {
			t.Errorf("%s %v", res.Status, res.Header)
		}
	})
}
