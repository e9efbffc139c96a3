package auth

import (
	"slices"

	"sluice/storage"
)

// Caller is who asks for a change to devices, from the connection's authenticated
// identity, never from params.
type Caller struct {
	// DeviceID is the caller's own device if it was let in by a device token, else "".
	DeviceID string
	// Scopes are the granted ones of its connection.
	Scopes []string
}

func (c Caller) admin() bool { return slices.Contains(c.Scopes, scopeAdmin) }

// foreign reports whether the caller is a device that is kept to its own affairs, and
// deviceID is another's.
func (c Caller) foreign(deviceID string) bool {
	return c.DeviceID != "" && c.DeviceID != deviceID && !c.admin()
}

// Approval says by whom and how a request is approved.
type Approval struct {
	RequestID string
	Via       string // ViaOwner: Caller decides; ViaSilent: the server's own policy does
	Caller    Caller // for ViaOwner
	// DisplayName and RemoteIP, where known, replace those of the request.
	DisplayName string
	RemoteIP    string
}

// Approved is the outcome of an approval.
type Approved struct {
	Request PairingRequest
	Device  PairedDevice
	// ReplacedRoles are those whose token changed: live sockets on the old one close.
	ReplacedRoles []string
}

const approvalDenied = "device pairing approval denied"

// Approve grants a waiting request. An operator who approves must hold every scope that
// the device ends up with, and a role other than operator takes an admin. A silent
// approval never gives a revoked role back: only a person does. The error is an *Error
// or the store's.
func (a *Authority) Approve(tx storage.Tx, ap Approval, nowMs int64) (Approved, error) {
	p, err := GetPairing(tx, ap.RequestID, nowMs)
	if missing(err) {
		// A device that may not know of other requests must not learn which ids exist.
		if ap.Via == ViaOwner && !ap.Caller.admin() {
			return Approved{}, &Error{Reason: ReasonUnknownRequest, Message: approvalDenied}
		}
		return Approved{}, &Error{Reason: ReasonUnknownRequest, Message: "unknown requestId"}
	}
	if err != nil {
		return Approved{}, err
	}
	if ap.Via == ViaOwner && !ap.Caller.admin() {
		if ap.Caller.foreign(p.DeviceID) {
			return Approved{}, &Error{Reason: ReasonOwnership, Message: approvalDenied}
		}
		if slices.ContainsFunc(p.Roles, func(r string) bool { return r != RoleOperator }) {
			return Approved{}, &Error{Reason: ReasonRoleNeedsAdmin, Message: approvalDenied}
		}
	}
	if scope := scopeOutside(p.Roles, NormalizeScopes(p.Scopes)); scope != "" {
		return Approved{}, &Error{Reason: ReasonScopeOutsideRoles, Scope: scope, Message: "invalid scope for requested roles: " + scope}
	}
	return a.grant(tx, p.PairingRequest, ap, nowMs)
}

// grant makes the device of request p have what it asks for.
func (a *Authority) grant(tx storage.Tx, p PairingRequest, ap Approval, nowMs int64) (Approved, error) {
	old, err := GetDevice(tx, p.DeviceID)
	if err != nil && !missing(err) {
		return Approved{}, err
	}
	isNew := missing(err)
	if isNew {
		if err := a.roomForDevice(tx); err != nil {
			return Approved{}, err
		}
		old.CreatedAtMs = nowMs
	}
	out := Approved{Request: p}
	tokens := make(map[string]Token, len(old.Tokens)+1)
	for role, t := range old.Tokens {
		tokens[role] = t
	}
	for _, role := range p.Roles {
		before, had := tokens[role]
		if had && before.RevokedAtMs != 0 && ap.Via != ViaOwner {
			return Approved{}, &Error{Reason: ReasonRoleRevoked, Role: role, Code: CodePairingRequired, Message: PairingMessage(NeedRole)}
		}
		next := nextScopes(role, p.Scopes, before)
		if ap.Via == ViaOwner && role == RoleOperator {
			if scope := MissingScope(role, slices.Concat(scopesOf(role, p.Scopes), next), ap.Caller.Scopes); scope != "" {
				return Approved{}, &Error{Reason: ReasonCallerMissingScope, Scope: scope, Message: "missing scope: " + scope}
			}
		}
		tokens[role] = a.newToken(p.DeviceID, role, next, before, nowMs)
		if had {
			out.ReplacedRoles = append(out.ReplacedRoles, role)
		}
	}
	out.Device = approvedDevice(&old, p, ap, tokens, nowMs)
	if err := tx.Delete(storage.Pairings, requestPrefix+p.RequestID); err != nil {
		return Approved{}, err
	}
	return out, putDevice(tx, &out.Device)
}

// nextScopes returns the scopes of a role's token after an approval: those it has and
// those that were asked for. A revoked token has none to keep, and a request without
// scopes adds none: empty never means "as before" or "all".
func nextScopes(role string, asked []string, before Token) []string {
	kept := before.Scopes
	if before.RevokedAtMs != 0 {
		kept = nil
	}
	return scopesOf(role, slices.Concat(kept, asked))
}

func approvedDevice(old *PairedDevice, p PairingRequest, ap Approval, tokens map[string]Token, nowMs int64) PairedDevice {
	d := *old
	d.DeviceID, d.PublicKey = p.DeviceID, p.PublicKey
	d.DisplayName, d.RemoteIP = p.DisplayName, p.RemoteIP
	if ap.DisplayName != "" {
		d.DisplayName = ap.DisplayName
	}
	if ap.RemoteIP != "" {
		d.RemoteIP = ap.RemoteIP
	}
	d.Platform, d.DeviceFamily = p.Platform, p.DeviceFamily
	d.ClientID, d.ClientMode = p.ClientID, p.ClientMode
	d.Role = p.Role
	d.Roles = trimmed(old.Roles, []string{old.Role}, p.Roles)
	d.ApprovedScopes = trimmed(old.ApprovedScopes, p.Scopes)
	d.Tokens = tokens
	d.ApprovedAtMs = nowMs
	// What a person approved stays a person's approval; silent housekeeping
	// (PruneSilent) must not touch it later.
	if old.ApprovedVia != ViaOwner && old.ApprovedVia != ViaBootstrap || ap.Via == ViaOwner {
		d.ApprovedVia = ap.Via
	}
	return d
}

func (a *Authority) roomForDevice(r storage.Reader) error {
	n := 0
	err := r.Scan(storage.Devices, storage.Range{Limit: a.cfg.MaxDevices}, func(string, []byte) error { n++; return nil })
	if err == nil && n >= a.cfg.MaxDevices {
		err = &Error{Code: CodePairingRequired, Reason: ReasonTooManyDevices,
			Message: "too many devices are paired; remove one with device.pair.remove, or raise auth.maxDevices"}
	}
	return err
}

// newToken returns the record of a fresh token that takes the place of before.
func (a *Authority) newToken(deviceID, role string, scopes []string, before Token, nowMs int64) Token {
	t := Token{
		Generation: newGeneration(), Scopes: scopes,
		CreatedAtMs: nowMs, LastUsedAtMs: before.LastUsedAtMs,
	}
	if before.CreatedAtMs != 0 {
		t.CreatedAtMs, t.RotatedAtMs = before.CreatedAtMs, nowMs
	}
	t.Hash = HashToken(a.derive(deviceID, role, t.Generation))
	return t
}

// Reject removes a waiting request and returns it. A device may reject its own only.
func (a *Authority) Reject(tx storage.Tx, requestID string, caller Caller, nowMs int64) (PairingRequest, error) {
	const denied = "device pairing rejection denied"
	kept := caller.DeviceID != "" && !caller.admin()
	p, err := GetPairing(tx, requestID, nowMs)
	switch {
	case missing(err) && kept:
		return PairingRequest{}, &Error{Reason: ReasonUnknownRequest, Message: denied}
	case missing(err):
		return PairingRequest{}, &Error{Reason: ReasonUnknownRequest, Message: "unknown requestId"}
	case err != nil:
		return PairingRequest{}, err
	case caller.foreign(p.DeviceID):
		return PairingRequest{}, &Error{Reason: ReasonOwnership, Message: denied}
	}
	return p.PairingRequest, tx.Delete(storage.Pairings, requestPrefix+p.RequestID)
}

// VisibleTo reports whether a caller may see a device or its requests in
// device.pair.list: a device that is no admin sees its own.
func VisibleTo(caller Caller, deviceID string) bool { return !caller.foreign(deviceID) }
