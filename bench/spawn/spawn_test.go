package spawn_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/bench/spawn"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestACommandThatEndsSaysWhy(t *testing.T) {
	dir := t.TempDir()
	_, err := spawn.Start(t.Context(), spawn.Command{Name: "broken", Args: []string{"sh", "-c", "echo port {port} is mine; exit 3"}, Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "broken did not become ready") || !strings.Contains(err.Error(), "is mine") {
		t.Fatalf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := spawn.Start(ctx, spawn.Command{Name: "deaf", Args: []string{"sleep", "60"}, Dir: t.TempDir()}); err == nil {
		t.Fatal("a command that never listens is ready")
	}
	if _, err := spawn.Start(ctx, spawn.Command{Name: "none", Args: []string{"/no/such/program"}, Dir: t.TempDir()}); err == nil {
		t.Fatal("a program that is not there was started")
	}
}

func TestOpenClaw(t *testing.T) {
	dir := t.TempDir()
	if _, err := spawn.OpenClaw(dir); err == nil || !strings.Contains(err.Error(), "npm") {
		t.Errorf("%v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "openclaw"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openclaw", "openclaw.mjs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	args, err := spawn.OpenClaw(dir)
	if err != nil || !strings.Contains(strings.Join(args, " "), " node ") {
		t.Errorf("%v %v", args, err)
	}
}
