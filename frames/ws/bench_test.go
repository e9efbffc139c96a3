package ws_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/frames/ws"
)

var (
	benchRequest = text(`{"type":"req","id":"5d1b6c1e-7f0e-4f0a-9a53-8c2f0f5e7a11","method":"health","params":{}}`)
	benchAnswer  = []byte(`{"type":"res","id":"5d1b6c1e-7f0e-4f0a-9a53-8c2f0f5e7a11","ok":true,"payload":{"ok":true,"ts":1795400277735,"durationMs":0}}`)
)

// answering answers every frame at once, as the shortest pipeline there could be.
func answering() handler {
	return handler{frame: func(c *ws.Conn, l *bufpool.Lease) {
		l.Release()
		c.Send(bufpool.Copy(benchAnswer))
		if c.Peer() == nil {
			c.Accept(operator(c))
		}
	}}
}

// BenchmarkReadSend is one request read and one answer written over loopback, with
// both sides' work in the figure; allocations are all the server's.
func BenchmarkReadSend(b *testing.B) {
	for _, inFlight := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			e := mustServe(b, ws.Default(), answering())
			p := e.mustDial(b)
			p.send(benchRequest)
			p.mustRead()
			_ = p.SetDeadline(noDeadline)
			batch := join(make([][]byte, 0, inFlight)...)
			for range inFlight {
				batch = append(batch, benchRequest...)
			}
			in := make([]byte, inFlight*(len(benchAnswer)+4)-inFlight*2*btoi(len(benchAnswer) < 126))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += inFlight {
				if _, err := p.Write(batch); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(p.br, in); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
		})
	}
}

func btoi(v bool) int {
	if v {
		return 1
	}
	return 0
}

// BenchmarkBroadcast is one event to many readers; the time is until all were queued.
func BenchmarkBroadcast(b *testing.B) {
	for _, clients := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			cfg := ws.Default()
			cfg.MaxUnauthenticatedPerIP = clients
			e := mustServe(b, cfg, answering())
			for range clients {
				p := e.mustDial(b)
				p.send(benchRequest)
				p.mustRead()
				_ = p.SetDeadline(noDeadline)
				go func() { _, _ = io.Copy(io.Discard, p.br) }()
			}
			ev := frames.Event{Name: "chat", Payload: []byte(`{"text":"` + strings.Repeat("x", 500) + `"}`), Reach: frames.ReachReaders, DropIfSlow: true}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				e.Broadcast(ev)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*clients), "ns/client")
		})
	}
}

// BenchmarkIdle is the memory of one idle accepted connection: heap and stacks of the
// server's side, and of the client's net.Conn, which is in the same process.
func BenchmarkIdle(b *testing.B) {
	const clients = 2000
	for range b.N {
		cfg := fast()
		cfg.MaxUnauthenticatedPerIP = clients
		e := mustServe(b, cfg, answering())
		buf := make([]byte, 4096)
		before := memory()
		for range clients {
			conn, err := net.Dial("tcp", e.addr)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = conn.Close() })
			if _, err := conn.Write(append([]byte(upgrade+"\r\n"), benchRequest...)); err != nil {
				b.Fatal(err)
			}
			for got := 0; !strings.Contains(string(buf[:got]), `"ok":true`); {
				n, err := conn.Read(buf[got:])
				if err != nil {
					b.Fatal(err)
				}
				got += n
			}
		}
		for _, c := range e.Conns() {
			eventually(b, "idle", func() bool { return !c.Deep() })
		}
		b.ReportMetric(float64(memory()-before)/clients, "B/conn")
	}
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
