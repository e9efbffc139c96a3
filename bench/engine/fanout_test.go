package engine

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/frames/ws"

	gws "github.com/gobwas/ws"
)

// accepting grants everything to whoever sends a frame.
type accepting struct{}

var accepted = []byte(`{"accepted":true}`)

// Frame implements ws.Handler.
func (accepting) Frame(c *ws.Conn, l *bufpool.Lease) {
	l.Release()
	peer := *newClient().peer
	peer.ConnID = c.ID()
	c.Accept(&peer)
	c.Send(bufpool.Copy(accepted))
}

// Closed implements ws.Handler.
func (accepting) Closed(*ws.Conn) {}

// BenchmarkFanOut is one event of 500 bytes to many connections over loopback, until
// the kernel has every copy. The receivers' reads are in the figure too.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			edge := mustEdge(b, n)
			ev := frames.Event{Name: "chat", Payload: []byte(`{"text":"` + strings.Repeat("x", 500) + `"}`), Reach: frames.ReachReaders}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				edge.Broadcast(ev)
				if i%16 == 15 { // outboxes are bounded: a broadcaster is not endlessly ahead
					flushed(b, edge)
				}
			}
			flushed(b, edge)
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/connection")
			if st := edge.Stats(); st.SlowConsumers > 0 || st.Authenticated != int64(n) {
				b.Fatalf("%d of %d connections are left, %d were too slow", st.Authenticated, n, st.SlowConsumers)
			}
		})
	}
}

// flushed waits until every outbox is empty.
func flushed(tb testing.TB, s *ws.Server) {
	for end := time.Now().Add(10 * time.Second); s.Stats().OutboxBytes > 0; runtime.Gosched() {
		if time.Now().After(end) {
			tb.Fatal("outboxes are not empty after 10 s")
		}
	}
}

// mustEdge serves n accepted connections that read and forget.
func mustEdge(tb testing.TB, n int) *ws.Server {
	tb.Helper()
	cfg := ws.Default()
	cfg.MaxUnauthenticatedPerIP = n
	edge, err := ws.New(cfg, accepting{}, ws.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(edge.ServeHTTP))
	done := make(chan struct{}, n)
	conns := make([]net.Conn, 0, n)
	tb.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
			<-done
		}
		if err := edge.Shutdown(tb.Context(), "bench"); err != nil && tb.Context().Err() == nil {
			tb.Error(err)
		}
		srv.Close()
	})
	frame := gws.MustCompileFrame(gws.MaskFrame(gws.NewTextFrame([]byte(health))))
	upgrade := "GET / HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	for range n {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := c.Write(append([]byte(upgrade), frame...)); err != nil {
			tb.Fatal(err)
		}
		go func() {
			defer func() { done <- struct{}{} }()
			_, _ = io.Copy(io.Discard, c)
		}()
	}
	for end := time.Now().Add(10 * time.Second); edge.Stats().Authenticated < int64(n); runtime.Gosched() {
		if time.Now().After(end) {
			tb.Fatal("the connections were not accepted in 10 s")
		}
	}
	return edge
}
