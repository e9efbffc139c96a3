package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice/bench/compare"
	"sluice/bench/report"
	"sluice/bench/suite"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

func suiteCommand() *cobra.Command {
	cfg, dir, openclaw := suite.Default(), "bin/bench", ""
	var duration, warmup, flood time.Duration
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "Every figure that is promised, in one run: a table, JSON and a page (`make bench`)",
		Long: "Measures in one run what docs/bench.md promises, each case with a gateway of its own: " + strings.Join(suite.Cases(), ", ") + ".\n" +
			"Exit status 1 when a target is missed; those that depend on the disk or on a quiet machine count only with --strict.",
		Example: "  sluice bench suite --dir bin/bench\n  sluice bench suite --only speed --openclaw /opt/oc/node_modules\n  sluice bench suite --only flood --flood 60s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			cfg.DurationMs, cfg.WarmupMs, cfg.FloodMs = int(duration/time.Millisecond), int(warmup/time.Millisecond), int(flood/time.Millisecond)
			if cfg.Self, err = os.Executable(); err != nil {
				return fmt.Errorf("bench suite: this program's own path: %w", err)
			}
			if openclaw != "" {
				if !strings.Contains(openclaw, "://") {
					openclaw = "@openclaw:" + openclaw
				}
				if cfg.OpenClaw, err = compare.ParseTarget("openclaw="+openclaw, cfg.Self); err != nil {
					return err
				}
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("bench suite: %w", err)
			}
			if cfg.StateDir == "" {
				cfg.StateDir = dir
			}
			res, err := suite.Run(cmd.Context(), cfg, cmd.ErrOrStderr())
			if res != nil && len(res.Rows) > 0 { // what was done before an error still stands
				err = errors.Join(err, keepSuite(dir, res), res.Table(cmd.OutOrStdout()))
			}
			if err == nil && !res.Held() {
				return ErrBroken
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", dir, "folder for the results; made if it is missing")
	f.StringSliceVar(&cfg.Only, "only", nil, "cases to run: "+strings.Join(suite.Cases(), ", "))
	f.StringVar(&openclaw, "openclaw", "", "a real openclaw to measure beside: its node_modules folder, or ws://127.0.0.1:PORT,pid=N,token=T")
	f.StringVar(&cfg.StateDir, "state-dir", "", "folder on the disk that durable writes are measured on (default: --dir)")
	f.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "rounds of each comparison")
	f.DurationVarP(&duration, "duration", "d", ms(cfg.DurationMs), "time of one measurement")
	f.DurationVar(&warmup, "warmup", ms(cfg.WarmupMs), "load before it, not counted")
	f.DurationVar(&flood, "flood", ms(cfg.FloodMs), "time of the flood")
	f.IntVar(&cfg.IdleConnections, "idle", cfg.IdleConnections, "idle connections to hold")
	f.Float64Var(&cfg.MaxFloodRSSMiB, "max-rss-mib", cfg.MaxFloodRSSMiB, "memory that the flooded gateway must stay below")
	f.BoolVar(&cfg.Strict, "strict", false, "fail for figures that depend on the disk or on a quiet machine, too")
	return cmd
}

// keepSuite writes the results into dir: suite.json, one file for each single result,
// and index.html with all of them.
func keepSuite(dir string, res *suite.Result) error {
	var inputs []report.Input
	for _, name := range res.Names() {
		b, err := writeJSON(filepath.Join(dir, name+".json"), res.Single[name])
		if err != nil {
			return err
		}
		inputs = append(inputs, report.Input{Name: name, JSON: b})
	}
	if _, err := writeJSON(filepath.Join(dir, "suite.json"), res); err != nil {
		return err
	}
	if len(inputs) == 0 {
		return nil
	}
	return writeReport(filepath.Join(dir, "index.html"), inputs, res.Verdicts()...)
}

func writeJSON(file string, v any) ([]byte, error) {
	b, err := json.Marshal(v, jsontext.Multiline(true))
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		return nil, fmt.Errorf("bench: writing a result: %w", err)
	}
	return b, nil
}
