// Package telemetry makes Sluice visible: traces and metrics by OpenTelemetry and
// Prometheus, logs by slog, memory by a sampler. It knows no stage; cmd/sluice connects
// it to the pipeline.
//
// Three rules shape it (design.md, laws 2, 8 and 9). What nobody looks at costs next to
// nothing: Decide says without an allocation whether a frame is traced, histograms are
// atomic adds, metrics of other packages are read only when somebody scrapes. Nothing is
// unbounded: spans, series and log lines that do not fit are dropped and counted. A slow
// collector, disk or terminal slows nobody: spans and log lines wait in bounded queues
// that their own goroutines empty.
//
// The standard OTEL_* variables win over the configuration, as its environment wins over
// its file. Content and secrets are never attributes or log text.
//
// Lifecycle: Start returns everything at work; Shutdown stops it in the order tracer,
// meter, logger, each within its own time.
package telemetry
