package adapter

import (
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

func TestConformance(t *testing.T) {
	pipelinetest.Conformance(t, func() pipeline.Stage {
		s, err := New(Default(), nil, Deps{Store: newMemStore(), Resume: func(*pipeline.Envelope, error) {}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
