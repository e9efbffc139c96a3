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

// patch answers sessions.patch: the members that are given change, null clears one. A
// session that does not exist is made, as upstream does.
func (f *Family) patch(_ context.Context, e *pipeline.Envelope) error {
	var members map[string]jsontext.Value
	if err := frames.UnmarshalParams(e.Frame.Params, &members); err != nil {
		return err
	}
	key, agentID, err := f.owned(text(members["key"]), text(members["agentId"]))
	if err != nil {
		return err
	}
	p := clonePatch(members)
	if err := f.checkPatch(p, key, agentID); err != nil {
		return err
	}
	f.effect(e, key, func(tx storage.Tx, row *storage.SessionRow, found bool) (any, bool, error) {
		if err := p.expect(row, found, key); err != nil {
			return nil, false, err
		}
		if !found {
			*row = agent.NewSession(key, agentID)
		}
		if err := f.apply(tx, row, p); err != nil {
			return nil, false, err
		}
		row.UpdatedAtMs = nowMs()
		return map[string]any{"ok": true, "path": f.deps.StorePath, "key": key, "entry": entryOf(row), "resolved": f.resolved(row)}, true, nil
	})
	f.announce(e, key, "patch")
	return nil
}

// patchMembers are the raw members of a patch. They are copied, because the effect runs
// after the request's buffer may be gone.
type patchMembers map[string]jsontext.Value

func clonePatch(m map[string]jsontext.Value) patchMembers {
	p := make(patchMembers, len(m))
	for k, v := range m {
		p[k] = v.Clone()
	}
	return p
}

func (p patchMembers) has(name string) bool { _, ok := p[name]; return ok }

// text is a string member; null and absent give "".
func text(v jsontext.Value) string {
	var s string
	if len(v) == 0 || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

func (p patchMembers) bool(name string) bool { return string(p[name]) == "true" }

// enums are the members whose values a schema leaves open and upstream's handler checks.
var enums = []struct {
	name, hint string
	values     []string
}{
	{"verboseLevel", `invalid verboseLevel (use "on"|"off"|"full")`, []string{"on", "off", "full"}},
	{"reasoningLevel", `invalid reasoningLevel (use "on"|"off"|"stream")`, []string{"on", "off", "stream"}},
	{"elevatedLevel", `invalid elevatedLevel (use "on"|"off"|"ask"|"full")`, []string{"on", "off", "ask", "full"}},
	{"thinkingLevel", "invalid thinkingLevel (use off)", []string{"off", "minimal", "low", "medium", "high", "xhigh", "max"}},
}

// checkPatch refuses what can be refused without the row.
func (f *Family) checkPatch(p patchMembers, key, agentID string) error {
	if p.has("execSecurity") || p.has("execAsk") {
		return frames.Invalid("execSecurity/execAsk are retired; set permissionMode instead")
	}
	for _, en := range enums {
		if v := text(p[en.name]); v != "" && !slices.Contains(en.values, v) {
			return frames.Invalid("%s", en.hint)
		}
	}
	if v := text(p["thinkingLevel"]); v != "" && v != "off" {
		m := f.deps.Runs.Model(agentID)
		return frames.Invalid("thinkingLevel %q is not supported for %s/%s (use off)", v, m.Provider, m.ID)
	}
	if p.has("model") {
		model := text(p["model"])
		if string(p["model"]) != "null" && strings.TrimSpace(model) == "" {
			return frames.Invalid("invalid model: empty")
		}
		if err := f.checkModel(model); err != nil {
			return err
		}
	}
	if p.has("archived") {
		switch {
		case key == "agent:"+agentID+":main":
			return frames.Invalid("Cannot archive an agent's main session.")
		case !p.has("expectedSessionId"):
			return frames.Invalid("expectedSessionId required for session lifecycle patch: %s", key)
		}
	}
	for _, name := range []string{"permissionMode", "sandboxMode", "execHost", "execNode", "toolOverrides"} {
		if p.has(name) && string(p[name]) != "null" {
			return frames.Invalid("this gateway runs no tools yet: %s cannot be set", name)
		}
	}
	return nil
}

// expect compares the row with what the client has seen.
func (p patchMembers) expect(row *storage.SessionRow, found bool, key string) error {
	if p.has("archived") && !found {
		return frames.Invalid("session not found: %s", key)
	}
	id, rev := text(p["expectedSessionId"]), text(p["expectedLifecycleRevision"])
	if (id != "" && (!found || id != row.SessionID)) || (rev != "" && (!found || rev != row.LifecycleRevision)) {
		return frames.Invalid("Session %s changed before patch. Retry.", key).WithDetails(sessionChanged)
	}
	return nil
}

// kept are members that Sluice stores for clients and gives no meaning of its own.
var kept = []string{"autoLabel", "icon", "color", "category", "boardFace", "boardPresentation", "statusNote", "attention", "fastMode", "traceLevel", "responseUsage", "elevatedLevel", "contextWindow"}

// apply changes the row.
func (f *Family) apply(tx storage.Tx, row *storage.SessionRow, p patchMembers) error {
	if p.has("pinned") {
		if p.bool("pinned") && row.Archived && !p.has("archived") {
			return frames.Invalid("cannot pin an archived session; restore it first")
		}
		row.Pinned, row.PinnedAtMs = p.bool("pinned"), nowMs()
	}
	if p.has("archived") {
		row.Archived, row.ArchivedAtMs = p.bool("archived"), nowMs()
		if row.Archived {
			row.Pinned = false
		}
	}
	if p.has("unread") {
		row.Unread = p.bool("unread")
	}
	for name, field := range map[string]*string{"thinkingLevel": &row.ThinkingLevel, "verboseLevel": &row.VerboseLevel,
		"reasoningLevel": &row.ReasoningLevel, "sendPolicy": &row.SendPolicy, "groupActivation": &row.GroupActivation} {
		if p.has(name) {
			*field = text(p[name])
		}
	}
	if p.has("model") {
		f.setModel(row, text(p["model"]))
	}
	for _, name := range kept {
		if !p.has(name) {
			continue
		}
		if row.Extra == nil {
			row.Extra = make(map[string]jsontext.Value)
		}
		if string(p[name]) == "null" {
			delete(row.Extra, name)
		} else {
			row.Extra[name] = p[name]
		}
	}
	if p.has("label") {
		return setLabel(tx, row, strings.TrimSpace(text(p["label"])))
	}
	return nil
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
