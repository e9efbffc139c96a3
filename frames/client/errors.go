package client

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Sentinel errors; the returned ones wrap them with what happened.
var (
	// ErrClosed: the connection was closed by Close.
	ErrClosed = errors.New("client: connection closed")
	// ErrTickTimeout: the gateway was silent for TickFactor times its tick interval.
	ErrTickTimeout = errors.New("client: gateway silent for too long (tick timeout)")
	// ErrBusy: MaxPending calls are in flight.
	ErrBusy = errors.New("client: too many calls in flight")
	// ErrProtocol: the peer broke RFC 6455 or the frame format.
	ErrProtocol = errors.New("client: protocol violation by the gateway")
	// ErrTooLarge: a message is longer than MaxMessageBytes.
	ErrTooLarge = errors.New("client: message from the gateway exceeds maxMessageBytes")
)

// RemoteError is the error of a response (wire.md 3.2): the gateway understood the
// request and refused it.
type RemoteError struct {
	Code         string         `json:"code"`
	Message      string         `json:"message"`
	Details      jsontext.Value `json:"details,omitzero"`
	Retryable    bool           `json:"retryable,omitzero"`
	RetryAfterMs int64          `json:"retryAfterMs,omitzero"`
}

func (e *RemoteError) Error() string { return e.Code + ": " + e.Message }

// CloseError is the gateway's close frame (wire.md 3.9). Code 1005 stands for a close
// frame without a code, 1006 for a connection that ended without one.
type CloseError struct {
	Code   int
	Reason string
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("client: gateway closed the connection with code %d", e.Code)
	}
	return fmt.Sprintf("client: gateway closed the connection with code %d: %s", e.Code, e.Reason)
}

// UpgradeError is an HTTP answer other than 101 to the upgrade.
type UpgradeError struct {
	Status int
	// Body is the answer's first 1024 bytes, headers included.
	Body string
}

func (e *UpgradeError) Error() string {
	return fmt.Sprintf("client: the server answered HTTP %d instead of upgrading to WebSocket; check the address, and whether a proxy stands between", e.Status)
}
