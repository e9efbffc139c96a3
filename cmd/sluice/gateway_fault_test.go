package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/stages/defend"
	"sluice/storage"
)

// faultyStore is a store whose disk can be full.
type faultyStore struct {
	storage.Store
	full atomic.Bool
}

func (s *faultyStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if s.full.Load() {
		return fmt.Errorf("write sluice.db: %w", storage.ErrFull)
	}
	return s.Store.Update(ctx, fn)
}

func (s *faultyStore) Health() storage.Health {
	h := s.Store.Health()
	if s.full.Load() {
		h.Degraded = "no space left on the disk"
	}
	return h
}

// TestDiskFull: nothing is acknowledged that is not on the disk; health says so; and
// when there is room again everything works without a restart.
func TestDiskFull(t *testing.T) {
	w := newWorld(t)
	disk := &faultyStore{}
	w.wrapStore = func(s storage.Store) storage.Store { disk.Store = s; return disk }
	g := w.start()
	c := g.dial()
	c.send(key, "before", "before")
	c.end(0, "before")
	release := busy(t, w, c)
	disk.full.Store(true)
	re := c.refused("chat.send", obj{"sessionKey": key, "message": "lost?", "idempotencyKey": "full"}, "UNAVAILABLE", "the disk is full")
	if !re.Retryable || re.RetryAfterMs == 0 {
		t.Errorf("the refusal is not retryable: %+v", re)
	}
	c.refused("sessions.patch", obj{"key": key, "label": "x"}, "UNAVAILABLE", "the disk is full")
	if n := len(c.history(key).Messages); n != 3 {
		t.Errorf("reads: %d messages", n)
	}
	var health struct {
		OK       bool
		Warnings []string
	}
	eventually(t, "health warns", func() bool {
		c.call("health", nil, &health)
		return strings.Contains(strings.Join(health.Warnings, ";"), "no space left")
	})
	// A turn whose end cannot be stored is not called final.
	release()
	if e := c.end(0, "first"); e.P.State != "error" || !strings.Contains(e.P.ErrorMessage, "the disk is full") {
		t.Errorf("the turn ended with %s %q", e.P.State, e.P.ErrorMessage)
	}
	disk.full.Store(false)
	if s := c.send(key, "full", "found"); s.Status != "started" {
		t.Errorf("after the recovery: %+v", s)
	}
	if e := c.end(0, "full"); e.P.Message.text() != "echo: found" {
		t.Errorf("after the recovery: %+v", e.P)
	}
	eventually(t, "health is well again", func() bool {
		health.Warnings = nil
		c.call("health", nil, &health)
		return len(health.Warnings) == 0
	})
	eventually(t, "the failed turn's end reaches the disk", func() bool {
		var row storage.RunRow
		g.store.View(t.Context(), func(r storage.Reader) (err error) { row, err = storage.GetRun(r, "first"); return err })
		return row.Status == storage.RunError
	})
	g.stop()
	if n := w.start().runs.Count(); n != 0 {
		t.Errorf("%d runs start again although all had ended", n)
	}
}

// blockWord is a defender that blocks one word.
type blockWord string

func (blockWord) Name() string { return "test" }

func (b blockWord) Assess(_ context.Context, a *defend.Action, f *defend.Findings) error {
	for _, p := range a.Prompts {
		if strings.Contains(string(p), string(b)) {
			f.Hit(100, "test", "a word of the test")
		}
	}
	return nil
}

// TestBlocked: a blocked prompt does no work and leaves no trace in the state.
func TestBlocked(t *testing.T) {
	w := newWorld(t)
	w.defenders = func(list []defend.Defender) []defend.Defender { return append(list, blockWord("FORBIDDEN")) }
	g := w.start()
	c := g.dial()
	calls := map[string]obj{
		"chat.send":       {"sessionKey": key, "message": "FORBIDDEN words", "idempotencyKey": "b1"},
		"agent":           {"sessionKey": key, "message": "FORBIDDEN words", "idempotencyKey": "b2"},
		"sessions.create": {"key": key, "message": "FORBIDDEN words"},
		"chat.inject":     {"sessionKey": key, "message": "FORBIDDEN words"},
		"system-event":    {"text": "FORBIDDEN words"},
		"wake":            {"mode": "now", "text": "FORBIDDEN words"},
	}
	for method, params := range calls {
		c.refused(method, params, "FORBIDDEN", "")
	}
	var list struct{ Count int }
	if c.call("sessions.list", obj{}, &list); list.Count != 0 {
		t.Errorf("%d sessions were made", list.Count)
	}
	if n := len(w.model.requests()); n != 0 || g.runs.Count() != 0 {
		t.Errorf("%d model calls, %d runs", n, g.runs.Count())
	}
	var status struct{ QueuedSystemEvents []string }
	if c.call("status", nil, &status); len(status.QueuedSystemEvents) != 0 {
		t.Errorf("queued: %q", status.QueuedSystemEvents)
	}
	files, err := os.ReadDir(filepath.Join(w.state, "quarantine"))
	if err != nil || len(files) != len(calls) {
		t.Errorf("%d quarantine files, %v; want %d", len(files), err, len(calls))
	}
	// The lane is free and the key unused: the same id with other words is a first one.
	c.send(key, "b1", "decent words")
	c.end(0, "b1")
}
