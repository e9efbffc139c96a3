package adapter

import "fmt"

// Config bounds what leaves.
type Config struct {
	Queue          int         `json:"queue" doc:"deliveries that wait or run for one channel; at the bound a request gets UNAVAILABLE" min:"1" max:"65536" reload:"restart"`
	Concurrency    int         `json:"concurrency" doc:"tries under way at the same time for one channel; one recipient has at most one" min:"1" max:"256" reload:"restart"`
	MaxChunks      int         `json:"maxChunks" doc:"messages that one text may be cut into; a longer text is refused" min:"1" max:"10000" reload:"restart"`
	MaxUnconfirmed int         `json:"maxUnconfirmed" doc:"deliveries of unknown outcome that are remembered; the oldest is forgotten with a warning" min:"1" max:"1000000" reload:"restart"`
	RetentionMs    int64       `json:"retentionMs" doc:"how long a delivery of unknown outcome is remembered" unit:"ms" min:"60000" reload:"restart"`
	Retry          RetryConfig `json:"retry" doc:"how a delivery is tried again"`
}

// Default returns the embedded defaults; the waits are the first runtime's.
func Default() Config {
	return Config{Queue: 256, Concurrency: 4, MaxChunks: 100, MaxUnconfirmed: 10_000, RetentionMs: 7 * 24 * 3600 * 1000,
		Retry: RetryConfig{Attempts: 5, InitialMs: 1000, Factor: 2, MaxMs: 30_000, Jitter: 0.2, TotalMs: 60_000, AttemptMs: 15_000}}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.Queue < 1 || c.Queue > 65536:
		return fmt.Errorf("adapter.queue: %d; 1 to 65536", c.Queue)
	case c.Concurrency < 1 || c.Concurrency > 256:
		return fmt.Errorf("adapter.concurrency: %d; 1 to 256", c.Concurrency)
	case c.MaxChunks < 1 || c.MaxChunks > 10_000:
		return fmt.Errorf("adapter.maxChunks: %d; 1 to 10000", c.MaxChunks)
	case c.MaxUnconfirmed < 1 || c.MaxUnconfirmed > 1_000_000:
		return fmt.Errorf("adapter.maxUnconfirmed: %d; 1 to 1000000", c.MaxUnconfirmed)
	case c.RetentionMs < 60_000:
		return fmt.Errorf("adapter.retentionMs: %d; at least 60000", c.RetentionMs)
	}
	return c.Retry.validate()
}
