package backend_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"sluice/bench/backend"

	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mustServe runs h and returns its address; the end of the test ends it.
func mustServe(tb testing.TB, h http.Handler) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- backend.Serve(ctx, ln, h) }()
	tb.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

func export(tb testing.TB, resources, scopes, spans int) []byte {
	tb.Helper()
	req := &tracepb.ExportTraceServiceRequest{}
	for range resources {
		r := &otlp.ResourceSpans{SchemaUrl: "x"}
		for range scopes {
			s := &otlp.ScopeSpans{SchemaUrl: "y"}
			for range spans {
				s.Spans = append(s.Spans, &otlp.Span{Name: "decode", TraceId: make([]byte, 16)})
			}
			r.ScopeSpans = append(r.ScopeSpans, s)
		}
		req.ResourceSpans = append(req.ResourceSpans, r)
	}
	b, err := proto.Marshal(req)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestSinkCountsSpans(t *testing.T) {
	s := &backend.Sink{}
	url := mustServe(t, s)
	for _, c := range []struct {
		body   []byte
		status int
	}{{export(t, 2, 3, 4), 200}, {export(t, 1, 1, 1), 200}, {nil, 200}, {[]byte("no protobuf"), 400}} {
		res, err := http.Post(url+"/v1/traces", "application/x-protobuf", bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%d bytes: status %d, want %d", len(c.body), res.StatusCode, c.status)
		}
	}
	if got := s.Stats(); got.Spans != 25 || got.Requests != 4 || got.Broken != 1 {
		t.Errorf("%+v, want 25 spans in 4 requests, 1 broken", got)
	}
}

func TestModelStreams(t *testing.T) {
	m := &backend.Model{Chunks: 3}
	res, err := http.Post(mustServe(t, m)+"/v1/chat/completions", "application/json", strings.NewReader(`{"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "word "); n != 3 || !strings.HasSuffix(string(b), "data: [DONE]\n\n") {
		t.Errorf("%d words:\n%s", n, b)
	}
	if begun, cut := m.Calls(); begun != 1 || cut != 0 {
		t.Errorf("%d calls, %d cut", begun, cut)
	}
}

func TestModelNames(t *testing.T) {
	for _, m := range []*backend.Model{{}, {Chunks: 1, Pause: -1}} {
		if m.Validate() == nil {
			t.Errorf("%+v is valid", m)
		}
	}
}

func FuzzSink(f *testing.F) {
	f.Add(export(f, 1, 2, 3))
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &discard{h: http.Header{}}
		r, err := http.NewRequest(http.MethodPost, "/v1/traces", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		s := &backend.Sink{}
		s.ServeHTTP(w, r)
		if n := s.Stats().Spans; n > uint64(len(b)) {
			t.Fatalf("%d spans in %d bytes", n, len(b))
		}
	})
}

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
