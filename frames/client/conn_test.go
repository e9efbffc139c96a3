package client

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gobwas/ws"
)

func mustConn(tb testing.TB, o Options) *Conn {
	tb.Helper()
	c, err := DialConn(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	_ = c.NetConn().SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// TestWire is the table of raw bytes that a gateway might send.
func TestWire(t *testing.T) {
	long := strings.Repeat("a", 300)
	for name, tc := range map[string]struct {
		wire string
		want string // the message, or
		err  error
	}{
		"text":                     {"\x81\x02hi", "hi", nil},
		"binary":                   {"\x82\x02{}", "{}", nil},
		"16-bit length":            {"\x81\x7e\x01\x2c" + long, long, nil},
		"64-bit length":            {"\x81\x7f\x00\x00\x00\x00\x00\x00\x01\x2c" + long, long, nil},
		"fragments with a ping":    {"\x01\x01h\x89\x01p\x00\x01e\x80\x01y", "hey", nil},
		"pong first":               {"\x8a\x00\x81\x01x", "x", nil},
		"masked":                   {"\x81\x82\x01\x02\x03\x04hi", "", ErrProtocol},
		"reserved bit":             {"\xc1\x02hi", "", ErrProtocol},
		"reserved opcode":          {"\x83\x02hi", "", ErrProtocol},
		"long ping":                {"\x89\x7e\x00\x7e" + strings.Repeat("p", 126), "", ErrProtocol},
		"fragmented ping":          {"\x09\x00", "", ErrProtocol},
		"continuation alone":       {"\x80\x01x", "", ErrProtocol},
		"text inside a text":       {"\x01\x01h\x81\x01x", "", ErrProtocol},
		"declares more than limit": {"\x81\x7f\x00\x00\x00\x00\x40\x00\x00\x00", "", ErrTooLarge},
		"declares 2^63":            {"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "", ErrTooLarge},
		"fragments past the limit": {"\x01\x7e\x03\x00" + strings.Repeat("a", 768) + "\x80\x7e\x03\x00", "", ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(serve(t, raw(tc.wire)))
			o.MaxMessageBytes, o.ReadBufferBytes = 1024, 128
			c := mustConn(t, o)
			got, err := c.Read()
			if !errors.Is(err, tc.err) || string(got) != tc.want {
				t.Errorf("Read = %.20q, %v", got, err)
			}
			if tc.err != nil {
				if _, again := c.Read(); again != err {
					t.Errorf("the error was not kept: %v", again)
				}
			}
		})
	}
}

// TestTrickle: one byte at a time over a pipe, and a deadline in the middle of a frame
// that leaves the Conn usable.
func TestTrickle(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	o := Default()
	o.ReadBufferBytes = 128
	c := newConn(near, o)
	text := strings.Repeat("0123456789", 100)
	wire := append([]byte("\x81\x7e\x03\xe8"), text...)
	resume := make(chan struct{})
	go func() {
		defer far.Close()
		for i := range wire {
			if i == 500 {
				<-resume
			}
			if _, err := far.Write(wire[i : i+1]); err != nil {
				return
			}
		}
	}()
	_ = near.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Read(); !isTimeout(err) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("err = %v", err)
	}
	close(resume)
	_ = near.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, err := c.Read()
	if err != nil || string(got) != text {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestBuffered(t *testing.T) {
	for wire, want := range map[string]bool{
		"\x81\x02hi": true, "\x81\x02h": false, "": false, "\x81": false,
		"\x89\x00": false, "\x89\x00\x81\x02hi": true, "\x89\x00\x81\x02h": false,
		"\x01\x01h": false, "\x01\x01h\x89\x00\x80\x01i": true, "\x88\x00": true,
		"\x81\x7f\xff\x00\x00\x00\x00\x00\x00\x00": false,
	} {
		c := newConn(nil, Default())
		c.rbuf = []byte(wire)
		c.w = len(wire)
		if got := c.Buffered(); got != want {
			t.Errorf("%q: %v", wire, got)
		}
	}
}

func TestFrameLengths(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 200_000} {
		body := bytes.Repeat([]byte("x"), n)
		buf := finishFrame(append(make([]byte, headerRoom), body...), 0, ws.OpText)
		f, err := ws.ReadFrame(bytes.NewReader(buf))
		if err != nil || !f.Header.Masked || !f.Header.Fin || !bytes.Equal(ws.UnmaskFrameInPlace(f).Payload, body) {
			t.Errorf("%d bytes: header %+v, %v", n, f.Header, err)
		}
	}
}

func TestScanHead(t *testing.T) {
	for _, tc := range []struct {
		in             string
		typ, id, event string
		ok, walked     bool
	}{
		{`{"type":"res","id":"7","ok":true,"payload":{"a":"}"}}`, "res", "7", "", true, true},
		{` { "payload" : {"id":"no","x":["\"]"]} , "ok" : true , "id" : "7" , "type" : "res" } `, "res", "7", "", true, true},
		{`{"type":"res","id":"7","ok":false,"error":{"code":"X","message":"m"}}`, "res", "7", "", false, true},
		{`{"type":"event","event":"tick","payload":1}`, "event", "", "tick", false, true},
		{`{"a\\":"\\\\\"","type":"event","event":"e"}`, "event", "", "e", false, true},
		{`{"type":"res"`, "res", "", "", false, false},
		{`{"type":"res","id":"unterminated`, "res", "", "", false, false},
		{`[]`, "", "", "", false, false},
		{``, "", "", "", false, false},
		{`{}`, "", "", "", false, true},
		{`{"type":7}`, "", "", "", false, true},
	} {
		var h Head
		walked := ScanHead([]byte(tc.in), &h)
		if walked != tc.walked || string(h.Type) != tc.typ || string(h.ID) != tc.id || string(h.Event) != tc.event || h.OK != tc.ok {
			t.Errorf("%s: %v %+v", tc.in, walked, h)
		}
	}
	if got := Field([]byte(`{"message":"m","code":"X"}`), "code"); string(got) != "X" {
		t.Errorf("Field = %s", got)
	}
}

func TestNoAllocations(t *testing.T) {
	url := serve(t, func(p peer) { benchEcho(p) })
	c := mustConn(t, testOptions(url))
	n := 0
	one := func() {
		n++
		buf := append(c.Begin(), `{"type":"req","id":"`...)
		buf = strconv.AppendInt(buf, int64(n), 10)
		c.End(append(buf, `","method":"health"}`...))
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		b, err := c.Read()
		var h Head
		if err != nil || !ScanHead(b, &h) || !h.OK {
			t.Fatalf("%s, %v", b, err)
		}
	}
	for range 10 {
		one()
	}
	// The server runs in this process: it is written without allocations too.
	if a := testing.AllocsPerRun(200, one); a != 0 {
		t.Errorf("%v allocations a request", a)
	}
}

// benchEcho answers every frame with a canned response, without allocating.
func benchEcho(p peer) {
	out := ws.MustCompileFrame(ws.NewTextFrame([]byte(`{"type":"res","id":"1","ok":true,"payload":{"status":"x"}}`)))
	buf := make([]byte, 4096)
	for {
		if _, err := p.nc.Read(buf); err != nil {
			return
		}
		if _, err := p.nc.Write(out); err != nil {
			return
		}
	}
}

func BenchmarkScanHead(b *testing.B) {
	frame := []byte(`{"type":"res","id":"123456","ok":true,"payload":` + helloOK + `}`)
	b.ReportAllocs()
	var h Head
	for b.Loop() {
		if !ScanHead(frame, &h) || !h.OK {
			b.Fatal("not walked")
		}
	}
}

func BenchmarkBuildFrame(b *testing.B) {
	c := newConn(nil, Default())
	b.ReportAllocs()
	for b.Loop() {
		c.wbuf = c.wbuf[:0]
		c.End(append(c.Begin(), `{"type":"req","id":"123456","method":"health","params":{}}`...))
	}
}

func FuzzScanHead(f *testing.F) {
	f.Add([]byte(`{"type":"res","id":"7","ok":true,"payload":{"a":"}"}}`))
	f.Add([]byte(`{"type":"event","event":"tick","payload":[{"x":"\\\""}]}`))
	f.Add([]byte(`{"type":"req","id":"a","method":"b","params":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Head
		walked := ScanHead(b, &h)
		var want struct {
			Type  jsontext.Value `json:"type"`
			ID    jsontext.Value `json:"id"`
			Event jsontext.Value `json:"event"`
			OK    jsontext.Value `json:"ok"`
		}
		if bytes.ContainsRune(b, '\\') || json.Unmarshal(b, &want) != nil {
			return // escaped names and broken JSON: only no panic is promised
		}
		if jsontext.Value(b).Kind() != '{' {
			return
		}
		if !walked {
			t.Fatalf("valid object was not walked: %q", b)
		}
		if string(h.Type) != string(unquoted(want.Type)) {
			t.Fatalf("type %q, want %q in %q", h.Type, want.Type, b)
		}
		if string(h.Type) == "res" && (string(h.ID) != string(unquoted(want.ID)) || h.OK != (string(want.OK) == "true")) {
			t.Fatalf("%+v, want %s in %q", h, want, b)
		}
	})
}

func FuzzConnRead(f *testing.F) {
	f.Add([]byte("\x81\x02hi\x01\x01h\x89\x01p\x80\x01y"))
	f.Add([]byte("\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		o := Default()
		o.MaxMessageBytes, o.ReadBufferBytes = 4096, 128
		c := newConn(&script{in: bytes.NewReader(wire)}, o)
		for {
			b, err := c.Read()
			if len(b) > o.MaxMessageBytes || cap(c.rbuf) > 4*o.MaxMessageBytes {
				t.Fatalf("%d bytes, buffer %d", len(b), cap(c.rbuf))
			}
			if err != nil {
				return
			}
		}
	})
}

// script is a net.Conn that reads from memory and swallows writes.
type script struct {
	net.Conn
	in *bytes.Reader
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return len(p), nil }
