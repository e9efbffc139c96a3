package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Options say what Start is to start.
type Options struct {
	Config Config
	// Version is the build's, for service.version and openclaw_gateway_build_info.
	Version string
	// StateDir holds the folder of the log file; empty for no file.
	StateDir string
	// Stderr gets log lines (and spans with OTEL_TRACES_EXPORTER=console); nil for none.
	Stderr io.Writer
	// Getenv reads the OTEL_* variables; nil is os.Getenv. The OTLP exporters read
	// their own variables from the process whatever this is.
	Getenv func(string) string
	// OnMemory is told when resident memory crosses its bound; nil for nobody.
	OnMemory func(MemoryState)
}

// Telemetry is everything at work.
type Telemetry struct {
	Logs     *Logs
	Tracing  *Tracing
	Registry *Registry
	Memory   *Memory
	// Limit is the Go runtime's memory limit as Start found or set it.
	Limit MemoryLimit

	floor  []byte // see heapFloor
	conf   Config
	meter  *sdkmetric.MeterProvider // nil unless metrics leave by OTLP
	cancel context.CancelFunc
	done   sync.WaitGroup
	once   sync.Once
	err    error
}

// Start opens logs, traces and metrics and begins to sample memory. An exporter that
// cannot be made is an error: somebody asked for it. A collector that does not answer is
// none: spans wait, then are dropped and counted.
func Start(ctx context.Context, o Options) (*Telemetry, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	console := o.Stderr
	if console == nil {
		console = io.Discard
	}
	logs, err := OpenLogs(o.Config.Logs, o.StateDir, o.Stderr)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{Logs: logs, conf: o.Config, Registry: NewRegistry(o.Config.Metrics)}
	if err := t.start(ctx, o, console); err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return nil, errors.Join(err, t.Shutdown(closing))
	}
	return t, nil
}

func (t *Telemetry) start(ctx context.Context, o Options, console io.Writer) error {
	res, err := newResource(ctx, o.Version)
	if err != nil {
		t.Logs.Logger.Warn("part of the OpenTelemetry resource is unknown", "error", err)
	}
	traces := overrideBatch(o.Config.Traces, o.Getenv)
	exporter, kind, err := openExporter(ctx, traces, o.Getenv, console)
	if err != nil {
		return err
	}
	t.Tracing = NewTracing(traces, res, exporter, o.Getenv, t.Logs.Logger)
	t.Tracing.exporter = kind
	if err := t.startOTLP(ctx, o, res); err != nil {
		return err
	}
	t.Limit = SetMemoryLimit(o.Config.Memory.LimitRatio, o.Getenv)
	t.floor = heapFloor(t.Limit, o.Getenv)
	t.Memory = NewMemory(o.Config.Memory, t.Logs.Logger, o.OnMemory)
	if err := t.register(o.Version); err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.cancel = cancel
	t.done.Go(func() { t.Memory.Run(run) })
	return nil
}

// startOTLP starts what is off unless OTEL_METRICS_EXPORTER or OTEL_LOGS_EXPORTER ask.
func (t *Telemetry) startOTLP(ctx context.Context, o Options, res *resource.Resource) error {
	if wantsOTLP("OTEL_METRICS_EXPORTER", o.Getenv) {
		var err error
		if t.meter, err = startMetrics(ctx, t.Registry, o.Config.Metrics, res); err != nil {
			return err
		}
	}
	if wantsOTLP("OTEL_LOGS_EXPORTER", o.Getenv) {
		return t.Logs.addOTLP(ctx, res)
	}
	return nil
}

func (t *Telemetry) register(version string) error {
	return errors.Join(
		registerMemory(t.Registry, t.Memory),
		registerTracing(t.Registry, t.Tracing),
		registerLogs(t.Registry, t.Logs.sinks),
		t.Registry.RegisterGaugeFunc("openclaw_gateway_build_info", "1, with the build in its labels.",
			Labels{"version": version, "goversion": runtime.Version()}, func() float64 { return 1 }),
	)
}

// Reload takes what can change while the gateway runs: sampling, log level, memory bound.
func (t *Telemetry) Reload(c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	t.Tracing.SetSampling(c.Traces)
	t.Memory.SetWarnBytes(c.Memory.WarnBytes)
	return t.Logs.SetLevel(c.Logs.Level)
}

// Shutdown stops in the order tracer, meter, logger, so that the later can still tell
// about the earlier. Each has traces.shutdownTimeoutMs, and all of them end with ctx.
// Call it after the pipeline has drained. Calls after the first return its error.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	t.once.Do(func() { t.err = t.shutdown(ctx) })
	return t.err
}

func (t *Telemetry) shutdown(ctx context.Context) error {
	if t.cancel != nil {
		t.cancel()
		t.done.Wait()
	}
	var errs []error
	bounded := func(what string, stop func(context.Context) error) {
		part, cancel := context.WithTimeout(ctx, time.Duration(t.conf.Traces.ShutdownTimeoutMs)*time.Millisecond)
		defer cancel()
		if err := stop(part); err != nil {
			errs = append(errs, fmt.Errorf("telemetry: stopping %s: %w", what, err))
		}
	}
	if t.Tracing != nil {
		bounded("the tracer", t.Tracing.Shutdown)
		if s := t.Tracing.Stats(); s.Dropped+s.Failed > 0 {
			t.Logs.Logger.Warn("spans were lost", "exported", s.Exported, "dropped", s.Dropped, "failed", s.Failed)
		}
	}
	if t.meter != nil {
		bounded("the meter", t.meter.Shutdown)
	}
	bounded("the logger", t.Logs.Shutdown)
	return errors.Join(errs...)
}
