package agent

import (
	"fmt"
	"strings"

	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// The messages of a transcript as this package makes and reads them.

type textBlock struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// userBody is a client's message as it is stored. Who sent it comes from the
// connection, never from params (advisories.md, CVE-2026-41299).
type userBody struct {
	Role           string `json:"role"`
	Content        string `json:"content"`
	Timestamp      int64  `json:"timestamp"`
	IdempotencyKey string `json:"idempotencyKey,omitzero"`
}

func userRecord(in Input) storage.Message {
	key := in.RunID + ":user"
	return storage.Message{ID: in.MessageID, RunID: in.RunID, Role: "user", TimestampMs: in.AtMs, IdempotencyKey: key, Foreign: in.Foreign,
		Body: mustJSON(userBody{Role: "user", Content: in.Text, Timestamp: in.AtMs, IdempotencyKey: key})}
}

// collected are a run's messages as they enter the transcript: as they came, or those
// that queue mode collect kept waiting joined into one, in the words of the real gateway.
func collected(inputs []Input) []Input {
	if len(inputs) == 0 || inputs[0].From == "" {
		return append([]Input(nil), inputs...)
	}
	var b strings.Builder
	b.WriteString("[Queued messages while agent was busy]")
	for i, in := range inputs {
		fmt.Fprintf(&b, "\n\n---\nQueued #%d (from %s)\n%s", i+1, orElse(in.From, "operator"), in.Text)
	}
	joined := inputs[0]
	joined.Text = b.String()
	return []Input{joined}
}

type systemBody struct {
	Role      string      `json:"role"`
	Content   []textBlock `json:"content"`
	Timestamp int64       `json:"timestamp"`
}

type usageBody struct {
	Input       int64    `json:"input"`
	Output      int64    `json:"output"`
	TotalTokens int64    `json:"totalTokens"`
	CacheRead   int64    `json:"cacheRead"`
	CacheWrite  int64    `json:"cacheWrite"`
	Cost        costBody `json:"cost"`
}

type costBody struct {
	Input      float64 `json:"input"`
	Output     float64 `json:"output"`
	CacheRead  float64 `json:"cacheRead"`
	CacheWrite float64 `json:"cacheWrite"`
	Total      float64 `json:"total"`
}

type assistantBody struct {
	Role           string      `json:"role"`
	Content        []textBlock `json:"content"`
	API            string      `json:"api"`
	Provider       string      `json:"provider"`
	Model          string      `json:"model"`
	Usage          usageBody   `json:"usage"`
	StopReason     string      `json:"stopReason"`
	Timestamp      int64       `json:"timestamp"`
	ResponseID     string      `json:"responseId,omitzero"`
	ErrorMessage   string      `json:"errorMessage,omitzero"`
	IdempotencyKey string      `json:"idempotencyKey,omitzero"`
	Abort          *abortBody  `json:"openclawAbort,omitzero"`
}

type abortBody struct {
	Aborted bool   `json:"aborted"`
	Origin  string `json:"origin"`
	RunID   string `json:"runId"`
}

// assistantRecord is an answer as it is stored. Its id is made from the run's, so that
// a repeated append finds it (nothing is doubled).
func (r *Run) assistantRecord(a answer, i int) storage.Message {
	m := r.reg.Model(r.agentID)
	u := a.result.Usage
	body := assistantBody{Role: "assistant", Content: []textBlock{{"text", a.text}}, API: "openai-completions",
		Provider: m.Provider, Model: orElse(a.result.Model, m.ID), StopReason: orElse(a.result.StopReason, "stop"),
		Timestamp: a.at.UnixMilli(), ResponseID: a.result.ResponseID,
		Usage: usageBody{Input: u.Input, Output: u.Output, TotalTokens: u.Total}}
	switch a.cut {
	case Aborted:
		body.Abort = &abortBody{Aborted: true, Origin: r.stopReason(), RunID: r.id}
	case Failed:
		body.StopReason = "error"
	}
	return r.record(fmt.Sprint("answer", i), body)
}

// errorRecord tells in the transcript that a run gave no answer, and why. The model is
// not shown it.
func (r *Run) errorRecord(end End) storage.Message {
	m := r.reg.Model(r.agentID)
	return r.record("terminal-error", assistantBody{Role: "assistant", Content: []textBlock{{"text", "⚠️ " + end.message()}},
		API: "openai-completions", Provider: m.Provider, Model: m.ID, StopReason: "error", Timestamp: end.EndedAt.UnixMilli(),
		ErrorMessage: end.message(), IdempotencyKey: r.id + ":terminal-error"})
}

func (r *Run) record(name string, body assistantBody) storage.Message {
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(r.SessionID()+"\x00"+r.id+"\x00"+name)).String()
	return storage.Message{ID: id, RunID: r.id, Role: "assistant", Body: mustJSON(body), TimestampMs: body.Timestamp,
		IdempotencyKey: body.IdempotencyKey}
}

// stored is what is read of a stored message.
type stored struct {
	Content    jsontext.Value `json:"content"`
	StopReason string         `json:"stopReason"`
	API        string         `json:"api"`
	Error      string         `json:"errorMessage"`
}

// TextOf returns the text of a stored message: a string, or its text blocks.
func TextOf(body jsontext.Value) string {
	var m stored
	if json.Unmarshal(body, &m) != nil {
		return ""
	}
	return m.text()
}

func (m *stored) text() string {
	if m.Content.Kind() == '"' {
		var s string
		if json.Unmarshal(m.Content, &s) == nil {
			return s
		}
	}
	var blocks []textBlock
	if m.Content.Kind() != '[' || json.Unmarshal(m.Content, &blocks) != nil {
		return ""
	}
	text := ""
	for _, b := range blocks {
		if b.Type == "text" {
			text += b.Text
		}
	}
	return text
}

// forModel is the text that the model is shown of a message; errors are for people.
func forModel(body jsontext.Value) string {
	var m stored
	if json.Unmarshal(body, &m) != nil || m.Error != "" {
		return ""
	}
	return m.text()
}

// Pending is a message that was accepted and that no turn has read yet.
type Pending struct {
	ID         string         `json:"id"`
	AcceptedAt int64          `json:"acceptedAt"`
	State      string         `json:"state"`
	Message    PendingMessage `json:"message"`
	RunID      string         `json:"runId"`
}

// PendingMessage is the message itself.
type PendingMessage struct {
	Role      string      `json:"role"`
	Content   string      `json:"content"`
	Timestamp int64       `json:"timestamp"`
	Meta      pendingMeta `json:"__openclaw"`
}

type pendingMeta struct {
	SenderIsOwner bool   `json:"senderIsOwner"`
	ID            string `json:"id"`
}

// Pending lists a session's messages that wait, in the order in which they will be
// read, with no more text of each than most UTF-16 code units.
func (g *Registry) Pending(sessionKey string, most int) []Pending {
	out := []Pending{}
	holder, waiting := g.deps.Lanes.Active(sessionKey)
	for _, id := range append([]string{holder}, waiting...) {
		r := g.Get(id)
		if r == nil {
			continue
		}
		r.mu.Lock()
		if r.status == Queued {
			out = r.pending(out, most)
		}
		steered := append([]*Run(nil), r.steered...)
		r.mu.Unlock()
		for _, o := range steered {
			out = o.pending(out, most)
		}
	}
	return out
}

// pending appends the run's messages; those of joined runs are among them.
func (r *Run) pending(out []Pending, most int) []Pending {
	for _, in := range r.inputs {
		text, _ := sessionview.Cut(in.Text, most)
		out = append(out, Pending{ID: in.MessageID, AcceptedAt: in.AtMs, State: "queued", RunID: in.RunID,
			Message: PendingMessage{Role: "user", Content: text, Timestamp: in.AtMs,
				Meta: pendingMeta{SenderIsOwner: in.Foreign == "", ID: "pending:" + in.MessageID}}})
	}
	return out
}

// InFlight is the running turn of a session as a reader that comes late is told.
type InFlight struct {
	RunID     string `json:"runId"`
	Text      string `json:"text"`
	StartedAt int64  `json:"startedAt"`
}

// InFlight returns the session's running turn; nil when none runs.
func (g *Registry) InFlight(sessionKey string) *InFlight {
	holder, _ := g.deps.Lanes.Active(sessionKey)
	r := g.Get(holder)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	status, out, at := r.status, r.out, r.startedAt
	r.mu.Unlock()
	if !status.open() {
		return nil
	}
	if at.IsZero() { // it is about to begin
		at = r.createdAt
	}
	f := &InFlight{RunID: r.id, StartedAt: at.UnixMilli()}
	if out != nil {
		f.Text = out.text()
	}
	return f
}
