package backend

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxExportBytes bounds one export request; a longer one gets HTTP 413.
const MaxExportBytes = 64 << 20

// Sink is an OTLP/HTTP collector that counts what it gets and keeps nothing. The zero
// value is ready. It costs as little as a collector can, because it runs on the machine
// that is measured: spans are counted by their frames, not decoded.
type Sink struct {
	requests, spans, bytes, broken atomic.Uint64
	buffers                        sync.Pool
}

var _ http.Handler = (*Sink)(nil)

// SinkStats are what a Sink has got so far.
type SinkStats struct {
	Requests uint64 `json:"requests"`
	Spans    uint64 `json:"spans"`
	Bytes    uint64 `json:"bytes"`
	Broken   uint64 `json:"broken"` // bodies that are no OTLP traces in protobuf
}

// Stats returns the counts of this moment.
func (s *Sink) Stats() SinkStats {
	return SinkStats{s.requests.Load(), s.spans.Load(), s.bytes.Load(), s.broken.Load()}
}

// ServeHTTP takes POST /v1/traces; other signals are taken and not counted.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST OTLP here", http.StatusMethodNotAllowed)
		return
	}
	buf, _ := s.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer s.buffers.Put(buf)
	var err error
	*buf, err = readAll(http.MaxBytesReader(w, r.Body, MaxExportBytes), (*buf)[:0])
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	if r.URL.Path == "/v1/traces" {
		s.requests.Add(1)
		s.bytes.Add(uint64(len(*buf)))
		n, err := countSpans(*buf)
		if err != nil {
			s.broken.Add(1)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.spans.Add(n)
	}
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty response message
}

func readAll(r io.Reader, b []byte) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch err {
		case nil:
		case io.EOF:
			return b, nil
		default:
			return b, err
		}
	}
}

// spanPath are the fields that lead to a span in ExportTraceServiceRequest:
// resource_spans, scope_spans, spans.
var spanPath = []protowire.Number{1, 2, 2}

// countSpans counts the spans of an ExportTraceServiceRequest.
func countSpans(b []byte) (uint64, error) { return countField(b, spanPath) }

func countField(b []byte, path []protowire.Number) (n uint64, err error) {
	for len(b) > 0 {
		num, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return n, fmt.Errorf("bench: no OTLP request: %w", protowire.ParseError(size))
		}
		b = b[size:]
		if num != path[0] || typ != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(num, typ, b); size < 0 {
				return n, fmt.Errorf("bench: no OTLP request: %w", protowire.ParseError(size))
			}
			b = b[size:]
			continue
		}
		v, size := protowire.ConsumeBytes(b)
		if size < 0 {
			return n, fmt.Errorf("bench: no OTLP request: %w", protowire.ParseError(size))
		}
		b = b[size:]
		if len(path) == 1 {
			n++
			continue
		}
		inner, err := countField(v, path[1:])
		n += inner
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
