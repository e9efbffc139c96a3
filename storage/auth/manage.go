package auth

import (
	"slices"
	"strings"

	"sluice/storage"
)

// Issued is a token as it is handed to its device.
type Issued struct {
	Token      string
	Role       string
	Scopes     []string
	IssuedAtMs int64 // auth.issuedAtMs of the hello
}

// VerifyToken checks a presented device token for a role and returns the scopes that
// the connection gets: those it asked for, all of which the token must have. It only
// reads; Touch records the use. The error is an *Error with a code for the client.
func (a *Authority) VerifyToken(r storage.Reader, deviceID, role, token string, requested []string) ([]string, error) {
	mismatch := func(reason string) *Error {
		return &Error{Code: CodeDeviceTokenMismatch, Reason: reason, Role: role,
			Message: "unauthorized: device token mismatch (rotate/reissue device token)"}
	}
	d, err := GetDevice(r, deviceID)
	if missing(err) {
		return nil, mismatch("device-not-paired")
	}
	if err != nil {
		return nil, err
	}
	entry, ok := d.Tokens[role]
	switch {
	case role == "":
		return nil, mismatch("role-missing")
	case !ok:
		return nil, mismatch("token-missing")
	case !TokenMatches(token, entry.Hash), !TokenMatches(token, HashToken(a.derive(deviceID, role, entry.Generation))):
		// The second holds unless the install's secret was replaced, which is meant to
		// end every token.
		return nil, mismatch("token-mismatch")
	case entry.RevokedAtMs != 0:
		return nil, mismatch(ReasonRevoked)
	case !slices.Contains(d.Roles, role):
		return nil, mismatch(ReasonUnknown)
	}
	if scope := MissingScope(role, requested, d.Grant(role)); scope != "" {
		return nil, &Error{Code: CodeScopeMismatch, Reason: "scope-mismatch", Scope: scope, Role: role,
			Message: "unauthorized: device token scope mismatch (re-pair or approve scope upgrade)"}
	}
	return trimmed(requested), nil
}

// EnsureToken returns the token that a paired device's hello carries: the one it has.
// It never gives a device more than an approval gave it: scopes beyond the grant are
// refused, and so is a revoked role, which must be approved again. Only a token that
// cannot be made again, as the install's secret was replaced, is exchanged for a new
// one with the same scopes. The error is an *Error or the store's.
func (a *Authority) EnsureToken(tx storage.Tx, deviceID, role string, scopes []string, nowMs int64) (Issued, error) {
	d, entry, err := deviceRole(tx, deviceID, role)
	if err != nil {
		return Issued{}, err
	}
	if entry.RevokedAtMs != 0 {
		return Issued{}, &Error{Reason: ReasonRevoked, Role: role, Message: "device token is revoked; the device must be approved again"}
	}
	if scope := MissingScope(role, scopes, d.Grant(role)); scope != "" {
		return Issued{}, &Error{Reason: ReasonOutsideBaseline, Scope: scope, Role: role, Message: "missing scope: " + scope}
	}
	token := a.derive(deviceID, role, entry.Generation)
	if !TokenMatches(token, entry.Hash) {
		entry = a.newToken(deviceID, role, entry.Scopes, entry, nowMs)
		token = a.derive(deviceID, role, entry.Generation)
		d.Tokens[role] = entry
		if err := putDevice(tx, &d); err != nil {
			return Issued{}, err
		}
	}
	return Issued{Token: token, Role: role, Scopes: entry.Scopes, IssuedAtMs: max(entry.CreatedAtMs, entry.RotatedAtMs)}, nil
}

// deviceRole returns a device with the token of one of its approved roles.
func deviceRole(r storage.Reader, deviceID, role string) (PairedDevice, Token, error) {
	d, err := GetDevice(r, deviceID)
	entry, ok := d.Tokens[role]
	if missing(err) || err == nil && (!ok || !slices.Contains(d.Roles, role)) {
		return d, entry, &Error{Reason: ReasonUnknown, Role: role, Message: "unknown deviceId"}
	}
	return d, entry, err
}

// Rotation asks for a new token in place of a device's current one.
type Rotation struct {
	DeviceID string
	Role     string
	Scopes   *[]string // nil keeps those of the token; an empty list takes all away
	Caller   Caller
}

// Rotated is the outcome of Rotate, with the members of device.token.rotate's result.
type Rotated struct {
	DeviceID    string   `json:"deviceId"`
	Role        string   `json:"role"`
	Token       string   `json:"token,omitempty"` // only for the device itself
	Scopes      []string `json:"scopes"`
	RotatedAtMs int64    `json:"rotatedAtMs"`
	Delivery    string   `json:"tokenDelivery"` // in-band, withheld-cross-device
}

// Rotate replaces a role's token. The new one has at most what the caller has and what
// was approved for the device; a revoked one stays revoked. The sockets on the old
// token must be closed afterwards (4001 "device removed").
func (a *Authority) Rotate(tx storage.Tx, rot Rotation, nowMs int64) (Rotated, error) {
	denied := func(reason, scope string) error {
		return &Error{Reason: reason, Scope: scope, Role: rot.Role, Message: "device token rotation denied"}
	}
	rot.DeviceID, rot.Role = strings.TrimSpace(rot.DeviceID), strings.TrimSpace(rot.Role)
	if err := mayManageToken(rot.Caller, rot.DeviceID, rot.Role); err != "" {
		return Rotated{}, denied(err, "")
	}
	d, entry, err := deviceRole(tx, rot.DeviceID, rot.Role)
	if isRefusal(err) {
		return Rotated{}, denied(ReasonUnknown, "")
	}
	if err != nil {
		return Rotated{}, err
	}
	if entry.RevokedAtMs != 0 {
		return Rotated{}, denied(ReasonRevoked, "")
	}
	scopes := entry.Scopes
	if rot.Scopes != nil {
		scopes = NormalizeScopes(*rot.Scopes)
	}
	if scope := MissingScope(rot.Role, scopes, d.ApprovedScopes); scope != "" {
		return Rotated{}, denied(ReasonOutsideBaseline, scope)
	}
	if scope := MissingScope(rot.Role, scopes, rot.Caller.Scopes); rot.Role == RoleOperator && scope != "" {
		return Rotated{}, denied(ReasonCallerMissingScope, scope)
	}
	entry = a.newToken(d.DeviceID, rot.Role, scopes, entry, nowMs)
	d.Tokens[rot.Role] = entry
	out := Rotated{DeviceID: d.DeviceID, Role: rot.Role, Scopes: scopes, RotatedAtMs: entry.RotatedAtMs, Delivery: "withheld-cross-device"}
	if rot.Caller.DeviceID == d.DeviceID {
		out.Token, out.Delivery = a.derive(d.DeviceID, rot.Role, entry.Generation), "in-band"
	}
	return out, putDevice(tx, &d)
}

// mayManageToken returns the reason why a caller may not touch a role's token, or "".
func mayManageToken(c Caller, deviceID, role string) string {
	switch {
	case c.foreign(deviceID):
		return ReasonOwnership
	case role != RoleOperator && !c.admin():
		return ReasonRoleNeedsAdmin
	}
	return ""
}

func isRefusal(err error) bool {
	_, ok := err.(*Error)
	return ok
}

// Revoked is the outcome of Revoke, with the members of device.token.revoke's result.
type Revoked struct {
	DeviceID    string `json:"deviceId"`
	Role        string `json:"role"`
	RevokedAtMs int64  `json:"revokedAtMs"`
}

// Revoke ends a role's token for good: the device may use the role again only after a
// person has approved it again, and what it had before is not given back by that. The
// sockets on the token must be closed afterwards.
func (a *Authority) Revoke(tx storage.Tx, deviceID, role string, caller Caller, nowMs int64) (Revoked, error) {
	denied := func(reason, scope string) error {
		return &Error{Reason: reason, Scope: scope, Role: role, Message: "device token revocation denied"}
	}
	deviceID, role = strings.TrimSpace(deviceID), strings.TrimSpace(role)
	if err := mayManageToken(caller, deviceID, role); err != "" {
		return Revoked{}, denied(err, "")
	}
	d, entry, err := deviceRole(tx, deviceID, role)
	if isRefusal(err) {
		return Revoked{}, denied(ReasonUnknown, "")
	}
	if err != nil {
		return Revoked{}, err
	}
	if scope := MissingScope(role, entry.Scopes, caller.Scopes); role == RoleOperator && scope != "" {
		return Revoked{}, denied(ReasonCallerMissingScope, scope)
	}
	if entry.RevokedAtMs == 0 {
		entry.RevokedAtMs = nowMs
	}
	d.Tokens[role] = entry
	// The approvals of the role go with it, or a later one for little would find much.
	own := scopesOf(role, d.ApprovedScopes)
	d.ApprovedScopes = slices.DeleteFunc(trimmed(d.ApprovedScopes), func(s string) bool { return slices.Contains(own, s) })
	return Revoked{DeviceID: deviceID, Role: role, RevokedAtMs: entry.RevokedAtMs}, putDevice(tx, &d)
}

// Remove forgets a device with its tokens and requests. A device may remove itself if
// it is nothing but an operator; its sockets must be closed afterwards.
func (a *Authority) Remove(tx storage.Tx, deviceID string, caller Caller) (removed string, err error) {
	d, err := a.managed(tx, deviceID, caller, "device pairing removal denied")
	if err != nil {
		return "", err
	}
	if err := dropPairings(tx, d.DeviceID); err != nil {
		return "", err
	}
	return d.DeviceID, tx.Delete(storage.Devices, d.DeviceID)
}

// Rename sets the label that operators see for a device.
func (a *Authority) Rename(tx storage.Tx, deviceID, label string, caller Caller) error {
	label = strings.TrimSpace(label)
	if label == "" {
		return &Error{Reason: "label-required", Message: "label required"}
	}
	d, err := a.managed(tx, deviceID, caller, "device pairing rename denied")
	if err != nil {
		return err
	}
	d.OperatorLabel = label
	return putDevice(tx, &d)
}

// managed returns a device that the caller may remove or rename.
func (a *Authority) managed(r storage.Reader, deviceID string, caller Caller, denied string) (PairedDevice, error) {
	deviceID = strings.TrimSpace(deviceID)
	if caller.foreign(deviceID) {
		return PairedDevice{}, &Error{Reason: ReasonOwnership, Message: denied}
	}
	d, err := GetDevice(r, deviceID)
	if missing(err) {
		return d, &Error{Reason: ReasonUnknown, Message: "unknown deviceId"}
	}
	if err == nil && caller.DeviceID != "" && !caller.admin() && !d.onlyOperator() {
		return d, &Error{Reason: ReasonRoleNeedsAdmin, Message: denied}
	}
	return d, err
}

// Seen is what a connection tells of its device beside its rights.
type Seen struct {
	Role        string // "" if no token was used
	Reason      string // lastSeenReason: connect, device-token-auth, ...
	DisplayName string
	RemoteIP    string
	Platform    string // a native app's new version of the same platform
}

// TouchDue reports whether Touch would write: not more often than every TouchEveryMs.
func (a *Authority) TouchDue(d *PairedDevice, nowMs int64) bool {
	return nowMs-d.LastSeenAtMs >= a.cfg.TouchEveryMs
}

// Touch records that a device was here. It changes nothing that decides.
func (a *Authority) Touch(tx storage.Tx, deviceID string, seen Seen, nowMs int64) error {
	d, err := GetDevice(tx, deviceID)
	if missing(err) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	d.LastSeenAtMs, d.LastSeenReason = nowMs, seen.Reason
	for _, f := range []struct {
		to   *string
		from string
	}{{&d.DisplayName, seen.DisplayName}, {&d.RemoteIP, seen.RemoteIP}, {&d.Platform, seen.Platform}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	if t, ok := d.Tokens[seen.Role]; ok {
		t.LastUsedAtMs = nowMs
		d.Tokens[seen.Role] = t
	}
	return putDevice(tx, &d)
}

// pruneSilentGraceMs: a sibling that was approved just now may still be connecting.
const pruneSilentGraceMs = 60_000

// PruneSilent removes silently paired devices that a newer silent pairing of the same
// client on this host has taken the place of, and returns their ids. busy tells which
// are connected; those stay.
func (a *Authority) PruneSilent(tx storage.Tx, deviceID string, busy func(deviceID string) bool, nowMs int64) (removed []string, err error) {
	anchor, err := GetDevice(tx, deviceID)
	if missing(err) || err == nil && (anchor.ApprovedVia != ViaSilent || anchor.cluster() == "") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := ListDevices(tx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		d := &all[i]
		if d.DeviceID == deviceID || d.ApprovedVia != ViaSilent || d.cluster() != anchor.cluster() ||
			nowMs-d.ApprovedAtMs < pruneSilentGraceMs || busy(d.DeviceID) {
			continue
		}
		if err := dropPairings(tx, d.DeviceID); err != nil {
			return removed, err
		}
		if err := tx.Delete(storage.Devices, d.DeviceID); err != nil {
			return removed, err
		}
		removed = append(removed, d.DeviceID)
	}
	return removed, nil
}

// cluster names the kind of client that a silently paired device is, or "".
func (d *PairedDevice) cluster() string {
	parts := []string{d.ClientID, d.ClientMode, d.DisplayName}
	for i, p := range parts {
		parts[i] = strings.ToLower(strings.TrimSpace(p))
	}
	if strings.Join(parts, "") == "" {
		return ""
	}
	return strings.Join(parts, "\x00")
}
