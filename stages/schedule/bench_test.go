package schedule

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

func benchStage(b *testing.B, inject func(*pipeline.Envelope)) *Stage {
	s, err := New(Default(), Deps{
		Inject: func(_ context.Context, e *pipeline.Envelope, _ string) bool { inject(e); return true },
		Policy: func(context.Context, string) Policy { return Policy{} }, AgentExists: func(string) bool { return true }})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkNoTurn(b *testing.B) {
	s := benchStage(b, nil)
	e := pipelinetest.Request(b, pipelinetest.NewClient(), "health", "{}")
	b.ReportAllocs()
	for b.Loop() {
		if v, err := s.Process(context.Background(), e); v != pipeline.Next || err != nil {
			b.Fatal(v, err)
		}
	}
}

// BenchmarkTarget reads the lane of a chat.send of 1 KB.
func BenchmarkTarget(b *testing.B) {
	params := []byte(`{"sessionKey":"agent:main:main","idempotencyKey":"k","message":"` + strings.Repeat("How is the weather? ", 45) + `"}`)
	b.SetBytes(int64(len(params)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := targetOf("chat.send", params); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTurn takes a place, commits it, starts the turn and ends it, with other
// sessions waiting.
func BenchmarkTurn(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprint(others, "-others"), func(b *testing.B) {
			started := make(chan *pipeline.Envelope, 4096)
			s := benchStage(b, func(e *pipeline.Envelope) { started <- e })
			s.Start(context.Background())
			defer s.Stop(context.Background())
			for i := range others { // the main lane is full; those that wait keep theirs
				tg := target{key: fmt.Sprint("agent:x:", i), agent: "x"}
				if _, err := s.reserve(tg, Followup); err != nil {
					b.Fatal(err)
				}
			}
			w := pipelinetest.NewWork("w", "main", session, "x")
			tg := target{key: session, agent: "main"}
			b.ReportAllocs()
			for b.Loop() {
				t, err := s.reserve(tg, Followup)
				if err != nil {
					b.Fatal(err)
				}
				s.commit(t, w)
				<-started
				s.finish(t, nil)
			}
		})
	}
}
