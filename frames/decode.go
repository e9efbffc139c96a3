package frames

import "bytes"

// EncodedIDInvalid is the id, as JSON, of an answer to a frame that has none.
var EncodedIDInvalid = []byte(`"invalid"`)

// The members' places in envelope.values.
const (
	idxType = iota
	idxID
	idxMethod
	idxParams
	idxTraceparent
	idxProfile
	idxEvent
	idxPayload
	idxOK
	idxError
	idxSeq
	idxState
	idxRecipient
	idxResult
	memberCount
)

// The members that each kind of frame may have, as bits 1<<idx.
const (
	requestMembers  = 1<<idxType | 1<<idxID | 1<<idxMethod | 1<<idxParams | 1<<idxTraceparent | 1<<idxProfile
	responseMembers = 1<<idxType | 1<<idxID | 1<<idxOK | 1<<idxPayload | 1<<idxError
	eventMembers    = 1<<idxType | 1<<idxEvent | 1<<idxPayload | 1<<idxSeq | 1<<idxState | 1<<idxRecipient
)

// envelope is what one walk over a frame finds, each value raw.
type envelope struct {
	seen    uint32 // which members came, as bits
	escaped uint32 // which of them are strings with escapes
	unknown bool   // a member came that no frame has
	// twice is the first name that came again. That is a fault: JSON.parse takes the
	// last, other readers the first, and two readers of one frame must not disagree.
	twice  quoted
	values [memberCount][]byte
}

// Decode reads one frame into f, in one walk over b and without an allocation when the
// method is known. f's slices alias b. b must be valid UTF-8 (the edge checks).
//
// A nil error means a well-formed request, response ("res", or "resp" as the first
// runtime wrote it) or event. The error is Silent when b is not JSON at all: the decode
// stage adds the close that wire.md 3.6 asks for. Every other error carries upstream's
// text, and f.ID is what its answer must echo: the frame's own id as it came, whatever
// its type, or "invalid" when it has none.
//
// Params are checked for syntax and depth only; whoever reads them checks the rest
// (Schema.Validate, UnmarshalParams).
func Decode(b []byte, f *Frame) *Error {
	*f = Frame{ID: EncodedIDInvalid}
	var e envelope
	fault := e.scan(b)
	if id := e.values[idxID]; id != nil && string(id) != "null" {
		f.ID = id
	}
	switch fault {
	case scanBroken:
		return errBroken
	case scanDeep:
		f.ID = deepID(b)
		return errDeep
	}
	if e.seen == 0 && !e.unknown {
		return invalidFrame(b)
	}
	if e.twice.raw != nil {
		return Invalid("invalid request frame: at root: duplicate property '%s'", e.twice.text())
	}
	switch string(e.values[idxType]) {
	case `"req"`:
		return e.request(b, f)
	case `"res"`:
		return e.response(b, f, responseMembers)
	case `"resp"`:
		return e.response(b, f, responseMembers|1<<idxResult)
	case `"event"`:
		return e.event(b, f)
	}
	if e.escaped&(1<<idxType) != 0 { // "\u0072eq" is "req" to JSON.parse
		switch q := (quoted{e.values[idxType], true}); {
		case q.is("req"):
			return e.request(b, f)
		case q.is("res"):
			return e.response(b, f, responseMembers)
		case q.is("event"):
			return e.event(b, f)
		}
	}
	return invalidFrame(b)
}

var (
	errBroken = &Error{Code: CodeInvalidRequest, Message: "invalid request frame: not JSON", Silent: true}
	errDeep   = Invalid("invalid request frame: nested deeper than %d levels", MaxDepth)
)

// member returns the place of the envelope member called name, -1 for none.
func member(name []byte) int {
	switch string(name) {
	case "type":
		return idxType
	case "id":
		return idxID
	case "method":
		return idxMethod
	case "params":
		return idxParams
	case "traceparent":
		return idxTraceparent
	case "expectedProfileId":
		return idxProfile
	case "event":
		return idxEvent
	case "payload":
		return idxPayload
	case "ok":
		return idxOK
	case "error":
		return idxError
	case "seq":
		return idxSeq
	case "stateVersion":
		return idxState
	case "recipientProfileId":
		return idxRecipient
	case "result":
		return idxResult
	}
	return -1
}

// scan walks the frame b to its end. A frame that is JSON but no object leaves e empty.
func (e *envelope) scan(b []byte) scanFault {
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		end, fault := scanValue(b, i, 0)
		if fault == scanOK && space(b, end) != len(b) {
			return scanBroken
		}
		return fault
	}
	i = space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return trailing(b, i+1)
	}
	for {
		var fault scanFault
		if i, fault = e.scanMember(b, i); fault != scanOK {
			return fault
		}
		i = space(b, i)
		switch {
		case i >= len(b):
			return scanBroken
		case b[i] == ',':
			i = space(b, i+1)
		case b[i] == '}':
			return trailing(b, i+1)
		default:
			return scanBroken
		}
	}
}

// trailing reports whether only white space is left at i.
func trailing(b []byte, i int) scanFault {
	if space(b, i) != len(b) {
		return scanBroken
	}
	return scanOK
}

// scanMember reads the member whose name starts at i and returns the index after its
// value.
func (e *envelope) scanMember(b []byte, i int) (int, scanFault) {
	if i >= len(b) || b[i] != '"' {
		return i, scanBroken
	}
	nameEnd, nameEscaped := scanString(b, i)
	if nameEnd < 0 {
		return i, scanBroken
	}
	name := quoted{b[i:nameEnd], nameEscaped}
	i = space(b, nameEnd)
	if i >= len(b) || b[i] != ':' {
		return i, scanBroken
	}
	i = space(b, i+1)
	var (
		end     int
		escaped bool
		fault   scanFault
	)
	if i < len(b) && b[i] == '"' {
		if end, escaped = scanString(b, i); end < 0 {
			return i, scanBroken
		}
	} else if end, fault = scanValue(b, i, 1); fault != scanOK {
		return end, fault
	}
	key := name.raw[1 : len(name.raw)-1]
	if nameEscaped {
		var buf [32]byte
		key = Unquote(buf[:0], name.raw)
	}
	idx := member(key)
	switch {
	case idx < 0:
		e.unknown = true
	case e.seen>>idx&1 != 0:
		if e.twice.raw == nil {
			e.twice = name
		}
	default:
		e.seen |= 1 << idx
		e.values[idx] = b[i:end]
		if escaped {
			e.escaped |= 1 << idx
		}
	}
	return end, scanOK
}

// stringAt returns the member's value when it is a string of at least min characters.
func (e *envelope) stringAt(idx, min int) (quoted, bool) {
	v := e.values[idx]
	if len(v) < 2+min || v[0] != '"' {
		return quoted{}, false
	}
	return quoted{v, e.escaped>>idx&1 != 0}, true
}

// request fills f from a frame of type "req". Anything unusual goes to invalidFrame,
// which judges the frame by the protocol's own schema and words the error.
func (e *envelope) request(b []byte, f *Frame) *Error {
	_, idOK := e.stringAt(idxID, 1)
	method, methodOK := e.stringAt(idxMethod, 1)
	if !idOK || !methodOK || e.unknown || e.seen&^uint32(requestMembers) != 0 {
		return invalidFrame(b)
	}
	if e.seen&(1<<idxTraceparent) != 0 {
		v, ok := e.stringAt(idxTraceparent, 0)
		if !ok || !atMost(v, MaxTraceparentBytes) {
			return invalidFrame(b)
		}
		f.Traceparent = unquoted(v)
	}
	if e.seen&(1<<idxProfile) != 0 {
		v, ok := e.stringAt(idxProfile, 1)
		if !ok || !atMost(v, maxProfileChars) {
			return invalidFrame(b)
		}
		f.ExpectedProfile = unquoted(v)
	}
	f.Kind = KindRequest
	if f.Params = e.values[idxParams]; string(f.Params) == "null" {
		f.Params = nil // upstream reads params ?? {}
	}
	name := unquoted(method)
	if f.Spec = LookupMethod(name); f.Spec != nil {
		f.Method = f.Spec.Name
	} else {
		f.Method = string(name)
	}
	return nil
}

// maxProfileChars bounds expectedProfileId (schema RequestFrame).
const maxProfileChars = 128

// unquoted returns the text of v: a part of the frame, or a copy when it has escapes.
func unquoted(v quoted) []byte {
	if !v.escaped {
		return v.raw[1 : len(v.raw)-1]
	}
	return Unquote(nil, v.raw)
}

// response fills f from a frame of type "res" or "resp". Its payload, result or error
// are read by DecodeReply.
func (e *envelope) response(b []byte, f *Frame, members uint32) *Error {
	if _, ok := e.stringAt(idxID, 1); !ok || e.unknown || e.seen&^members != 0 {
		return invalidFrame(b)
	}
	f.Kind = KindResponse
	f.Payload = e.values[idxPayload]
	if f.Payload == nil {
		f.Payload = e.values[idxResult]
	}
	return nil
}

// event fills f from a frame of type "event".
func (e *envelope) event(b []byte, f *Frame) *Error {
	name, ok := e.stringAt(idxEvent, 1)
	if !ok || e.unknown || e.seen&^uint32(eventMembers) != 0 {
		return invalidFrame(b)
	}
	f.Kind = KindEvent
	f.Event = string(unquoted(name))
	f.Payload = e.values[idxPayload]
	return nil
}

// RefuseFrame returns what upstream answers to a well-formed frame that is no request:
// clients may send nothing else, so the stage that meets a response or an event of a
// client answers with it. b is what Decode accepted.
func RefuseFrame(b []byte) *Error { return invalidFrame(b) }

// invalidFrame words the refusal of b, which is JSON, as upstream's validator of
// RequestFrame does.
func invalidFrame(b []byte) *Error {
	if why := requestFrameSchema.refuse(b); why != "" {
		return Invalid("invalid request frame: %s", why)
	}
	// The schema is content and the walk was not: only members of other frames, which
	// RequestFrame refuses by name, can bring us here.
	return Invalid("invalid request frame: at /type: must be equal to constant")
}

// deepID finds the id of a frame that is nested too deep to be decoded: a request must
// be answered even when its params are refused. It looks at the root's members only,
// counts brackets instead of matching them, and takes a string alone.
func deepID(b []byte) []byte {
	depth, i := 0, 0
	for i < len(b) {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end, _ := scanString(b, i)
			if end < 0 {
				return EncodedIDInvalid
			}
			if depth == 1 && bytes.Equal(b[i:end], []byte(`"id"`)) {
				if j := scanName(b, i); j > 0 && j < len(b) && b[j] == '"' {
					if idEnd, _ := scanString(b, j); idEnd > 0 {
						return b[j:idEnd]
					}
				}
			}
			i = end
			continue
		}
		i++
	}
	return EncodedIDInvalid
}
