package main

import (
	"context"
	"log/slog"
)

// lateHandler passes records to a logger that is made later: the configuration is
// loaded before the log it configures. Records before that are dropped; a load that
// fails then is returned as an error anyway.
type lateHandler struct{ logger func() *slog.Logger }

func (h lateHandler) Enabled(ctx context.Context, l slog.Level) bool {
	log := h.logger()
	return log != nil && log.Enabled(ctx, l)
}

func (h lateHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.logger().Handler().Handle(ctx, r)
}

func (h lateHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h lateHandler) WithGroup(string) slog.Handler      { return h }
