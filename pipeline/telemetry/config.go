package telemetry

import "fmt"

// Config is the section "telemetry".
type Config struct {
	Traces  TracesConfig  `json:"traces" doc:"spans and where they go"`
	Metrics MetricsConfig `json:"metrics" doc:"metrics at /metrics and by OTLP"`
	Logs    LogsConfig    `json:"logs" doc:"log lines and where they go"`
	Memory  MemoryConfig  `json:"memory" doc:"the process's own memory"`
}

// TracesConfig: tracing is on when an endpoint or an exporter is configured, here or by
// OTEL_* variables, and costs nothing when it is off.
type TracesConfig struct {
	Endpoint            string  `json:"endpoint" doc:"OTLP endpoint as a URL (http://127.0.0.1:4318); empty leaves tracing to OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_EXPORTER"`
	Protocol            string  `json:"protocol" enum:"http/protobuf,grpc" doc:"OTLP protocol of the endpoint; OTEL_EXPORTER_OTLP_PROTOCOL wins"`
	SampleRatio         float64 `json:"sampleRatio" min:"0" max:"1" reload:"hot" doc:"part of the frames that are traced; OTEL_TRACES_SAMPLER and its _ARG win"`
	TrustRemoteSampling bool    `json:"trustRemoteSampling" reload:"hot" doc:"obey the sampled flag of a client's traceparent; off, a client can neither force nor prevent a trace"`
	QueueSpans          int     `json:"queueSpans" min:"64" max:"1048576" doc:"finished spans that wait for export; more are dropped and counted (OTEL_BSP_MAX_QUEUE_SIZE)"`
	BatchSpans          int     `json:"batchSpans" min:"1" max:"65536" doc:"spans in one export (OTEL_BSP_MAX_EXPORT_BATCH_SIZE)"`
	ScheduleDelayMs     int     `json:"scheduleDelayMs" unit:"ms" min:"10" max:"600000" doc:"longest wait of a span for its batch to fill (OTEL_BSP_SCHEDULE_DELAY)"`
	ExportTimeoutMs     int     `json:"exportTimeoutMs" unit:"ms" min:"100" max:"600000" doc:"time for one export with its retries (OTEL_BSP_EXPORT_TIMEOUT)"`
	MaxAttributeBytes   int     `json:"maxAttributeBytes" unit:"bytes" min:"16" max:"65536" doc:"longest attribute text of a span; longer is cut (OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT)"`
	ShutdownTimeoutMs   int     `json:"shutdownTimeoutMs" unit:"ms" min:"1" max:"600000" doc:"time to hand over the last spans, and as much again for metrics and for logs"`
}

// MetricsConfig bounds /metrics.
type MetricsConfig struct {
	MaxSeries        int `json:"maxSeries" min:"64" max:"1000000" doc:"series at /metrics beside those of the Go runtime; more are left out and counted in openclaw_prometheus_series_dropped_total"`
	MaxScrapes       int `json:"maxScrapes" min:"1" max:"64" doc:"scrapes that are answered at the same time; more get HTTP 503"`
	ExportIntervalMs int `json:"exportIntervalMs" unit:"ms" min:"1000" max:"3600000" doc:"pause between OTLP exports of metrics when OTEL_METRICS_EXPORTER=otlp (OTEL_METRIC_EXPORT_INTERVAL)"`
}

// LogsConfig says what is logged and where.
type LogsConfig struct {
	Level         string `json:"level" enum:"debug,info,warn,error" reload:"hot" doc:"least level that is logged"`
	Format        string `json:"format" enum:"text,json" doc:"format on standard error; the file is always JSON lines"`
	File          bool   `json:"file" doc:"also write the log file that logs.tail reads, in the state folder"`
	MaxFileBytes  int64  `json:"maxFileBytes" unit:"bytes" min:"65536" max:"1073741824" doc:"size at which the log file is rotated"`
	MaxFiles      int    `json:"maxFiles" min:"1" max:"100" doc:"log files that are kept, the current one included"`
	QueueBytes    int    `json:"queueBytes" unit:"bytes" min:"16384" max:"67108864" doc:"log text that waits for a slow terminal or disk, each; more lines are dropped and counted"`
	MaxValueBytes int    `json:"maxValueBytes" unit:"bytes" min:"64" max:"1048576" doc:"longest message or attribute; longer is cut"`
}

// MemoryConfig: the sampler warns, it never acts.
type MemoryConfig struct {
	SampleIntervalMs int     `json:"sampleIntervalMs" unit:"ms" min:"100" max:"3600000" doc:"pause between samples of the resident memory"`
	WarnBytes        int64   `json:"warnBytes" unit:"bytes" min:"0" reload:"hot" doc:"resident memory above which a warning is logged and health is degraded, until it falls by a tenth; 0 never"`
	LimitRatio       float64 `json:"limitRatio" min:"0" max:"1" doc:"part of the cgroup's memory limit that becomes the Go runtime's soft limit unless GOMEMLIMIT is set; 0 leaves it alone"`
}

// Default returns what holds when nothing is configured. The queue of 16 384 spans is
// two seconds of slack at 1 000 sampled frames a second with 8 spans each; the SDK's
// 2 048 are a quarter of a second (libraries.md 2.5, trap 2).
func Default() Config {
	return Config{
		Traces: TracesConfig{
			Protocol: "http/protobuf", SampleRatio: 1, QueueSpans: 16384, BatchSpans: 512,
			ScheduleDelayMs: 1000, ExportTimeoutMs: 10_000, MaxAttributeBytes: 1024, ShutdownTimeoutMs: 3000,
		},
		Metrics: MetricsConfig{MaxSeries: 2048, MaxScrapes: 4, ExportIntervalMs: 60_000},
		Logs: LogsConfig{
			Level: "info", Format: "text", File: true, MaxFileBytes: 16 << 20, MaxFiles: 3,
			QueueBytes: 1 << 20, MaxValueBytes: 8 << 10,
		},
		Memory: MemoryConfig{SampleIntervalMs: 15_000, WarnBytes: 512 << 20, LimitRatio: 0.9},
	}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	for _, f := range []struct {
		name     string
		v        float64
		min, max float64
	}{
		{"traces.sampleRatio", c.Traces.SampleRatio, 0, 1},
		{"traces.queueSpans", float64(c.Traces.QueueSpans), 64, 1 << 20},
		{"traces.batchSpans", float64(c.Traces.BatchSpans), 1, float64(c.Traces.QueueSpans)},
		{"traces.scheduleDelayMs", float64(c.Traces.ScheduleDelayMs), 10, 600_000},
		{"traces.exportTimeoutMs", float64(c.Traces.ExportTimeoutMs), 100, 600_000},
		{"traces.maxAttributeBytes", float64(c.Traces.MaxAttributeBytes), 16, 65536},
		{"traces.shutdownTimeoutMs", float64(c.Traces.ShutdownTimeoutMs), 1, 600_000},
		{"metrics.maxSeries", float64(c.Metrics.MaxSeries), 64, 1e6},
		{"metrics.maxScrapes", float64(c.Metrics.MaxScrapes), 1, 64},
		{"metrics.exportIntervalMs", float64(c.Metrics.ExportIntervalMs), 1000, 3.6e6},
		{"logs.maxFileBytes", float64(c.Logs.MaxFileBytes), 65536, 1 << 30},
		{"logs.maxFiles", float64(c.Logs.MaxFiles), 1, 100},
		{"logs.queueBytes", float64(c.Logs.QueueBytes), 16384, 64 << 20},
		{"logs.maxValueBytes", float64(c.Logs.MaxValueBytes), 64, 1 << 20},
		{"memory.sampleIntervalMs", float64(c.Memory.SampleIntervalMs), 100, 3.6e6},
		{"memory.limitRatio", c.Memory.LimitRatio, 0, 1},
	} {
		if f.v < f.min || f.v > f.max {
			return fmt.Errorf("%s: %v; allowed %v to %v", f.name, f.v, f.min, f.max)
		}
	}
	if c.Traces.Protocol != "http/protobuf" && c.Traces.Protocol != "grpc" {
		return fmt.Errorf("traces.protocol: %q; allowed http/protobuf, grpc", c.Traces.Protocol)
	}
	if _, err := parseLevel(c.Logs.Level); err != nil {
		return fmt.Errorf("logs.level: %w", err)
	}
	if c.Logs.Format != "text" && c.Logs.Format != "json" {
		return fmt.Errorf("logs.format: %q; allowed text, json", c.Logs.Format)
	}
	if c.Memory.WarnBytes < 0 {
		return fmt.Errorf("memory.warnBytes: %d is negative", c.Memory.WarnBytes)
	}
	return nil
}
