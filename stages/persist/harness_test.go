package persist

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/storage"
	"sluice/storage/storagetest"
)

// rig is a persist stage at the end of a pipeline whose first stage does what the test
// registered for a request's id.
type rig struct {
	*Stage
	t    testing.TB
	pipe *pipeline.Pipeline
	c    *pipelinetest.Client

	mu   sync.Mutex
	what map[string]func(*pipeline.Envelope)
	next int
}

func newRig(t testing.TB, cfg Config, store storage.Store) *rig {
	t.Helper()
	r := &rig{t: t, c: pipelinetest.NewClient(), what: map[string]func(*pipeline.Envelope){}}
	var err error
	r.Stage, err = New(cfg, store, func(e *pipeline.Envelope, err error) { r.pipe.Resume(e, err) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	first := pipelinetest.Stage{StageName: "dispatch", Fn: func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		r.mu.Lock()
		fn := r.what[string(e.Frame.ID)]
		delete(r.what, string(e.Frame.ID))
		r.mu.Unlock()
		fn(e)
		return pipeline.Next, nil
	}}
	pc := pipeline.Default()
	pc.Workers, pc.QueueFrames = 2, 8192
	r.pipe = pipelinetest.Start(t, pc, first, r.Stage)
	return r
}

// submit sends a request that does fn in the stage before persist, and returns its id.
func (r *rig) submit(fn func(*pipeline.Envelope)) string {
	r.t.Helper()
	r.mu.Lock()
	r.next++
	id := fmt.Sprint("r", r.next)
	r.what[`"`+id+`"`] = fn
	r.mu.Unlock()
	if err := r.pipe.Submit(pipelinetest.RequestID(r.t, r.c, id, "sessions.patch", "{}")); err != nil {
		r.t.Fatal(err)
	}
	return id
}

// put is an envelope whose effect stores value under key and answers with the key.
func put(key, value string) func(*pipeline.Envelope) {
	return func(e *pipeline.Envelope) { e.Effects = append(e.Effects, putEffect(key, value)) }
}

func putEffect(key, value string) pipeline.Effect {
	return pipeline.EffectFunc(func(tx storage.Tx, e *pipeline.Envelope) error {
		if err := tx.Put(storage.Meta, key, []byte(value)); err != nil {
			return err
		}
		return e.AnswerValue(key)
	})
}

func value(t testing.TB, s storage.Store, key string) string {
	t.Helper()
	var v string
	err := s.View(context.Background(), func(r storage.Reader) error {
		b, err := r.Get(storage.Meta, key)
		v = string(b)
		return err
	})
	if err != nil {
		return "<none>"
	}
	return v
}

// gate is a store whose commits wait, as for a slow disk.
type gate struct {
	*storagetest.Memory
	open chan error // one value lets one commit through; closed: all
}

func newGate() *gate {
	g := &gate{Memory: storagetest.NewMemory(), open: make(chan error)}
	g.Memory.Fail = func() error { return <-g.open }
	return g
}
