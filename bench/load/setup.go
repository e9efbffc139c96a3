package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"sluice/frames/client"

	"github.com/go-json-experiment/json"
)

// setupTimeout bounds one call of setup and clean-up.
const setupTimeout = 30 * time.Second

// newRunWord makes the word that keeps the run's sessions apart from other runs'.
func newRunWord() string { return strings.ToLower(rand.Text()[:8]) }

// makeSessions creates the run's sessions, a few at a time.
func makeSessions(ctx context.Context, c *client.Client, cfg Config, word string, n int) ([]string, error) {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("agent:%s:bench-%s-%d", cfg.Agent, word, i)
	}
	err := parallel(n, cfg.DialParallel, func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, setupTimeout)
		defer cancel()
		raw, err := c.Call(ctx, "sessions.create", map[string]string{"key": keys[i]})
		if err != nil {
			return fmt.Errorf("bench load: creating session %s: %w", keys[i], err)
		}
		var made struct {
			Key string `json:"key"`
		}
		if json.Unmarshal(raw, &made) == nil && made.Key != "" {
			keys[i] = made.Key
		}
		return nil
	})
	return keys, err
}

func deleteSessions(ctx context.Context, c *client.Client, cfg Config, keys []string) error {
	return parallel(len(keys), cfg.DialParallel, func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, setupTimeout)
		defer cancel()
		if _, err := c.Call(ctx, "sessions.delete", map[string]string{"key": keys[i]}); err != nil {
			return fmt.Errorf("bench load: deleting session %s: %w", keys[i], err)
		}
		return nil
	})
}

// dialer opens the run's raw connections.
type dialer struct {
	opt      client.Options
	parallel int
}

// one connects and authenticates. A gateway that is still starting, or has too many
// handshakes under way, is asked again for a while.
func (d dialer) one(ctx context.Context, o client.Options) (*client.Conn, *client.Hello, error) {
	c, err := client.DialConn(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	hello, err := c.Handshake(ctx, o)
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return c, hello, nil
}

// many opens n connections; on an error it closes those that it opened. took, if set,
// is told how long each needed.
func (d dialer) many(ctx context.Context, n int, took func(time.Duration)) ([]*client.Conn, error) {
	conns := make([]*client.Conn, n)
	err := parallel(n, d.parallel, func(i int) error {
		begin := time.Now()
		c, _, err := d.one(ctx, d.opt)
		if err != nil {
			return fmt.Errorf("bench load: connection %d of %d: %w", i+1, n, err)
		}
		conns[i] = c
		if took != nil {
			took(time.Since(begin))
		}
		return nil
	})
	if err == nil {
		return conns, nil
	}
	for _, c := range conns {
		if c != nil {
			_ = c.Close()
		}
	}
	return nil, err
}

// parallel calls do(0..n-1), at most width at once, and stops at the first error.
func parallel(n, width int, do func(i int) error) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		errs []error
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= n || len(errs) > 0 {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range min(width, n) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				if err := do(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
