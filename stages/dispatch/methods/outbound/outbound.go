// Package outbound answers send: a message that leaves through a channel.
//
// The handler only says what to deliver; the adapter stage delivers it and the answer
// is built from its receipt, so there is never a receipt without a delivery.
package outbound

import (
	"context"
	"slices"
	"strings"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"
)

// Deps are what the family needs.
type Deps struct {
	// Channels lists the channels that can send now.
	Channels func() []string
}

// Family holds the handlers.
type Family struct{ deps Deps }

// New returns the family.
func New(deps Deps) *Family { return &Family{deps} }

// Methods lists the handlers.
func (f *Family) Methods() []dispatch.Method {
	return []dispatch.Method{{Name: "send", Handle: f.send}}
}

type sendParams struct {
	To             string   `json:"to"`
	Message        string   `json:"message"`
	MediaURL       string   `json:"mediaUrl"`
	MediaURLs      []string `json:"mediaUrls"`
	Channel        string   `json:"channel"`
	AccountID      string   `json:"accountId"`
	ThreadID       string   `json:"threadId"`
	IdempotencyKey string   `json:"idempotencyKey"`
}

func (f *Family) send(_ context.Context, e *pipeline.Envelope) error {
	var p sendParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	available := f.deps.Channels()
	switch {
	case p.MediaURL != "" || len(p.MediaURLs) > 0:
		return frames.Invalid("media cannot be sent by this gateway yet; send text")
	case strings.TrimSpace(p.Message) == "":
		return frames.Invalid("invalid send params: text or media is required")
	case p.Channel != "" && !slices.Contains(available, p.Channel):
		return frames.Invalid("unsupported channel: %s", p.Channel)
	case len(available) == 0:
		return frames.Invalid("Channel is required (no configured channels detected). Configure one under channels, for example channels.webhook.")
	case p.Channel == "" && len(available) == 1:
		p.Channel = available[0]
	case p.Channel == "":
		return frames.Invalid("Channel is required; available: %s", strings.Join(available, ", "))
	}
	d := &pipeline.Delivery{Channel: p.Channel, AccountID: p.AccountID, To: p.To, ThreadID: p.ThreadID, Text: p.Message, Key: p.IdempotencyKey}
	e.Deliveries = append(e.Deliveries, d)
	e.OnDelivered = func(e *pipeline.Envelope) error {
		if d.Err != nil {
			return d.Err
		}
		return e.AnswerValue(map[string]any{"runId": d.Key, "messageId": d.Receipt.MessageID, "channel": d.Channel,
			"to": d.To, "chunks": d.Receipt.Chunks, "attempts": d.Receipt.Attempts})
	}
	return nil
}
