package frames

import "fmt"

// Code is an error code of the protocol (wire.md 3.6). Clients branch on it and on
// Details' "code"; the message is for people.
type Code string

// The codes that the real gateway sends.
const (
	CodeInvalidRequest   Code = "INVALID_REQUEST"
	CodeNotPaired        Code = "NOT_PAIRED"
	CodeForbidden        Code = "FORBIDDEN"
	CodeUnavailable      Code = "UNAVAILABLE"
	CodeApprovalNotFound Code = "APPROVAL_NOT_FOUND"
)

// Error is an error as a client sees it. A stage or handler that returns one answers
// the request with it unchanged; any other error is logged and becomes UNAVAILABLE
// without its text. An Error is immutable once returned, so prepared ones may be shared.
type Error struct {
	Code    Code
	Message string
	// Details is encoded as JSON; nil leaves the member out.
	Details any
	// Retryable and RetryAfterMs tell the client whether and when to try again.
	// RetryAfterMs 0 leaves the member out.
	Retryable    bool
	RetryAfterMs int64
	// Close, when set, ends the connection after the answer was flushed.
	Close *Close
	// Silent sends no answer at all (wire.md 3.6: broken JSON, a frame that is no
	// request); Close may still be set.
	Silent bool
}

// Close is a WebSocket close: its code and its reason, cut to 120 bytes of UTF-8.
type Close struct {
	Code   uint16
	Reason string
}

// The close codes that the server sends (wire.md 3.9).
const (
	CloseNormal          uint16 = 1000
	CloseProtocolError   uint16 = 1002
	CloseInvalidPayload  uint16 = 1007
	ClosePolicyViolation uint16 = 1008
	CloseTooBig          uint16 = 1009
	CloseInternal        uint16 = 1011
	CloseServiceRestart  uint16 = 1012
	CloseTryAgainLater   uint16 = 1013
	CloseTickTimeout     uint16 = 4000
	CloseClientInvalid   uint16 = 4001
)

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Invalid returns INVALID_REQUEST with a formatted message.
func Invalid(format string, args ...any) *Error {
	return &Error{Code: CodeInvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// Unavailable returns a retryable UNAVAILABLE.
func Unavailable(retryAfterMs int64, format string, args ...any) *Error {
	return &Error{Code: CodeUnavailable, Message: fmt.Sprintf(format, args...), Retryable: true, RetryAfterMs: retryAfterMs}
}

// MissingScope returns the FORBIDDEN error of wire.md 3.6 for a scope the caller lacks.
func MissingScope(s Scope) *Error {
	name := s.String()
	return &Error{
		Code:    CodeForbidden,
		Message: "missing scope: " + name,
		Details: map[string]any{"code": "MISSING_SCOPE", "missingScope": name, "requiredScopes": []string{name}},
	}
}

// Closing returns a copy of e that also closes the connection with e's message as the
// reason, as every failed handshake does (wire.md 3.4).
func (e *Error) Closing(code uint16) *Error {
	c := *e
	c.Close = &Close{Code: code, Reason: CutReason(e.Message)}
	return &c
}

// WithDetails returns a copy of e with the given details.
func (e *Error) WithDetails(details any) *Error {
	c := *e
	c.Details = details
	return &c
}

// MaxCloseReasonBytes is what the real gateway cuts a close reason to.
const MaxCloseReasonBytes = 120

// CutReason cuts s to MaxCloseReasonBytes without splitting a UTF-8 sequence.
func CutReason(s string) string {
	if len(s) <= MaxCloseReasonBytes {
		return s
	}
	n := MaxCloseReasonBytes
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
