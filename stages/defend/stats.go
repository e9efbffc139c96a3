package defend

import (
	"sync"
	"sync/atomic"

	"sluice/pipeline"
)

// Stats are the stage's counters, for the metrics exporter.
type Stats struct {
	// Decisions counts verdicts by pipeline.Action.
	Decisions [3]atomic.Uint64
	// WouldBlock counts blocks that audit-only mode let pass.
	WouldBlock atomic.Uint64
	// Empty counts frames of judged methods that held nothing to judge.
	Empty    atomic.Uint64
	Timeouts atomic.Uint64
	// Errors counts panics of defenders; Busy requests refused because every slot and
	// the queue before them was taken.
	Errors atomic.Uint64
	Busy   atomic.Uint64
	// Journaled and JournalFailed count lines of the ledger; Asked counts actions that were
	// put before operators.
	Journaled     atomic.Uint64
	JournalFailed atomic.Uint64
	Asked         atomic.Uint64
	// QuarantineWritten, QuarantineFailed and QuarantinePruned count evidence files.
	QuarantineWritten atomic.Uint64
	QuarantineFailed  atomic.Uint64
	QuarantinePruned  atomic.Uint64
	// Latency is the time in defenders, a clean small action included.
	Latency pipeline.Histogram

	rules ruleCounts
}

// maxRuleTags bounds the tags that are counted apart; tags come from code and from
// configured rules, never from frames, so the bound is a guard and not a limit.
const maxRuleTags = 512

// ruleCounts counts hits by tag and action.
type ruleCounts struct {
	mu sync.RWMutex
	m  map[string]*[3]atomic.Uint64
}

func (s *Stats) count(d *pipeline.Decision) {
	s.Decisions[d.Action].Add(1)
	for _, tag := range d.Tags {
		if c := s.rules.of(tag); c != nil {
			c[d.Action].Add(1)
		}
	}
}

func (r *ruleCounts) of(tag string) *[3]atomic.Uint64 {
	r.mu.RLock()
	c := r.m[tag]
	r.mu.RUnlock()
	if c != nil {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c = r.m[tag]; c != nil || len(r.m) >= maxRuleTags {
		return c
	}
	if r.m == nil {
		r.m = make(map[string]*[3]atomic.Uint64)
	}
	c = new([3]atomic.Uint64)
	r.m[tag] = c
	return c
}

// Rules returns how often each tag took part in a verdict, by pipeline.Action.
func (s *Stats) Rules() map[string][3]uint64 {
	s.rules.mu.RLock()
	defer s.rules.mu.RUnlock()
	out := make(map[string][3]uint64, len(s.rules.m))
	for tag, c := range s.rules.m {
		out[tag] = [3]uint64{c[0].Load(), c[1].Load(), c[2].Load()}
	}
	return out
}
