package defend

import (
	"sync"

	"sluice/pipeline"
)

// Findings collects what defenders found in one action. It is used by one goroutine.
type Findings struct {
	risk    int
	floor   pipeline.Action
	reasons []string
	tags    []string
}

// Hit adds weight with a tag and a reason. Reasons are shown to clients and operators:
// they name the rule and never repeat the text that was judged.
func (f *Findings) Hit(weight int, tag, reason string) {
	f.Risk(weight)
	f.note(tag, reason)
}

// Risk adds weight alone.
func (f *Findings) Risk(weight int) {
	// A saturating sum: a list of rules from the configuration cannot wrap it around.
	f.risk = min(f.risk+weight, maxRisk)
}

const maxRisk = 1 << 20

// Floor makes action the least that the verdict may be.
func (f *Findings) Floor(action pipeline.Action, tag, reason string) {
	f.floor = max(f.floor, action)
	f.note(tag, reason)
}

// Raise is Floor without a tag or reason of its own.
func (f *Findings) Raise(action pipeline.Action) { f.floor = max(f.floor, action) }

func (f *Findings) note(tag, reason string) {
	f.tags = append(f.tags, tag)
	f.reasons = append(f.reasons, reason)
}

// clean is the decision on an action in which nothing was found. It is shared: a
// Decision does not change once made.
var clean = &pipeline.Decision{Action: pipeline.Allow}

// decide applies the thresholds and the floor (first-runtime.md 6.3).
func (f *Findings) decide(cfg *Config) *pipeline.Decision {
	if f.risk <= 0 && f.floor == pipeline.Allow && len(f.tags) == 0 {
		return clean
	}
	d := &pipeline.Decision{Risk: max(0, min(f.risk, 100)),
		Reasons: append([]string(nil), f.reasons...), Tags: append([]string(nil), f.tags...)}
	switch {
	case d.Risk >= cfg.BlockThreshold:
		d.Action = pipeline.Block
	case d.Risk >= cfg.ReviewThreshold:
		d.Action = pipeline.Review
	}
	d.Action = max(d.Action, f.floor)
	return d
}

var findings = sync.Pool{New: func() any { return new(Findings) }}

func newFindings() *Findings { return findings.Get().(*Findings) }

func (f *Findings) free() {
	clear(f.reasons)
	clear(f.tags)
	*f = Findings{reasons: f.reasons[:0], tags: f.tags[:0]}
	findings.Put(f)
}
