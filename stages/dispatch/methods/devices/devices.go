// Package devices answers device.pair.* and device.token.*: the list of paired devices
// and waiting requests, and what operators do to them.
//
// Who may do what is decided by storage/auth inside the write transaction, from the
// connection's own identity (frames.Peer), never from params: a caller hands on at most
// the scopes that it has itself, and a device that came in by its own token and is no
// admin manages only itself. Events and closed sockets follow after the change is
// durable and answered.
package devices

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"
	"sluice/storage"
	"sluice/storage/auth"
)

// Deps is what the handlers need; all of it is required.
type Deps struct {
	Authority *auth.Authority
	Store     storage.Store
	Log       *slog.Logger
	// Broadcaster tells operators that may pair.
	Broadcaster frames.Broadcaster
	// Disconnect closes a device's connections, or those in one role, with 4001 "device
	// removed" (connect.Handler.Disconnect).
	Disconnect func(deviceID string, role frames.Role)
	// DeviceConnected reports whether a device has an accepted connection.
	DeviceConnected func(deviceID string) bool
	// LoopbackOnly reports whether the gateway listens on this machine only.
	LoopbackOnly func() bool
}

// Handler answers the methods. It is safe for concurrent use.
type Handler struct{ deps Deps }

// New returns the handlers over deps.
func New(deps Deps) (*Handler, error) {
	if deps.Authority == nil || deps.Store == nil || deps.Log == nil || deps.Broadcaster == nil ||
		deps.Disconnect == nil || deps.DeviceConnected == nil || deps.LoopbackOnly == nil {
		return nil, errors.New("devices: a member of Deps is missing")
	}
	return &Handler{deps: deps}, nil
}

// Methods lists what the handler answers.
func (h *Handler) Methods() []dispatch.Method {
	return []dispatch.Method{
		{Name: "device.pair.list", Handle: h.list},
		{Name: "device.pair.approve", Handle: h.approve},
		{Name: "device.pair.reject", Handle: h.reject},
		{Name: "device.pair.remove", Handle: h.remove},
		{Name: "device.pair.rename", Handle: h.rename},
		{Name: "device.pair.setupCode", Handle: h.setupCode},
		{Name: "device.pair.setupStatus", Handle: h.setupStatus},
		{Name: "device.token.rotate", Handle: h.rotate},
		{Name: "device.token.revoke", Handle: h.revoke},
	}
}

// caller is who asks. Only a device that came in by its own token is kept to itself:
// whoever has the gateway's secret owns the gateway.
func caller(p *frames.Peer) auth.Caller {
	c := auth.Caller{Scopes: p.Scopes.Names()}
	if p.AuthMethod == "device-token" {
		c.DeviceID = p.DeviceID
	}
	return c
}

// change runs fn inside the write transaction and answers with its result; then runs
// once that is durable and answered. A refusal undoes what fn wrote.
func (h *Handler) change(e *pipeline.Envelope, fn func(tx storage.Tx, c auth.Caller, nowMs int64) (any, error), then func()) error {
	c, method, conn := caller(e.Peer), e.Frame.Method, e.Peer.ConnID
	e.Effects = append(e.Effects, pipeline.EffectFunc(func(tx storage.Tx, e *pipeline.Envelope) error {
		result, err := fn(tx, c, time.Now().UnixMilli())
		var refusal *auth.Error
		if errors.As(err, &refusal) {
			h.deps.Log.LogAttrs(context.Background(), slog.LevelWarn, "device change denied", slog.String("method", method),
				slog.String("conn", conn), slog.String("reason", refusal.Reason), slog.String("scope", refusal.Scope))
			return frames.Invalid("%s", refusal.Message)
		}
		if err != nil {
			return err
		}
		return e.AnswerValue(result)
	}))
	e.AfterAnswer(func(ok bool) {
		if ok {
			h.deps.Log.LogAttrs(context.Background(), slog.LevelInfo, "device changed", slog.String("method", method), slog.String("conn", conn))
			then()
		}
	})
	return nil
}

func (h *Handler) broadcast(name string, payload any) {
	b, err := frames.MarshalPayload(payload)
	if err != nil {
		h.deps.Log.Error("event not encoded", "event", name, "err", err)
		return
	}
	h.deps.Broadcaster.Broadcast(frames.Event{Name: name, Payload: b, DropIfSlow: true})
}

type listResult struct {
	Pending []auth.PairingRequest `json:"pending"`
	Paired  []auth.DeviceView     `json:"paired"`
}

func (h *Handler) list(ctx context.Context, e *pipeline.Envelope) error {
	c := caller(e.Peer)
	out := listResult{Pending: []auth.PairingRequest{}, Paired: []auth.DeviceView{}}
	err := h.deps.Store.View(ctx, func(r storage.Reader) error {
		pending, err := auth.ListPairings(r, time.Now().UnixMilli())
		if err != nil {
			return err
		}
		for _, p := range pending {
			if auth.VisibleTo(c, p.DeviceID) {
				out.Pending = append(out.Pending, p.PairingRequest)
			}
		}
		paired, err := auth.ListDevices(r)
		for i := range paired {
			if d := &paired[i]; auth.VisibleTo(c, d.DeviceID) {
				connected := h.deps.DeviceConnected(d.DeviceID)
				out.Paired = append(out.Paired, d.View(&connected))
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.AnswerValue(out)
}

type requestParams struct {
	RequestID string `json:"requestId"`
}

type resolvedPayload struct {
	RequestID string `json:"requestId"`
	DeviceID  string `json:"deviceId"`
	Decision  string `json:"decision"`
	Ts        int64  `json:"ts"`
}

type approveResult struct {
	RequestID string          `json:"requestId"`
	Device    auth.DeviceView `json:"device"`
}

func (h *Handler) approve(_ context.Context, e *pipeline.Envelope) error {
	var p requestParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	var out auth.Approved
	return h.change(e, func(tx storage.Tx, c auth.Caller, nowMs int64) (_ any, err error) {
		out, err = h.deps.Authority.Approve(tx, auth.Approval{RequestID: strings.TrimSpace(p.RequestID), Via: auth.ViaOwner, Caller: c}, nowMs)
		return approveResult{out.Request.RequestID, out.Device.View(nil)}, err
	}, func() {
		h.resolved(out.Request, "approved")
		for _, role := range out.ReplacedRoles {
			if role == auth.RoleNode { // a node is what its token says; operators keep their connection
				h.deps.Disconnect(out.Device.DeviceID, frames.RoleNode)
			}
		}
	})
}

type rejectResult struct {
	RequestID string `json:"requestId"`
	DeviceID  string `json:"deviceId"`
}

func (h *Handler) reject(_ context.Context, e *pipeline.Envelope) error {
	var p requestParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	var req auth.PairingRequest
	return h.change(e, func(tx storage.Tx, c auth.Caller, nowMs int64) (_ any, err error) {
		req, err = h.deps.Authority.Reject(tx, strings.TrimSpace(p.RequestID), c, nowMs)
		return rejectResult{req.RequestID, req.DeviceID}, err
	}, func() { h.resolved(req, "rejected") })
}

func (h *Handler) resolved(req auth.PairingRequest, decision string) {
	h.broadcast("device.pair.resolved", resolvedPayload{req.RequestID, req.DeviceID, decision, time.Now().UnixMilli()})
}

type deviceResult struct {
	DeviceID string `json:"deviceId"`
}

func (h *Handler) remove(_ context.Context, e *pipeline.Envelope) error {
	var p deviceResult
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	var id string
	return h.change(e, func(tx storage.Tx, c auth.Caller, _ int64) (_ any, err error) {
		id, err = h.deps.Authority.Remove(tx, p.DeviceID, c)
		return deviceResult{id}, err
	}, func() { h.deps.Disconnect(id, frames.RoleNone) })
}

type renameParams struct {
	DeviceID string `json:"deviceId"`
	Label    string `json:"label"`
}

func (h *Handler) rename(_ context.Context, e *pipeline.Envelope) error {
	var p renameParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	return h.change(e, func(tx storage.Tx, c auth.Caller, _ int64) (any, error) {
		return renameParams{p.DeviceID, strings.TrimSpace(p.Label)}, h.deps.Authority.Rename(tx, p.DeviceID, p.Label, c)
	}, func() { h.broadcast("device.pair.changed", struct{}{}) })
}
