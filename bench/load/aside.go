package load

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/bench/measure"
	"sluice/frames/client"
)

// holders keeps idle connections: each only answers pings.
type holders struct {
	conns   []*client.Conn
	wg      sync.WaitGroup
	closing atomic.Bool
	dropped atomic.Int64
}

func hold(conns []*client.Conn) *holders {
	h := &holders{conns: conns}
	for _, c := range conns {
		c.Trim()
		h.wg.Go(func() {
			for {
				if _, err := c.Read(); err != nil {
					if !h.closing.Load() {
						h.dropped.Add(1)
					}
					return
				}
			}
		})
	}
	return h
}

// release closes all; it returns how many the gateway had ended before.
func (h *holders) release() int {
	h.closing.Store(true)
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.wg.Wait()
	return int(h.dropped.Load())
}

// slowReaders subscribe to everything and read a trickle.
type slowReaders struct {
	conns   []*client.Conn
	wg      sync.WaitGroup
	closing atomic.Bool
	bytes   atomic.Uint64
	mu      sync.Mutex
	closes  map[string]*Failure
}

// slowWindow is a slow reader's receive buffer; the kernel doubles it.
const slowWindow = 4096

func startSlow(ctx context.Context, d dialer, cfg Config, sessions []string) (*slowReaders, error) {
	s := &slowReaders{closes: make(map[string]*Failure)}
	for range cfg.SlowReaders {
		var t *throttled
		o := d.opt
		o.ReceiveWindowBytes = slowWindow
		o.WrapConn = func(nc net.Conn) net.Conn {
			t = &throttled{Conn: nc, perStep: max(cfg.SlowBytesPerSecond/10, 1), read: &s.bytes}
			return t
		}
		c, _, err := d.one(ctx, o)
		if err != nil {
			s.release()
			return nil, err
		}
		s.conns = append(s.conns, c)
		m, _ := compile("sessions.subscribe", "{}")
		c.End(m.append(c.Begin(), 1, 1, 0, ""))
		m, _ = compile("sessions.messages.subscribe", `{"key":"{{session}}"}`)
		for i, key := range sessions[:min(len(sessions), 16)] {
			c.End(m.append(c.Begin(), uint64(i+2), 1, 0, key))
		}
		if err := c.Flush(); err != nil {
			s.release()
			return nil, err
		}
		t.slow.Store(true)
		s.wg.Go(func() { s.follow(c) })
	}
	return s, nil
}

func (s *slowReaders) follow(c *client.Conn) {
	for {
		_, err := c.Read()
		if err == nil {
			continue
		}
		if !s.closing.Load() {
			s.mu.Lock()
			addFailure(s.closes, closeFailure(err))
			s.mu.Unlock()
		}
		return
	}
}

func (s *slowReaders) release() *Slow {
	s.closing.Store(true)
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.wg.Wait()
	return &Slow{Readers: len(s.conns), Bytes: s.bytes.Load(), Closes: sorted(s.closes)}
}

// throttled reads perStep bytes each tenth of a second once slow is set.
type throttled struct {
	net.Conn
	slow    atomic.Bool
	perStep int
	read    *atomic.Uint64
}

func (t *throttled) Read(p []byte) (int, error) {
	if t.slow.Load() {
		time.Sleep(100 * time.Millisecond) // the pace itself, not a wait for something
		p = p[:min(len(p), t.perStep)]
	}
	n, err := t.Conn.Read(p)
	if t.slow.Load() {
		t.read.Add(uint64(n))
	}
	return n, err
}

// probes measure the hello latency of fresh connections beside the load.
type probes struct {
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	active   chan struct{}
	hist     measure.Histogram
	skipped  atomic.Uint64
	mu       sync.Mutex
	failures map[string]*Failure
}

// maxProbes run at once: fewer than upstream's limit of unauthenticated sockets.
const maxProbes = 16

func startProbes(ctx context.Context, d dialer, perSecond float64) *probes {
	ctx, cancel := context.WithCancel(ctx)
	p := &probes{cancel: cancel, active: make(chan struct{}, maxProbes), failures: make(map[string]*Failure)}
	p.wg.Go(func() {
		tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case p.active <- struct{}{}:
				p.wg.Go(func() { p.one(ctx, d); <-p.active })
			default:
				p.skipped.Add(1)
			}
		}
	})
	return p
}

func (p *probes) one(ctx context.Context, d dialer) {
	begin := time.Now()
	c, _, err := d.one(ctx, d.opt)
	if err == nil {
		p.hist.Add(time.Since(begin))
		_ = c.SendClose(1000, "")
		_ = c.Close()
		return
	}
	if ctx.Err() == nil {
		p.mu.Lock()
		addFailure(p.failures, dialFailure(err))
		p.mu.Unlock()
	}
}

func (p *probes) release() *Hello {
	p.cancel()
	p.wg.Wait()
	var c measure.Counts
	p.hist.AddTo(&c)
	return &Hello{Latency: c.Summary(), Failures: sorted(p.failures), Skipped: p.skipped.Load()}
}

func dialFailure(err error) *Failure {
	switch e := err.(type) {
	case *client.RemoteError:
		return &Failure{Code: e.Code, Text: e.Message, Count: 1}
	case *client.UpgradeError:
		return &Failure{Code: "HTTP " + strconv.Itoa(e.Status), Text: e.Error(), Count: 1}
	}
	return closeFailure(err)
}
