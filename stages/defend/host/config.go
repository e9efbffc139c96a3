package host

import (
	"fmt"
	"path/filepath"
)

// Config is what is watched beside the files that cmd names, and how.
type Config struct {
	Enabled      bool     `json:"enabled" doc:"hold the running binary, the configuration, the policy and paths to a baseline of hashes" reload:"restart"`
	Paths        []string `json:"paths" doc:"more files or folders to protect, absolute; a folder counts with all that is in it" max:"256" reload:"restart"`
	IntervalMs   int      `json:"intervalMs" doc:"time between two checks of everything; changes that the system reports are checked at once" unit:"ms" min:"1000" max:"86400000" reload:"restart"`
	SettleMs     int      `json:"settleMs" doc:"time without further changes before a reported change is checked" unit:"ms" min:"10" max:"60000" reload:"restart"`
	Watch        bool     `json:"watch" doc:"ask the system to report changes; without it, the interval alone finds them" reload:"restart"`
	MaxFiles     int      `json:"maxFiles" doc:"files that are protected in all; more is an error of the check" min:"1" max:"100000" reload:"restart"`
	MaxFileBytes int64    `json:"maxFileBytes" doc:"largest file that is hashed; a larger one is an error of the check" unit:"bytes" min:"1048576" reload:"restart"`
	Risk         int      `json:"risk" doc:"risk that every action gets while an alert stands" min:"0" max:"100" reload:"restart"`
	ErrorRisk    int      `json:"errorRisk" doc:"risk that every action gets while files cannot be checked" min:"0" max:"100" reload:"restart"`
}

// Default checks every 20 seconds with the first runtime's risks (first-runtime.md 6.5).
func Default() Config {
	return Config{Enabled: true, Paths: []string{}, IntervalMs: 20_000, SettleMs: 200, Watch: true, MaxFiles: 4096,
		MaxFileBytes: 1 << 30, Risk: 55, ErrorRisk: 20}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case len(c.Paths) > 256:
		return fmt.Errorf("defend.host.paths: %d; at most 256", len(c.Paths))
	case c.IntervalMs < 1000 || c.IntervalMs > 86_400_000:
		return fmt.Errorf("defend.host.intervalMs: %d; 1000 to 86400000", c.IntervalMs)
	case c.SettleMs < 10 || c.SettleMs > 60_000:
		return fmt.Errorf("defend.host.settleMs: %d; 10 to 60000", c.SettleMs)
	case c.MaxFiles < 1 || c.MaxFiles > 100_000:
		return fmt.Errorf("defend.host.maxFiles: %d; 1 to 100000", c.MaxFiles)
	case c.MaxFileBytes < 1<<20:
		return fmt.Errorf("defend.host.maxFileBytes: %d; at least 1048576", c.MaxFileBytes)
	case c.Risk < 0 || c.Risk > 100:
		return fmt.Errorf("defend.host.risk: %d; 0 to 100", c.Risk)
	case c.ErrorRisk < 0 || c.ErrorRisk > 100:
		return fmt.Errorf("defend.host.errorRisk: %d; 0 to 100", c.ErrorRisk)
	}
	for i, p := range c.Paths {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("defend.host.paths[%d]: %q is not absolute", i, p)
		}
	}
	return nil
}
