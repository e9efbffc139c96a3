package command

import (
	"context"
	"sync"
	"sync/atomic"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// Defender asks a Judge about every command of an action. It implements defend.Defender
// and defend.Quick.
type Defender struct {
	judge   atomic.Pointer[Judge]
	results sync.Pool
}

var (
	_ defend.Defender = (*Defender)(nil)
	_ defend.Quick    = (*Defender)(nil)
)

// NewDefender returns a Defender over judge.
func NewDefender(judge *Judge) *Defender {
	d := &Defender{results: sync.Pool{New: func() any { return new(Result) }}}
	d.judge.Store(judge)
	return d
}

// Reload compiles cfg and judges by it from the next command on; on an error the one in
// force stays.
func (d *Defender) Reload(cfg Config) error {
	judge, err := New(cfg)
	if err != nil {
		return err
	}
	d.judge.Store(judge)
	return nil
}

// Name implements defend.Defender.
func (d *Defender) Name() string { return "command" }

// QuickBytes implements defend.Quick.
func (d *Defender) QuickBytes() int { return d.judge.Load().cfg.QuickBytes }

// Assess implements defend.Defender: the worst command counts, with its reasons.
func (d *Defender) Assess(ctx context.Context, a *defend.Action, f *defend.Findings) error {
	r := d.results.Get().(*Result)
	defer d.results.Put(r)
	worst, judge := 0.0, d.judge.Load()
	for i, text := range a.Commands {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i < len(a.Argv) && a.Argv[i] != nil {
			judge.AssessArgs(r, a.Argv[i])
		} else {
			judge.Assess(r, text)
		}
		d.report(r, f)
		worst = max(worst, r.Score)
	}
	f.Score(worst)
	return nil
}

// maxReasons is how many reasons of one command are reported.
const maxReasons = 6

// report adds the reasons of r and the decision below which the verdict must not fall.
func (d *Defender) report(r *Result, f *defend.Findings) {
	if r.Decision == Allow {
		return
	}
	floor := pipeline.Review
	if r.Decision == Block {
		floor = pipeline.Block
	}
	said := 0
	for i := range r.Findings {
		x := &r.Findings[i]
		if x.Decision == Allow || said == maxReasons || repeated(r.Findings[:i], x) {
			continue
		}
		said++
		level := pipeline.Review
		if x.Decision == Block {
			level = floor
		}
		f.Floor(level, x.Tag, "command: "+x.Reason)
		f.Mark(x.Span.Start, x.Span.End)
	}
	f.Raise(floor)
}

func repeated(before []Finding, x *Finding) bool {
	for i := range before {
		if before[i].Tag == x.Tag && before[i].Reason == x.Reason {
			return true
		}
	}
	return false
}
