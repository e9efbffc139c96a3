package outbound_test

import (
	"context"
	"errors"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/methods/outbound"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// send runs the handler as the pipeline does: the handler, the delivery, the answer.
func send(t *testing.T, channels []string, params string, deliver func(*pipeline.Delivery)) (payload string, d *pipeline.Delivery, err *frames.Error) {
	t.Helper()
	f := outbound.New(outbound.Deps{Channels: func() []string { return channels }})
	var handle dispatch.Handler
	for _, m := range f.Methods() {
		handle = m.Handle
	}
	type result struct {
		payload string
		d       *pipeline.Delivery
		err     *frames.Error
	}
	done := make(chan result, 1)
	p := pipelinetest.Start(t, pipeline.Default(), pipelinetest.Stage{StageName: "dispatch", Fn: func(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		var r result
		err := handle(ctx, e)
		if err == nil && len(e.Deliveries) == 1 {
			r.d = e.Deliveries[0]
			deliver(r.d)
			err = e.OnDelivered(e)
		}
		errors.As(err, &r.err)
		b, _, _ := e.Result()
		r.payload = string(b)
		done <- r
		return pipeline.Next, err
	}})
	c := pipelinetest.NewClient()
	if err := p.Submit(pipelinetest.Request(t, c, "send", params)); err != nil {
		t.Fatal(err)
	}
	c.Next(t)
	r := <-done
	return r.payload, r.d, r.err
}

func TestSend(t *testing.T) {
	ok := func(d *pipeline.Delivery) { d.Receipt = &pipeline.Receipt{MessageID: "m1", Chunks: 2, Attempts: 3} }
	payload, d, err := send(t, []string{"webhook"}, `{"to":"out","message":"hi","threadId":"th","accountId":"ac","idempotencyKey":"k"}`, ok)
	if err != nil || payload != `{"attempts":3,"channel":"webhook","chunks":2,"messageId":"m1","runId":"k","to":"out"}` {
		t.Errorf("%s %v", payload, err)
	}
	if d.Channel != "webhook" || d.To != "out" || d.Text != "hi" || d.ThreadID != "th" || d.AccountID != "ac" || d.Key != "k" {
		t.Errorf("%+v", d)
	}
	// A delivery that failed has no receipt.
	payload, _, err = send(t, []string{"webhook"}, `{"to":"out","channel":"webhook","message":"hi","idempotencyKey":"k"}`,
		func(d *pipeline.Delivery) { d.Err = frames.Unavailable(0, "OutboundDeliveryError: refused") })
	if err == nil || err.Message != "OutboundDeliveryError: refused" || payload != "" {
		t.Errorf("%s %v", payload, err)
	}
	for _, tc := range []struct {
		channels       []string
		params, refuse string
	}{
		{[]string{"webhook"}, `{"to":"x"}`, "invalid send params: text or media is required"},
		{[]string{"webhook"}, `{"to":"x","message":" "}`, "invalid send params: text or media is required"},
		{[]string{"webhook"}, `{"to":"x","mediaUrl":"http://x"}`, "media cannot be sent by this gateway yet; send text"},
		{nil, `{"to":"x","message":"m"}`, "Channel is required (no configured channels detected). Configure one under channels, for example channels.webhook."},
		{nil, `{"to":"x","message":"m","channel":"nosuch"}`, "unsupported channel: nosuch"},
		{[]string{"a", "b"}, `{"to":"x","message":"m"}`, "Channel is required; available: a, b"},
		{[]string{"a", "b"}, `{"to":"x","message":"m","channel":"c"}`, "unsupported channel: c"},
	} {
		_, d, err := send(t, tc.channels, tc.params, ok)
		if d != nil || err == nil || err.Message != tc.refuse {
			t.Errorf("%s: %+v %v, want %q", tc.params, d, err, tc.refuse)
		}
	}
}
