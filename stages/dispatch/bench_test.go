package dispatch

import (
	"context"
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

func BenchmarkDispatch(b *testing.B) {
	payload := []byte(`{"ok":true}`)
	s, err := New(Default(), []Method{{Name: "health", Handle: func(_ context.Context, e *pipeline.Envelope) error {
		e.Answer(payload)
		return nil
	}}}, nil, quiet())
	if err != nil {
		b.Fatal(err)
	}
	e := pipelinetest.Request(b, pipelinetest.NewClient(), "health", "{}")
	b.ReportAllocs()
	for b.Loop() {
		if v, err := s.Process(context.Background(), e); v != pipeline.Next || err != nil {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkLong(b *testing.B) {
	payload := []byte(`{"ok":true}`)
	r := newRig(b, Default(), Method{Name: "agent.wait", Long: true, Handle: func(_ context.Context, e *pipeline.Envelope) error {
		e.Answer(payload)
		return nil
	}})
	b.ReportAllocs()
	for b.Loop() {
		r.call(b, "agent.wait")
		<-r.c.Answers
	}
}
