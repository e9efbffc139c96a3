package approvals

import (
	"context"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type resolveParams struct {
	ID                 string         `json:"id"`
	Kind               string         `json:"kind"`
	Decision           string         `json:"decision"`
	Reviewer           jsontext.Value `json:"reviewer"`
	GrantExpiresInDays int            `json:"grantExpiresInDays"`
}

var answerOK = []byte(`{"ok":true}`)

// resolve answers exec.approval.resolve and plugin.approval.resolve. Decisions by a
// channel's user (reviewer) are none of Sluice's: upstream, too, says unknown to a
// reviewer that it cannot check.
func (f *Family) resolve(kind string) func(context.Context, *pipeline.Envelope) error {
	return func(ctx context.Context, e *pipeline.Envelope) error {
		var p resolveParams
		if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
			return err
		}
		switch {
		case p.Decision != allowOnce && p.Decision != allowAlways && p.Decision != deny:
			return errDecision
		case len(p.Reviewer) > 0:
			return errUnknown
		}
		a, result, err := f.broker.Resolve(ctx, Resolution{ID: p.ID, Kind: kind, Decision: p.Decision, By: e.Peer, GrantDays: p.GrantExpiresInDays})
		if err != nil {
			return err
		}
		switch result {
		case Applied, Same:
			e.Answer(answerOK)
			return nil
		case Missing:
			return errUnknown
		case Conflict:
			return errResolved
		case Unavailable:
			if kind == kindExec {
				return errAlways
			}
			return frames.Invalid("%s is unavailable for this plugin approval", p.Decision).
				WithDetails(map[string]any{"allowedDecisions": a.Allowed})
		}
		return refusal(result)
	}
}

// refusal words the results that only Sluice has.
func refusal(result string) *frames.Error {
	switch result {
	case Changed:
		return errChanged
	case Self:
		return errSelf
	}
	return frames.MissingScope(frames.ScopeApprovals)
}

// reviews reports whether upstream lets this connection see approvals by approval.get and
// approval.resolve: an admin, or a paired device.
func reviews(p *frames.Peer) bool {
	return p != nil && p.Role == frames.RoleOperator && (p.DeviceID != "" || p.Scopes.Allows(frames.ScopeAdmin))
}

// resolveAny answers approval.resolve. A kind or a decision that does not fit denies.
func (f *Family) resolveAny(ctx context.Context, e *pipeline.Envelope) error {
	var p resolveParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	if !reviews(e.Peer) || len(p.Reviewer) > 0 {
		return errNotFound
	}
	a, result, err := f.broker.Resolve(ctx, Resolution{ID: p.ID, Kind: p.Kind, Unified: true, Decision: p.Decision, By: e.Peer,
		GrantDays: p.GrantExpiresInDays})
	if err != nil {
		return err
	}
	switch result {
	case Applied, Same, Conflict:
	case Missing: // decided long ago
		var found bool
		if a, found = f.broker.Lookup(p.ID); !found {
			return errNotFound
		}
	default:
		return refusal(result)
	}
	return e.AnswerValue(struct {
		Applied  bool           `json:"applied"`
		Approval jsontext.Value `json:"approval"`
	}{result == Applied, a.Snapshot})
}

// get answers approval.get.
func (f *Family) get(_ context.Context, e *pipeline.Envelope) error {
	var p resolveParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	a, found := f.broker.Lookup(p.ID)
	if !found || !reviews(e.Peer) {
		return errNotFound
	}
	return e.AnswerValue(struct {
		Approval jsontext.Value `json:"approval"`
	}{a.Snapshot})
}

// execView is what exec.approval.get shows.
type execView struct {
	ID               string         `json:"id"`
	CommandText      string         `json:"commandText"`
	CommandPreview   *string        `json:"commandPreview"`
	AllowedDecisions []string       `json:"allowedDecisions"`
	Host             jsontext.Value `json:"host"`
	NodeID           jsontext.Value `json:"nodeId"`
	AgentID          jsontext.Value `json:"agentId"`
	ExpiresAtMs      int64          `json:"expiresAtMs"`
}

// execGet answers exec.approval.get; only what still waits is found.
func (f *Family) execGet(_ context.Context, e *pipeline.Envelope) error {
	var p resolveParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	a, found := f.broker.Find(p.ID)
	if !found || a.Kind != kindExec || a.Status != "pending" {
		return errUnknown
	}
	var v execView
	if err := json.Unmarshal(a.Presentation, &v, jsontext.AllowInvalidUTF8(true)); err != nil {
		return err
	}
	v.ID, v.ExpiresAtMs = a.ID, a.ExpiresAtMs
	return e.AnswerValue(v)
}
