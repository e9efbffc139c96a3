package bolt

import (
	"fmt"
	"math/bits"
)

// Config holds the bounds of a bolt store. Sizes are bytes, times milliseconds.
type Config struct {
	// LockTimeoutMs is how long Open waits for another process to let go of the file
	// before it returns storage.ErrLocked. Bounds 0..60000; 0 tries once.
	LockTimeoutMs int64 `json:"lockTimeoutMs"`
	// MaxBytes bounds the file; a write past it returns storage.ErrFull. 0 means no
	// bound but the disk's.
	MaxBytes int64 `json:"maxBytes"`
	// GrowBytes is the step by which the file grows; each step costs one more sync.
	GrowBytes int64 `json:"growBytes"`
	// InitialMmapBytes is the address space reserved for the file at Open. It costs no
	// memory; a file that outgrows it must remap, which waits for every open View.
	InitialMmapBytes int64 `json:"initialMmapBytes"`
	// VerifyMaxBytes is the size of the largest file whose every page and checksum is
	// read at Open (about 0.5 s for 256 MiB). A larger one is checked as it is read.
	VerifyMaxBytes int64 `json:"verifyMaxBytes"`
	// CompactMinBytes is the smallest file that Open compacts; it does when more than
	// CompactFreePercent of its pages are free. 0 for the percentage means never.
	CompactMinBytes    int64 `json:"compactMinBytes"`
	CompactFreePercent int   `json:"compactFreePercent"`
}

// Default returns the configuration that is right for one gateway.
func Default() Config {
	cfg := Config{
		LockTimeoutMs:      1000,
		GrowBytes:          4 << 20,
		InitialMmapBytes:   1 << 30,
		VerifyMaxBytes:     256 << 20,
		CompactMinBytes:    8 << 20,
		CompactFreePercent: 50,
	}
	if bits.UintSize == 32 {
		cfg.InitialMmapBytes = 64 << 20 // address space is scarce there
	}
	return cfg
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	check := func(name string, v, low, high int64) error {
		if v < low || v > high {
			return fmt.Errorf("storage.bolt.%s is %d: it must be between %d and %d", name, v, low, high)
		}
		return nil
	}
	const tebibyte = 1 << 40
	for _, f := range []struct {
		name         string
		v, low, high int64
	}{
		{"lockTimeoutMs", c.LockTimeoutMs, 0, 60_000},
		{"maxBytes", c.MaxBytes, 0, tebibyte},
		{"growBytes", c.GrowBytes, 64 << 10, 1 << 30},
		{"initialMmapBytes", c.InitialMmapBytes, 0, tebibyte},
		{"verifyMaxBytes", c.VerifyMaxBytes, 0, tebibyte},
		{"compactMinBytes", c.CompactMinBytes, 0, tebibyte},
		{"compactFreePercent", int64(c.CompactFreePercent), 0, 99},
	} {
		if err := check(f.name, f.v, f.low, f.high); err != nil {
			return err
		}
	}
	if c.MaxBytes != 0 && c.MaxBytes < 1<<20 {
		return fmt.Errorf("storage.bolt.maxBytes is %d: it must be 0 (no bound) or at least 1048576", c.MaxBytes)
	}
	return nil
}
