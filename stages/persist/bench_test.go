package persist

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/storage"
	"sluice/storage/bolt"
	"sluice/storage/storagetest"
)

type counter struct {
	pipelinetest.Client
	done chan struct{}
}

func (c *counter) Send(b frames.Buffer) bool {
	b.Release()
	c.done <- struct{}{}
	return true
}

func benchmark(b *testing.B, store storage.Store, inFlight int) {
	var p *pipeline.Pipeline
	s, err := New(Default(), store, func(e *pipeline.Envelope, err error) { p.Resume(e, err) }, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	key, payload := "bench", []byte(`{"ok":true}`)
	write := pipeline.EffectFunc(func(tx storage.Tx, e *pipeline.Envelope) error {
		e.Answer(payload)
		return tx.Put(storage.Meta, key, payload)
	})
	first := pipelinetest.Stage{StageName: "dispatch", Fn: func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		e.Effects = append(e.Effects, write)
		return pipeline.Next, nil
	}}
	p = pipelinetest.Start(b, pipeline.Default(), first, s)
	c := &counter{done: make(chan struct{}, inFlight)}
	b.ReportAllocs()
	b.ResetTimer()
	out := 0
	for range b.N {
		if out == inFlight {
			<-c.done
			out--
		}
		e := pipeline.NewEnvelope(pipeline.SourceReplay, nil)
		e.Client, e.Shard = c, uint32(out)
		e.Frame.Kind, e.Frame.ID = frames.KindRequest, []byte(`"1"`)
		for p.Submit(e) != nil {
			<-c.done
			out--
		}
		out++
	}
	for ; out > 0; out-- {
		<-c.done
	}
	b.StopTimer()
	b.ReportMetric(float64(s.Stats.Written.Load())/float64(max(1, s.Stats.Commits.Load())), "writes/commit")
}

func BenchmarkMemory(b *testing.B) { benchmark(b, storagetest.NewMemory(), 64) }

func BenchmarkBolt64(b *testing.B) { benchmark(b, openBolt(b), 64) }

func BenchmarkBolt1(b *testing.B) { benchmark(b, openBolt(b), 1) }

func openBolt(b *testing.B) storage.Store {
	s, err := bolt.Open(filepath.Join(b.TempDir(), "state.db"), bolt.Default())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkWithoutEffects(b *testing.B) {
	s, err := New(Default(), storagetest.NewMemory(), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	e := pipeline.NewEnvelope(pipeline.SourceReplay, nil)
	b.ReportAllocs()
	for b.Loop() {
		if v, err := s.Process(context.Background(), e); v != pipeline.Next || err != nil {
			b.Fatal(v, err)
		}
	}
}
