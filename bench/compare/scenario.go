package compare

import (
	"fmt"
	"strconv"
	"strings"

	"sluice/bench/load"
)

// Scenario is one load that every target gets.
type Scenario struct {
	Name string      `json:"name"`
	Load load.Config `json:"load"`
}

// ParseScenario reads "name" (a method of that name) or
// "name:mix=health=8,chat.inject=1;connections=64;inflight=4;rate=1000;seconds=3".
// base gives everything that is not said.
func ParseScenario(text string, base load.Config) (Scenario, error) {
	name, rest, _ := strings.Cut(text, ":")
	s := Scenario{Name: name, Load: base}
	s.Load.Mix = name
	bad := func(why string) (Scenario, error) {
		return Scenario{}, fmt.Errorf("bench compare: scenario %q: %s; write name or name:mix=METHODS;connections=N;inflight=N;rate=R;seconds=S", text, why)
	}
	if name == "" || strings.ContainsAny(name, "@<>=, ") {
		return bad("the name must be one word, for requirements name it")
	}
	for pair := range strings.SplitSeq(rest, ";") {
		if pair == "" {
			continue
		}
		key, val, _ := strings.Cut(pair, "=")
		var err error
		switch key {
		case "mix":
			s.Load.Mix = val
		case "connections":
			s.Load.Connections, err = strconv.Atoi(val)
		case "inflight":
			s.Load.InFlight, err = strconv.Atoi(val)
		case "rate":
			s.Load.RatePerSecond, err = strconv.ParseFloat(val, 64)
		case "seconds":
			var sec float64
			sec, err = strconv.ParseFloat(val, 64)
			s.Load.DurationMs = int(sec * 1000)
		default:
			return bad("unknown key " + key)
		}
		if err != nil {
			return bad(key + " is no number")
		}
	}
	return s, nil
}

// Metrics of one scenario and target. cpu is µs a call, p50 and p99 are ms, rss is the
// maximum in MiB, rps answers a second, failed everything that was not ok, lost
// requests never answered or cut off.
var metricNames = [...]string{"cpu", "rps", "p50", "p99", "rss", "failed", "lost"}

// values takes the metrics out of a result; those that need a pid are absent without.
func values(r *load.Result) map[string]float64 {
	t := r.Total
	m := map[string]float64{"rps": r.PerSecond, "p50": t.Latency.P50, "p99": t.Latency.P99,
		"failed": float64(t.Refused + t.Failed + t.Lost + t.CutOff), "lost": float64(t.Lost + t.CutOff)}
	if s := r.Server; s != nil && s.Error == "" {
		m["cpu"], m["rss"] = s.CPUPerCallUs, float64(s.RSSMax)/(1<<20)
	}
	return m
}
