package adapter

import (
	"context"
	"strings"
	"testing"

	"sluice/pipeline"
)

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"adapter.queue:":           func(c *Config) { c.Queue = 0 },
		"adapter.concurrency:":     func(c *Config) { c.Concurrency = 0 },
		"adapter.maxChunks:":       func(c *Config) { c.MaxChunks = 0 },
		"adapter.maxUnconfirmed:":  func(c *Config) { c.MaxUnconfirmed = 0 },
		"adapter.retentionMs:":     func(c *Config) { c.RetentionMs = 0 },
		"adapter.retry.attempts:":  func(c *Config) { c.Retry.Attempts = 0 },
		"adapter.retry.initialMs:": func(c *Config) { c.Retry.InitialMs = 0 },
		"adapter.retry.factor:":    func(c *Config) { c.Retry.Factor = 1 },
		"adapter.retry.maxMs:":     func(c *Config) { c.Retry.MaxMs = 1 },
		"adapter.retry.jitter:":    func(c *Config) { c.Retry.Jitter = 2 },
		"adapter.retry.totalMs:":   func(c *Config) { c.Retry.TotalMs = 0 },
		"adapter.retry.attemptMs:": func(c *Config) { c.Retry.AttemptMs = 0 },
	} {
		cfg := Default()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := New(Default(), []Channel{&fakeChannel{name: "a"}, &fakeChannel{name: "a"}},
		Deps{Store: newMemStore(), Resume: func(*pipeline.Envelope, error) {}}); err == nil {
		t.Error("a channel that is given twice")
	}
}

func BenchmarkNothing(b *testing.B) {
	s, err := New(Default(), nil, Deps{Store: newMemStore(), Resume: func(*pipeline.Envelope, error) {}})
	if err != nil {
		b.Fatal(err)
	}
	e := pipeline.NewEnvelope(pipeline.SourceWire, nil)
	b.ReportAllocs()
	for b.Loop() {
		if v, err := s.Process(context.Background(), e); v != pipeline.Next || err != nil {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkChunk64K(b *testing.B) {
	text := strings.Repeat("Some words, and a line.\n", 64<<10/24)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		Chunk(text, 4000, ModeLength)
	}
}
