// Package frames holds what is on the wire: the frames of the OpenClaw Gateway
// protocol (protocol/wire.md section 3.2), their codec, the protocol's error codes and
// limits, the contract of every method, session keys, and the identity that a
// connection was granted.
//
// It knows no network and no stage; package frames/ws moves these bytes over
// WebSocket, and the stages give them meaning.
package frames

// Kind tells the three frames of the protocol apart.
type Kind uint8

// The kinds. Response covers "res" and the first runtime's "resp" (inbound only).
const (
	KindInvalid Kind = iota
	KindRequest
	KindResponse
	KindEvent
)

// String returns the frame's "type" on the wire.
func (k Kind) String() string {
	switch k {
	case KindRequest:
		return "req"
	case KindResponse:
		return "res"
	case KindEvent:
		return "event"
	}
	return "invalid"
}

// Frame is one decoded inbound frame. Its byte slices alias the buffer that was
// decoded: they live exactly as long as that buffer's lease.
type Frame struct {
	Kind Kind
	// ID is the request id as raw JSON, with quotes: what an answer echoes.
	ID []byte
	// Method is the request's method. It is the method table's own string when the
	// method is known, so that decoding a known method does not allocate.
	Method string
	// Spec is the contract of Method, nil when the protocol has no such method.
	Spec *Method
	// Params is the raw params value; nil when the frame has none.
	Params []byte
	// Traceparent is the raw W3C trace context without quotes, at most 128 bytes.
	Traceparent []byte
	// ExpectedProfile is the raw expectedProfileId without quotes.
	ExpectedProfile []byte
	// Event is the name of an inbound event frame; Payload its raw payload.
	Event   string
	Payload []byte
}

// Limits of the wire. They are the real gateway's (wire.md 3.1 to 3.9); the ones an
// operator may change have a config key, and these are its default.
const (
	// MaxPreAuthFrameBytes bounds a frame before hello; larger closes 1009.
	MaxPreAuthFrameBytes = 64 << 10
	// MaxFrameBytes bounds a frame after hello (policy.maxPayload); larger closes 1009.
	MaxFrameBytes = 26_214_400
	// MaxBufferedBytes bounds what waits for one client (policy.maxBufferedBytes).
	MaxBufferedBytes = 52_428_800
	// MaxTraceparentBytes bounds traceparent on a request.
	MaxTraceparentBytes = 128
	// MaxDepth bounds the nesting of a frame's JSON. The real gateway parses any depth;
	// no method's schema nests past 32, and a walk of depth 10 000 costs stack.
	MaxDepth = 128
	// ProtocolVersion is the version spoken; MinProtocolVersion the oldest accepted.
	ProtocolVersion    = 4
	MinProtocolVersion = 3
)
