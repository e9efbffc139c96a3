package bench

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
)

// TestMain runs the commands themselves when a test starts this binary as a target; the
// gateway is the limit server.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "serve" {
		os.Args = []string{os.Args[0], "bench", "limit", os.Args[2], os.Args[3]}
	}
	if len(os.Args) > 1 && os.Args[1] == "bench" {
		root := &cobra.Command{Use: "test"}
		root.AddCommand(Command())
		if root.Execute() != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func run(t *testing.T, ctx context.Context, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := Command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(ctx)
	return out.String(), err
}

// TestCompareAndReport goes the whole way: two limit servers are started, measured and
// reported.
func TestCompareAndReport(t *testing.T) {
	dir := t.TempDir()
	res, page := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.html")
	args := []string{"compare", "-t", "a=@limit", "-t", "limit=@limit", "-s", "health", "-c", "2", "-d", "100ms", "--warmup", "10ms", "--rounds", "1", "--json", res, "--html", page}
	out, err := run(t, t.Context(), append(args, "-r", "health.failed<=0")...)
	if err != nil || !strings.Contains(out, "held") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, f := range []string{res, page} {
		if st, err := os.Stat(f); err != nil || st.Size() < 1000 {
			t.Errorf("%s: %v", f, err)
		}
	}
	if out, err := run(t, t.Context(), append(args, "-r", "health.rps<=0")...); !errors.Is(err, ErrBroken) || !strings.Contains(out, "BROKEN") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(t, t.Context(), "report", res, "-o", filepath.Join(dir, "again.html")); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	bad := filepath.Join(dir, "bad.html")
	if _, err := run(t, t.Context(), "report", page, "-o", bad); err == nil {
		t.Error("a page was taken for a result")
	}
	if _, err := os.Stat(bad); err == nil {
		t.Error("a broken page was left")
	}
}

func TestFsync(t *testing.T) {
	out, err := run(t, t.Context(), "fsync", "--dir", t.TempDir(), "-d", "50ms", "--writers", "4")
	if err != nil || !strings.Contains(out, "4 writers, grouped") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLimit(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out, err := run(t, ctx, "limit", "--listen", "127.0.0.1:0"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := run(t, t.Context(), "limit", "--listen", "0.0.0.0:0"); err == nil {
		t.Error("the limit server listened to everybody")
	}
}

func TestRefused(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"load"},
		{"load", "--url", "ws://192.0.2.1:1"},
		{"load", "--url", "ws://127.0.0.1:1"},
		{"load", "--url", "ws://127.0.0.1:1", "--params", "x"},
		{"load", "--url", "ws://127.0.0.1:1", "--token", "a", "--token-file", token},
		{"load", "--url", "ws://127.0.0.1:1", "--token-file", token + "x"},
		{"flood", "--url", "ws://127.0.0.1:1", "--factor", "0"},
		{"idle", "--url", "ws://127.0.0.1:1"},
		{"soak", "--url", "ws://127.0.0.1:1", "--max-growth", "-1"},
		{"fsync", "--dir", "/nonexistent"},
		{"compare", "-t", "x"}, {"compare", "-s", ""}, {"compare", "-r", "x"},
		{"report"}, {"report", "/nonexistent"},
	} {
		if out, err := run(t, t.Context(), args...); err == nil {
			t.Errorf("%v: no error\n%s", args, out)
		}
	}
}

// TestSuiteKeepsItsResults: a table, a file for each result and a page of all.
func TestSuiteKeepsItsResults(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	out, err := run(t, t.Context(), "suite", "--dir", dir, "--only", "durable,flood", "-d", "50ms", "--warmup", "0s", "--flood", "50ms")
	if err != nil || !strings.Contains(out, "fsyncs/s") || !strings.Contains(out, "flood lost") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, f := range []string{"suite.json", "index.html", "flood.json", "durable-sessions.patch-1.json"} {
		if st, err := os.Stat(filepath.Join(dir, f)); err != nil || st.Size() < 500 {
			t.Errorf("%s: %v", f, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "sluice-bench-*")); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
	if out, err := run(t, t.Context(), "suite", "--dir", dir, "--only", "nonsense"); err == nil || !strings.Contains(err.Error(), "durable") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestBackends: sink and model end with their context and say what they got.
func TestBackends(t *testing.T) {
	for name, want := range map[string]string{"otlp-sink": "0 spans in 0 exports", "model": "0 calls"} {
		ctx, cancel := context.WithCancel(t.Context())
		stop := time.AfterFunc(100*time.Millisecond, cancel)
		out, err := run(t, ctx, name, "--listen", "127.0.0.1:0")
		if err != nil || !strings.Contains(out, want) || !strings.Contains(out, "http://127.0.0.1:") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		stop.Stop()
		cancel()
		if _, err := run(t, t.Context(), name, "--listen", "0.0.0.0:0"); err == nil {
			t.Errorf("%s listens where others can connect", name)
		}
	}
}
