package adapter

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
)

// memStore is a storage.Store in memory, enough for the outbox.
type memStore struct {
	mu   sync.Mutex
	rows map[string]string
	fail error
}

func newMemStore() *memStore { return &memStore{rows: map[string]string{}} }

func (m *memStore) View(_ context.Context, fn func(storage.Reader) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fn(memTx{m})
}

func (m *memStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(memTx{m})
}

func (m *memStore) Health() storage.Health { return storage.Health{} }
func (m *memStore) Close() error           { return nil }

func (m *memStore) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := []string{}
	for k := range m.rows {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

type memTx struct{ m *memStore }

func (x memTx) Get(_ storage.Collection, key string) ([]byte, error) {
	if v, ok := x.m.rows[key]; ok {
		return []byte(v), nil
	}
	return nil, storage.ErrNotFound
}

func (x memTx) Put(_ storage.Collection, key string, value []byte) error {
	x.m.rows[key] = string(value)
	return nil
}

func (x memTx) Delete(_ storage.Collection, key string) error {
	delete(x.m.rows, key)
	return nil
}

func (x memTx) Scan(_ storage.Collection, _ storage.Range, fn func(string, []byte) error) error {
	for k, v := range x.m.rows {
		if err := fn(k, []byte(v)); err != nil {
			return err
		}
	}
	return nil
}

// fakeChannel is a channel that is one function.
type fakeChannel struct {
	name       string
	limit      int
	idempotent bool
	send       func(ctx context.Context, d *pipeline.Delivery) error
}

func (f *fakeChannel) Name() string { return f.name }
func (f *fakeChannel) Capabilities() Capabilities {
	return Capabilities{Name: f.name, TextLimit: f.limit, ChunkMode: ModeLength}
}
func (f *fakeChannel) Idempotent(*pipeline.Delivery) bool { return f.idempotent }
func (f *fakeChannel) Send(ctx context.Context, d *pipeline.Delivery) (pipeline.Receipt, error) {
	if err := f.send(ctx, d); err != nil {
		return pipeline.Receipt{}, err
	}
	return pipeline.Receipt{MessageID: "m:" + d.Key}, nil
}

// outcome is how an envelope came back.
type outcome struct {
	e   *pipeline.Envelope
	err error
}

type harness struct {
	*testing.T
	s     *Stage
	store *memStore
	back  chan outcome
	log   bytes.Buffer
}

func mustHarness(t *testing.T, change func(*Config), store *memStore, channels ...Channel) *harness {
	t.Helper()
	h := &harness{T: t, store: store, back: make(chan outcome, 1024)}
	cfg := Default()
	cfg.Retry.Jitter = 0
	if change != nil {
		change(&cfg)
	}
	var err error
	h.s, err = New(cfg, channels, Deps{Store: store, Log: slog.New(slog.NewTextHandler(&h.log, nil)),
		Resume: func(e *pipeline.Envelope, err error) { h.back <- outcome{e, err} }})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *harness) stop() {
	if err := h.s.Stop(context.Background()); err != nil {
		h.Error(err)
	}
}

func (h *harness) process(deliveries ...*pipeline.Delivery) (*pipeline.Envelope, pipeline.Verdict, error) {
	e := pipeline.NewEnvelope(pipeline.SourceWire, nil)
	e.Deliveries = deliveries
	v, err := h.s.Process(context.Background(), e)
	return e, v, err
}

// one sends one message and waits for its outcome.
func (h *harness) one(d *pipeline.Delivery) outcome {
	h.Helper()
	if _, v, err := h.process(d); v != pipeline.Parked || err != nil {
		h.Fatalf("verdict %d, %v", v, err)
	}
	return <-h.back
}

// persist applies the effects, as the persist stage does.
func (h *harness) persist(e *pipeline.Envelope) {
	h.Helper()
	for _, f := range e.Effects {
		if err := h.store.Update(context.Background(), func(tx storage.Tx) error { return f.Apply(tx, e) }); err != nil {
			h.Error(err)
		}
	}
}

func code(err *frames.Error) string {
	if m, ok := err.Details.(map[string]any); ok {
		return fmt.Sprint(m["code"])
	}
	return ""
}
