package settings

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage/config"

	"github.com/go-json-experiment/json/jsontext"
)

// writeParams are the params of config.set, config.patch and config.apply together.
// restartDelayMs is accepted and means nothing here: Sluice does not restart itself.
type writeParams struct {
	Raw             string         `json:"raw"`
	BaseHash        string         `json:"baseHash"`
	ReplacePaths    []string       `json:"replacePaths"`
	SessionKey      string         `json:"sessionKey"`
	DeliveryContext jsontext.Value `json:"deliveryContext"`
	Note            *string        `json:"note"`
}

func (p *writeParams) request() config.WriteRequest {
	return config.WriteRequest{Raw: p.Raw, BaseHash: p.BaseHash, ReplacePaths: p.ReplacePaths}
}

// sentinel is upstream's note to itself for after a restart. Sluice leaves none, so
// Persisted is false; clients read Payload.Message and Payload.Stats.
type sentinel struct {
	Persisted bool    `json:"persisted"`
	Payload   payload `json:"payload"`
}

type payload struct {
	Kind            string         `json:"kind"`
	Status          string         `json:"status"`
	TS              int64          `json:"ts"`
	SessionKey      string         `json:"sessionKey,omitzero"`
	DeliveryContext jsontext.Value `json:"deliveryContext,omitzero"`
	Message         *string        `json:"message"`
	DoctorHint      string         `json:"doctorHint"`
	Stats           stats          `json:"stats"`
}

type stats struct {
	Mode            string `json:"mode"`
	Root            string `json:"root"`
	RequiresRestart bool   `json:"requiresRestart"`
}

const doctorHint = "Recommended follow-up: run sluice doctor in a terminal on the gateway's machine."

// set answers config.set: the whole document is replaced.
func (f *Family) set(ctx context.Context, e *pipeline.Envelope) error {
	p, err := f.writing(e)
	if err != nil {
		return err
	}
	res, err := f.guarded(ctx, e, p, f.deps.Manager.Set)
	if err != nil {
		return refusal(err)
	}
	return e.AnswerValue(res)
}

// patch answers config.patch: a merge into the document.
func (f *Family) patch(ctx context.Context, e *pipeline.Envelope) error {
	p, err := f.writing(e)
	if err != nil {
		return err
	}
	res, err := f.guarded(ctx, e, p, f.deps.Manager.Patch)
	if err != nil {
		return refusal(err)
	}
	if res.Noop {
		return e.AnswerValue(res)
	}
	// Only what this patch changed; a key that was set back needs no restart any more.
	pending := f.deps.Manager.Status().RestartPending
	waiting := slices.DeleteFunc(slices.Clone(res.RestartPaths), func(key string) bool { return !slices.Contains(pending, key) })
	return f.answer(e, "config.patch", p, res, waiting)
}

// apply answers config.apply: like set, and the caller wants all of it in force. What
// only a restart brings into force is named, also when an earlier write changed it.
func (f *Family) apply(ctx context.Context, e *pipeline.Envelope) error {
	p, err := f.writing(e)
	if err != nil {
		return err
	}
	res, err := f.guarded(ctx, e, p, f.deps.Manager.Apply)
	if err != nil {
		return refusal(err)
	}
	return f.answer(e, "config.apply", p, res, f.deps.Manager.Status().RestartPending)
}

// writing reads the params of a write and refuses callers that may not make one. The
// method's scope already demands operator.admin of sockets; work that Sluice starts
// itself (a turn, a hook, a channel message) carries no scopes and must never change
// the policy that judges it (law 4), so it changes no configuration at all.
func (f *Family) writing(e *pipeline.Envelope) (*writeParams, error) {
	if e.Peer == nil || e.Peer.Role != frames.RoleOperator || !e.Peer.Scopes.Allows(frames.ScopeAdmin) {
		return nil, frames.MissingScope(frames.ScopeAdmin)
	}
	p := new(writeParams)
	if err := frames.UnmarshalParams(e.Frame.Params, p); err != nil {
		return nil, err
	}
	if f.deps.Hold != nil { // the author of a write gets its answer first
		release := f.deps.Hold()
		e.AfterAnswer(func(bool) { release() })
	}
	return p, nil
}

// guarded makes one write of the file.
func (f *Family) guarded(ctx context.Context, e *pipeline.Envelope, p *writeParams, write func(config.WriteRequest) (*config.WriteResult, error)) (res *config.WriteResult, err error) {
	run := func() error {
		var err error
		res, err = write(p.request())
		return err
	}
	if f.deps.Guard == nil {
		err = run()
		return res, err
	}
	err = f.deps.Guard(ctx, e.Peer.Identity, run)
	return res, err
}

// answer is the answer of patch and apply; waiting are the keys that need a restart.
func (f *Family) answer(e *pipeline.Envelope, mode string, p *writeParams, res *config.WriteResult, waiting []string) error {
	out := struct {
		*config.WriteResult
		Sentinel sentinel `json:"sentinel"`
	}{WriteResult: res}
	out.Sentinel.Payload = payload{
		Kind: strings.ReplaceAll(mode, ".", "-"), Status: "ok", TS: time.Now().UnixMilli(),
		SessionKey: p.SessionKey, DeliveryContext: p.DeliveryContext,
		Message: message(p.Note, waiting, res.Shadowed), DoctorHint: doctorHint,
		Stats: stats{Mode: mode, Root: res.Path, RequiresRestart: len(waiting) > 0},
	}
	return e.AnswerValue(out)
}

// message is the caller's note and, where there is something to know, why not all of
// the write is in force now; null when there is neither.
func message(note *string, waiting, shadowed []string) *string {
	var parts []string
	if note != nil && *note != "" {
		parts = append(parts, *note)
	}
	if len(waiting) > 0 {
		parts = append(parts, "Restart the gateway to bring into force: "+strings.Join(waiting, ", ")+".")
	}
	if len(shadowed) > 0 {
		parts = append(parts, "Not in force: "+strings.Join(shadowed, "; ")+".")
	}
	if len(parts) == 0 {
		return note
	}
	text := strings.Join(parts, " ")
	return &text
}

// refusal words an error of the Manager for the client. Those that are no refusal of
// the request are troubles with the file, which an operator can mend: the text, not an
// "internal error", is what helps.
func refusal(err error) error {
	var req *config.RequestError
	if !errors.As(err, &req) {
		return &frames.Error{Code: frames.CodeUnavailable, Message: err.Error()}
	}
	out := frames.Invalid("%s", req.Message)
	if len(req.Issues) > 0 {
		return out.WithDetails(map[string]any{"issues": req.Issues})
	}
	return out
}
