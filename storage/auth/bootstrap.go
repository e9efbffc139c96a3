package auth

import (
	"slices"

	"sluice/storage"
)

const bootstrapPrefix = "bootstrap/"

// bootstrapRow is a bootstrap token: whoever presents it first is approved for at most
// its roles and scopes, which never change after it is issued.
type bootstrapRow struct {
	Hash        string   `json:"hash"`
	Roles       []string `json:"roles"`
	Scopes      []string `json:"scopes"`
	IssuedAtMs  int64    `json:"issuedAtMs"`
	ExpiresAtMs int64    `json:"expiresAtMs"`
}

// IssueBootstrap makes a bootstrap token (a setup code) for a device that is not known
// yet. The caller must hold every scope that it grants, and be an admin for a role
// other than operator.
func (a *Authority) IssueBootstrap(tx storage.Tx, roles, scopes []string, caller Caller, nowMs int64) (token string, expiresAtMs int64, err error) {
	row := bootstrapRow{Roles: trimmed(roles), Scopes: NormalizeScopes(scopes), IssuedAtMs: nowMs, ExpiresAtMs: nowMs + a.cfg.BootstrapTTLMs}
	if scope := scopeOutside(row.Roles, row.Scopes); scope != "" {
		return "", 0, &Error{Reason: ReasonScopeOutsideRoles, Scope: scope, Message: "invalid scope for requested roles: " + scope}
	}
	if scope := MissingScope(RoleOperator, scopesOf(RoleOperator, row.Scopes), caller.Scopes); scope != "" {
		return "", 0, &Error{Reason: ReasonCallerMissingScope, Scope: scope, Message: "missing scope: " + scope}
	}
	if !caller.admin() && slices.ContainsFunc(row.Roles, func(r string) bool { return r != RoleOperator }) {
		return "", 0, &Error{Reason: ReasonRoleNeedsAdmin, Message: "missing scope: " + scopeAdmin}
	}
	if _, _, err := a.PrunePairings(tx, nowMs, pruneStep); err != nil {
		return "", 0, err
	}
	n := 0
	if err := tx.Scan(storage.Pairings, storage.Range{Prefix: bootstrapPrefix}, func(string, []byte) error { n++; return nil }); err != nil {
		return "", 0, err
	}
	if n >= a.cfg.MaxBootstrap {
		return "", 0, &Error{Reason: ReasonTooManyBootstrap, Message: "too many setup codes are open; wait until one expires"}
	}
	token, row.Hash = MintToken()
	return token, row.ExpiresAtMs, put(tx, storage.Pairings, bootstrapPrefix+row.Hash, &row)
}

// RedeemBootstrap uses a bootstrap token up and pairs the device that presents it, with
// what ask wants within what the token grants. What the device had asked for before is
// dropped, not merged. The same transaction takes the token and gives the approval, so
// that of two that present it one wins.
func (a *Authority) RedeemBootstrap(tx storage.Tx, token string, ask PairingRequest, nowMs int64) (Approved, error) {
	invalid := &Error{Code: CodeBootstrapInvalid, Reason: "bootstrap-token-invalid",
		Message: "unauthorized: bootstrap token invalid or expired (scan a fresh setup code)"}
	var row bootstrapRow
	hash := HashToken(token)
	err := get(tx, storage.Pairings, bootstrapPrefix+hash, &row)
	if missing(err) || err == nil && (!TokenMatches(token, row.Hash) || nowMs > row.ExpiresAtMs) {
		return Approved{}, invalid
	}
	if err != nil {
		return Approved{}, err
	}
	if !validDeviceID(ask.DeviceID) {
		return Approved{}, invalid
	}
	ask.Roles = trimmed(ask.Roles, []string{ask.Role})
	ask.Scopes = NormalizeScopes(ask.Scopes)
	for _, role := range ask.Roles {
		if !slices.Contains(row.Roles, role) {
			return Approved{}, &Error{Code: CodeBootstrapInvalid, Reason: ReasonBootstrapRole, Role: role, Message: "bootstrap profile does not allow role: " + role}
		}
		if scope := MissingScope(role, scopesOf(role, ask.Scopes), row.Scopes); scope != "" {
			return Approved{}, &Error{Code: CodeBootstrapInvalid, Reason: ReasonBootstrapScope, Scope: scope, Message: "bootstrap profile does not allow scope: " + scope}
		}
	}
	if scope := scopeOutside(ask.Roles, ask.Scopes); scope != "" {
		return Approved{}, &Error{Code: CodeBootstrapInvalid, Reason: ReasonBootstrapScope, Scope: scope, Message: "bootstrap profile does not allow scope: " + scope}
	}
	if err := tx.Delete(storage.Pairings, bootstrapPrefix+hash); err != nil {
		return Approved{}, err
	}
	if err := dropPairings(tx, ask.DeviceID); err != nil {
		return Approved{}, err
	}
	ask.RequestID, ask.TsMs = "bootstrap", nowMs
	return a.grant(tx, ask, Approval{Via: ViaBootstrap, RemoteIP: ask.RemoteIP}, nowMs)
}
