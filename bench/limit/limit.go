// Package limit is a server that does the least a gateway of this protocol can do: it
// upgrades, sends a canned challenge and a canned hello-ok, and answers every request
// with a canned payload and the request's id. It has no state, no checks and no stages.
//
// What it costs is the floor of the machine: system calls, WebSocket framing, the
// scheduler. Every figure of the bench is also given as a ratio to it.
//
// Lifecycle: New, then Serve until its context ends; Serve returns when every
// connection has ended.
package limit

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// The canned payloads of health and system-presence are those of openclaw 2026.9.6, so
// that the bytes moved are those that a real gateway moves.
var (
	//go:embed canned/health.json
	healthJSON []byte
	//go:embed canned/system-presence.json
	presenceJSON []byte
	//go:embed canned/hello.json
	helloJSON []byte
)

const challenge = `{"type":"event","event":"connect.challenge","payload":{"nonce":"00000000-0000-4000-8000-000000000000","ts":0}}`

// Config bounds the server.
type Config struct {
	// MaxConnections bounds open connections; one more is closed at once. Default 20 000.
	MaxConnections int `json:"maxConnections"`
	// MaxFrameBytes bounds one frame; a longer one closes the connection. Default 1 MiB.
	MaxFrameBytes int `json:"maxFrameBytes"`
	// HandshakeTimeoutMs bounds the upgrade. Default 10 000.
	HandshakeTimeoutMs int `json:"handshakeTimeoutMs"`
	// PingIntervalMs is the time between pings, so that clients' watchdogs stay quiet.
	// Default 25 000, as upstream.
	PingIntervalMs int `json:"pingIntervalMs"`
	// ReadBufferBytes is a connection's read buffer: how many requests one read can
	// bring. Default 1024.
	ReadBufferBytes int `json:"readBufferBytes"`
	// Coalesce answers all requests that one read brought with one write, as a gateway
	// that queues its answers does. Default false: one write an answer.
	Coalesce bool `json:"coalesce,omitzero"`
}

// Default returns the usual Config.
func Default() Config {
	return Config{MaxConnections: 20_000, MaxFrameBytes: 1 << 20, HandshakeTimeoutMs: 10_000, PingIntervalMs: 25_000, ReadBufferBytes: 1024}
}

// Validate names the first field that cannot work.
func (c Config) Validate() error {
	for _, f := range []struct {
		name     string
		v, least int
	}{{"maxConnections", c.MaxConnections, 1}, {"maxFrameBytes", c.MaxFrameBytes, 1024}, {"handshakeTimeoutMs", c.HandshakeTimeoutMs, 1},
		{"pingIntervalMs", c.PingIntervalMs, 1}, {"readBufferBytes", c.ReadBufferBytes, 128}} {
		if f.v < f.least {
			return fmt.Errorf("bench limit: %s is %d, must be at least %d", f.name, f.v, f.least)
		}
	}
	return nil
}

// Server is the limit server.
type Server struct {
	cfg   Config
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// New returns a Server that is not serving yet.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg, conns: make(map[net.Conn]struct{})}, nil
}

// Serve accepts on ln until ctx ends, then closes everything and waits for it. It takes
// ln over.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	pinging, stopPing := context.WithCancel(ctx)
	s.wg.Go(func() { s.ping(pinging) })
	defer s.wg.Wait()
	defer s.closeAll()
	defer stopPing()
	for {
		nc, err := ln.Accept()
		if err != nil {
			_ = ln.Close()
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("bench limit: accepting connections: %w", err)
		}
		if !s.add(nc) {
			_ = nc.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.remove(nc)
			s.serve(nc)
		})
	}
}

func (s *Server) add(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.cfg.MaxConnections {
		return false
	}
	s.conns[nc] = struct{}{}
	return true
}

func (s *Server) remove(nc net.Conn) {
	s.mu.Lock()
	delete(s.conns, nc)
	s.mu.Unlock()
	_ = nc.Close()
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.conns {
		_ = nc.Close()
	}
}

// ping keeps clients' watchdogs quiet. Its writes do not interleave with a reply: each
// frame is one Write, and net.Conn serialises those.
func (s *Server) ping(ctx context.Context) {
	frame := ws.MustCompileFrame(ws.NewPingFrame(nil))
	t := time.NewTicker(time.Duration(s.cfg.PingIntervalMs) * time.Millisecond)
	defer t.Stop()
	var all []net.Conn
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s.mu.Lock()
		all = all[:0]
		for nc := range s.conns {
			all = append(all, nc)
		}
		s.mu.Unlock()
		for _, nc := range all {
			_, _ = nc.Write(frame) // a broken one is found by its reader
		}
	}
}

// serve is one connection's goroutine, from the upgrade to the end.
func (s *Server) serve(nc net.Conn) {
	_ = nc.SetDeadline(time.Now().Add(time.Duration(s.cfg.HandshakeTimeoutMs) * time.Millisecond))
	if _, err := ws.Upgrade(nc); err != nil {
		return
	}
	_ = nc.SetDeadline(time.Time{})
	if _, err := nc.Write(ws.MustCompileFrame(ws.NewTextFrame([]byte(challenge)))); err != nil {
		return
	}
	c := conn{nc: nc, br: bufio.NewReaderSize(nc, s.cfg.ReadBufferBytes), max: s.cfg.MaxFrameBytes, coalesce: s.cfg.Coalesce}
	for c.one() == nil {
	}
}
