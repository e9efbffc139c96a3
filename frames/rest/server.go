package rest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a net/http server within Config's bounds. It counts the connections that
// are not WebSockets and lets further ones wait in the kernel's queue: 10 000 clients
// that connect at once are served one after the other, and none is turned away.
type Server struct {
	http  *http.Server
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

// NewServer returns a server of h. cfg must be valid.
func NewServer(cfg Config, h http.Handler, log *slog.Logger) *Server {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	s := &Server{slots: make(chan struct{}, cfg.MaxConnections), done: make(chan struct{})}
	s.http = &http.Server{
		Handler:           h,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ReadHeaderTimeout: ms(cfg.ReadHeaderTimeoutMs),
		ReadTimeout:       ms(cfg.ReadTimeoutMs),
		WriteTimeout:      ms(cfg.WriteTimeoutMs),
		IdleTimeout:       ms(cfg.IdleTimeoutMs),
		ConnState:         s.connState,
	}
	if log != nil {
		s.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	}
	return s
}

// Serve accepts on ln until Shutdown, and returns nil then. It may be called for
// several listeners.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(&bounded{Listener: ln, s: s})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown stops accepting, waits for requests under way until ctx ends, and cuts the
// rest. WebSockets are not its: ws.Server.Shutdown ends those.
func (s *Server) Shutdown(ctx context.Context) error {
	s.once.Do(func() { close(s.done) })
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return err
}

// connState frees a connection's place when it ends or becomes a WebSocket.
func (s *Server) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		<-s.slots
	}
}

// bounded is a listener that accepts when there is a place. It does not wrap the
// connection, so that package ws finds the socket under it.
type bounded struct {
	net.Listener
	s *Server
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.s.slots <- struct{}{}:
	case <-b.s.done:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.s.slots
	}
	return c, err
}
