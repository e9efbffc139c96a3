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
	// writes are measured on. Default: the system's folder for temporary files.
	StateDir string `json:"stateDir"`
	// Only names the cases to run; empty runs all.
	Only []string `json:"only,omitempty"`
	// OpenClaw, if its Name is set, is measured beside.
	OpenClaw compare.Target `json:"openClaw,omitzero"`
	// Rounds of each comparison. Default 3. Seconds of one measurement. Default 4.
	Rounds  int `json:"rounds"`
	Seconds int `json:"seconds"`
	// FloodSeconds of ten times the capacity. Default 15; the requirement says 60.
	FloodSeconds int `json:"floodSeconds"`
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
	return Config{StateDir: os.TempDir(), Rounds: 3, Seconds: 4, FloodSeconds: 15, IdleConnections: 10_000, MaxFloodRSSMiB: 256}
}

// Validate names the first field that cannot work.
func (c Config) Validate() error {
	for _, f := range []struct {
		name           string
		v, least, most int
	}{{"rounds", c.Rounds, 1, 100}, {"seconds", c.Seconds, 1, 3600}, {"flood seconds", c.FloodSeconds, 1, 3600}, {"idle connections", c.IdleConnections, 1, 19_000}} {
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
