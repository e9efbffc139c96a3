package telemetry

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
)

// Decision says whether a frame is traced and which remote span it continues. It is a
// plain value; the zero Decision is "not traced".
type Decision struct {
	// Sampled: make spans for this frame.
	Sampled bool
	// Remote: TraceID and SpanID are the client's, from its traceparent. Only set when
	// Sampled.
	Remote  bool
	Flags   byte
	TraceID trace.TraceID
	SpanID  trace.SpanID
}

// always is the threshold that every draw of 63 bits is below.
const always = 1 << 63

// sampling is what Decide reads, all of it changeable while frames pass.
type sampling struct {
	threshold atomic.Uint64 // a draw below it is sampled; 0 never, always always
	obey      atomic.Bool   // the remote parent's flag decides
	seed      maphash.Seed
}

func (s *sampling) set(ratio float64, obey bool) {
	t := uint64(0)
	switch {
	case ratio >= 1:
		t = always
	case ratio > 0:
		t = uint64(math.Ldexp(ratio, 63))
	}
	s.threshold.Store(t)
	s.obey.Store(obey)
}

// decide does not allocate. Without trust a client must not be able to choose: the ratio
// is taken over a keyed hash of its trace id, so that all frames of one trace are still
// decided alike, and the text is parsed only for the few that are sampled.
func (s *sampling) decide(traceparent []byte) Decision {
	t := s.threshold.Load()
	if s.obey.Load() {
		return s.obeyRemote(traceparent, t)
	}
	if t == 0 {
		return Decision{}
	}
	if t < always {
		var draw uint64
		if len(traceparent) >= 35 {
			draw = maphash.Bytes(s.seed, traceparent[3:35])
		} else {
			draw = rand.Uint64()
		}
		if draw>>1 >= t {
			return Decision{}
		}
	}
	d := Decision{Sampled: true}
	d.Remote = parseTraceparent(traceparent, &d)
	return d
}

// obeyRemote follows a valid parent's flag, and decides by ratio without one. "Not
// sampled" is believed without looking at the ids, which nobody will use.
func (s *sampling) obeyRemote(traceparent []byte, t uint64) Decision {
	if len(traceparent) >= 55 && traceparent[52] == '-' && nibbles[traceparent[54]]&1 == 0 {
		return Decision{}
	}
	var d Decision
	if len(traceparent) > 0 && parseTraceparent(traceparent, &d) {
		if d.Flags&byte(trace.FlagsSampled) == 0 {
			return Decision{}
		}
		d.Sampled, d.Remote = true, true
		return d
	}
	return Decision{Sampled: t == always || t > 0 && rand.Uint64()>>1 < t}
}

// parseTraceparent reads a W3C traceparent (version-traceid-parentid-flags) into d and
// reports whether it is valid; d keeps its ids zero when it is not. Versions above 00
// may carry more after the flags.
func parseTraceparent(b []byte, d *Decision) bool {
	if len(b) < 55 || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return false
	}
	if b[0] == '0' && b[1] == '0' {
		if len(b) != 55 {
			return false
		}
	} else if len(b) > 55 && b[55] != '-' || b[0] == 'f' && b[1] == 'f' {
		return false
	}
	var head [1]byte
	var id trace.TraceID
	var span trace.SpanID
	var flags [1]byte
	ok := unhex(head[:], b[0:2]) && unhex(id[:], b[3:35]) && unhex(span[:], b[36:52]) && unhex(flags[:], b[53:55])
	if !ok || id == (trace.TraceID{}) || span == (trace.SpanID{}) {
		return false
	}
	d.TraceID, d.SpanID, d.Flags = id, span, flags[0]
	return true
}

// nibbles maps lower-case hex digits to their value and everything else to 0xff; the
// specification forbids upper case.
var nibbles = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range "0123456789abcdef" {
		t[c] = byte(i)
	}
	return t
}()

func unhex(dst, src []byte) bool {
	bad := byte(0)
	for i := range dst {
		h, l := nibbles[src[2*i]], nibbles[src[2*i+1]]
		bad |= h | l
		dst[i] = h<<4 | l
	}
	return bad < 0x10
}

// AppendTraceparent writes the traceparent of a span for the next hop, version 00, 55
// bytes. An invalid span context adds nothing.
func AppendTraceparent(dst []byte, sc trace.SpanContext) []byte {
	if !sc.IsValid() {
		return dst
	}
	const digits = "0123456789abcdef"
	hex := func(src []byte) {
		for _, c := range src {
			dst = append(dst, digits[c>>4], digits[c&15])
		}
	}
	id, span := sc.TraceID(), sc.SpanID()
	dst = append(dst, "00-"...)
	hex(id[:])
	dst = append(dst, '-')
	hex(span[:])
	dst = append(dst, '-')
	hex([]byte{byte(sc.TraceFlags())})
	return dst
}

// randomIDs makes trace and span ids from the runtime's ChaCha8 source: no lock, no
// allocation, not predictable.
type randomIDs struct{}

func newTraceID() (id trace.TraceID) {
	for id == (trace.TraceID{}) {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

func newSpanID() (id trace.SpanID) {
	for id == (trace.SpanID{}) {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
