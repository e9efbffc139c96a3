package adapter_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/adapter"
	"sluice/stages/adapter/webhook"
	"sluice/storage"
	"sluice/storage/bolt"
)

// fakeStage is a stage that is one function.
type fakeStage struct {
	name string
	fn   func(context.Context, *pipeline.Envelope) (pipeline.Verdict, error)
}

func (f fakeStage) Name() string { return f.name }
func (f fakeStage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	return f.fn(ctx, e)
}

type settled chan string

func (s settled) Settle(e *pipeline.Envelope) {
	payload, err, _ := e.Result()
	if err != nil {
		s <- err.Message
		return
	}
	s <- string(payload)
}

// TestThroughThePipeline sends through a real channel, store and pipeline: the first try
// fails, the second arrives, the answer comes after, and the outbox is empty again.
func TestThroughThePipeline(t *testing.T) {
	bufpooltest.NoLeaks(t)
	var tries atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || webhook.Verify("s", r.Header.Get(webhook.SignatureHeader), body, time.Now(), time.Minute) != nil {
			t.Errorf("%v: %s", err, body)
		}
		if tries.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, `{"id":"m1"}`)
	}))
	defer srv.Close()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "s.db"), bolt.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	hook := webhook.Default()
	hook.Targets["ops"] = webhook.Target{URL: srv.URL, Secret: "s", AllowPrivate: true}
	ch, err := webhook.New(hook, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	cfg := adapter.Default()
	cfg.Retry.InitialMs = 10
	var pipe *pipeline.Pipeline
	stage, err := adapter.New(cfg, []adapter.Channel{ch}, adapter.Deps{Store: store,
		Resume: func(e *pipeline.Envelope, err error) { pipe.Resume(e, err) }})
	if err != nil {
		t.Fatal(err)
	}
	pipe, err = pipeline.New(pipeline.Default(), []pipeline.Stage{
		fakeStage{"dispatch", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
			d := &pipeline.Delivery{Channel: "webhook", To: "ops", Text: "hello", Key: "k"}
			e.Deliveries = append(e.Deliveries, d)
			e.OnDelivered = func(e *pipeline.Envelope) error {
				if d.Err != nil {
					return d.Err
				}
				e.Answer([]byte(fmt.Sprintf("%s %d", d.Receipt.MessageID, d.Receipt.Attempts)))
				return nil
			}
			return pipeline.Next, nil
		}},
		stage,
		fakeStage{"persist", func(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
			return pipeline.Done, store.Update(ctx, func(tx storage.Tx) error {
				if _, err := tx.Get(storage.Outbox, "k"); err != nil {
					t.Errorf("no outbox row before the effects: %v", err)
				}
				for _, f := range e.Effects {
					if err := f.Apply(tx, e); err != nil {
						return err
					}
				}
				return nil
			})
		}},
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pipe.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(settled, 1)
	e := pipeline.NewEnvelope(pipeline.SourceWire, nil)
	e.Frame.Kind = frames.KindRequest
	e.OnSettle(done)
	if err := pipe.Submit(e); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "m1 2" {
		t.Errorf("answer %q", got)
	}
	pipe.Drain(context.Background())
	if err := pipe.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	err = store.View(context.Background(), func(r storage.Reader) error {
		return r.Scan(storage.Outbox, storage.Range{}, func(key string, _ []byte) error { return fmt.Errorf("row %s stayed", key) })
	})
	if err != nil {
		t.Error(err)
	}
}
