// Package backend stands in for what a gateway talks to behind its clients' backs, so
// that the bench can load those routes too without anybody else's servers: an OTLP
// collector that counts spans and forgets them, and a model endpoint that streams as
// slowly as it is told.
//
// Both are plain http.Handlers without goroutines of their own; Serve runs one until
// its context ends.
package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// stopTimeout bounds how long Serve waits for requests under way when it stops.
const stopTimeout = 2 * time.Second

// Serve runs h on ln until ctx ends. It takes ln over and returns when all requests
// have ended or were cut.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 16,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		ended <- errors.Join(s.Shutdown(limit), s.Close())
	})
	err := s.Serve(ln)
	if stop() { // it failed by itself
		return fmt.Errorf("bench: serving on %s: %w", ln.Addr(), errors.Join(err, s.Close()))
	}
	<-ended // a request that had to be cut is no failure of the measurement
	return nil
}
