package defend_test

import (
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/stages/defend"
	"sluice/stages/defend/rules"
)

func TestConformance(t *testing.T) {
	pipelinetest.Conformance(t, func() pipeline.Stage {
		d, err := rules.New(rules.FirstRuntime())
		if err != nil {
			t.Fatal(err)
		}
		cfg := defend.Default()
		cfg.Quarantine.Dir = t.TempDir()
		s, err := defend.New(cfg, []defend.Defender{d}, defend.Deps{Resume: func(*pipeline.Envelope, error) {}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
