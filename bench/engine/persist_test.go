package engine

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/persist"
	"sluice/storage"
)

// groupCommit runs writers, each with a record of 500 bytes under way, through the
// persist stage over a backend. fsyncs are the stage's transactions; the disk's own
// figure is `sluice bench fsync`.
func groupCommit(b *testing.B, kind string, writers int) {
	name := map[string]string{"bolt": "s.db", "sqlite": "s.sqlite", "jsonfile": "s.d"}[kind]
	store := mustStore(b, kind, filepath.Join(b.TempDir(), name))
	var p *pipeline.Pipeline
	s, err := persist.New(persist.Default(), store, func(e *pipeline.Envelope, err error) { p.Resume(e, err) }, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	value := []byte(`{"v":"` + strings.Repeat("x", 490) + `"}`)
	put := newPutting(value)
	p = mustPipeline(b, put, s)
	c := newClient()
	e0 := s.Stats.Commits.Load()
	b.ReportAllocs()
	b.ResetTimer()
	under := 0
	for i := range b.N {
		if under == writers {
			c.wait(1)
			under--
		}
		e := pipeline.NewEnvelope(pipeline.SourceWire, nil)
		e.Client, e.Peer, e.Shard, e.SessionKey = c, c.peer, uint32(i), put.keys[i%len(put.keys)]
		e.Frame.Kind, e.Frame.ID = frames.KindRequest, frames.EncodedIDInvalid
		push(b, p, e)
		under++
	}
	c.wait(under)
	b.StopTimer()
	if n := s.Stats.Commits.Load() - e0; n > 0 {
		b.ReportMetric(float64(b.N)/float64(n), "writes/commit")
	}
}

// putting gives each envelope one effect: a put.
type putting struct {
	value []byte
	keys  [1024]string
}

// Name implements pipeline.Stage.
func (p *putting) Name() string { return "putting" }

// Process implements pipeline.Stage.
func (p *putting) Process(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	e.Effects = append(e.Effects, p)
	return pipeline.Next, nil
}

// Apply implements pipeline.Effect.
func (p *putting) Apply(tx storage.Tx, e *pipeline.Envelope) error {
	e.Answer(p.value)
	return tx.Put(storage.Sessions, e.SessionKey, p.value)
}

func newPutting(value []byte) *putting {
	p := &putting{value: value}
	for i := range p.keys {
		p.keys[i] = fmt.Sprintf("agent:main:bench-%04d", i)
	}
	return p
}
