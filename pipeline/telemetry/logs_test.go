package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.opentelemetry.io/otel/codes"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"
)

// lockedBuffer is a terminal.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func mustLogs(tb testing.TB, change func(*LogsConfig)) (*Logs, *lockedBuffer) {
	tb.Helper()
	c := Default().Logs
	if change != nil {
		change(&c)
	}
	term := &lockedBuffer{}
	l, err := OpenLogs(c, tb.TempDir(), term)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Shutdown(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return l, term
}

func mustTail(tb testing.TB, l *Logs, p TailParams) *TailResult {
	tb.Helper()
	r, err := l.Tail(context.Background(), p)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// The secrets here are made up; each has the shape of a real one.
func TestRedactor(t *testing.T) {
	r := NewRedactor(1024)
	r.Add("the-gateway-token", "short")
	for in, want := range map[string]string{
		"nothing to hide":                                           "nothing to hide",
		"used the-gateway-token, a short one":                       "used [redacted], a short one",
		"Authorization: Bearer abcdefgh12345678":                    "Authorization: Bearer [redacted]",
		"header bearer abcdefgh12345678, next":                      "header bearer [redacted], next",
		"bearer of news":                                            "bearer of news",
		"key sk-abcdefghijklmnop1234 used":                          "key [redacted] used",
		"ask-abcdefghijklmnop1234":                                  "ask-abcdefghijklmnop1234",
		"ghp_0123456789abcdefghijklmnopqrstuvwxyz":                  "[redacted]",
		"https://bob:hunter22@example.org/x?token=abc&y=1":          "https://bob:[redacted]@example.org/x?token=[redacted]&y=1",
		"http://127.0.0.1:18789/ws":                                 "http://127.0.0.1:18789/ws",
		`{"apiKey":"abc","model":"x"}`:                              `{"apiKey":"[redacted]","model":"x"}`,
		`{\"apiKey\":\"abc\"}`:                                      `{\"apiKey\":\"[redacted]\"}`,
		`{"token": "abc"}`:                                          `{"token": "[redacted]"}`,
		"password=hunter2 user=bob":                                 "password=[redacted] user=bob",
		"api_key = 'abc'":                                           "api_key = '[redacted]'",
		"unauthorized: gateway token missing":                       "unauthorized: gateway token missing",
		"token: missing":                                            "token: missing",
		"token: 8f3a9b2c1d":                                         "token: [redacted]",
		"maxTokens=5 tokenCount: 10":                                "maxTokens=5 tokenCount: 10",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLWl0": "[redacted]",
		"-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- after": "[redacted] after",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nMII cut off":                          "[redacted]",
		"-----BEGIN CERTIFICATE-----":                                               "-----BEGIN CERTIFICATE-----",
		"xoxb-1234567890-abc and AKIAIOSFODNN7EXAMPLE":                              "[redacted] and [redacted]",
		"token=":                    "token=",
		"x-openclaw-token=abc":      "x-openclaw-token=[redacted]",
		"token=[redacted] twice":    "token=[redacted] twice",
		strings.Repeat("a", 1030):   strings.Repeat("a", 1024) + "… (6 bytes more)",
		"cookie: session=5; Path=/": "cookie: [redacted]; Path=/",
		"set-cookie=abc":            "set-cookie=[redacted]",
	} {
		if got := r.String(in); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
}

// No input breaks it, a second pass finds nothing new that a secret could hide behind,
// and a bearer token never passes.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"token=abc", "a://b:c@d", `"apiKey":"x"`, "sk-aaaaaaaaaaaaaaaaaaaaaaaa", "Bearer ", "-----BEGIN PRIVATE KEY-----", "=:=:\"'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if len(in) > 1<<14 {
			return
		}
		r := NewRedactor(1 << 15)
		r.String(in)
		const secret = "Zq7Zq7Zq7Zq7Zq7Zq7Zq7Zq7"
		if out := r.String(in + " Bearer " + secret); strings.Contains(out, secret) && !strings.Contains(in, secret) {
			t.Fatalf("a bearer token passed: %q", out)
		}
	})
}

type config struct{ Token, Name string }

func TestLoggerRedactsEverything(t *testing.T) {
	l, term := mustLogs(t, func(c *LogsConfig) { c.Format = "json" })
	log := l.Logger.With("apiKey", "s3cr3t-1", "url", "http://u:s3cr3t-2@h/")
	log.WithGroup("g").Info("login with password=s3cr3t-3",
		"token", "s3cr3t-4",
		"err", errors.New("refused: Bearer s3cr3t-5555555"),
		"cfg", config{Token: "s3cr3t-6", Name: "visible"},
		"list", []string{"ok", "secret=s3cr3t-7"},
		slog.Group("h", "authorization", "s3cr3t-8", "n", 7),
		"raw", []byte("token=s3cr3t-9"),
		"tokens", 5, "nil", nil, "at", time.Unix(0, 0), "d", time.Second)
	tail := mustTail(t, l, TailParams{})
	if len(tail.Lines) != 1 {
		t.Fatalf("lines %q", tail.Lines)
	}
	if err := l.sinks["stderr"].sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"file": tail.Lines[0], "terminal": term.String()} {
		if strings.Contains(text, "s3cr3t") || !strings.Contains(text, "visible") || !strings.Contains(text, `"n":7`) {
			t.Errorf("%s: %s", name, text)
		}
	}
	// What the real clients' log views read.
	var line struct {
		Time    time.Time `json:"time"`
		Level   string    `json:"level"`
		Message string    `json:"message"`
	}
	if err := json.Unmarshal([]byte(tail.Lines[0]), &line); err != nil || line.Level != "INFO" || line.Message != "login with password=[redacted]" || line.Time.IsZero() {
		t.Errorf("%+v %v", line, err)
	}
}

func TestLoggerNamesTheSpan(t *testing.T) {
	tr, _ := mustTrace(t, nil)
	ctx, root := tr.StartRoot(context.Background(), "x", time.Now(), Decision{Sampled: true})
	l, _ := mustLogs(t, nil)
	l.Logger.InfoContext(ctx, "hello")
	tr.EmitChild(ctx, "y", time.Now(), time.Now(), codes.Unset, "")
	root.End()
	if line := mustTail(t, l, TailParams{}).Lines[0]; !strings.Contains(line, `"traceId":"`+root.SpanContext().TraceID().String()) {
		t.Error(line)
	}
}

func TestLevelIsHot(t *testing.T) {
	l, _ := mustLogs(t, nil)
	l.Logger.Debug("one")
	if err := l.SetLevel("debug"); err != nil {
		t.Fatal(err)
	}
	l.Logger.Debug("two")
	if tail := mustTail(t, l, TailParams{}); len(tail.Lines) != 1 || !strings.Contains(tail.Lines[0], "two") {
		t.Errorf("%q", tail.Lines)
	}
	if l.SetLevel("loud") == nil {
		t.Error("an unknown level is accepted")
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := func(n int64) *int64 { return &n }
	check := func(what string, p TailParams, want string) *TailResult {
		t.Helper()
		r, err := tailFile(path, p)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%d/%d %s truncated=%v reset=%v", r.Cursor, r.Size, strings.Join(r.Lines, "|"), r.Truncated, r.Reset)
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		return r
	}
	check("no file", TailParams{}, "0/0  truncated=false reset=false")
	check("no file any more", TailParams{Cursor: at(5)}, "0/0  truncated=false reset=true")
	write("aaa\nbbb\nccc\nhalf")
	check("all", TailParams{}, "12/16 aaa|bbb|ccc truncated=false reset=false")
	check("limit", TailParams{Limit: 2}, "12/16 bbb|ccc truncated=true reset=false")
	check("window inside a line", TailParams{MaxBytes: 10}, "12/16 ccc truncated=true reset=false")
	check("window at a line", TailParams{MaxBytes: 12}, "12/16 bbb|ccc truncated=true reset=false")
	check("cursor", TailParams{Cursor: at(4)}, "12/16 bbb|ccc truncated=false reset=false")
	check("cursor at the half line", TailParams{Cursor: at(12)}, "12/16  truncated=false reset=false")
	check("cursor at the end", TailParams{Cursor: at(16)}, "16/16  truncated=false reset=false")
	check("rotated", TailParams{Cursor: at(99)}, "12/16 aaa|bbb|ccc truncated=false reset=true")
	if r := check("too far behind", TailParams{Cursor: at(0), MaxBytes: 8}, "12/16 ccc truncated=true reset=true"); r.SkippedBytes == nil || *r.SkippedBytes != 8 {
		t.Errorf("skipped %v", r.SkippedBytes)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logs", "sluice.log")
	f, err := openLogFile(path, 100, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var burst strings.Builder
	for i := range 50 {
		fmt.Fprintf(&burst, "line %02d ......\n", i) // 15 bytes
	}
	burst.WriteString(strings.Repeat("x", 150) + "\n")
	burst.WriteString("last\n")
	if _, err := f.Write([]byte(burst.String())); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"": "last\n", ".1": strings.Repeat("x", 150) + "\n", ".2": "line 48 ......\nline 49 ......\n"} {
		raw, err := os.ReadFile(path + name)
		if err != nil || string(raw) != want {
			t.Errorf("%s: %q %v", name, raw, err)
		}
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("more files than allowed")
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if info, _ := os.Stat(filepath.Dir(path)); info.Mode().Perm() != 0o700 {
		t.Errorf("folder mode %v", info.Mode())
	}
}

// stuckWriter is a terminal that nobody reads.
type stuckWriter struct{ release, entered chan struct{} }

func (w *stuckWriter) Write(p []byte) (int, error) {
	select {
	case w.entered <- struct{}{}:
	default:
	}
	<-w.release
	return len(p), nil
}

func TestAStuckTerminalLosesLinesAndNothingElse(t *testing.T) {
	c := Default().Logs
	c.QueueBytes = 16384
	term := &stuckWriter{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	l, err := OpenLogs(c, t.TempDir(), term)
	if err != nil {
		t.Fatal(err)
	}
	l.Logger.Info("first")
	<-term.entered
	for range 1000 {
		l.Logger.Info("a line that is long enough to fill the queue of sixteen kilobytes soon")
	}
	if lost := l.sinks["stderr"].lost.Load(); lost == 0 || lost > 1000 {
		t.Errorf("%d lost", lost)
	}
	if lost := l.sinks["file"].lost.Load(); lost > 990 {
		t.Errorf("the file lost %d lines to the terminal", lost)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := l.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	close(term.release)
	<-l.sinks["stderr"].done
	<-l.sinks["file"].done
}

func TestLostLinesAreReported(t *testing.T) {
	out := &lockedBuffer{}
	w := newAsyncWriter(out, 10)
	_, _ = w.Write([]byte("this line is too long for the queue\n"))
	_, _ = w.Write([]byte("ok\n"))
	if err := w.close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "ok\n") || !strings.Contains(got, "1 log lines were dropped") {
		t.Errorf("%q", got)
	}
}

func BenchmarkLog(b *testing.B) {
	red := NewRedactor(8192)
	red.Add("0123456789abcdef0123456789abcdef")
	plain := slog.New(slog.NewJSONHandler(nowhere{}, nil))
	clean := slog.New(&redactHandler{next: slog.NewJSONHandler(nowhere{}, nil), red: red})
	for name, log := range map[string]*slog.Logger{"plain": plain, "redacted": clean} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				log.LogAttrs(context.Background(), slog.LevelInfo, "connection closed by the client before the answer",
					slog.String("conn", "aa108f3f-0000-4000-8000-0000000051b9"), slog.Int("code", 1006), slog.String("remote", "127.0.0.1:46376"))
			}
		})
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkRedact(b *testing.B) {
	r := NewRedactor(8192)
	for name, text := range map[string]string{
		"clean":  strings.Repeat("The quick brown fox jumps over the lazy dog; status=200 path=/health. ", 15)[:1024],
		"secret": strings.Repeat("x", 500) + " token=abcdef " + strings.Repeat("y", 500),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				r.String(text)
			}
		})
	}
}

func TestLogsByOTLP(t *testing.T) {
	got := make(chan *collogs.ExportLogsServiceRequest, 4)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		req := &collogs.ExportLogsServiceRequest{}
		if err := proto.Unmarshal(body, req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		got <- req
	}))
	defer srv.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", srv.URL)
	tel, err := Start(context.Background(), Options{Config: quiet(), StateDir: t.TempDir(),
		Getenv: env(map[string]string{"OTEL_LOGS_EXPORTER": "otlp"})})
	if err != nil {
		t.Fatal(err)
	}
	tel.Logs.Logger.Debug("not this")
	tel.Logs.Logger.With("a", 1).Info("hello token=s3cr3t-1")
	if err := tel.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	text := (<-got).String()
	if !strings.Contains(text, "hello token=[redacted]") || strings.Contains(text, "not this") || !strings.Contains(text, "sluice") {
		t.Error(text)
	}
	// Adding the collector did not take the file away.
	if r, err := tailFile(tel.Logs.path, TailParams{}); err != nil || len(r.Lines) != 1 {
		t.Errorf("%+v %v", r, err)
	}
}
