package telemetry

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
)

// disabled is OTEL_SDK_DISABLED.
func disabled(getenv func(string) string) bool {
	return strings.EqualFold(strings.TrimSpace(getenv("OTEL_SDK_DISABLED")), "true")
}

// tracesExporter decides otlp, console or none: OTEL_TRACES_EXPORTER when set, else otlp
// as soon as an endpoint is configured. OpenTelemetry's own default is otlp to
// localhost; here tracing is off until somebody asks.
func tracesExporter(c TracesConfig, getenv func(string) string) (string, error) {
	if disabled(getenv) {
		return "none", nil
	}
	switch v := strings.TrimSpace(getenv("OTEL_TRACES_EXPORTER")); v {
	case "otlp", "console", "none":
		return v, nil
	case "":
	default:
		return "none", fmt.Errorf("telemetry: OTEL_TRACES_EXPORTER=%q is not known; use otlp, console or none", v)
	}
	if c.Endpoint != "" || getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" {
		return "otlp", nil
	}
	return "none", nil
}

// wantsOTLP reports whether OTEL_METRICS_EXPORTER or OTEL_LOGS_EXPORTER names otlp.
func wantsOTLP(name string, getenv func(string) string) bool {
	return !disabled(getenv) && strings.TrimSpace(getenv(name)) == "otlp"
}

// envSampler is OTEL_TRACES_SAMPLER with its _ARG.
type envSampler struct {
	set         bool
	ratio       float64
	parentBased bool
}

// readEnvSampler ignores an unknown sampler and reads a bad argument as 1, which is what
// the specification asks for.
func readEnvSampler(getenv func(string) string) envSampler {
	name := strings.ToLower(strings.TrimSpace(getenv("OTEL_TRACES_SAMPLER")))
	s := envSampler{set: true}
	name, s.parentBased = strings.CutPrefix(name, "parentbased_")
	switch name {
	case "always_on":
		s.ratio = 1
	case "always_off":
		s.ratio = 0
	case "traceidratio":
		s.ratio = 1
		if v, err := strconv.ParseFloat(strings.TrimSpace(getenv("OTEL_TRACES_SAMPLER_ARG")), 64); err == nil && v >= 0 && v <= 1 {
			s.ratio = v
		}
	default:
		return envSampler{}
	}
	return s
}

// overrideBatch takes the OTEL_BSP_ variables; bad values are ignored, as the
// specification asks for.
func overrideBatch(c TracesConfig, getenv func(string) string) TracesConfig {
	for name, field := range map[string]*int{
		"OTEL_BSP_MAX_QUEUE_SIZE":        &c.QueueSpans,
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": &c.BatchSpans,
		"OTEL_BSP_SCHEDULE_DELAY":        &c.ScheduleDelayMs,
		"OTEL_BSP_EXPORT_TIMEOUT":        &c.ExportTimeoutMs,
	} {
		if v, err := strconv.Atoi(strings.TrimSpace(getenv(name))); err == nil && v > 0 {
			*field = min(v, 1<<20)
		}
	}
	c.BatchSpans = min(c.BatchSpans, c.QueueSpans)
	return c
}

// newResource describes this process: service.name is sluice unless OTEL_SERVICE_NAME or
// OTEL_RESOURCE_ATTRIBUTES say otherwise.
func newResource(ctx context.Context, version string) (*resource.Resource, error) {
	return resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "sluice"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(),
	)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			return v
		}
	}
	return ""
}
