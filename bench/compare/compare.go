package compare

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"sluice/bench/load"
	"sluice/bench/measure"
)

// Config is one comparison.
type Config struct {
	// Targets; the first is the one that requirements are about.
	Targets []Target
	// Reference is the name of the target that ratios are taken to. Default: the target
	// named "limit", else the last one.
	Reference string
	Scenarios []Scenario
	// Rounds of every scenario on every target. Default 3; the median counts.
	Rounds       int
	Requirements []Requirement
}

// Validate names what cannot work.
func (c *Config) Validate() error {
	if len(c.Targets) == 0 || len(c.Targets) > 8 || len(c.Scenarios) == 0 || len(c.Scenarios) > 32 {
		return fmt.Errorf("bench compare: %d targets and %d scenarios; 1 to 8 and 1 to 32 are possible", len(c.Targets), len(c.Scenarios))
	}
	if c.Rounds < 1 || c.Rounds > 100 {
		return fmt.Errorf("bench compare: %d rounds, must be 1 to 100", c.Rounds)
	}
	names := map[string]bool{}
	for _, t := range c.Targets {
		if names[t.Name] {
			return fmt.Errorf("bench compare: two targets are called %s", t.Name)
		}
		names[t.Name] = true
	}
	if c.Reference == "" {
		c.Reference = c.Targets[len(c.Targets)-1].Name
		if names["limit"] {
			c.Reference = "limit"
		}
	}
	if !names[c.Reference] {
		return fmt.Errorf("bench compare: the reference %s is no target", c.Reference)
	}
	scenarios := map[string]bool{}
	for _, s := range c.Scenarios {
		scenarios[s.Name] = true
	}
	for _, r := range c.Requirements { // a typing error must not wait until the end
		if !scenarios[r.Scenario] || (r.Versus != "" && !names[r.Versus]) {
			return fmt.Errorf("bench compare: requirement %q is about a scenario or target that is not run", r.Text)
		}
	}
	return nil
}

// Result is the comparison's outcome.
type Result struct {
	Version   int       `json:"version"`
	Started   time.Time `json:"started"`
	Reference string    `json:"reference"`
	Rounds    int       `json:"rounds"`
	Targets   []Target  `json:"targets"`
	Rows      []Row     `json:"rows"`
	Verdicts  []Verdict `json:"verdicts,omitempty"`
	// Runs are the single results, in the order in which they ran.
	Runs []*load.Result `json:"runs"`
}

// Row is one metric of one scenario and target over the rounds.
type Row struct {
	Scenario string  `json:"scenario"`
	Target   string  `json:"target"`
	Metric   string  `json:"metric"`
	Median   float64 `json:"median"`
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
	// Ratio is the median over the reference's; 0 if that is 0 or unknown.
	Ratio float64 `json:"ratio"`
}

// Held tells whether every requirement held.
func (r *Result) Held() bool {
	return !slices.ContainsFunc(r.Verdicts, func(v Verdict) bool { return !v.OK })
}

// Run starts what must be started, runs the rounds and stops it again.
func Run(ctx context.Context, cfg Config, progress io.Writer) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	res := &Result{Version: 1, Started: time.Now().UTC().Truncate(time.Second), Reference: cfg.Reference, Rounds: cfg.Rounds, Targets: slices.Clone(cfg.Targets)}
	for i := range res.Targets {
		if len(res.Targets[i].Command) == 0 {
			continue
		}
		fmt.Fprintf(progress, "starting %s\n", res.Targets[i].Name)
		c, err := res.Targets[i].start(ctx)
		if err != nil {
			return nil, err
		}
		defer c.Stop()
	}
	samples := map[key][]float64{}
	for round := range cfg.Rounds {
		for _, s := range cfg.Scenarios {
			for _, t := range res.Targets {
				if err := ctx.Err(); err != nil {
					return nil, fmt.Errorf("bench compare: interrupted: %w", context.Cause(ctx))
				}
				one, err := runOne(ctx, s, t)
				if err != nil {
					return nil, fmt.Errorf("bench compare: %s on %s: %w", s.Name, t.Name, err)
				}
				res.Runs = append(res.Runs, one)
				for metric, v := range values(one) {
					k := key{s.Name, t.Name, metric}
					samples[k] = append(samples[k], v)
				}
				fmt.Fprintf(progress, "round %d  %-16s %-12s %s\n", round+1, s.Name, t.Name, brief(one))
			}
		}
	}
	res.tabulate(cfg, samples)
	for _, r := range cfg.Requirements {
		res.Verdicts = append(res.Verdicts, r.check(res))
	}
	return res, nil
}

type key struct{ scenario, target, metric string }

func runOne(ctx context.Context, s Scenario, t Target) (*load.Result, error) {
	c := s.Load
	c.Name, c.URL, c.Token, c.PID, c.DeviceFile = t.Name+" "+s.Name, t.URL, t.Token, t.PID, t.DeviceFile
	return load.Run(ctx, c, io.Discard)
}

func brief(r *load.Result) string {
	s := fmt.Sprintf("%8.0f/s  p50 %s  p99 %s", r.PerSecond, measure.Show(r.Total.Latency.P50), measure.Show(r.Total.Latency.P99))
	if r.Server != nil {
		s += fmt.Sprintf("  %.2f µs CPU a call  rss %.1f MiB", r.Server.CPUPerCallUs, float64(r.Server.RSSMax)/(1<<20))
	}
	if n := r.Total.Sent - r.Total.OK; n > 0 {
		s += fmt.Sprintf("  NOT OK %d", n)
	}
	return s
}

// tabulate makes the rows, in a fixed order.
func (r *Result) tabulate(cfg Config, samples map[key][]float64) {
	for _, s := range cfg.Scenarios {
		for _, m := range metricNames {
			for _, t := range r.Targets {
				v := samples[key{s.Name, t.Name, m}]
				if len(v) == 0 {
					continue
				}
				r.Rows = append(r.Rows, Row{Scenario: s.Name, Target: t.Name, Metric: m, Median: median(v), Min: slices.Min(v), Max: slices.Max(v)})
			}
		}
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		if ref, ok := r.median(row.Scenario, r.Reference, row.Metric); ok && ref != 0 {
			row.Ratio = row.Median / ref
		}
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// Median is the metric of one scenario and target (names as in Row); 0 when it was not
// measured.
func (r *Result) Median(scenario, target, metric string) float64 {
	v, _ := r.median(scenario, target, metric)
	return v
}

func (r *Result) median(scenario, target, metric string) (float64, bool) {
	for _, row := range r.Rows {
		if row.Scenario == scenario && row.Target == target && row.Metric == metric {
			return row.Median, true
		}
	}
	return 0, false
}

// Number prints v with about four digits and no exponent.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.1:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', 5, 64)
}

// Unit is a metric's name for people, with its unit.
func Unit(metric string) string {
	switch metric {
	case "cpu":
		return "CPU µs a call"
	case "rps":
		return "answers a second"
	case "p50", "p99":
		return metric + " ms"
	case "rss":
		return "RSS max MiB"
	}
	return metric
}

// Table writes the result for a person.
func (r *Result) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "scenario\tmetric\ttarget\tmedian\tmin..max of %d\tto %s\n", r.Rounds, r.Reference)
	for _, row := range r.Rows {
		if (row.Metric == "failed" || row.Metric == "lost") && row.Max == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s..%s\t%s\n", row.Scenario, Unit(row.Metric), row.Target, Number(row.Median), Number(row.Min), Number(row.Max), Number(row.Ratio))
	}
	for _, v := range r.Verdicts {
		word := "held"
		if !v.OK {
			word = "BROKEN"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", word, v.Text, Number(v.Value), v.Why)
	}
	return w.Flush()
}
