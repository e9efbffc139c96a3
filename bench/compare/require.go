package compare

import (
	"fmt"
	"regexp"
	"strconv"
)

// Requirement is an assertion about the first target: "health.cpu_ratio<=2.0" compares
// its median with the reference's, "health.cpu_ratio@openclaw<=0.01" with another
// target's, "health.p99<=50" is absolute. Operators are <=, <, >= and >.
type Requirement struct {
	Text     string
	Scenario string
	Metric   string
	Ratio    bool
	Versus   string // the target of a ratio; empty is the reference
	Op       string
	Bound    float64
}

// ParseRequirement reads one.
func ParseRequirement(text string) (Requirement, error) {
	form := regexp.MustCompile(`^([^<>=@]+)\.([a-z0-9]+)(_ratio)?(?:@([^<>=@]+))?(<=|>=|<|>)([0-9.eE+-]+)$`)
	m := form.FindStringSubmatch(text)
	bad := func(why string) (Requirement, error) {
		return Requirement{}, fmt.Errorf("bench compare: requirement %q: %s; write SCENARIO.METRIC<=NUMBER, SCENARIO.METRIC_ratio<=NUMBER or SCENARIO.METRIC_ratio@TARGET<=NUMBER with a metric of %v", text, why, metricNames)
	}
	if m == nil {
		return bad("unknown form")
	}
	bound, err := strconv.ParseFloat(m[6], 64)
	if err != nil {
		return bad("the bound is no number")
	}
	known := false
	for _, n := range metricNames {
		known = known || n == m[2]
	}
	if !known {
		return bad("unknown metric " + m[2])
	}
	if m[4] != "" && m[3] == "" {
		return bad("@ goes with a ratio")
	}
	return Requirement{Text: text, Scenario: m[1], Metric: m[2], Ratio: m[3] != "", Versus: m[4], Op: m[5], Bound: bound}, nil
}

// Verdict is one requirement's outcome.
type Verdict struct {
	Text  string  `json:"text"`
	Value float64 `json:"value"`
	OK    bool    `json:"ok"`
	// Why says what was missing if there is no value; that is not ok.
	Why string `json:"why,omitzero"`
}

// check looks the figures up. What was not measured does not hold.
func (r Requirement) check(res *Result) Verdict {
	v := Verdict{Text: r.Text}
	val, ok := res.median(r.Scenario, res.Targets[0].Name, r.Metric)
	if !ok {
		v.Why = fmt.Sprintf("no %s of %s in scenario %s was measured (a pid is needed for cpu and rss)", r.Metric, res.Targets[0].Name, r.Scenario)
		return v
	}
	if r.Ratio {
		versus := r.Versus
		if versus == "" {
			versus = res.Reference
		}
		other, ok := res.median(r.Scenario, versus, r.Metric)
		if !ok || other == 0 {
			v.Why = fmt.Sprintf("no %s of %s in scenario %s to compare with", r.Metric, versus, r.Scenario)
			return v
		}
		val /= other
	}
	v.Value = val
	switch r.Op {
	case "<=":
		v.OK = val <= r.Bound
	case "<":
		v.OK = val < r.Bound
	case ">=":
		v.OK = val >= r.Bound
	case ">":
		v.OK = val > r.Bound
	}
	return v
}
