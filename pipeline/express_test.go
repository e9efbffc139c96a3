package pipeline_test

import (
	"context"
	"errors"
	"testing"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
	. "sluice/pipeline/pipelinetest"
)

// raw is a frame as the edge submits it: not decoded.
func raw(c *Client, peer *frames.Peer, text string) *pipeline.Envelope {
	e := pipeline.NewEnvelope(pipeline.SourceWire, bufpool.Copy([]byte(text)))
	e.Client, e.Peer = c, peer
	return e
}

// TestHandshakesHavePlacesThatHealthCannotTake: with the express link full of health, and
// the others full of anything, whoever is not yet in is still taken.
func TestHandshakesHavePlacesThatHealthCannotTake(t *testing.T) {
	cfg := pipeline.Default()
	cfg.Workers, cfg.QueueFrames = 1, 16
	gate := make(chan struct{})
	p := Start(t, cfg, stage{"slow", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		<-gate
		if err := frames.Decode(e.Bytes(), &e.Frame); err != nil {
			return pipeline.Done, err
		}
		return pipeline.Next, e.AnswerValue(1)
	}})
	c := NewClient()
	taken := 0
	submit := func(peer *frames.Peer, text string) bool {
		e := raw(c, peer, text)
		err := p.Submit(e)
		if err != nil {
			if !errors.Is(err, pipeline.ErrBusy) {
				t.Fatal(err)
			}
			e.Client = nil
			p.Refuse(e, pipeline.Refusal(err))
			return false
		}
		taken++
		return true
	}
	health, status := `{"type":"req","id":"1","method":"health"}`, `{"type":"req","id":"1","method":"status","params":{}}`
	for range 40 {
		submit(c.Peer(), status)
	}
	n := taken
	for range 40 {
		submit(c.Peer(), health)
	}
	if taken == n || taken-n > 12 {
		t.Errorf("%d of 40 health requests were taken beside a full queue, with room for half of 16", taken-n)
	}
	for range 5 {
		if !submit(nil, `{"type":"req","id":"1","method":"connect"}`) {
			t.Error("a handshake was refused because of health")
		}
	}
	close(gate)
	for range taken {
		if a := c.Next(t); !a.OK {
			t.Errorf("%+v", a.Error)
		}
	}
}
