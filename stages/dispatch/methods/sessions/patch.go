package sessions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// patchParams are the members that mean something here. Each is absent, null, which
// clears it, or a value, so they stay as they came; the values are copies.
type patchParams struct {
	Key              string `json:"key"`
	AgentID          string `json:"agentId"`
	ExpectedID       string `json:"expectedSessionId"`
	ExpectedRevision string `json:"expectedLifecycleRevision"`

	Label           jsontext.Value `json:"label"`
	Archived        *bool          `json:"archived"`
	Pinned          *bool          `json:"pinned"`
	Unread          *bool          `json:"unread"`
	Model           jsontext.Value `json:"model"`
	ThinkingLevel   jsontext.Value `json:"thinkingLevel"`
	VerboseLevel    jsontext.Value `json:"verboseLevel"`
	ReasoningLevel  jsontext.Value `json:"reasoningLevel"`
	SendPolicy      jsontext.Value `json:"sendPolicy"`
	GroupActivation jsontext.Value `json:"groupActivation"`

	// Others are kept for clients, or refused.
	Others map[string]jsontext.Value `json:",embed"`
}

// kept are members that Sluice stores for clients and gives no meaning of its own.
var kept = []string{"autoLabel", "icon", "color", "category", "boardFace", "boardPresentation", "statusNote", "attention",
	"fastMode", "traceLevel", "responseUsage", "elevatedLevel", "contextWindow"}

// toolMembers are about running tools, which this version does not.
var toolMembers = []string{"permissionMode", "sandboxMode", "execHost", "execNode", "toolOverrides"}

// patch answers sessions.patch: the members that are given change, null clears one. A
// session that does not exist is made, as upstream does.
func (f *Family) patch(_ context.Context, e *pipeline.Envelope) error {
	var p patchParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, agentID, err := f.owned(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	if err := f.checkPatch(&p, key, agentID); err != nil {
		return err
	}
	f.effect(e, key, func(tx storage.Tx, row *storage.SessionRow, found bool) (any, bool, error) {
		if err := p.expect(row, found, key); err != nil {
			return nil, false, err
		}
		if !found {
			*row = agent.NewSession(key, agentID)
		}
		if err := f.apply(tx, row, &p); err != nil {
			return nil, false, err
		}
		row.UpdatedAtMs = nowMs()
		return &changed{OK: true, Path: f.deps.StorePath, Key: key, Entry: entryOf(row), Resolved: f.resolved(row)}, true, nil
	})
	f.announce(e, key, "patch")
	return nil
}

// changed is the answer of patch and reset.
type changed struct {
	OK       bool     `json:"ok"`
	Path     string   `json:"path,omitzero"`
	Key      string   `json:"key"`
	Entry    Entry    `json:"entry"`
	Resolved resolved `json:"resolved"`
}

// given reports that a member is there, null or not.
func given(v jsontext.Value) bool { return len(v) > 0 }

func isNull(v jsontext.Value) bool { return v.Kind() == 'n' }

// text is a string member; null and absent give "".
func text(v jsontext.Value) string {
	var s string
	if len(v) == 0 || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// oneOf checks a member whose values the schema leaves open.
func oneOf(v jsontext.Value, hint string, values ...string) error {
	if s := text(v); s != "" && !slices.Contains(values, s) {
		return frames.Invalid("%s", hint)
	}
	return nil
}

// checkPatch refuses what can be refused without the row.
func (f *Family) checkPatch(p *patchParams, key, agentID string) error {
	if err := p.checkLevels(); err != nil {
		return err
	}
	if v := text(p.ThinkingLevel); v != "" && v != "off" {
		m := f.deps.Runs.Model(agentID)
		return frames.Invalid("thinkingLevel %q is not supported for %s/%s (use off)", v, m.Provider, m.ID)
	}
	if given(p.Model) {
		model := text(p.Model)
		if !isNull(p.Model) && strings.TrimSpace(model) == "" {
			return frames.Invalid("invalid model: empty")
		}
		if err := f.checkModel(model); err != nil {
			return err
		}
	}
	if p.Archived != nil {
		switch {
		case key == mainKey(agentID):
			return frames.Invalid("Cannot archive an agent's main session.")
		case p.ExpectedID == "":
			return frames.Invalid("expectedSessionId required for session lifecycle patch: %s", key)
		}
	}
	for _, name := range toolMembers {
		if v, ok := p.Others[name]; ok && !isNull(v) {
			return frames.Invalid("this gateway runs no tools yet: %s cannot be set", name)
		}
	}
	return nil
}

func (p *patchParams) checkLevels() error {
	if given(p.Others["execSecurity"]) || given(p.Others["execAsk"]) {
		return frames.Invalid("execSecurity/execAsk are retired; set permissionMode instead")
	}
	for _, err := range []error{
		oneOf(p.VerboseLevel, `invalid verboseLevel (use "on"|"off"|"full")`, "on", "off", "full"),
		oneOf(p.ReasoningLevel, `invalid reasoningLevel (use "on"|"off"|"stream")`, "on", "off", "stream"),
		oneOf(p.Others["elevatedLevel"], `invalid elevatedLevel (use "on"|"off"|"ask"|"full")`, "on", "off", "ask", "full"),
		oneOf(p.ThinkingLevel, "invalid thinkingLevel (use off)", "off", "minimal", "low", "medium", "high", "xhigh", "max"),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// expect compares the row with what the client has seen.
func (p *patchParams) expect(row *storage.SessionRow, found bool, key string) error {
	if p.Archived != nil && !found {
		return frames.Invalid("session not found: %s", key)
	}
	if (p.ExpectedID != "" && (!found || p.ExpectedID != row.SessionID)) ||
		(p.ExpectedRevision != "" && (!found || p.ExpectedRevision != row.LifecycleRevision)) {
		return frames.Invalid("Session %s changed before patch. Retry.", key).WithDetails(sessionChanged)
	}
	return nil
}

// apply changes the row.
func (f *Family) apply(tx storage.Tx, row *storage.SessionRow, p *patchParams) error {
	if p.Archived != nil {
		row.Archived, row.ArchivedAtMs = *p.Archived, nowMs()
		if row.Archived {
			row.Pinned = false
		}
	}
	if p.Pinned != nil {
		if *p.Pinned && row.Archived {
			return frames.Invalid("cannot pin an archived session; restore it first")
		}
		row.Pinned, row.PinnedAtMs = *p.Pinned, nowMs()
	}
	if p.Unread != nil {
		row.Unread = *p.Unread
	}
	for _, m := range []struct {
		from jsontext.Value
		to   *string
	}{{p.ThinkingLevel, &row.ThinkingLevel}, {p.VerboseLevel, &row.VerboseLevel}, {p.ReasoningLevel, &row.ReasoningLevel},
		{p.SendPolicy, &row.SendPolicy}, {p.GroupActivation, &row.GroupActivation}} {
		if given(m.from) {
			*m.to = text(m.from)
		}
	}
	if given(p.Model) {
		f.setModel(row, text(p.Model))
	}
	p.keep(row)
	if given(p.Label) {
		return setLabel(tx, row, strings.TrimSpace(text(p.Label)))
	}
	return nil
}

// keep stores the members that only clients understand.
func (p *patchParams) keep(row *storage.SessionRow) {
	if len(p.Others) == 0 {
		return
	}
	for _, name := range kept {
		v, ok := p.Others[name]
		switch {
		case !ok:
		case isNull(v):
			delete(row.Extra, name)
		default:
			if row.Extra == nil {
				row.Extra = make(map[string]jsontext.Value)
			}
			row.Extra[name] = v
		}
	}
}

// Labels are unique; Meta has "label/<hash>" -> session key, so that a change does not
// read every session.

func labelKey(label string) string {
	sum := sha256.Sum256([]byte(label))
	return "label/" + hex.EncodeToString(sum[:16])
}

// byLabel finds the session that has a label.
func byLabel(r storage.Reader, label string) (storage.SessionRow, bool, error) {
	raw, err := r.Get(storage.Meta, labelKey(label))
	if errors.Is(err, storage.ErrNotFound) {
		return storage.SessionRow{}, false, nil
	}
	if err != nil {
		return storage.SessionRow{}, false, err
	}
	row, found, err := agent.FindSession(r, string(raw))
	return row, found && row.Label == label, err
}

func setLabel(tx storage.Tx, row *storage.SessionRow, label string) error {
	if label == row.Label {
		return nil
	}
	if label != "" {
		if other, found, err := byLabel(tx, label); err != nil {
			return err
		} else if found && other.Key != row.Key {
			return frames.Invalid("label already in use: %s", label)
		}
	}
	if err := dropLabel(tx, row); err != nil {
		return err
	}
	row.Label = label
	if label == "" {
		return nil
	}
	return tx.Put(storage.Meta, labelKey(label), []byte(row.Key))
}

func dropLabel(tx storage.Tx, row *storage.SessionRow) error {
	if row.Label == "" {
		return nil
	}
	return tx.Delete(storage.Meta, labelKey(row.Label))
}
