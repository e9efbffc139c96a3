// Package provider talks to model endpoints: one request, one stream of text back.
//
// A Provider is stateless and safe for concurrent use. It retries nothing: whether and
// when to try again is the turn's decision, which it bases on Error.
package provider

import (
	"context"
	"fmt"
	"time"
)

// Message is one message of a conversation, in the endpoint's terms.
type Message struct {
	Role    string `json:"role"` // system, user, assistant
	Content string `json:"content"`
}

// Request is one model call.
type Request struct {
	Model           string
	Messages        []Message
	MaxOutputTokens int // 0 leaves it to the endpoint
	Temperature     *float64
	User            string
}

// Usage counts tokens as the endpoint reports them; zero where it does not.
type Usage struct {
	Input  int64
	Output int64
	Total  int64
}

// Result is what a call that ended well said.
type Result struct {
	ResponseID string
	Model      string
	StopReason string // stop, length, content_filter, tool_calls
	Usage      Usage
}

// Provider streams one call. text is called for each piece of the answer, in order, on
// the caller's goroutine; an error of Stream is a *Error or ctx's.
type Provider interface {
	Name() string
	Stream(ctx context.Context, req Request, text func(piece string)) (Result, error)
}

// Error is a failed call.
type Error struct {
	Provider string
	Status   int    // HTTP status: 0 when there was no whole answer, 200 when it was unusable
	Message  string // the endpoint's own words, cut to 500 bytes
	// RetryAfter is what the endpoint asked for, 0 when it did not.
	RetryAfter time.Duration
	Err        error
}

// Error implements error.
func (e *Error) Error() string {
	switch {
	case e.Status == 200:
		return e.Provider + ": " + e.Message
	case e.Status != 0:
		return fmt.Sprintf("%s answered %d: %s", e.Provider, e.Status, e.Message)
	case e.Err != nil:
		return fmt.Sprintf("%s: %v", e.Provider, e.Err)
	}
	return e.Provider + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same call may succeed later: no answer, too many
// requests, or the endpoint's own failure.
func (e *Error) Temporary() bool {
	return e.Status == 0 || e.Status == 408 || e.Status == 429 || e.Status >= 500
}

// Reason is the word that chat error events carry as failoverReason.
func (e *Error) Reason() string {
	switch {
	case e.Status == 429:
		return "rate_limit"
	case e.Status == 401 || e.Status == 403:
		return "auth"
	case e.Status == 402:
		return "billing"
	case e.Status == 408 || e.Status == 504:
		return "timeout"
	case e.Status >= 500:
		return "server_error"
	case e.Status == 0:
		return "network"
	}
	return "format"
}
