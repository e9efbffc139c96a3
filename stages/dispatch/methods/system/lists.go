package system

import (
	"cmp"
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"
)

// agentsList answers agents.list.
func (f *Family) agentsList(_ context.Context, e *pipeline.Envelope) error {
	cfg := f.deps.Runs.Config()
	rows := []map[string]any{}
	for _, id := range f.deps.AgentIDs() {
		row := map[string]any{"id": id, "kind": "agent", "agentRuntime": sessionview.DefaultRuntime,
			"thinkingLevels": sessionview.ThinkingOff, "thinkingOptions": []string{"off"}, "thinkingDefault": "off"}
		if a, ok := cfg.Agent(id); ok && a.Name != "" {
			row["name"] = a.Name
			row["identity"] = map[string]any{"name": a.Name}
		}
		if m := f.deps.Runs.Model(id); m.ID != "" {
			row["model"] = map[string]any{"primary": m.Provider + "/" + m.ID}
		}
		rows = append(rows, row)
	}
	return e.AnswerValue(map[string]any{"defaultId": frames.DefaultAgent, "ownership": "sole", "selectionRequired": false,
		"mainKey": "main", "scope": "per-sender", "agents": rows})
}

// agentIdentity answers agent.identity.get; an unknown agent is echoed, as upstream does.
func (f *Family) agentIdentity(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		AgentID    string `json:"agentId"`
		SessionKey string `json:"sessionKey"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	id := p.AgentID
	if p.SessionKey != "" {
		k, err := frames.ParseSessionKey(p.SessionKey)
		if err != nil {
			return frames.Invalid("invalid agent.identity.get params: malformed session key %q", p.SessionKey)
		}
		if id == "" {
			id = k.Agent
		}
	}
	if id == "" {
		id = frames.DefaultAgent
	}
	name, source := "Assistant", "default"
	if a, ok := f.deps.Runs.Config().Agent(id); ok && a.Name != "" {
		name, source = a.Name, "config"
	}
	initial, _ := utf8.DecodeRuneInString(name)
	return e.AnswerValue(map[string]any{"agentId": id, "name": name, "nameSource": source, "avatar": strings.ToUpper(string(initial))})
}

// Models is the models member of models.list and chat.metadata.
func (f *Family) Models(agentID string) any {
	models := []map[string]any{}
	seen := map[string]bool{}
	add := func(m sessionview.Model, isDefault bool) {
		if m.ID == "" || seen[m.ID] {
			return
		}
		seen[m.ID] = true
		row := map[string]any{"id": m.ID, "name": m.Name, "provider": m.Provider, "contextWindow": m.ContextTokens,
			"reasoning": false, "thinkingLevels": sessionview.ThinkingOff, "thinkingDefault": "off", "available": m.Configured}
		if isDefault {
			row["tags"] = []string{"default"}
		}
		models = append(models, row)
	}
	add(f.deps.Runs.Model(agentID), true)
	for _, id := range f.deps.AgentIDs() {
		add(f.deps.Runs.Model(id), false)
	}
	return models
}

// modelsList answers models.list.
func (f *Family) modelsList(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		View       string `json:"view"`
		AgentID    string `json:"agentId"`
		SessionKey string `json:"sessionKey"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	id := frames.DefaultAgent
	if p.AgentID != "" {
		if id = p.AgentID; !f.knownAgent(id) {
			return frames.Invalid("unknown agent id %q", id)
		}
	}
	out := map[string]any{"models": f.Models(id)}
	if p.View == "configured" {
		out["defaultModels"] = map[string]any{"automaticUtilityModel": nil}
		out["accountSelection"] = map[string]any{"kind": "automatic", "label": "Automatic account selection"}
	}
	return e.AnswerValue(out)
}

type command struct {
	Name        string   `json:"name"`
	NativeName  string   `json:"nativeName"`
	TextAliases []string `json:"textAliases"`
	Description string   `json:"description"`
	Category    string   `json:"category"`
	Source      string   `json:"source"`
	Scope       string   `json:"scope"`
	AcceptsArgs bool     `json:"acceptsArgs"`
}

// nativeCommands are the chat commands that this gateway obeys (methods/chat).
var nativeCommands = []command{
	{"stop", "stop", []string{"/stop", "/abort"}, "End the session's running and waiting turns.", "session", "native", "both", false},
	{"new", "new", []string{"/new"}, "Empty the session; text after it starts the next turn.", "session", "native", "both", true},
	{"reset", "reset", []string{"/reset"}, "Empty the session; text after it starts the next turn.", "session", "native", "both", true},
}

// Commands is the commands member of commands.list and chat.metadata.
func (f *Family) Commands() any { return nativeCommands }

// commandsList answers commands.list.
func (f *Family) commandsList(ctx context.Context, e *pipeline.Envelope) error {
	var p struct {
		AgentID    string `json:"agentId"`
		SessionKey string `json:"sessionKey"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	if p.AgentID != "" && !f.knownAgent(p.AgentID) {
		return frames.Invalid("unknown agent id %q", p.AgentID)
	}
	if p.SessionKey != "" {
		if row, err := f.session(ctx, p.SessionKey); err != nil || row == nil {
			return cmp.Or(err, error(frames.Invalid("Session not found.")))
		}
	}
	return e.AnswerValue(map[string]any{"commands": nativeCommands})
}

// session reads the session of a key as the client wrote it; nil when there is none.
func (f *Family) session(ctx context.Context, given string) (found *storage.SessionRow, err error) {
	k, perr := frames.ParseSessionKey(given)
	if perr != nil {
		return nil, frames.Invalid("invalid session key: %s", perr)
	}
	err = f.deps.Store.View(ctx, func(r storage.Reader) error {
		row, ok, err := agent.FindSession(r, k.Canonical(frames.DefaultAgent))
		if ok {
			found = &row
		}
		return err
	})
	return found, err
}

// channelsStatus answers channels.status.
func (f *Family) channelsStatus(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		Channel string `json:"channel"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	order, labels, meta := []string{}, map[string]string{}, []map[string]any{}
	channels, accounts, defaults := map[string]any{}, map[string]any{}, map[string]string{}
	for _, c := range f.deps.Channels() {
		if p.Channel != "" && p.Channel != c.ID {
			continue
		}
		order, labels[c.ID] = append(order, c.ID), c.Label
		meta = append(meta, map[string]any{"id": c.ID, "label": c.Label, "detailLabel": c.Label})
		channels[c.ID] = c.view()
		rows := []map[string]any{}
		for _, a := range c.Accounts {
			rows = append(rows, map[string]any{"accountId": a, "configured": true, "enabled": true, "running": c.Running})
		}
		accounts[c.ID] = rows
		if len(c.Accounts) > 0 {
			defaults[c.ID] = c.Accounts[0]
		}
	}
	if p.Channel != "" && len(order) == 0 {
		return frames.Invalid("unknown channel: %s", p.Channel)
	}
	empty := map[string]string{}
	return e.AnswerValue(map[string]any{"ts": time.Now().UnixMilli(), "channelOrder": order, "channelLabels": labels,
		"channelDetailLabels": labels, "channelSystemImages": empty, "channelMeta": meta, "eventLoop": f.deps.Loop.Snapshot(),
		"channels": channels, "channelAccounts": accounts, "channelDefaultAccountId": defaults, "statusIssues": []any{}})
}
