package sqlite

import "fmt"

// Config holds the bounds of a sqlite store. Sizes are bytes, times milliseconds.
type Config struct {
	// LockTimeoutMs is how long Open waits for another process to let go of the file
	// before it returns storage.ErrLocked. Bounds 0..60000; 0 tries once.
	LockTimeoutMs int64 `json:"lockTimeoutMs"`
	// BusyTimeoutMs is how long a statement waits for somebody who reads the file with
	// a tool of their own.
	BusyTimeoutMs int64 `json:"busyTimeoutMs"`
	// Readers bounds the Views that run at once; further ones wait.
	Readers int `json:"readers"`
	// MaxBytes bounds the database file; a write past it returns storage.ErrFull. 0
	// means no bound but the disk's.
	MaxBytes int64 `json:"maxBytes"`
	// JournalSizeLimitBytes bounds the write-ahead file between two checkpoints' worth
	// of writes.
	JournalSizeLimitBytes int64 `json:"journalSizeLimitBytes"`
	// CacheBytes is SQLite's page cache for each connection.
	CacheBytes int64 `json:"cacheBytes"`
	// VerifyMaxBytes is the size of the largest file that is read whole at Open to find
	// damage. A larger one is checked as it is read.
	VerifyMaxBytes int64 `json:"verifyMaxBytes"`
	// CompactMinBytes is the smallest file that Open compacts; it does when more than
	// CompactFreePercent of its pages are free. 0 for the percentage means never.
	CompactMinBytes    int64 `json:"compactMinBytes"`
	CompactFreePercent int   `json:"compactFreePercent"`
}

// Default returns the configuration that is right for one gateway.
func Default() Config {
	return Config{
		LockTimeoutMs:         1000,
		BusyTimeoutMs:         5000,
		Readers:               4,
		JournalSizeLimitBytes: 16 << 20,
		CacheBytes:            1 << 20,
		VerifyMaxBytes:        256 << 20,
		CompactMinBytes:       8 << 20,
		CompactFreePercent:    50,
	}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	const tebibyte = 1 << 40
	for _, f := range []struct {
		name         string
		v, low, high int64
	}{
		{"lockTimeoutMs", c.LockTimeoutMs, 0, 60_000},
		{"busyTimeoutMs", c.BusyTimeoutMs, 0, 60_000},
		{"readers", int64(c.Readers), 1, 64},
		{"maxBytes", c.MaxBytes, 0, tebibyte},
		{"journalSizeLimitBytes", c.JournalSizeLimitBytes, 0, tebibyte},
		{"cacheBytes", c.CacheBytes, 64 << 10, 1 << 30},
		{"verifyMaxBytes", c.VerifyMaxBytes, 0, tebibyte},
		{"compactMinBytes", c.CompactMinBytes, 0, tebibyte},
		{"compactFreePercent", int64(c.CompactFreePercent), 0, 99},
	} {
		if f.v < f.low || f.v > f.high {
			return fmt.Errorf("storage.sqlite.%s is %d: it must be between %d and %d", f.name, f.v, f.low, f.high)
		}
	}
	if c.MaxBytes != 0 && c.MaxBytes < 1<<20 {
		return fmt.Errorf("storage.sqlite.maxBytes is %d: it must be 0 (no bound) or at least 1048576", c.MaxBytes)
	}
	return nil
}
