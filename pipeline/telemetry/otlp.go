package telemetry

import (
	"context"
	"fmt"
	"io"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// encodedExporter is an exporter that also takes spans which are encoded already, as
// fields of a ScopeSpans message. spans is not kept.
type encodedExporter interface {
	sdktrace.SpanExporter
	ExportEncoded(ctx context.Context, res *resource.Resource, spans []byte) error
}

// otlpExporter sends by OpenTelemetry's own clients: they keep the endpoint, headers,
// certificates, compression, time limits and retries of OTEL_EXPORTER_OTLP_….
type otlpExporter struct {
	*otlptrace.Exporter
	client otlptrace.Client
}

var _ encodedExporter = (*otlpExporter)(nil)

func newOTLPExporter(ctx context.Context, client otlptrace.Client) (sdktrace.SpanExporter, error) {
	e, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, err
	}
	return &otlpExporter{e, client}, nil
}

// ExportEncoded implements encodedExporter. The encoded spans travel as fields that the
// generated type does not know, which protobuf writes out as they are.
func (e *otlpExporter) ExportEncoded(ctx context.Context, res *resource.Resource, spans []byte) error {
	r := &resourcepb.Resource{}
	r.ProtoReflect().SetUnknown(appendAttrs(nil, resourceAttributes, res.Attributes()))
	s := &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: Scope}}
	s.ProtoReflect().SetUnknown(spans)
	err := e.client.UploadTraces(ctx, []*tracepb.ResourceSpans{{Resource: r, SchemaUrl: res.SchemaURL(), ScopeSpans: []*tracepb.ScopeSpans{s}}})
	return wrapf(err, "traces export")
}

// openExporter makes the exporter that the environment and the configuration ask for,
// or nil for none.
func openExporter(ctx context.Context, c TracesConfig, getenv func(string) string, console io.Writer) (sdktrace.SpanExporter, string, error) {
	kind, err := tracesExporter(c, getenv)
	if err != nil || kind == "none" {
		return nil, "none", err
	}
	if kind == "console" {
		return &consoleExporter{w: console}, kind, nil
	}
	fromEnv := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	protocol := firstOf(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), c.Protocol)
	switch protocol {
	case "grpc":
		var opts []otlptracegrpc.Option
		if !fromEnv && c.Endpoint != "" {
			opts = append(opts, otlptracegrpc.WithEndpointURL(c.Endpoint))
		}
		e, err := newOTLPExporter(ctx, otlptracegrpc.NewClient(opts...))
		return e, kind, wrapf(err, "telemetry: OTLP over gRPC")
	case "http/protobuf":
		var opts []otlptracehttp.Option
		if !fromEnv && c.Endpoint != "" {
			full, err := signalURL(c.Endpoint, "/v1/traces")
			if err != nil {
				return nil, "none", err
			}
			opts = append(opts, otlptracehttp.WithEndpointURL(full))
		}
		e, err := newOTLPExporter(ctx, otlptracehttp.NewClient(opts...))
		return e, kind, wrapf(err, "telemetry: OTLP over HTTP")
	}
	return nil, "none", fmt.Errorf("telemetry: OTLP protocol %q is not known; use http/protobuf or grpc", protocol)
}
