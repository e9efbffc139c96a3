package chat

import (
	"context"
	"strings"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
	"sluice/storage"

	"github.com/google/uuid"
)

// wake hands a text to a session's agent: now starts a turn with it, next-heartbeat
// keeps it for the session's next turn, whatever starts that.
func (f *Family) wake(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		Mode string `json:"mode"`
		Text string `json:"text"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	text := strings.TrimSpace(p.Text)
	if text == "" {
		return frames.Invalid("text required")
	}
	if p.Mode != "now" {
		if err := f.deps.Queue(e.SessionKey, text, e.Foreign); err != nil {
			return err
		}
		return e.AnswerValue(map[string]any{"ok": true})
	}
	_, agentID, err := session(e.SessionKey, "")
	if err != nil {
		return err
	}
	return f.deps.Runs.Start(e, agent.Start{Kind: agent.Direct, RunID: uuid.NewString(), AgentID: agentID, Text: "System event: " + text,
		Answer: func(*storage.SessionRow) any { return map[string]any{"ok": true} }})
}
