package frames

import (
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The append functions below write what goes to clients. They grow dst and return it,
// as append does, and allocate nothing else except where an error has details.

// AppendResult appends the answer {"type":"res","id":…,"ok":true,"payload":…}. id and
// payload are raw JSON; a nil payload leaves the member out.
func AppendResult(dst, id, payload []byte) []byte {
	dst = appendHead(dst, id)
	dst = append(dst, `,"ok":true`...)
	if payload != nil {
		dst = append(dst, `,"payload":`...)
		dst = append(dst, payload...)
	}
	return append(dst, '}')
}

// AppendError appends the answer {"type":"res","id":…,"ok":false,"error":{…}} in the
// member order of the real gateway. Details that cannot be encoded are left out.
func AppendError(dst, id []byte, e *Error) []byte {
	dst = appendHead(dst, id)
	dst = append(dst, `,"ok":false,"error":{"code":`...)
	dst = AppendString(dst, string(e.Code))
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, e.Message)
	if e.Details != nil {
		if details, err := MarshalPayload(e.Details); err == nil {
			dst = append(dst, `,"details":`...)
			dst = append(dst, details...)
		}
	}
	if e.Retryable {
		dst = append(dst, `,"retryable":true`...)
	}
	if e.RetryAfterMs > 0 {
		dst = append(dst, `,"retryAfterMs":`...)
		dst = strconv.AppendInt(dst, e.RetryAfterMs, 10)
	}
	return append(dst, '}', '}')
}

func appendHead(dst, id []byte) []byte {
	if len(id) == 0 {
		id = EncodedIDInvalid
	}
	dst = append(dst, `{"type":"res","id":`...)
	return append(dst, id...)
}

// AppendEventHead appends an event up to but without its sequence number and closing
// brace, so that it is encoded once however many receive it. A nil payload leaves the
// member out.
func AppendEventHead(dst []byte, name string, payload []byte) []byte {
	dst = append(dst, `{"type":"event","event":`...)
	dst = AppendString(dst, name)
	if payload != nil {
		dst = append(dst, `,"payload":`...)
		dst = append(dst, payload...)
	}
	return dst
}

// AppendEventTail completes what AppendEventHead began: seq 0 means unsequenced, and a
// nil st leaves stateVersion out.
func AppendEventTail(dst []byte, seq uint64, st *StateVersion) []byte {
	if seq != 0 {
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendUint(dst, seq, 10)
	}
	if st != nil {
		dst = append(dst, `,"stateVersion":{"presence":`...)
		dst = strconv.AppendUint(dst, st.Presence, 10)
		dst = append(dst, `,"health":`...)
		dst = strconv.AppendUint(dst, st.Health, 10)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// AppendRequest appends a request; params nil leaves the member out. Clients of other
// gateways (call, watch, the upstream route, the bench) use it.
func AppendRequest(dst []byte, id, method string, params []byte) []byte {
	dst = append(dst, `{"type":"req","id":`...)
	dst = AppendString(dst, id)
	dst = append(dst, `,"method":`...)
	dst = AppendString(dst, method)
	if params != nil {
		dst = append(dst, `,"params":`...)
		dst = append(dst, params...)
	}
	return append(dst, '}')
}

// AppendString appends s as a JSON string. Broken UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x80 {
			out, _ := jsontext.AppendQuote(dst, s) // broken UTF-8 is its only error
			return out
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// MarshalPayload encodes v for the wire: maps in a fixed order, so that an event's
// bytes are the same each time, and broken UTF-8 as U+FFFD instead of an error.
func MarshalPayload(v any) ([]byte, error) {
	return json.Marshal(v, payloadOptions)
}

var payloadOptions = json.JoinOptions(json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
