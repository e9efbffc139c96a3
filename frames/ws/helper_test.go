package ws_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
	"go.uber.org/goleak"

	"sluice/bufpool"
	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/frames/ws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// handler is a ws.Handler of funcs; nil funcs release the frame.
type handler struct {
	frame  func(c *ws.Conn, l *bufpool.Lease)
	closed func(c *ws.Conn)
}

func (h handler) Frame(c *ws.Conn, l *bufpool.Lease) {
	if h.frame == nil {
		l.Release()
		return
	}
	h.frame(c, l)
}

func (h handler) Closed(c *ws.Conn) {
	if h.closed != nil {
		h.closed(c)
	}
}

// edge is a running server.
type edge struct {
	*ws.Server
	addr string
}

// fast is the default config with a timer that suits tests.
func fast() ws.Config {
	c := ws.Default()
	c.SweepIntervalMs = 5
	return c
}

// mustServe runs an edge on a loopback port until the test ends; then nothing may be
// left: no goroutine, no lease, no connection.
func mustServe(t testing.TB, cfg ws.Config, h ws.Handler) edge {
	t.Helper()
	bufpooltest.NoLeaks(t)
	s, err := ws.New(cfg, h, ws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx, "gateway stopping"); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		hs.Close()
		if st := s.Stats(); st.Connections != 0 || st.Authenticated != 0 || st.OutboxBytes != 0 {
			t.Errorf("after Shutdown: %+v", st)
		}
	})
	return edge{s, strings.TrimPrefix(hs.URL, "http://")}
}

// operator is a peer with read scope.
func operator(c *ws.Conn) *frames.Peer {
	return &frames.Peer{ConnID: c.ID(), Role: frames.RoleOperator, Scopes: frames.Scopes(frames.ScopeRead)}
}

// accepting accepts every connection at its first frame and echoes the frames.
func accepting() handler {
	return handler{frame: func(c *ws.Conn, l *bufpool.Lease) {
		c.Send(l)
		if c.Peer() == nil {
			c.Accept(operator(c))
		}
	}}
}

// peer is the client's side of one connection, in raw bytes.
type peer struct {
	t testing.TB
	net.Conn
	br *bufio.Reader
}

const upgrade = "GET /any/path HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate\r\n"

// mustDial upgrades and reads the challenge.
func (e edge) mustDial(t testing.TB) *peer {
	t.Helper()
	p, status := e.dial(t, upgrade+"\r\n")
	if !strings.Contains(status, "101") {
		t.Fatalf("upgrade: %s", status)
	}
	op, payload := p.mustRead()
	if op != gws.OpText || !strings.HasPrefix(string(payload), `{"type":"event","event":"connect.challenge","payload":{"nonce":"`) {
		t.Fatalf("first frame: %v %s", op, payload)
	}
	return p
}

// dial sends a request and reads the status line and headers.
func (e edge) dial(t testing.TB, request string) (*peer, string) {
	t.Helper()
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	p := &peer{t, conn, bufio.NewReader(conn)}
	resp, err := http.ReadResponse(p.br, nil)
	if err != nil {
		t.Fatalf("no answer to the upgrade: %v", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body)
		return p, fmt.Sprintf("%s|%s|%s", resp.Status, resp.Header.Get("Content-Type"), body)
	}
	if ext := resp.Header.Get("Sec-WebSocket-Extensions"); ext != "" {
		t.Errorf("the server negotiated %q", ext)
	}
	return p, resp.Status
}

// mustDialAccepted dials an edge whose handler accepts at the first frame.
func (e edge) mustDialAccepted(t testing.TB) *peer {
	t.Helper()
	p := e.mustDial(t)
	p.send(text("connect"))
	if _, b := p.mustRead(); string(b) != "connect" {
		t.Fatalf("hello: %s", b)
	}
	return p
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// read returns the next frame.
func (p *peer) read() (gws.OpCode, []byte, error) {
	h, err := gws.ReadHeader(p.br)
	if err != nil {
		return 0, nil, err
	}
	if err := gws.CheckHeader(h, gws.StateClientSide); err != nil {
		return 0, nil, err
	}
	b := make([]byte, h.Length)
	_, err = io.ReadFull(p.br, b)
	return h.OpCode, b, err
}

func (p *peer) mustRead() (gws.OpCode, []byte) {
	p.t.Helper()
	op, b, err := p.read()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return op, b
}

// wantClose reads up to the close frame and the end behind it.
func (p *peer) wantClose(code uint16, reason string) {
	p.t.Helper()
	for {
		op, b, err := p.read()
		if err != nil {
			p.t.Fatalf("no close frame %d %q: %v", code, reason, err)
		}
		if op != gws.OpClose {
			continue
		}
		var got uint16
		if len(b) >= 2 {
			got, b = binary.BigEndian.Uint16(b), b[2:]
		}
		if got != code || string(b) != reason {
			p.t.Errorf("close %d %q, want %d %q", got, b, code, reason)
		}
		p.wantEnd()
		return
	}
}

// wantEnd asserts an orderly end (EOF, no reset): a reset could have cost the reason.
func (p *peer) wantEnd() {
	p.t.Helper()
	if _, _, err := p.read(); !errors.Is(err, io.EOF) {
		p.t.Errorf("after the close: %v, want EOF", err)
	}
	_ = p.Close()
}

// wantGone reads until the connection ends in any way.
func (p *peer) wantGone() {
	p.t.Helper()
	if _, err := io.Copy(io.Discard, p.br); errors.Is(err, errTimeout{}) {
		p.t.Error("the connection is still open")
	}
}

type errTimeout struct{}

func (errTimeout) Error() string { return "timeout" }
func (errTimeout) Is(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

var noDeadline time.Time

var mask = [4]byte{0xa1, 0x02, 0xf3, 0x74}

// frame builds one masked frame; head is the first header byte.
func frame(head byte, payload string) []byte {
	out := []byte{head}
	switch n := len(payload); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	case n < 1<<16:
		out = append(out, 0x80|126, byte(n>>8), byte(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 0x80|127), uint64(n))
	}
	out = append(out, mask[:]...)
	p := []byte(payload)
	gws.Cipher(p, mask, 0)
	return append(out, p...)
}

func text(s string) []byte { return frame(0x81, s) }

// closeFrame builds a client's close.
func closeFrame(code uint16, reason string) []byte {
	return frame(0x88, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// eventually polls for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// get receives with a bound.
func get[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}
