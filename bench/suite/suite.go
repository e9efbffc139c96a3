// Package suite measures in one run everything that the project promises about its
// speed and size, and says of each figure whether it holds. Each case starts its own
// gateway with empty state and stops it again; what a case needs beside it, such as a
// model or a trace collector, runs in this process.
//
// Lifecycle: Run, then the Result's Table, its JSON and the single results for a page.
package suite

import (
	"context"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"sluice/bench/compare"
	"sluice/bench/load"
	"sluice/bench/spawn"
)

// testCase is one case of the suite.
type testCase struct {
	name string
	run  func(*suite, context.Context) error
}

// cases are listed in the order in which they run.
func cases() []testCase {
	return []testCase{
		{"speed", (*suite).speed},
		{"durable", (*suite).durable},
		{"memory", (*suite).memory},
		{"hello", (*suite).hello},
		{"flood", (*suite).flood},
		{"tracing", (*suite).tracing},
	}
}

// Cases names the cases of the suite.
func Cases() []string {
	var names []string
	for _, c := range cases() {
		names = append(names, c.name)
	}
	return names
}

// Row is one figure.
type Row struct {
	Case  string  `json:"case"`
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitzero"`
	// Op and Bound are what is required; an empty Op requires nothing.
	Op    string  `json:"op,omitzero"`
	Bound float64 `json:"bound,omitzero"`
	Met   bool    `json:"met"`
	// Soft figures depend on the disk or on how busy the machine is: missing one only
	// fails a strict run.
	Soft bool   `json:"soft,omitzero"`
	Note string `json:"note,omitzero"`
}

// Result is everything that one run measured.
type Result struct {
	Version int       `json:"version"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Host    load.Host `json:"host"`
	Config  Config    `json:"config"`
	Rows    []Row     `json:"rows"`
	// Single holds the results that the rows were taken from, by file name without its
	// ending; a *load.Result, *compare.Result or *disk.Result each.
	Single map[string]any `json:"-"`
	// order of Single, as they were made
	order []string
}

// suite is one run under way.
type suite struct {
	cfg  Config
	out  io.Writer
	res  *Result
	name string // of the case
}

// Run runs the cases and returns what they measured. progress gets a line for each step.
// An error means that a case could not be done; the Result has what was done before.
func Run(ctx context.Context, cfg Config, progress io.Writer) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	began := time.Now()
	s := &suite{cfg: cfg, out: progress, res: &Result{Version: 1, Started: began.UTC().Truncate(time.Second), Config: cfg, Single: map[string]any{},
		Host: load.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()}}}
	defer func() { s.res.Seconds = time.Since(began).Seconds() }()
	for _, c := range cases() {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, c.name) {
			continue
		}
		s.name = c.name
		fmt.Fprintf(progress, "== %s\n", c.name)
		if err := c.run(s, ctx); err != nil {
			return s.res, fmt.Errorf("bench suite: %s: %w", c.name, err)
		}
	}
	return s.res, nil
}

// gateway starts a fresh gateway with these variables.
func (s *suite) gateway(ctx context.Context, env ...string) (*spawn.Gateway, error) {
	return spawn.Start(ctx, spawn.Command{Name: "sluice", Args: spawn.Serve(s.cfg.Self), Env: env, Dir: s.cfg.StateDir})
}

// base is a load of the suite's usual times.
func (s *suite) base() load.Config {
	c := load.Default()
	c.DurationMs, c.WarmupMs, c.IdleSettleMs = s.cfg.DurationMs, s.cfg.WarmupMs, s.cfg.SettleMs
	return c
}

// load runs one load on g and keeps its result under the name.
func (s *suite) load(ctx context.Context, g *spawn.Gateway, name string, change func(*load.Config)) (*load.Result, error) {
	c := s.base()
	c.Name, c.URL, c.Token, c.PID = name, g.URL, g.Token, g.PID
	change(&c)
	res, err := load.Run(ctx, c, io.Discard)
	if err != nil {
		return nil, err
	}
	s.keep(name, res)
	fmt.Fprintf(s.out, "   %-24s %8.0f/s  %s\n", name, res.PerSecond, res.Total.Latency)
	return res, nil
}

func (s *suite) keep(name string, res any) {
	s.res.Single[name] = res
	s.res.order = append(s.res.order, name)
}

// row adds a figure without a requirement.
func (s *suite) row(what string, v float64, unit, note string) {
	s.add(Row{Case: s.name, What: what, Value: v, Unit: unit, Met: true, Note: note})
}

// add keeps a row. A ratio to what was not measured, as processor time where there is no
// /proc, is no figure, and what it should meet is not met.
func (s *suite) add(r Row) {
	if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
		r.Value, r.Met, r.Note = 0, r.Op == "", "not measured"
	}
	s.res.Rows = append(s.res.Rows, r)
}

// require adds a figure with one.
func (s *suite) require(soft bool, what string, v float64, unit, op string, bound float64, note string) {
	r := Row{Case: s.name, What: what, Value: v, Unit: unit, Op: op, Bound: bound, Soft: soft, Note: note}
	switch op {
	case "<=":
		r.Met = v <= bound
	case "<":
		r.Met = v < bound
	case ">=":
		r.Met = v >= bound
	}
	s.add(r)
}

// Held tells whether everything that had to hold did.
func (r *Result) Held() bool {
	return !slices.ContainsFunc(r.Rows, func(x Row) bool { return !x.Met && (r.Config.Strict || !x.Soft) })
}

// Names lists the single results in the order in which they were made.
func (r *Result) Names() []string { return r.order }

// Verdicts are the rows that require something, for the page.
func (r *Result) Verdicts() []compare.Verdict {
	var out []compare.Verdict
	for _, x := range r.Rows {
		if x.Op != "" {
			out = append(out, compare.Verdict{Text: fmt.Sprintf("%s: %s %s %s", x.What, x.Op, compare.Number(x.Bound), x.Unit), Value: x.Value, OK: x.Met, Why: x.Note})
		}
	}
	return out
}

// Table writes the result for a person.
func (r *Result) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "case\tfigure\tmeasured\trequired\t\tnote\n")
	for _, x := range r.Rows {
		required, met := "", ""
		if x.Op != "" {
			required, met = x.Op+" "+compare.Number(x.Bound), "met"
			if !x.Met {
				met = "MISSED"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s %s\t%s\t%s\t%s\n", x.Case, x.What, compare.Number(x.Value), x.Unit, required, met, x.Note)
	}
	fmt.Fprintf(w, "\n%s/%s, %d processors, %s, %s, %.0f s\n", r.Host.OS, r.Host.Arch, r.Host.CPUs, r.Host.Go, r.Started.Format("2006-01-02 15:04 UTC"), r.Seconds)
	return w.Flush()
}
