package badinput_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	gws "github.com/gobwas/ws"

	"sluice/frames/framestest"
)

// peer is a client's side of one WebSocket, down to its bytes.
type peer struct {
	t testing.TB
	g *gateway
	net.Conn
	br        *bufio.Reader
	challenge struct {
		Nonce string `json:"nonce"`
		TS    int64  `json:"ts"`
	}
	hello   jsontext.Value // payload of hello-ok
	next    int
	largest int64 // of the frames that came
}

// reply is a frame from the gateway: a response, or in frame also an event.
type reply struct {
	Type    string         `json:"type"`
	Event   string         `json:"event"`
	Seq     int            `json:"seq"`
	ID      jsontext.Value `json:"id"`
	OK      bool           `json:"ok"`
	Payload jsontext.Value `json:"payload,omitzero"`
	Error   failure        `json:"error,omitzero"`
	raw     string
}

type failure struct {
	Code         string         `json:"code"`
	Message      string         `json:"message"`
	Details      jsontext.Value `json:"details,omitzero"`
	Retryable    bool           `json:"retryable,omitzero"`
	RetryAfterMs int64          `json:"retryAfterMs,omitzero"`
}

func (r reply) String() string { return fmt.Sprintf("%.600s", r.raw) }

// tcp opens a socket whose every read and write is bounded.
func (g *gateway) tcp(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// upgradeRequest is the request of a WebSocket client with further header lines.
func upgradeRequest(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:18789\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
		strings.Join(append(headers, "\r\n"), "\r\n")
}

// upgrade sends a request and returns the socket after 101, else the answer.
func (g *gateway) upgrade(t testing.TB, request string) (*peer, response) {
	t.Helper()
	p := &peer{t: t, g: g, Conn: g.tcp(t)}
	p.br = bufio.NewReader(p.Conn)
	if _, err := io.WriteString(p, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(p.br, nil)
	if err != nil {
		t.Fatalf("no answer to the upgrade: %v", err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return p, response{Response: res}
	}
	b, _ := io.ReadAll(res.Body)
	_ = p.Close()
	return nil, response{res, string(b)}
}

// dial upgrades and reads the challenge.
func (g *gateway) dial(t testing.TB, headers ...string) *peer {
	t.Helper()
	p, res := g.upgrade(t, upgradeRequest("/any/path", headers...))
	if p == nil {
		t.Fatalf("upgrade: %s %s", res.Status, res.body)
	}
	f, ok := p.frame()
	if !ok || f.Event != "connect.challenge" || json.Unmarshal(f.Payload, &p.challenge) != nil || p.challenge.Nonce == "" {
		t.Fatalf("the first frame is no challenge: %+v", f)
	}
	return p
}

// operator dials and connects as the backend client of this machine, with all scopes.
func (g *gateway) operator(t testing.TB) *peer {
	t.Helper()
	p := g.dial(t)
	p.mustConnect(backend(allScopes...))
	return p
}

// write sends raw bytes.
func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// send sends one text message.
func (p *peer) send(text string) {
	p.t.Helper()
	p.write(clientText(text))
}

// request sends one request under a fresh id, which it returns. Empty params are left out.
func (p *peer) request(method, params string) (id string) {
	p.t.Helper()
	p.next++
	id = fmt.Sprintf("r%d", p.next)
	p.send(requestFrame(id, method, params))
	return id
}

func requestFrame(id, method, params string) string {
	if params != "" {
		params = `,"params":` + params
	}
	return fmt.Sprintf(`{"type":"req","id":%q,"method":%q%s}`, id, method, params)
}

// call sends a request and waits for its answer.
func (p *peer) call(method, params string) reply {
	p.t.Helper()
	return p.answer(p.request(method, params))
}

// answer reads up to the answer with that id. Other answers are a mistake.
func (p *peer) answer(id string) reply {
	p.t.Helper()
	r := p.anyAnswer()
	if string(r.ID) != fmt.Sprintf("%q", id) {
		p.t.Fatalf("an answer to %s instead of %s: %s", r.ID, id, r)
	}
	return r
}

// anyAnswer reads up to the next response.
func (p *peer) anyAnswer() reply {
	p.t.Helper()
	for {
		f, ok := p.frame()
		if !ok {
			p.t.Fatalf("no answer: %s", f.raw)
		}
		if f.Type == "res" {
			return f
		}
	}
}

// frame reads the next data frame; ok is false at the connection's end, and raw says how.
func (p *peer) frame() (f reply, ok bool) {
	p.t.Helper()
	for {
		op, b, err := p.read()
		switch {
		case err != nil:
			f.raw = err.Error()
			return f, false
		case op == gws.OpClose:
			f.raw = "close " + closeText(b)
			return f, false
		case op == gws.OpText:
			if err := json.Unmarshal(b, &f, jsontext.AllowInvalidUTF8(true)); err != nil {
				p.t.Fatalf("the gateway sent no frame: %v: %.300s", err, b)
			}
			f.raw = string(b)
			return f, true
		}
	}
}

// read returns the next frame of any kind.
func (p *peer) read() (gws.OpCode, []byte, error) {
	h, err := gws.ReadHeader(p.br)
	if err == nil {
		err = gws.CheckHeader(h, gws.StateClientSide)
	}
	if err != nil {
		return 0, nil, err
	}
	p.largest = max(p.largest, h.Length)
	b := make([]byte, h.Length)
	_, err = io.ReadFull(p.br, b)
	return h.OpCode, b, err
}

func closeText(b []byte) string {
	if len(b) < 2 {
		return "1005 "
	}
	return fmt.Sprintf("%d %s", binary.BigEndian.Uint16(b), b[2:])
}

// wantClose reads up to the close frame and the orderly end behind it; anything but
// events before it is a mistake. want is "1008 the reason".
func (p *peer) wantClose(want string) {
	p.t.Helper()
	for {
		f, ok := p.frame()
		if ok && f.Type == "event" {
			continue
		}
		if got := strings.TrimPrefix(f.raw, "close "); ok || got != want {
			p.t.Errorf("%q, want close %q", got, want)
		}
		p.wantEnd()
		return
	}
}

// wantEnd asserts the end of the stream: a reset could have cost the reason.
func (p *peer) wantEnd() {
	p.t.Helper()
	if b, err := io.ReadAll(p.br); err != nil || len(b) > 0 {
		p.t.Errorf("after the close: %d bytes, %v", len(b), err)
	}
	_ = p.Close()
}

// wantGone waits until the gateway ends the connection, in whatever way.
func (p *peer) wantGone() {
	p.t.Helper()
	_, err := io.Copy(io.Discard, p.br)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		p.t.Error("the connection is still open")
	}
	_ = p.Close()
}

// mustHealth asserts that the connection still works.
func (p *peer) mustHealth() {
	p.t.Helper()
	if r := p.call("health", ""); !r.OK {
		p.t.Errorf("health: %s", r)
	}
}

// bye closes the connection in order.
func (p *peer) bye() {
	p.t.Helper()
	p.write(framestest.ClientFrame(framestest.Fin|framestest.OpClose, framestest.ClosePayload(1000, "")))
	p.wantClose("1000 ")
}

// refused asserts an error answer.
func (r reply) refused(t testing.TB, code, message string) {
	t.Helper()
	if r.OK || r.Error.Code != code || r.Error.Message != message {
		t.Errorf("got %s\nwant %s %q", r, code, message)
	}
}

// details asserts the error's details: every member of want.
func (r reply) details(t testing.TB, want string) {
	t.Helper()
	var got, exp map[string]any
	if err := json.Unmarshal([]byte(want), &exp); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.Error.Details, &got); err != nil {
		t.Errorf("details of %s: %v", r, err)
		return
	}
	for k, v := range exp {
		a, _ := json.Marshal(v, json.Deterministic(true))
		b, _ := json.Marshal(got[k], json.Deterministic(true))
		if !bytes.Equal(a, b) {
			t.Errorf("details.%s is %s, want %s", k, b, a)
		}
	}
}

// clientText is one text message as a client frames it.
func clientText(s string) []byte {
	return framestest.ClientFrame(framestest.Fin|framestest.OpText, []byte(s))
}
