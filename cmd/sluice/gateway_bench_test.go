package main

import (
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

// BenchmarkRequest measures one request through the whole gateway, bolt and its fsync
// included, without a socket: 64 clients that each wait for their answer. user-us/op is
// the CPU time in user mode, of the bench's own half too.
func BenchmarkRequest(b *testing.B) {
	for _, bm := range []struct{ method, params string }{
		{"health", `{}`},
		{"sessions.patch", `{"key":"agent:main:bench%d","unread":true}`},
		{"sessions.patch", `{"key":"agent:main:bench%d","label":"label %d"}`},
		{"sessions.list", `{"limit":10}`},
		{"chat.history", `{"sessionKey":"agent:main:bench%d"}`},
	} {
		b.Run(bm.method+" "+bm.params, func(b *testing.B) {
			w := newWorld(b)
			w.writeConfig()
			o := w.options()
			o.noListen = true
			g, err := newGateway(b.Context(), o)
			if err != nil {
				b.Fatal(err)
			}
			r := &running{Gateway: g, w: w}
			defer r.stop()
			if err := g.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			benchRequests(b, g, bm.method, bm.params)
		})
	}
}

func benchRequests(b *testing.B, g *Gateway, method, params string) {
	const clients = 64
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	runtime.GC()
	before := userTime(b)
	b.ResetTimer()
	for i := range clients {
		wg.Go(func() {
			c := pipelinetest.NewClient()
			p := benchParams(params, i)
			frame := frames.AppendRequest(nil, "1", method, []byte(p))
			for next.Add(1) <= int64(b.N) {
				l := bufpool.Get(len(frame))
				l.B = append(l.B, frame...)
				e := pipeline.NewEnvelope(pipeline.SourceWire, l)
				e.Client, e.Peer, e.Shard = c, c.Peer(), uint32(i)
				if err := g.Submit(e); err != nil {
					b.Error(err)
					return
				}
				if a := c.Next(b); !a.OK {
					b.Error(a.Error)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((userTime(b)-before).Microseconds())/float64(b.N), "user-us/op")
}

// benchParams gives each client its own session.
func benchParams(params string, client int) string {
	return strings.ReplaceAll(params, "%d", strconv.Itoa(client))
}

// userTime is the process's CPU time in user mode.
func userTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano())
}
