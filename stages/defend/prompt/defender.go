package prompt

import (
	"context"
	"sync"

	"sluice/stages/defend"
)

// Defender judges the prompts of an action, and the texts of its files and addresses. It
// is safe for concurrent use.
type Defender struct {
	pool sync.Pool
}

var (
	_ defend.Defender = (*Defender)(nil)
	_ defend.Quick    = (*Defender)(nil)
)

// NewDefender returns the defender.
func NewDefender() (*Defender, error) {
	first, err := New()
	if err != nil {
		return nil, err
	}
	d := &Defender{}
	d.pool.New = func() any {
		s, err := New()
		if err != nil {
			return err // cannot be: the first one worked and the tables are constant
		}
		return s
	}
	d.pool.Put(first)
	return d, nil
}

// origins are what the model knows the origins of actions as.
var origins = [...]Origin{defend.OriginUnknown: Unknown, defend.OriginOwner: Owner, defend.OriginSender: Sender,
	defend.OriginTool: Tool, defend.OriginWeb: Web}

// Name implements defend.Defender.
func (d *Defender) Name() string { return "prompt" }

// quickBytes: the worst text of this size takes about a millisecond (BenchmarkWorst).
const quickBytes = 32 << 10

// QuickBytes implements defend.Quick.
func (d *Defender) QuickBytes() int { return quickBytes }

// maxPiece bounds what is scored between two looks at the context: some milliseconds.
const (
	maxPiece = 256 << 10
	overlap  = 1 << 10
)

// Assess implements defend.Defender: the most suspicious prompt makes the risk.
func (d *Defender) Assess(ctx context.Context, a *defend.Action, f *defend.Findings) error {
	s, ok := d.pool.Get().(*Scorer)
	if !ok {
		return errTables
	}
	defer d.put(s)
	origin := origins[a.Origin]
	var worst, r Result
	for _, text := range a.Prompts {
		for at := 0; len(text) > 0; at += maxPiece - overlap {
			if err := ctx.Err(); err != nil {
				return err
			}
			piece := text[:min(len(text), maxPiece)]
			s.Score(&r, piece, origin)
			if r.Score > worst.Score {
				worst = r
				worst.Span.Start, worst.Span.End = r.Span.Start+at, r.Span.End+at
			}
			if len(piece) == len(text) {
				break
			}
			text = text[maxPiece-overlap:]
		}
	}
	f.Score(worst.Score) // low ones rank harmless texts; the verdict does not count them
	if worst.Score < Review/2 {
		return nil
	}
	f.Mark(worst.Span.Start, worst.Span.End)
	worst.Tags.Each(func(tag, reason string) { f.Note("prompt_"+tag, reason) })
	return nil
}

// put keeps a scorer unless a very large text has made it large.
func (d *Defender) put(s *Scorer) {
	if s.m.Size() <= maxPooled {
		d.pool.Put(s)
	}
}

const maxPooled = 2 << 20

type tableError struct{}

func (tableError) Error() string {
	return "prompt: the embedded tables do not fit the code: run go generate ./stages/defend/prompt"
}

var errTables error = tableError{}
