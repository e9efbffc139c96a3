package connect

import "sluice/frames"

// reason is why authentication failed, as details.authReason has it.
type reason string

const (
	tokenMissing          reason = "token_missing"
	tokenMismatch         reason = "token_mismatch"
	tokenMissingConfig    reason = "token_missing_config"
	passwordMissing       reason = "password_missing"
	passwordMismatch      reason = "password_mismatch"
	passwordMissingConfig reason = "password_missing_config"
	bootstrapInvalid      reason = "bootstrap_token_invalid"
	deviceTokenMismatch   reason = "device_token_mismatch"
	scopeMismatch         reason = "scope_mismatch"
	rateLimited           reason = "rate_limited"
)

// failure is a refused authentication.
type failure struct {
	reason  reason
	retryMs int64 // rateLimited: how long the lockout still lasts
}

var failureCodes = map[reason]string{
	tokenMissing:          "AUTH_TOKEN_MISSING",
	tokenMismatch:         "AUTH_TOKEN_MISMATCH",
	tokenMissingConfig:    "AUTH_TOKEN_NOT_CONFIGURED",
	passwordMissing:       "AUTH_PASSWORD_MISSING",
	passwordMismatch:      "AUTH_PASSWORD_MISMATCH",
	passwordMissingConfig: "AUTH_PASSWORD_NOT_CONFIGURED",
	bootstrapInvalid:      "AUTH_BOOTSTRAP_TOKEN_INVALID",
	deviceTokenMismatch:   "AUTH_DEVICE_TOKEN_MISMATCH",
	scopeMismatch:         "AUTH_SCOPE_MISMATCH",
	rateLimited:           "AUTH_RATE_LIMITED",
}

// authDetails are the details of an authentication failure; clients decide by them
// whether to retry with a stored device token.
type authDetails struct {
	Code                    string `json:"code"`
	AuthReason              reason `json:"authReason,omitempty"`
	CanRetryWithDeviceToken bool   `json:"canRetryWithDeviceToken"`
	RecommendedNextStep     string `json:"recommendedNextStep"`
	RemediationHint         string `json:"remediationHint,omitempty"`
}

// noSetupCodes tells a person why no setup code can work here; upstream's text only
// says that this one does not.
const noSetupCodes = "This version of Sluice issues no setup codes. Connect with the gateway's token or password, or let the device ask and approve it with device.pair.approve."

// unauthorized is the answer to a failed authentication, in the real gateway's words.
func unauthorized(f failure, p *frames.ConnectParams, k kind, local bool) *frames.Error {
	auth := p.Auth
	if auth == nil {
		auth = &frames.ConnectAuth{}
	}
	// A wrong token of a client that has a device key may be an old device token in the
	// wrong field, or the right moment for the stored one.
	onlyToken := auth.Token != "" && auth.Password == "" && auth.DeviceToken == ""
	d := authDetails{Code: failureCodes[f.reason], AuthReason: f.reason,
		CanRetryWithDeviceToken: f.reason == tokenMismatch && p.Device != nil && onlyToken,
		RecommendedNextStep:     "review_auth_configuration"}
	switch f.reason {
	case tokenMissing, tokenMissingConfig, passwordMissing, passwordMissingConfig:
		d.RecommendedNextStep = "update_auth_configuration"
	case tokenMismatch, passwordMismatch, deviceTokenMismatch:
		d.RecommendedNextStep = "update_auth_credentials"
		if d.CanRetryWithDeviceToken {
			d.RecommendedNextStep = "retry_with_device_token"
		}
	case rateLimited:
		d.RecommendedNextStep = "wait_then_retry"
	case bootstrapInvalid:
		d.RemediationHint = noSetupCodes
	}
	return &frames.Error{Code: frames.CodeInvalidRequest, Message: failureText(f.reason, k, local), Details: d,
		Retryable: f.reason == rateLimited, RetryAfterMs: f.retryMs}
}

func failureText(r reason, k kind, local bool) string {
	switch r {
	case tokenMissing:
		if k.operatorUI || k.webchat {
			return "unauthorized: gateway token missing (paste in Control UI settings or openclaw doctor --generate-gateway-token; restart)"
		}
		return "unauthorized: gateway token missing (" + tokenHint(k, local) + ")"
	case tokenMismatch:
		return "unauthorized: gateway token mismatch (" + tokenHint(k, local) + ")"
	case tokenMissingConfig:
		return "unauthorized: gateway token not configured on gateway (set gateway.auth.token)"
	case passwordMissing:
		return "unauthorized: gateway password missing (" + passwordHint(k, local) + ")"
	case passwordMismatch:
		return "unauthorized: gateway password mismatch (" + passwordHint(k, local) + ")"
	case passwordMissingConfig:
		return "unauthorized: gateway password not configured on gateway (set gateway.auth.password)"
	case bootstrapInvalid:
		return "unauthorized: setup code invalid, expired, revoked, or already used (create a new code; review `openclaw devices list`)"
	case deviceTokenMismatch:
		return "unauthorized: device token mismatch (rotate/reissue device token)"
	case scopeMismatch:
		return "unauthorized: device token scope mismatch (re-pair or approve scope upgrade)"
	case rateLimited:
		return "unauthorized: too many failed authentication attempts (retry later)"
	}
	return "unauthorized"
}

func tokenHint(k kind, local bool) string {
	switch {
	case k.cliMode && local:
		return "use this gateway's gateway.auth.token or pair the device"
	case k.cliMode:
		return "set gateway.remote.token to match gateway.auth.token"
	case k.operatorUI || k.webchat:
		return "open the dashboard URL and paste the token in Control UI settings"
	}
	return "provide gateway auth token"
}

func passwordHint(k kind, local bool) string {
	switch {
	case k.cliMode && local:
		return "use this gateway's gateway.auth.password"
	case k.cliMode:
		return "set gateway.remote.password to match gateway.auth.password"
	case k.operatorUI || k.webchat:
		return "enter the password in Control UI settings"
	}
	return "provide gateway auth password"
}
