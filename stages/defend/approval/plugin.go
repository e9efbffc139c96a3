package approval

import (
	"slices"
	"strings"
	"unicode/utf8"

	"sluice/frames"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// pluginRequest is a plugin's request in events and lists, in the real gateway's order.
type pluginRequest struct {
	PluginID            *string        `json:"pluginId"`
	Title               string         `json:"title"`
	Description         string         `json:"description"`
	Scope               *reach         `json:"scope"`
	Detail              *string        `json:"detail"`
	Severity            *string        `json:"severity"`
	ToolName            *string        `json:"toolName"`
	ToolCallID          *string        `json:"toolCallId"`
	AllowedDecisions    []string       `json:"allowedDecisions,omitempty"`
	AgentID             *string        `json:"agentId"`
	SessionKey          *string        `json:"sessionKey"`
	RunID               *string        `json:"runId"`
	TurnSourceChannel   *string        `json:"turnSourceChannel"`
	TurnSourceTo        *string        `json:"turnSourceTo"`
	TurnSourceAccountID *string        `json:"turnSourceAccountId"`
	TurnSourceThreadID  jsontext.Value `json:"turnSourceThreadId"`
}

// pluginPresentation is a plugin's action as approval.* show it.
type pluginPresentation struct {
	Kind             string   `json:"kind"`
	Title            string   `json:"title"`
	Description      string   `json:"description"`
	Detail           *string  `json:"detail,omitzero"`
	Severity         string   `json:"severity"`
	PluginID         *string  `json:"pluginId"`
	ToolName         *string  `json:"toolName"`
	AgentID          *string  `json:"agentId"`
	Scope            *reach   `json:"scope,omitzero"`
	AllowedDecisions []string `json:"allowedDecisions"`
}

// The protocol's bounds, in characters.
const (
	maxTitle       = 80
	maxDescription = 512
	maxDetail      = 16_384
	cutSuffix      = "…[truncated]"
)

// plugin checks a plugin's action and makes its draft. Its parameters stay with the
// plugin: what is bound is what it said here.
func (b *Broker) plugin(a *Ask) (*draft, error) {
	title, description := b.show(strings.TrimSpace(a.Title)), b.showProse(strings.TrimSpace(a.Description))
	switch {
	case title.text == "" || description.text == "":
		return nil, frames.Invalid("approval title and description are required")
	case utf8.RuneCountInString(title.text) > maxTitle || utf8.RuneCountInString(description.text) > maxDescription:
		return nil, frames.Invalid("approval title or description exceeds the display limit after sanitization")
	}
	d := &draft{allowed: decisions(a.Decisions), sum: a.sum(), agentID: strings.TrimSpace(a.AgentID), sessionKey: strings.TrimSpace(a.SessionKey)}
	r := &pluginRequest{PluginID: b.line(a.PluginID), Title: title.text, Description: description.text, Scope: b.reach(a.Scope),
		Detail: b.detail(a.Detail), Severity: normalized(a.Severity, "info", "warning", "critical"), ToolName: b.line(a.ToolName),
		ToolCallID: optional(a.ToolCallID), AgentID: b.line(a.AgentID), SessionKey: optional(a.SessionKey), RunID: optional(a.RunID),
		TurnSourceChannel: optional(a.Channel), TurnSourceTo: optional(a.To), TurnSourceAccountID: optional(a.AccountID),
		TurnSourceThreadID: thread(a.ThreadID)}
	if a.Decisions != nil {
		r.AllowedDecisions = d.allowed
	}
	p := pluginPresentation{Kind: KindPlugin, Title: r.Title, Description: r.Description, Detail: r.Detail,
		Severity: or(text(r.Severity), "warning"), PluginID: r.PluginID, ToolName: r.ToolName, AgentID: r.AgentID,
		Scope: r.Scope, AllowedDecisions: d.allowed}
	return d, d.encode(r, p)
}

// detail is cut at the protocol's bound: it explains; the action is the title and the
// description.
func (b *Broker) detail(text string) *string {
	p := optional(text)
	if p == nil {
		return nil
	}
	s := b.showProse(*p).text
	if short, cut := cutRunes(s, maxDetail); cut {
		s, _ = cutRunes(short, maxDetail-utf8.RuneCountInString(cutSuffix))
		s += cutSuffix
	}
	return &s
}

// decisions are those that a plugin offers, without doubles; deny always is one.
func decisions(asked []string) []string {
	var out []string
	for _, d := range asked {
		if (d == AllowOnce || d == AllowAlways || d == Deny) && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	switch {
	case len(out) == 0:
		return []string{AllowOnce, AllowAlways, Deny}
	case !slices.Contains(out, Deny):
		out = append(out, Deny)
	}
	return out
}

// reach is the protocol's ApprovalScope: how far the action goes.
type reach struct {
	Kind           string   `json:"kind"`
	Target         *string  `json:"target,omitzero"`
	RecipientCount *int64   `json:"recipientCount,omitzero"`
	Recipients     []string `json:"recipients,omitempty"`
	Audience       *string  `json:"audience,omitzero"`
	Amount         *string  `json:"amount,omitzero"`
	Currency       *string  `json:"currency,omitzero"`
	Visibility     *string  `json:"visibility,omitzero"`
	Automation     *string  `json:"automation,omitzero"`
	Command        *string  `json:"command,omitzero"`
	ExpiresInDays  *int64   `json:"expiresInDays,omitzero"`
}

// reach makes a scope visible; nil when it cannot be shown within the protocol's bounds.
func (b *Broker) reach(raw jsontext.Value) *reach {
	var r reach
	if len(raw) == 0 || raw.Kind() != '{' || json.Unmarshal(raw, &r) != nil || r.Kind == "" {
		return nil
	}
	ok := true
	fit := func(p *string, limit int) *string {
		if p == nil {
			return nil
		}
		s := b.show(*p).text
		ok = ok && utf8.RuneCountInString(s) <= limit
		return &s
	}
	r.Target, r.Amount, r.Currency = fit(r.Target, 128), fit(r.Amount, 40), fit(r.Currency, 12)
	r.Automation, r.Command = fit(r.Automation, 128), fit(r.Command, 256)
	if n := r.RecipientCount; n != nil && *n >= 0 && int64(len(r.Recipients)) > *n {
		r.Recipients = r.Recipients[:*n]
	}
	for i := range r.Recipients {
		r.Recipients[i] = *fit(&r.Recipients[i], 128)
	}
	if !ok {
		return nil
	}
	return &r
}
