package auth

// Error is a refusal. Message is for the client, in the words of the protocol's own
// gateway; Reason is for logs and for details.reason.
type Error struct {
	// Code is the protocol's details.code, or empty where it has none.
	Code    string
	Reason  string
	Message string
	// Scope or Role is what was missing or too much, if one was.
	Scope string
	Role  string
}

// Error implements error.
func (e *Error) Error() string { return e.Message + " (" + e.Reason + ")" }

// The codes that this package gives (details.code of a connect error).
const (
	CodeDeviceIDMismatch    = "DEVICE_AUTH_DEVICE_ID_MISMATCH"
	CodeSignatureExpired    = "DEVICE_AUTH_SIGNATURE_EXPIRED"
	CodeNonceRequired       = "DEVICE_AUTH_NONCE_REQUIRED"
	CodeNonceMismatch       = "DEVICE_AUTH_NONCE_MISMATCH"
	CodeSignatureInvalid    = "DEVICE_AUTH_SIGNATURE_INVALID"
	CodePublicKeyInvalid    = "DEVICE_AUTH_PUBLIC_KEY_INVALID"
	CodeDeviceTokenMismatch = "AUTH_DEVICE_TOKEN_MISMATCH"
	CodeScopeMismatch       = "AUTH_SCOPE_MISMATCH"
	CodeBootstrapInvalid    = "AUTH_BOOTSTRAP_TOKEN_INVALID"
	CodePairingRequired     = "PAIRING_REQUIRED"
)

// The reasons that callers look at.
const (
	ReasonUnknown            = "unknown-device-or-role"
	ReasonRevoked            = "token-revoked"
	ReasonTooManyPending     = "too-many-pending"
	ReasonTooManyDevices     = "too-many-devices"
	ReasonCallerMissingScope = "caller-missing-scope"
	ReasonRoleNeedsAdmin     = "role-management-requires-admin"
	ReasonOwnership          = "device-ownership-mismatch"
	ReasonScopeOutsideRoles  = "scope-outside-requested-roles"
	ReasonOutsideBaseline    = "scope-outside-approved-baseline"
	ReasonRoleRevoked        = "role-revoked"
	ReasonUnknownRequest     = "unknown-request"
	ReasonBootstrapRole      = "bootstrap-role-not-allowed"
	ReasonBootstrapScope     = "bootstrap-scope-not-allowed"
	ReasonTooManyBootstrap   = "too-many-bootstrap-tokens"
)
