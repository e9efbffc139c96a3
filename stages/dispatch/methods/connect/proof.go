package connect

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"sluice/frames"
	"sluice/storage/auth"
)

// proofDetails are the details of a failed device proof.
type proofDetails struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// deviceProof checks that the client holds the key of the device that it names, by a
// signature over this connection's nonce and over what it asks for.
func (a *attempt) deviceProof() *frames.Error {
	d := a.p.Device
	if d == nil {
		return nil
	}
	c := &a.p.Client
	p := auth.Proof{DeviceID: d.ID, PublicKey: d.PublicKey, Signature: d.Signature, SignedAtMs: d.SignedAt, Nonce: d.Nonce,
		ClientID: c.ID, ClientMode: c.Mode, Platform: c.Platform, DeviceFamily: c.DeviceFamily,
		Role: a.p.Role, Scopes: a.p.Scopes}
	if s := a.p.Auth; s != nil {
		p.Token = cmp.Or(s.Token, s.DeviceToken, s.BootstrapToken)
	}
	var err error
	a.device, err = a.h.deps.Authority.VerifyProof(p, a.hs.Nonce, a.now.UnixMilli())
	var refusal *auth.Error
	if errors.As(err, &refusal) {
		return frames.Invalid("%s", refusal.Message).WithDetails(proofDetails{refusal.Code, refusal.Reason})
	}
	if err != nil {
		return a.h.internal(a, "device proof", err)
	}
	return nil
}

// internal logs a defect or a failing store, and tells the client only that there was
// one: a handshake that cannot be judged is refused.
func (h *Handler) internal(a *attempt, what string, err error) *frames.Error {
	h.deps.Log.LogAttrs(context.Background(), slog.LevelError, "connect failed", slog.String("in", what),
		slog.String("conn", a.e.Client.ID()), slog.Any("err", err))
	e := frames.Unavailable(1000, "the gateway's device records cannot be read; its log has the cause")
	e.Close = &frames.Close{Code: frames.CloseInternal, Reason: "device records unavailable"}
	return e
}
