package defend

import (
	"sync"

	"sluice/pipeline"
)

// Findings collects what defenders found in one action. It is used by one goroutine.
//
// Three kinds of risk stay apart, because they mean different things:
//
//   - what the content is (Score): the worst of all opinions counts. Two models that
//     fear the same sentence are one fear, not two.
//   - that something is wrong beside the content, such as a changed binary (Add): it
//     adds to the content's risk and may block.
//   - where the action comes from and what it goes through (Weight): it adds, but brings
//     an action to review at most. A channel says nothing about what a command does.
type Findings struct {
	content float64
	alarm   float64
	context float64
	floor   pipeline.Action
	reasons []string
	tags    []string
	spans   []Mark
}

// Mark is a part of a judged text, in bytes, that counted.
type Mark struct{ Start, End int }

// Score says how dangerous the content is, 0 to 100: the largest of all scores counts.
// Defenders report it also for what is harmless: it ranks texts (`sluice scan`), and a
// score below half of what is reviewed counts as none in a verdict.
func (f *Findings) Score(risk float64) { f.content = max(f.content, risk) }

// Hit is Score with a tag and a reason. Reasons are shown to clients and operators: they
// name the rule and never repeat the text that was judged.
func (f *Findings) Hit(risk float64, tag, reason string) {
	f.Score(risk)
	f.Note(tag, reason)
}

// Add adds risk that holds whatever the content is; it may block.
func (f *Findings) Add(risk int, tag, reason string) {
	f.alarm += float64(risk)
	f.Note(tag, reason)
}

// Weight adds the risk of a channel or a tool; alone it brings an action to review at most.
func (f *Findings) Weight(risk int, tag, reason string) {
	f.context += float64(risk)
	f.Note(tag, reason)
}

// Floor makes action the least that the verdict may be.
func (f *Findings) Floor(action pipeline.Action, tag, reason string) {
	f.floor = max(f.floor, action)
	f.Note(tag, reason)
}

// Raise is Floor without a tag or reason of its own.
func (f *Findings) Raise(action pipeline.Action) { f.floor = max(f.floor, action) }

// Note adds a tag and a reason without any risk.
func (f *Findings) Note(tag, reason string) {
	f.tags = append(f.tags, tag)
	f.reasons = append(f.reasons, reason)
}

// Mark notes which part of the text counted, for `sluice scan --explain`.
func (f *Findings) Mark(start, end int) {
	if len(f.spans) < maxMarks {
		f.spans = append(f.spans, Mark{start, end})
	}
}

const maxMarks = 64

// Marks are the noted parts; they are valid until the next action is judged.
func (f *Findings) Marks() []Mark { return f.spans }

// clean is the decision on an action in which nothing was found. It is shared: a
// Decision does not change once made.
var clean = &pipeline.Decision{Action: pipeline.Allow}

// Content is the largest score of the content alone, also one that is too low to count.
func (f *Findings) Content() float64 { return f.content }

// counted is the content's risk as far as it counts: a model has some small opinion about
// every text, and added to a channel's or an alert's risk it would review or block harmless
// ones.
func (f *Findings) counted(t Thresholds) float64 {
	if f.content < float64(t.Review)/2 {
		return 0
	}
	return f.content
}

// Verdict applies the thresholds and the floor (first-runtime.md 6.3) and returns the
// risk, 0 to 100, and what follows from it.
func (f *Findings) Verdict(t Thresholds) (risk float64, action pipeline.Action) {
	risk = min(f.counted(t)+f.alarm, 100)
	review, block := float64(t.Review), float64(t.Block)
	if risk < block {
		// What a channel or a tool adds stops below the block.
		risk = max(risk, min(risk+f.context, block-1))
	}
	switch {
	case risk >= block:
		action = pipeline.Block
	case risk >= review:
		action = pipeline.Review
	}
	return risk, max(action, f.floor)
}

func (f *Findings) decide(t Thresholds) *pipeline.Decision {
	if f.counted(t) <= 0 && f.alarm <= 0 && f.context <= 0 && f.floor == pipeline.Allow && len(f.tags) == 0 {
		return clean
	}
	risk, action := f.Verdict(t)
	return &pipeline.Decision{Action: action, Risk: int(risk),
		Reasons: append([]string(nil), f.reasons...), Tags: append([]string(nil), f.tags...)}
}

// Tags and Reasons are what was noted, in order; valid until the next action is judged.
func (f *Findings) Tags() []string    { return f.tags }
func (f *Findings) Reasons() []string { return f.reasons }

var findings = sync.Pool{New: func() any { return new(Findings) }}

func newFindings() *Findings { return findings.Get().(*Findings) }

// Reset empties f and keeps its memory.
func (f *Findings) Reset() {
	clear(f.reasons)
	clear(f.tags)
	*f = Findings{reasons: f.reasons[:0], tags: f.tags[:0], spans: f.spans[:0]}
}

func (f *Findings) free() {
	f.Reset()
	findings.Put(f)
}
