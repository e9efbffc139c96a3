package decode

import (
	"context"
	"strings"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

var frame1K = req("1", "chat.send", `{"sessionKey":"agent:main:main","idempotencyKey":"0b9d1f5e-6a55-4b35-9b44-1a2b3c4d5e6f","message":"`+
	strings.Repeat("How is the weather? ", 45)+`"}`)

func run(tb testing.TB, s *Stage, e *pipeline.Envelope) {
	if v, err := s.Process(context.Background(), e); v != pipeline.Next || err != nil {
		tb.Fatal(v, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, raw := range map[string]string{"health": req("1", "health", ""), "chat.send-1KB": frame1K} {
		b.Run(name, func(b *testing.B) {
			s := newStage(b, Default(), all)
			e := pipelinetest.Raw(client(frames.RoleOperator, "operator.write"), raw)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				run(b, s, e)
			}
		})
	}
}
