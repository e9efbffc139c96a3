package devices

import (
	"context"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
	"sluice/storage/auth"
)

type tokenParams struct {
	DeviceID string    `json:"deviceId"`
	Role     string    `json:"role"`
	Scopes   *[]string `json:"scopes"`
}

func (h *Handler) rotate(_ context.Context, e *pipeline.Envelope) error {
	var p tokenParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	var out auth.Rotated
	return h.change(e, func(tx storage.Tx, c auth.Caller, nowMs int64) (_ any, err error) {
		out, err = h.deps.Authority.Rotate(tx, auth.Rotation{DeviceID: p.DeviceID, Role: p.Role, Scopes: p.Scopes, Caller: c}, nowMs)
		return out, err
	}, func() { h.deps.Disconnect(out.DeviceID, roleOf(out.Role)) })
}

func (h *Handler) revoke(_ context.Context, e *pipeline.Envelope) error {
	var p tokenParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	var out auth.Revoked
	return h.change(e, func(tx storage.Tx, c auth.Caller, nowMs int64) (_ any, err error) {
		out, err = h.deps.Authority.Revoke(tx, p.DeviceID, p.Role, c, nowMs)
		return out, err
	}, func() { h.deps.Disconnect(out.DeviceID, roleOf(out.Role)) })
}

// roleOf names the connections that use a role's token; a role that no connection can
// have means all of them, to be on the safe side.
func roleOf(role string) frames.Role {
	switch role {
	case auth.RoleOperator:
		return frames.RoleOperator
	case auth.RoleNode:
		return frames.RoleNode
	}
	return frames.RoleNone
}

type setupParams struct {
	JoinURL          bool   `json:"joinUrl"`
	BootstrapProfile string `json:"bootstrapProfile"`
	PublicURL        string `json:"publicUrl"`
}

// setupCode would make a code that a phone scans to pair itself. This version issues
// none, so it says why, in the real gateway's words where those are true.
func (h *Handler) setupCode(_ context.Context, e *pipeline.Envelope) error {
	var p setupParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	switch {
	case p.JoinURL && p.BootstrapProfile != "" && p.BootstrapProfile != "node":
		return frames.Invalid("Join URLs require bootstrapProfile=node.")
	case p.PublicURL == "" && h.deps.LoopbackOnly():
		return frames.Invalid("Gateway is only bound to loopback. Set gateway.bind=lan, enable tailscale serve, or configure plugins.entries.device-pair.config.publicUrl.")
	}
	return frames.Invalid("This version of Sluice issues no setup codes. Connect the device with the gateway's token or password, then approve its request with device.pair.approve.")
}

// setupStatus answers as for a code that nobody has used: there is no other.
func (h *Handler) setupStatus(_ context.Context, e *pipeline.Envelope) error {
	e.Answer([]byte("{}"))
	return nil
}
