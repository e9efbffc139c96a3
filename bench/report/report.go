package report

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice/bench/compare"
	"sluice/bench/load"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxColumns bounds the results of one section; past it colours and columns end.
const maxColumns = 8

//go:embed page.html
var pageText string

// Input is one results file.
type Input struct {
	Name string
	JSON []byte
}

// page is what the template sees.
type page struct {
	Title    string
	Made     string
	Host     string
	Sections []section
	Verdicts []compare.Verdict
	Colours  [maxColumns]struct{} // the template counts them
}

type section struct {
	Title   string
	Note    string
	Columns []column
	Rows    []tableRow
	Charts  []template.HTML
}

// column is one result that is put beside others.
type column struct {
	Name  string
	Class string // c0..c7: its colour
	Run   *load.Result
	// median, if set, holds the figures; Run then only gives the curves.
	median map[string]float64
}

type tableRow struct {
	Name  string
	Cells []cell
}

type cell struct{ Value, Ratio string }

// Write reads the inputs (results of load or compare) and writes the page. verdicts stand
// above those of the comparisons.
func Write(out io.Writer, inputs []Input, now time.Time, verdicts ...compare.Verdict) error {
	p := page{Title: "Sluice bench", Made: now.UTC().Format("2006-01-02 15:04 UTC"), Verdicts: verdicts}
	var plain []column
	for _, in := range inputs {
		single, several, err := parse(in)
		if err != nil {
			return err
		}
		if single != nil {
			plain = append(plain, column{Name: single.Name, Run: single})
			p.host(single)
			continue
		}
		p.Sections = append(p.Sections, compared(several)...)
		p.Verdicts = append(p.Verdicts, several.Verdicts...)
		if len(several.Runs) > 0 {
			p.host(several.Runs[0])
		}
	}
	for part := range slices.Chunk(plain, maxColumns) {
		p.Sections = append(p.Sections, section{Title: "Results", Note: note(part[0].Run), Columns: part})
	}
	if len(p.Sections) == 0 {
		return errors.New("bench report: no results were given")
	}
	for i := range p.Sections {
		p.Sections[i].fill()
	}
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("bench report: %w", err)
	}
	if err := t.Execute(out, p); err != nil {
		return fmt.Errorf("bench report: writing the page: %w", err)
	}
	return nil
}

// parse tells the two forms apart by the member "runs".
func parse(in Input) (*load.Result, *compare.Result, error) {
	var form struct {
		Version int            `json:"version"`
		Runs    jsontext.Value `json:"runs,omitzero"`
	}
	if err := json.Unmarshal(in.JSON, &form); err != nil {
		return nil, nil, fmt.Errorf("bench report: %s is not JSON: %w", in.Name, err)
	}
	if form.Version != 1 {
		return nil, nil, fmt.Errorf("bench report: %s is no result of sluice bench, or of another version (%d, this program reads 1)", in.Name, form.Version)
	}
	if form.Runs != nil {
		var c compare.Result
		if err := json.Unmarshal(in.JSON, &c); err != nil {
			return nil, nil, fmt.Errorf("bench report: %s: %w", in.Name, err)
		}
		if slices.Contains(c.Runs, nil) {
			return nil, nil, fmt.Errorf("bench report: %s has an empty run", in.Name)
		}
		return nil, &c, nil
	}
	var r load.Result
	if err := json.Unmarshal(in.JSON, &r); err != nil {
		return nil, nil, fmt.Errorf("bench report: %s: %w", in.Name, err)
	}
	if r.Name == "" || strings.Contains(r.Name, "://") {
		r.Name = strings.TrimSuffix(filepath.Base(in.Name), ".json")
	}
	return &r, nil, nil
}

func (p *page) host(r *load.Result) {
	p.Host = fmt.Sprintf("%s/%s, %d processors, %s, measured %s", r.Host.OS, r.Host.Arch, r.Host.CPUs, r.Host.Go, r.Started.Format("2006-01-02 15:04 UTC"))
}

// compared makes one section a scenario, with the targets as columns. The curves come
// from the last round; the figures are medians.
func compared(c *compare.Result) []section {
	var out []section
	at := map[string]int{}
	for _, row := range c.Rows {
		i, ok := at[row.Scenario]
		if !ok {
			i = len(out)
			at[row.Scenario] = i
			out = append(out, section{Title: row.Scenario})
		}
		s := &out[i]
		k := slices.IndexFunc(s.Columns, func(x column) bool { return x.Name == row.Target })
		if k < 0 {
			run := last(c.Runs, row.Target+" "+row.Scenario)
			if run == nil || len(s.Columns) == maxColumns {
				continue
			}
			k = len(s.Columns)
			s.Columns = append(s.Columns, column{Name: row.Target, Run: run, median: map[string]float64{}})
		}
		s.Columns[k].median[row.Metric] = row.Median
	}
	out = slices.DeleteFunc(out, func(s section) bool { return len(s.Columns) == 0 })
	for i := range out {
		s := &out[i]
		// The reference stands first: ratios are taken to the first column.
		slices.SortStableFunc(s.Columns, func(a, b column) int {
			return isNot(a.Name == c.Reference) - isNot(b.Name == c.Reference)
		})
		s.Note = fmt.Sprintf("%s. Medians of %d rounds; curves and time series of the last round.", note(s.Columns[0].Run), c.Rounds)
	}
	return out
}

func isNot(b bool) int {
	if b {
		return 0
	}
	return 1
}

func last(runs []*load.Result, name string) *load.Result {
	for _, r := range slices.Backward(runs) {
		if r.Name == name {
			return r
		}
	}
	return nil
}

func note(r *load.Result) string {
	c := r.Settings
	if r.Loop == "open" {
		return fmt.Sprintf("Open loop, %.0f a second over %d connections, mix %s", c.RatePerSecond, c.Connections, c.Mix)
	}
	return fmt.Sprintf("Closed loop, %d connections × %d in flight, mix %s", c.Connections, c.InFlight, c.Mix)
}

// fill makes the section's table and charts.
func (s *section) fill() {
	for i := range s.Columns {
		s.Columns[i].Class = fmt.Sprintf("c%d", i)
	}
	for _, f := range figures() {
		s.addRow(f)
	}
	s.addChart(bars("Throughput", "answers a second", s.Columns, "rps"))
	s.addChart(bars("Server CPU", "µs a call", s.Columns, "cpu"))
	s.addChart(bars("Server memory, maximum", "MiB", s.Columns, "rss"))
	s.addChart(bars("Memory of an idle connection", "KiB", s.Columns, "idle"))
	s.addChart(latencyCurves(s.Columns))
	s.addChart(series("Throughput over time", "answers a second", s.Columns, func(p load.Point) float64 { return p.PerSecond }))
	s.addChart(series("p99 over time", "ms", s.Columns, func(p load.Point) float64 { return p.P99 }))
	s.addChart(series("Server memory over time", "MiB", s.Columns, func(p load.Point) float64 { return float64(p.RSS) / (1 << 20) }))
}

func (s *section) addChart(svg string) {
	if svg != "" {
		s.Charts = append(s.Charts, template.HTML(svg)) // built by svg.go, which escapes every text
	}
}

func (s *section) addRow(f figure) {
	r := tableRow{Name: f.name}
	var first float64
	any := false
	for i, c := range s.Columns {
		v, ok := c.value(f.key)
		if !ok || (f.hideZero && v == 0) {
			r.Cells = append(r.Cells, cell{Value: "–"})
			continue
		}
		any = true
		x := cell{Value: compare.Number(v)}
		if i == 0 {
			first = v
		} else if first != 0 && !f.hideZero {
			x.Ratio = "× " + compare.Number(v/first)
		}
		r.Cells = append(r.Cells, x)
	}
	if any {
		s.Rows = append(s.Rows, r)
	}
}

// figure is one row of the table.
type figure struct {
	key, name string
	hideZero  bool // a count that is worth a row only if something went wrong
}

func figures() []figure {
	return []figure{
		{"rps", "answers a second", false}, {"cpu", "server CPU, µs a call", false}, {"p50", "p50, ms", false}, {"p90", "p90, ms", false},
		{"p99", "p99, ms", false}, {"p999", "p99.9, ms", false}, {"max", "maximum, ms", false},
		{"rssStart", "RSS at the start, MiB", false}, {"rss", "RSS maximum, MiB", false}, {"idle", "KiB an idle connection", false},
		{"hello50", "hello p50 beside the load, ms", false}, {"hello99", "hello p99 beside the load, ms", false},
		{"failed", "refused, failed, lost or cut off", true}, {"refused", "refused", true}, {"failedOnly", "failed", true}, {"lost", "lost or cut off", true}, {"unsent", "due, not sent", true},
		{"generator", "generator CPU, µs a call", false},
	}
}

// value returns a figure of a column; ok is false for what was not measured.
func (c column) value(key string) (v float64, ok bool) {
	if c.median != nil { // one round's other figures do not belong beside medians
		v, ok = c.median[key]
		return v, ok
	}
	r, t := c.Run, c.Run.Total
	switch key {
	case "rps":
		return r.PerSecond, t.Sent > 0
	case "p50":
		return t.Latency.P50, t.Latency.N > 0
	case "p90":
		return t.Latency.P90, t.Latency.N > 0
	case "p99":
		return t.Latency.P99, t.Latency.N > 0
	case "p999":
		return t.Latency.P999, t.Latency.N > 0
	case "max":
		return t.Latency.Max, t.Latency.N > 0
	case "refused":
		return float64(t.Refused), true
	case "failedOnly":
		return float64(t.Failed), true
	case "lost":
		return float64(t.Lost + t.CutOff), true
	case "unsent":
		return float64(t.Unsent), true
	case "generator":
		return r.Generator.CPUPerCallUs, t.Sent > 0
	}
	if h := r.Hello; h != nil && h.Latency.N > 0 {
		switch key {
		case "hello50":
			return h.Latency.P50, true
		case "hello99":
			return h.Latency.P99, true
		}
	}
	if s := r.Server; s != nil {
		switch key {
		case "cpu":
			return s.CPUPerCallUs, t.Sent > 0
		case "rss":
			return float64(s.RSSMax) / (1 << 20), true
		case "rssStart":
			return float64(s.RSSStart) / (1 << 20), true
		case "idle":
			if r.Idle != nil {
				return r.Idle.BytesPerConnection / 1024, true
			}
		}
	}
	return 0, false
}

// Encode is the form in which results are kept; Write reads it.
func Encode(res *compare.Result) ([]byte, error) {
	b, err := json.Marshal(res)
	if err != nil {
		return nil, fmt.Errorf("bench report: %w", err)
	}
	return b, nil
}
