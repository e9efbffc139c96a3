package defend_test

import (
	"testing"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// TestLowScoresDoNotCount: the opinion that a model has of every harmless text changes no
// verdict, neither with a channel's weight nor with an alert; it is there to rank by.
func TestLowScoresDoNotCount(t *testing.T) {
	limits := defend.Thresholds{Review: 35, Block: 65}
	for _, c := range []struct {
		name          string
		content       float64
		weight, alarm int
		risk          float64
		action        pipeline.Action
	}{
		{name: "a low score with weights", content: 17.4, weight: 30, risk: 30},
		{name: "a low score with an alert", content: 17.4, alarm: 60, risk: 60, action: pipeline.Review},
		{name: "a low score alone", content: 17.4},
		{name: "half of review counts", content: 17.5, weight: 30, risk: 47.5, action: pipeline.Review},
		{name: "weights never block", content: 60, weight: 30, risk: 64, action: pipeline.Review},
		{name: "an alert may block", content: 20, alarm: 45, risk: 65, action: pipeline.Block},
	} {
		var f defend.Findings
		f.Score(c.content)
		if c.weight > 0 {
			f.Weight(c.weight, "channel", "a channel")
		}
		if c.alarm > 0 {
			f.Add(c.alarm, "alert", "an alert")
		}
		if risk, action := f.Verdict(limits); risk != c.risk || action != c.action || f.Content() != c.content {
			t.Errorf("%s: risk %v %v, content %v", c.name, risk, action, f.Content())
		}
	}
}
