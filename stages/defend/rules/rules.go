// Package rules holds texts against the operator's own regular expressions: what the
// defenders with models cannot know, such as the name of a system that no prompt may
// touch. By default there are none.
//
// A pattern counts once for an action however many texts it matches. White space and
// letter case fold as in Unicode.
package rules

import (
	"context"
	"sync"
	"sync/atomic"

	"sluice/stages/defend"
)

// Defender implements defend.Defender. It is safe for concurrent use.
type Defender struct {
	set atomic.Pointer[set]
}

var (
	_ defend.Defender = (*Defender)(nil)
	_ defend.Quick    = (*Defender)(nil)
)

// New compiles cfg. The error names the key and entry that is wrong.
func New(cfg Config) (*Defender, error) {
	d := &Defender{}
	return d, d.Reload(cfg)
}

// Reload makes cfg valid for the next action; on an error the patterns in force stay.
func (d *Defender) Reload(cfg Config) error {
	s, err := compile(cfg)
	if err != nil {
		return err
	}
	d.set.Store(s)
	return nil
}

// Name implements defend.Defender.
func (d *Defender) Name() string { return "rules" }

// quickBytes: the worst text of this size, one that passes every prefilter, takes about
// 1.5 ms (BenchmarkWorst).
const quickBytes = 16 << 10

// QuickBytes implements defend.Quick.
func (d *Defender) QuickBytes() int {
	if s := d.set.Load(); len(s.prompts)+len(s.commands) == 0 {
		return 1 << 30
	}
	return quickBytes
}

// The risk of one matching pattern; those of several add up.
const (
	riskPrompt  = 45
	riskCommand = 80
	riskLeak    = 30
)

// Assess implements defend.Defender.
func (d *Defender) Assess(ctx context.Context, a *defend.Action, f *defend.Findings) error {
	s := d.set.Load()
	risk := 0.0
	for _, kind := range [...]struct {
		texts    [][]byte
		patterns []*pattern
		risk     float64
		tag      string
	}{{a.Prompts, s.prompts, riskPrompt, "prompt_injection"}, {a.Commands, s.commands, riskCommand, "blocked_command_pattern"}} {
		saw, err := matches(ctx, kind.patterns, kind.texts, f)
		if err != nil {
			return err
		}
		for _, p := range kind.patterns {
			if saw.has(p) {
				risk += kind.risk
				f.Note(kind.tag, p.reason)
			}
		}
	}
	if a.Leaks > 0 {
		risk += riskLeak
		f.Floor(s.leakAction, "leak_detection", "a scanner reported leaked secrets")
	}
	f.Score(min(risk, 100))
	return nil
}

// seen are the patterns that matched in any text.
type seen uint64

func matches(ctx context.Context, patterns []*pattern, texts [][]byte, f *defend.Findings) (saw seen, err error) {
	if len(patterns) == 0 {
		return 0, nil
	}
	b := buffers.Get().(*buffer)
	defer b.free()
	for _, text := range texts {
		b.fold(text)
		if err := saw.match(ctx, patterns, text, b.folded, f); err != nil {
			return 0, err
		}
	}
	return saw, nil
}

// buffer is reusable memory for one assessment.
type buffer struct{ folded []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// maxPooled bounds what a pooled buffer keeps.
const maxPooled = 256 << 10

func (b *buffer) free() {
	if cap(b.folded) <= maxPooled {
		buffers.Put(b)
	}
}

// fold makes b.folded the text with its letters folded as (?i) folds them: ASCII to
// lower case, and the two other letters that fold to ASCII, U+212A to k and U+017F to s.
func (b *buffer) fold(text []byte) {
	if cap(b.folded) < len(text) {
		b.folded = make([]byte, len(text))
	}
	out := b.folded[:len(text)]
	n := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c < 0x80:
			// 0x20 for A to Z without a branch, which mixed case would mispredict.
			c |= byte((uint16(c-'A')-26)>>8) & 0x20
		case c == 0xE2 && i+2 < len(text) && text[i+1] == 0x84 && text[i+2] == 0xAA:
			c = 'k'
			i += 2
		case c == 0xC5 && i+1 < len(text) && text[i+1] == 0xBF:
			c = 's'
			i++
		}
		out[n] = c
		n++
	}
	b.folded = out[:n]
}
