package sessionview

import (
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// meta is the __openclaw member that the gateway adds to a stored message.
type meta struct {
	SenderIsOwner     bool   `json:"senderIsOwner,omitzero"`
	Kind              string `json:"kind,omitzero"`
	RunID             string `json:"runId,omitzero"`
	ID                string `json:"id"`
	IdempotencyKey    string `json:"idempotencyKey,omitzero"`
	RecordTimestampMs int64  `json:"recordTimestampMs"`
	Seq               int64  `json:"seq"`
	Truncated         bool   `json:"truncated,omitzero"`
	Reason            string `json:"reason,omitzero"`
}

// Message is a stored message as clients read it: its body, with no more text than most
// UTF-16 code units, and __openclaw added. The body is spliced, not decoded: it was
// encoded by Sluice.
func Message(m storage.Message, most int) jsontext.Value {
	body, cut := Body(m.Body, most)
	own := meta{ID: m.ID, IdempotencyKey: m.IdempotencyKey, RecordTimestampMs: m.TimestampMs, Seq: m.Seq}
	switch m.Role {
	case "user":
		own.SenderIsOwner = m.FromOwner()
	case "system":
		own.Kind = "reset" // the only one that is stored
	default:
		own.RunID = m.RunID
	}
	if cut {
		own.Truncated, own.Reason = true, "display-cap"
	}
	extra, err := json.Marshal(own)
	if err != nil { // strings and numbers
		panic(err)
	}
	n := len(body) - 1
	out := make(jsontext.Value, 0, n+len(extra)+16)
	out = append(out, body[:n]...)
	if n > 1 {
		out = append(out, ',')
	}
	out = append(out, `"__openclaw":`...)
	out = append(out, extra...)
	return append(out, '}')
}
