package config

import "fmt"

// Config bounds this package's own work. All of it can be hot reloaded.
type Config struct {
	// ReloadDebounceMs is how long the config folder must be quiet before the file is
	// read again, in ms: editors write in several steps.
	ReloadDebounceMs int `json:"reloadDebounceMs" unit:"ms" min:"1" max:"60000" reload:"hot" doc:"How long the config folder must be quiet before a changed file is read again."`
	// PollIntervalMs is how often the file is read again without a notification, in ms,
	// for file systems that send none (NFS, some bind mounts). 0 never polls.
	PollIntervalMs int `json:"pollIntervalMs" unit:"ms" min:"0" max:"86400000" reload:"hot" doc:"How often the config file is read again without a notification, for file systems that send none; 0 never."`
	// MaxFileBytes bounds the file, and the raw text of a config.set, patch or apply.
	MaxFileBytes int `json:"maxFileBytes" unit:"bytes" min:"1024" max:"67108864" reload:"hot" doc:"Largest config file, and largest raw text of config.set, config.patch and config.apply."`
}

// Default returns the bounds used when nothing is configured.
func Default() Config {
	return Config{ReloadDebounceMs: 200, PollIntervalMs: 30_000, MaxFileBytes: 4 << 20}
}

// Validate reports the first field that is out of bounds.
func (c Config) Validate() error {
	switch {
	case c.ReloadDebounceMs < 1:
		return fmt.Errorf("reloadDebounceMs must be at least 1, not %d", c.ReloadDebounceMs)
	case c.PollIntervalMs < 0:
		return fmt.Errorf("pollIntervalMs must not be negative, not %d", c.PollIntervalMs)
	case c.MaxFileBytes < 1024:
		return fmt.Errorf("maxFileBytes must be at least 1024, not %d", c.MaxFileBytes)
	}
	return nil
}

// maxDepth bounds the nesting of a document. The deepest real key has six segments.
const maxDepth = 64

// maxIssues bounds how many problems of one document are collected and kept.
const maxIssues = 64
