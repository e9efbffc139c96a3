package suite

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"sluice/bench/compare"
)

// Config is one run of the suite. Start from Default.
type Config struct {
	// Self is the program that is measured: its serve and bench limit. No default.
	Self string `json:"self"`
	// StateDir is where the gateways keep their state; its disk is what the durable
	// writes are measured on, so it should be no memory disk. No default.
	StateDir string `json:"stateDir"`
	// Only names the cases to run; empty runs all.
	Only []string `json:"only,omitempty"`
	// OpenClaw, if its Name is set, is measured beside.
	OpenClaw compare.Target `json:"openClaw,omitzero"`
	// Rounds of each comparison. Default 3.
	Rounds int `json:"rounds"`
	// DurationMs of one measurement, after WarmupMs of the same load. Defaults 4000 and
	// 1000.
	DurationMs int `json:"durationMs"`
	WarmupMs   int `json:"warmupMs"`
	// SettleMs is waited before memory is read. Default 3000.
	SettleMs int `json:"settleMs"`
	// FloodMs of ten times the capacity. Default 15 000; the requirement says 60 000.
	FloodMs int `json:"floodMs"`
	// IdleConnections are opened and held. Default 10 000.
	IdleConnections int `json:"idleConnections"`
	// MaxFloodRSSMiB is the memory budget of the flood. Default 256.
	MaxFloodRSSMiB float64 `json:"maxFloodRssMib"`
	// Strict: a target that depends on the disk or on how busy the machine is fails the
	// run as well.
	Strict bool `json:"strict"`
}

// Default returns the usual Config; Self is missing.
func Default() Config {
	return Config{Rounds: 3, DurationMs: 4000, WarmupMs: 1000, SettleMs: 3000, FloodMs: 15_000, IdleConnections: 10_000, MaxFloodRSSMiB: 256}
}

// Validate names the first field that cannot work.
func (c Config) Validate() error {
	for _, f := range []struct {
		name           string
		v, least, most int
	}{{"rounds", c.Rounds, 1, 100}, {"duration", c.DurationMs, 1, 3_600_000}, {"warm-up", c.WarmupMs, 0, 600_000},
		{"settle", c.SettleMs, 0, 600_000}, {"flood", c.FloodMs, 1, 3_600_000}, {"idle connections", c.IdleConnections, 1, 19_000}} {
		if f.v < f.least || f.v > f.most {
			return fmt.Errorf("bench suite: %s is %d, must be %d to %d", f.name, f.v, f.least, f.most)
		}
	}
	names := Cases()
	for _, n := range c.Only {
		if !slices.Contains(names, n) {
			return fmt.Errorf("bench suite: there is no case %q; there are %s", n, strings.Join(names, ", "))
		}
	}
	if c.Self == "" {
		return fmt.Errorf("bench suite: the program to measure is not given")
	}
	if st, err := os.Stat(c.StateDir); err != nil || !st.IsDir() {
		return fmt.Errorf("bench suite: %q is no folder; name one on the disk to measure with --state-dir", c.StateDir)
	}
	return nil
}
