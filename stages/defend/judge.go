package defend

import (
	"context"
	"log/slog"
	"sync/atomic"

	"sluice/pipeline"
)

// Thresholds are the risks from which an action is reviewed and blocked.
type Thresholds struct{ Review, Block int }

// Judge asks a list of defenders, in order, and combines what they find. The stage
// judges frames with one, and `sluice scan` judges texts with another: the same list
// gives the same verdict. It is safe for concurrent use.
type Judge struct {
	defenders []Defender
	quick     []int       // by defender: bytes that it judges quickly, 0 = none
	needs     []Selective // by defender; nil = it looks at every action
	stats     []DefenderStats
	errors    atomic.Uint64
	log       *slog.Logger
}

// DefenderStats are the counters of one defender.
type DefenderStats struct {
	Name    string
	Latency pipeline.Histogram
	Errors  atomic.Uint64
}

// Selective is a Defender that has nothing to say about most actions and waits for others:
// it is asked first, so that only those leave the worker which it has to wait for.
type Selective interface {
	Needs(a *Action) bool
}

// NewJudge returns a judge over defenders.
func NewJudge(log *slog.Logger, defenders ...Defender) *Judge {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	j := &Judge{defenders: defenders, quick: make([]int, len(defenders)), needs: make([]Selective, len(defenders)),
		stats: make([]DefenderStats, len(defenders)), log: log}
	for i, d := range defenders {
		j.stats[i].Name = d.Name()
		if q, ok := d.(Quick); ok {
			j.quick[i] = q.QuickBytes()
		}
		j.needs[i], _ = d.(Selective)
	}
	return j
}

// quickFor reports whether a may be judged on the stage's worker.
func (j *Judge) quickFor(a *Action) bool {
	size := a.size()
	if size > maxQuickBytes {
		return false
	}
	for i, most := range j.quick {
		if size > most && (j.needs[i] == nil || j.needs[i].Needs(a)) {
			return false
		}
	}
	return true
}

// maxQuickBytes bounds what a worker judges itself even when no defender minds.
const maxQuickBytes = 64 << 10

// Assess asks every defender about a. It returns ctx's error when that ended before
// all had answered; f then holds no verdict. A defender that fails is not a pass: failed
// is told of it, and the verdict is raised to what it says. times, when not nil, gets
// the time of each.
func (j *Judge) Assess(ctx context.Context, a *Action, f *Findings, failed func(*Action) pipeline.Action, times *[]pipeline.DefenderTime) error {
	begin := pipeline.Now()
	for i, d := range j.defenders {
		if err := d.Assess(ctx, a, f); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			j.failed(i, a, f, err, failed)
		}
		end := pipeline.Now()
		j.stats[i].Latency.Observe(end - begin)
		if times != nil {
			*times = append(*times, pipeline.DefenderTime{Name: j.stats[i].Name, Begin: begin, End: end})
		}
		begin = end
	}
	return nil
}

// runtimeErrorRisk is the first runtime's risk of an action that could not be judged.
const runtimeErrorRisk = 50

func (j *Judge) failed(i int, a *Action, f *Findings, err error, verdict func(*Action) pipeline.Action) {
	j.errors.Add(1)
	j.stats[i].Errors.Add(1)
	j.log.Error("a defender failed", "defender", j.stats[i].Name, "source", a.Source, "err", err)
	least := pipeline.Review
	if verdict != nil {
		least = verdict(a)
	}
	if least > pipeline.Allow {
		f.Score(runtimeErrorRisk)
	}
	f.Floor(least, "runtime_error", "the defender "+j.stats[i].Name+" failed")
}

// Stats are the counters by defender, in their order.
func (j *Judge) Stats() []DefenderStats { return j.stats }
