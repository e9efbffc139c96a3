package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Logs is where log lines go. Logger is the one logger of the process.
type Logs struct {
	// Logger cleans secrets from everything and writes to standard error, to the log
	// file, and by OTLP when OTEL_LOGS_EXPORTER=otlp.
	Logger *slog.Logger
	// Redactor takes values that must not be logged: Add the gateway's token.
	Redactor *Redactor

	level slog.LevelVar
	path  string // of the log file; empty without one
	sinks map[string]*asyncWriter
	file  *logFile
	otlp  *sdklog.LoggerProvider
}

// OpenLogs starts the sinks. stderr nil writes no terminal log. A log file that cannot be
// opened is no reason not to run: it is logged and the others go on.
func OpenLogs(c LogsConfig, stateDir string, stderr io.Writer) (*Logs, error) {
	l := &Logs{Redactor: NewRedactor(c.MaxValueBytes), sinks: map[string]*asyncWriter{}}
	level, err := parseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("telemetry: logs.level: %w", err)
	}
	l.level.Set(level)
	var handlers []slog.Handler
	if stderr != nil {
		w := newAsyncWriter(stderr, c.QueueBytes)
		l.sinks["stderr"] = w
		if c.Format == "json" {
			handlers = append(handlers, slog.NewJSONHandler(w, &slog.HandlerOptions{Level: &l.level, ReplaceAttr: rename}))
		} else {
			handlers = append(handlers, slog.NewTextHandler(w, &slog.HandlerOptions{Level: &l.level}))
		}
	}
	var fileErr error
	if c.File && stateDir != "" {
		l.path = filepath.Join(stateDir, "logs", "sluice.log")
		if l.file, fileErr = openLogFile(l.path, c.MaxFileBytes, c.MaxFiles); fileErr == nil {
			w := newAsyncWriter(l.file, c.QueueBytes)
			l.sinks["file"] = w
			handlers = append(handlers, slog.NewJSONHandler(w, &slog.HandlerOptions{Level: &l.level, ReplaceAttr: rename}))
		}
	}
	l.use(handlers)
	if fileErr != nil {
		l.Logger.Warn("there is no log file; logs.tail will be empty", "error", fileErr)
	}
	return l, nil
}

func (l *Logs) use(handlers []slog.Handler) {
	l.Logger = slog.New(&redactHandler{next: slog.NewMultiHandler(handlers...), red: l.Redactor})
}

// addOTLP also sends records to a collector. It reads OTEL_EXPORTER_OTLP_… itself.
func (l *Logs) addOTLP(ctx context.Context, res *resource.Resource, opts ...otlploghttp.Option) error {
	e, err := otlploghttp.New(ctx, opts...)
	if err != nil {
		return fmt.Errorf("telemetry: OTLP logs: %w", err)
	}
	l.otlp = sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithProcessor(sdklog.NewBatchProcessor(e)))
	bridge := otelslog.NewHandler(Scope, otelslog.WithLoggerProvider(l.otlp))
	l.use([]slog.Handler{l.Logger.Handler().(*redactHandler).next, levelled{bridge, &l.level}})
	return nil
}

// levelled puts the configured level before a handler that has none.
type levelled struct {
	slog.Handler
	level slog.Leveler
}

// Enabled implements slog.Handler.
func (h levelled) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level.Level() && h.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h levelled) WithAttrs(a []slog.Attr) slog.Handler {
	return levelled{h.Handler.WithAttrs(a), h.level}
}

// WithGroup implements slog.Handler.
func (h levelled) WithGroup(n string) slog.Handler { return levelled{h.Handler.WithGroup(n), h.level} }

// rename writes "message", the key that the real clients' log views read; time and level
// already fit.
func rename(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.MessageKey {
		a.Key = "message"
	}
	return a
}

// SetLevel takes logs.level of a reloaded configuration.
func (l *Logs) SetLevel(text string) error {
	level, err := parseLevel(text)
	if err == nil {
		l.level.Set(level)
	}
	return err
}

// Tail answers logs.tail. Lines that were logged before the call are in it.
func (l *Logs) Tail(ctx context.Context, p TailParams) (*TailResult, error) {
	if l.file == nil {
		return nil, errors.New("log read failed: there is no log file; set telemetry.logs.file")
	}
	ctx, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
	defer cancel()
	_ = l.sinks["file"].sync(ctx) // a slow disk delays the newest lines, not the answer
	return tailFile(l.path, p)
}

// Shutdown writes what waits and closes the file. ctx bounds it.
func (l *Logs) Shutdown(ctx context.Context) error {
	var errs []error
	if l.otlp != nil {
		errs = append(errs, l.otlp.Shutdown(ctx))
	}
	for _, s := range l.sinks {
		errs = append(errs, s.close(ctx))
	}
	if l.file != nil && errors.Join(errs...) == nil {
		l.file.close()
	}
	return errors.Join(errs...)
}
