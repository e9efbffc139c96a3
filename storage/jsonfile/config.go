package jsonfile

import "fmt"

// Config holds the bounds of a jsonfile store. Sizes are bytes, times milliseconds.
type Config struct {
	// LockTimeoutMs is how long Open waits for another process to let go of the folder
	// before it returns storage.ErrLocked. Bounds 0..60000; 0 tries once.
	LockTimeoutMs int64 `json:"lockTimeoutMs"`
	// CacheBytes bounds the values kept in memory beside the index of keys.
	CacheBytes int64 `json:"cacheBytes"`
	// JournalMaxBytes and JournalMaxFiles bound the journal: past either, the files it
	// speaks of are synced and it starts anew. More means fewer, longer pauses.
	JournalMaxBytes int64 `json:"journalMaxBytes"`
	JournalMaxFiles int   `json:"journalMaxFiles"`
	// VerifyMaxBytes is how much is read and parsed at Open to find damaged files; what
	// is beyond it is checked when it is read.
	VerifyMaxBytes int64 `json:"verifyMaxBytes"`
}

// Default returns the configuration that is right for a small installation.
func Default() Config {
	return Config{
		LockTimeoutMs:   1000,
		CacheBytes:      8 << 20,
		JournalMaxBytes: 4 << 20,
		JournalMaxFiles: 512,
		VerifyMaxBytes:  64 << 20,
	}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	for _, f := range []struct {
		name         string
		v, low, high int64
	}{
		{"lockTimeoutMs", c.LockTimeoutMs, 0, 60_000},
		{"cacheBytes", c.CacheBytes, 0, 1 << 40},
		{"journalMaxBytes", c.JournalMaxBytes, 4 << 10, 1 << 30},
		{"journalMaxFiles", int64(c.JournalMaxFiles), 1, 100_000},
		{"verifyMaxBytes", c.VerifyMaxBytes, 0, 1 << 40},
	} {
		if f.v < f.low || f.v > f.high {
			return fmt.Errorf("storage.jsonfile.%s is %d: it must be between %d and %d", f.name, f.v, f.low, f.high)
		}
	}
	return nil
}
