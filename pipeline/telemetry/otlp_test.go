package telemetry

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// collector is an OTLP receiver that keeps what it gets.
type collector struct {
	coltrace.UnimplementedTraceServiceServer
	mu      sync.Mutex
	spans   []*tracepb.Span
	service string
	// resource holds the attributes of the resource as text.
	resource map[string]string
	paths    []string
	headers  http.Header
}

func (c *collector) take(req *coltrace.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		c.resource = map[string]string{}
		for _, a := range rs.GetResource().GetAttributes() {
			c.resource[a.GetKey()] = a.GetValue().String()
			if a.GetKey() == "service.name" {
				c.service = a.GetValue().GetStringValue()
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
}

func (c *collector) Export(_ context.Context, req *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.take(req)
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	req := &coltrace.ExportTraceServiceRequest{}
	if err := proto.Unmarshal(body, req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.paths, c.headers = append(c.paths, r.URL.Path), r.Header
	c.mu.Unlock()
	c.take(req)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) check(t *testing.T, service string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != 2 || c.service != service {
		t.Fatalf("%d spans of service %q", len(c.spans), c.service)
	}
	for _, s := range c.spans {
		if s.GetName() == "decode" && string(s.GetParentSpanId()) == "" {
			t.Error("the child has no parent")
		}
	}
}

// emit starts telemetry as the gateway does, makes one trace and stops.
func emit(t *testing.T, c Config, getenv func(string) string) {
	t.Helper()
	ctx := context.Background()
	tel, err := Start(ctx, Options{Config: c, Version: "test", Getenv: getenv})
	if err != nil {
		t.Fatal(err)
	}
	if !tel.Tracing.Enabled() {
		t.Error("tracing is off")
	}
	tctx, root := tel.Tracing.StartRoot(ctx, "sluice.frame", time.Now(), tel.Tracing.Decide(nil))
	tel.Tracing.EmitChild(tctx, "decode", time.Now(), time.Now(), codes.Ok, "")
	root.End()
	if err := tel.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if st := tel.Tracing.Stats(); st.Exported != 2 {
		t.Errorf("%+v", st)
	}
}

func quiet() Config {
	c := Default()
	c.Memory.LimitRatio = 0
	return c
}

func TestOTLPOverHTTP(t *testing.T) {
	t.Run("environment", func(t *testing.T) {
		col := &collector{}
		srv := httptest.NewServer(col)
		defer srv.Close()
		// The exporter itself reads these from the process.
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", srv.URL)
		t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
		t.Setenv("OTEL_SERVICE_NAME", "mine")
		emit(t, quiet(), nil)
		col.check(t, "mine")
		if col.paths[0] != "/v1/traces" || col.headers.Get("x-key") != "abc" {
			t.Errorf("path %v headers %v", col.paths, col.headers)
		}
	})
	t.Run("configuration", func(t *testing.T) {
		col := &collector{}
		srv := httptest.NewServer(col)
		defer srv.Close()
		c := quiet()
		c.Traces.Endpoint = srv.URL
		emit(t, c, noEnv)
		col.check(t, "sluice")
		if col.paths[0] != "/v1/traces" {
			t.Errorf("path %v", col.paths)
		}
	})
}

func TestOTLPOverGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	col := &collector{}
	srv := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(srv, col)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	emit(t, quiet(), nil)
	srv.Stop()
	<-done
	col.check(t, "sluice")
}
