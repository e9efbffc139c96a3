package dedupe

import (
	"fmt"
	"time"
)

// Config bounds the table. Zero values are refused; start from Default.
type Config struct {
	TTLMs      int   `json:"ttlMs" doc:"how long a key is remembered after its request, or the run that it started, has ended" unit:"ms" min:"1000"`
	RunTTLMs   int   `json:"runTtlMs" doc:"how long the key of a run that has not ended is remembered; it must be longer than a run may wait and run" unit:"ms" min:"1000"`
	MaxEntries int   `json:"maxEntries" doc:"keys kept in memory; older ones are still found in the store until their time is over" min:"16"`
	MaxBytes   int64 `json:"maxBytes" doc:"bytes of keys and answers kept in memory; beyond, older ones are only in the store" unit:"bytes" min:"65536"`
	MaxWaiters int   `json:"maxWaiters" doc:"duplicates that may wait for one request in flight" min:"1"`
}

// Default returns the real gateway's 5 minutes and 1 000 keys (wire.md 3.10). A run is
// remembered for a day: it may wait long for its lane, also across a restart.
func Default() Config {
	return Config{TTLMs: 300_000, RunTTLMs: 86_400_000, MaxEntries: 1000, MaxBytes: 16 << 20, MaxWaiters: 64}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.TTLMs < 1000:
		return fmt.Errorf("ttlMs: %d; at least 1000", c.TTLMs)
	case c.RunTTLMs < c.TTLMs:
		return fmt.Errorf("runTtlMs: %d; at least ttlMs (%d)", c.RunTTLMs, c.TTLMs)
	case c.MaxEntries < 16:
		return fmt.Errorf("maxEntries: %d; at least 16", c.MaxEntries)
	case c.MaxBytes < 65536:
		return fmt.Errorf("maxBytes: %d; at least 65536", c.MaxBytes)
	case c.MaxWaiters < 1:
		return fmt.Errorf("maxWaiters: %d; at least 1", c.MaxWaiters)
	}
	return nil
}

func (c Config) ttl() time.Duration    { return time.Duration(c.TTLMs) * time.Millisecond }
func (c Config) runTTL() time.Duration { return time.Duration(c.RunTTLMs) * time.Millisecond }
