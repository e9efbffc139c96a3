package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/bench/limit"
	"sluice/frames/client"

	"github.com/go-json-experiment/json"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mustLimit serves the limit server for the test's life.
func mustLimit(tb testing.TB) string {
	tb.Helper()
	s, err := limit.New(limit.Default())
	if err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	tb.Cleanup(func() { cancel(); <-done })
	return "ws://" + ln.Addr().String()
}

// small is a Config that is over soon.
func small(url string) Config {
	c := Default()
	c.URL, c.Connections, c.InFlight, c.WarmupMs, c.DurationMs, c.DrainMs, c.IdleSettleMs = url, 4, 4, 20, 20_000, 300, 10
	return c
}

func mustRun(tb testing.TB, c Config) *Result {
	tb.Helper()
	res, err := Run(context.Background(), c, io.Discard)
	if err != nil {
		tb.Fatal(err)
	}
	t := res.Total
	if t.Sent != t.OK+t.Refused+t.Failed+t.Lost+t.CutOff {
		tb.Errorf("the counts do not add up: %+v", t)
	}
	return res
}

func TestClosedLoop(t *testing.T) {
	c := small(mustLimit(t))
	c.Count, c.Mix, c.PID = 1001, "health=8,system-presence=1,chat.inject=1", os.Getpid()
	c.Idle, c.SlowReaders, c.ProbesPerSecond, c.ValidateEvery = 3, 1, 200, 1
	res := mustRun(t, c)
	if res.Total.Sent != 1001 || res.Total.OK != 1001 || res.Total.Latency.N != 1001 || res.Gateway != "limit" {
		t.Errorf("%+v", res.Total)
	}
	if res.Total.Unexpected+res.Total.Malformed > 0 || len(res.Failures)+len(res.Closes)+len(res.Warnings) > 0 {
		t.Errorf("%+v", res)
	}
	var sum uint64
	for _, m := range res.Methods {
		sum += m.OK
	}
	if sum != 1001 || res.Methods[0].OK < 780 || res.Methods[2].OK < 90 {
		t.Errorf("methods: %+v", res.Methods)
	}
	if s := res.Server; s == nil || s.RSSMax < s.RSSStart || s.FDsStart < 1 {
		t.Errorf("server: %+v", s)
	}
	if res.Idle.Dropped != 0 || res.Idle.Open.N != 3 || res.Slow.Readers != 1 || len(res.Hello.Failures) > 0 {
		t.Errorf("%+v %+v %+v", res.Idle, res.Slow, res.Hello)
	}
	var table bytes.Buffer
	if err := res.Table(&table); err != nil || !strings.Contains(table.String(), "1001 sent: 1001 ok") {
		t.Errorf("%v\n%s", err, table.String())
	}
	if _, err := json.Marshal(res); err != nil {
		t.Error(err)
	}
}

func TestOpenLoop(t *testing.T) {
	c := small(mustLimit(t))
	c.RatePerSecond, c.DurationMs = 2000, 500
	res := mustRun(t, c)
	if n := float64(res.Total.OK + res.Total.Unsent); math.Abs(n-1000) > 100 || res.Total.OK != res.Total.Sent {
		t.Errorf("%+v", res.Total)
	}
	if res.Total.Latency.P50 > 50 {
		t.Errorf("p50 %v ms: the pace counts as latency", res.Total.Latency.P50)
	}
}

func TestFlood(t *testing.T) {
	c := small(mustLimit(t))
	c.DurationMs, c.DrainMs = 300, 5000
	f := DefaultFlood()
	f.CapacityMs = 200
	res, err := RunFlood(t.Context(), c, f, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Flood.Broken) > 0 || res.Flood.CapacityPerSecond <= 0 || res.Total.OK == 0 {
		t.Errorf("%+v %+v", res.Flood, res.Total)
	}
	f.MaxRSSMiB = 1 // without a pid that cannot be checked, and says so
	if b := judge(res, f).Broken; len(b) != 1 {
		t.Errorf("%v", b)
	}
}

// gateway is a server whose answers the test writes.
type gateway struct {
	answer func(nc net.Conn, n int, id, method string)
}

func (g gateway) serve(tb testing.TB) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { g.one(nc) })
		}
	})
	tb.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return "ws://" + ln.Addr().String()
}

func (g gateway) one(nc net.Conn) {
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := ws.Upgrade(nc); err != nil {
		return
	}
	send := func(s string) { _ = wsutil.WriteServerText(nc, []byte(s)) }
	send(`{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}`)
	for n := 0; ; {
		b, err := wsutil.ReadClientText(nc)
		var h client.Head
		if err != nil || !client.ScanHead(b, &h) {
			return
		}
		switch id, method := string(h.ID), string(h.Method); method {
		case "connect":
			send(`{"type":"res","id":"` + id + `","ok":true,"payload":{"type":"hello-ok","protocol":4,"server":{"version":"t"},"policy":{}}}`)
		case "sessions.create", "sessions.delete":
			send(`{"type":"res","id":"` + id + `","ok":true,"payload":{"key":"agent:main:made"}}`)
		default:
			n++
			g.answer(nc, n, id, method)
		}
	}
}

// TestBadGateway: each kind of misbehaviour is counted as what it is.
func TestBadGateway(t *testing.T) {
	reply := func(nc net.Conn, id, rest string) {
		_ = wsutil.WriteServerText(nc, []byte(`{"type":"res","id":"`+id+`",`+rest+`}`))
	}
	url := gateway{func(nc net.Conn, n int, id, method string) {
		switch {
		case n == 21: // never answered: lost
		case n%10 == 3:
			reply(nc, id, `"ok":false,"error":{"message":"busy","code":"UNAVAILABLE"}`)
		case n%10 == 4:
			reply(nc, id, `"ok":false,"error":{"code":"INVALID_REQUEST","message":"no"}`)
		case n == 5: // answered twice
			reply(nc, id, `"ok":true,"payload":1`)
			reply(nc, id, `"ok":true,"payload":1`)
		case n == 6:
			_ = wsutil.WriteServerText(nc, []byte(`[]`))
			_ = wsutil.WriteServerText(nc, []byte(`{"type":"event","event":"tick"}`))
			fallthrough
		default:
			reply(nc, id, `"ok":true,"payload":1`)
		}
	}}.serve(t)
	c := small(url)
	c.Connections, c.InFlight, c.WarmupMs, c.Count, c.Mix = 1, 2, 0, 100, "chat.inject"
	c.WarmupMs = 0
	res := mustRun(t, c)
	tl := res.Total
	if tl.Sent != 100 || tl.Lost != 1 || tl.Refused != 10 || tl.Failed != 10 || tl.CutOff != 0 {
		t.Errorf("%+v", tl)
	}
	if tl.Unexpected != 1 || tl.Malformed != 1 || tl.Events != 1 {
		t.Errorf("%+v", tl)
	}
	if len(res.Failures) != 2 || res.Failures[1].Code != "UNAVAILABLE" || res.Failures[1].Text != "busy" {
		t.Errorf("%+v", res.Failures)
	}
	if b := judge(res, DefaultFlood()).Broken; len(b) != 3 {
		t.Errorf("broken: %q", b)
	}
}

func TestConnectionEnds(t *testing.T) {
	for _, rate := range []float64{0, 5000} {
		t.Run(fmt.Sprint("rate ", rate), func(t *testing.T) {
			url := gateway{func(nc net.Conn, n int, id, method string) {
				if n >= 50 {
					_ = ws.WriteFrame(nc, ws.NewCloseFrame(ws.NewCloseFrameBody(1008, "slow consumer")))
				} else if n < 48 {
					_ = wsutil.WriteServerText(nc, []byte(`{"type":"res","id":"`+id+`","ok":true}`))
				}
			}}.serve(t)
			c := small(url)
			c.WarmupMs, c.RatePerSecond = 0, rate
			res := mustRun(t, c)
			if res.Total.CutOff == 0 || res.Total.Lost != 0 || len(res.Closes) == 0 || res.Closes[0].Code != "1008" || res.Closes[0].Count != 4 {
				t.Errorf("%+v %+v", res.Total, res.Closes)
			}
		})
	}
}

func TestTwoPhase(t *testing.T) {
	url := gateway{func(nc net.Conn, n int, id, method string) {
		_ = wsutil.WriteServerText(nc, []byte(`{"type":"res","id":"`+id+`","ok":true,"payload":{"runId":"r","status":"accepted"}}`))
		_ = wsutil.WriteServerText(nc, []byte(`{"type":"res","id":"`+id+`","ok":true,"payload":{"runId":"r","status":"ok"}}`))
	}}.serve(t)
	c := small(url)
	c.Mix, c.Count = "agent", 40
	res := mustRun(t, c)
	if res.Total.OK != 40 || res.Total.Accepted < 40 || res.Total.Unexpected != 0 {
		t.Errorf("%+v", res.Total)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	res, err := Run(ctx, small(mustLimit(t)), io.Discard)
	if err != nil || res.Total.OK == 0 || res.Total.Lost+res.Total.CutOff > 0 || time.Since(begin) > 10*time.Second {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestNoAllocations(t *testing.T) {
	m, err := parseMix(Config{Mix: "chat.send=1", Params: nil})
	if err != nil {
		t.Fatal(err)
	}
	m.bind("w")
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = m.methods[0].append(buf[:0], 1<<40, 7, 3, "agent:main:x") }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestSoakJudge(t *testing.T) {
	good := &Result{Server: &Server{GrowthMiBPerHour: 1, FDsStart: 10, FDsEnd: 12}}
	if b := DefaultSoak().Judge(good); len(b) > 0 {
		t.Errorf("%q", b)
	}
	bad := &Result{Total: Tally{Lost: 1}, Closes: []Failure{{Code: "1006"}}, Idle: &Idle{Dropped: 1}, Server: &Server{GrowthMiBPerHour: 5, FDsEnd: 99}}
	if b := DefaultSoak().Judge(bad); len(b) != 5 {
		t.Errorf("%q", b)
	}
	if b := DefaultSoak().Judge(&Result{}); len(b) != 1 {
		t.Errorf("%q", b)
	}
}

// TestPings: a gateway that pings between all frames stalls nobody (pings used to count
// as buffered messages, and the requests behind them were never flushed).
func TestPings(t *testing.T) {
	url := gateway{func(nc net.Conn, n int, id, method string) {
		_ = wsutil.WriteServerText(nc, []byte(`{"type":"res","id":"`+id+`","ok":true}`))
		_ = ws.WriteFrame(nc, ws.NewPingFrame(nil))
	}}.serve(t)
	c := small(url)
	c.Count = 2000
	if res := mustRun(t, c); res.Total.OK != 2000 {
		t.Errorf("%+v", res.Total)
	}
}
