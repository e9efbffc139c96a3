package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

func TestMemoryWarnsWithHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var changes []MemoryState
		c := Default().Memory
		c.WarnBytes, c.SampleIntervalMs = 1000, 1000
		m := NewMemory(c, slog.New(slog.NewTextHandler(&log, nil)), func(s MemoryState) { changes = append(changes, s) })
		values := []int64{500, 1001, 999, 950, 1100, 899, 901, 1500}
		next := 0
		m.read = func() (int64, error) { v := values[min(next, len(values)-1)]; next++; return v, nil }
		ctx, cancel := context.WithCancel(t.Context())
		go m.Run(ctx)
		time.Sleep(time.Duration(len(values)) * time.Second) // the bubble's clock
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(changes) != 3 || !changes[0].High || changes[1].High || !changes[2].High {
			t.Errorf("changes %+v", changes)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 2 || m.warnings.Load() != 2 {
			t.Errorf("%d warnings: %s", n, &log)
		}
	})
}

func TestRSS(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no /proc")
	}
	rss, err := readRSS()
	if err != nil || rss < 1<<20 || rss > 1<<32 {
		t.Errorf("%d %v", rss, err)
	}
}

func TestCgroupLimit(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		bytes int64
		where string
	}{
		{"no cgroup", fstest.MapFS{}, 0, "none"},
		{"version 2", fstest.MapFS{"proc/self/cgroup": file("0::/user.slice/a\n"), "sys/fs/cgroup/user.slice/a/memory.max": file("max\n"),
			"sys/fs/cgroup/user.slice/memory.max": file("1000\n")}, 1000, "cgroup2 /sys/fs/cgroup/user.slice/memory.max"},
		{"version 2, inner is tighter", fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("500\n"),
			"sys/fs/cgroup/a/memory.max": file("1000\n")}, 500, "cgroup2 /sys/fs/cgroup/a/b/memory.max"},
		{"version 2, container", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("64")}, 64, "cgroup2 /sys/fs/cgroup/memory.max"},
		{"version 1", fstest.MapFS{"proc/self/cgroup": file("5:cpu,memory:/x\n1:name=systemd:/x\n"), "sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("2000\n")},
			2000, "cgroup1 /sys/fs/cgroup/memory/x/memory.limit_in_bytes"},
		{"version 1 without a limit", fstest.MapFS{"proc/self/cgroup": file("5:memory:/x\n"), "sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("9223372036854771712\n")}, 0, "none"},
		{"garbage", fstest.MapFS{"proc/self/cgroup": file("0::../../..\nx\n:::\n"), "sys/fs/cgroup/memory.max": file("-5")}, 0, "none"},
	} {
		if got := cgroupLimit(c.files); got.Bytes != c.bytes || got.Source != c.where {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if got := SetMemoryLimit(0.9, env(map[string]string{"GOMEMLIMIT": "1GiB"})); got.Source != "GOMEMLIMIT" {
		t.Errorf("%+v", got)
	}
	if got := SetMemoryLimit(0, noEnv); got.Source != "none" {
		t.Errorf("%+v", got)
	}
}

func TestStartAndShutdown(t *testing.T) {
	dir := t.TempDir()
	term := &lockedBuffer{}
	tel, err := Start(context.Background(), Options{Config: quiet(), Version: "1.2.3", StateDir: dir, Stderr: term, Getenv: noEnv})
	if err != nil {
		t.Fatal(err)
	}
	if tel.Tracing.Enabled() || tel.Tracing.Exporter() != "none" {
		t.Error("tracing is on although nobody asked")
	}
	tel.Logs.Logger.Info("hello")
	text := mustScrape(t, tel.Registry)
	wantLines(t, text, `openclaw_gateway_build_info{goversion="`+runtime.Version()+`",version="1.2.3"} 1`, `sluice_trace_spans_total{outcome="dropped"} 0`,
		`sluice_log_lines_dropped_total{sink="file"} 0`, `openclaw_memory_pressure_total 0`)
	if !strings.Contains(text, `openclaw_memory_bytes{kind="rss"}`) {
		t.Error("no memory metric")
	}
	c := quiet()
	c.Logs.Level, c.Memory.WarnBytes = "debug", 5
	if err := tel.Reload(c); err != nil {
		t.Fatal(err)
	}
	if tel.Memory.State().WarnBytes != 5 {
		t.Error("the bound was not taken")
	}
	c.Logs.Level = "loud"
	if tel.Reload(c) == nil {
		t.Error("a bad level was taken")
	}
	for range 2 {
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(term.String(), "msg=hello") {
		t.Errorf("terminal %q", term.String())
	}
	if raw, _ := os.ReadFile(filepath.Join(dir, "logs", "sluice.log")); !strings.Contains(string(raw), `"message":"hello"`) {
		t.Errorf("file %q", raw)
	}
	bad := quiet()
	bad.Traces.Endpoint = "nonsense"
	if _, err := Start(context.Background(), Options{Config: bad, Getenv: noEnv}); err == nil {
		t.Error("a bad endpoint is no error")
	}
}

func TestConsoleExporter(t *testing.T) {
	term := &lockedBuffer{}
	tel, err := Start(context.Background(), Options{Config: quiet(), Stderr: term, Getenv: env(map[string]string{"OTEL_TRACES_EXPORTER": "console"})})
	if err != nil {
		t.Fatal(err)
	}
	_, s := tel.Tracing.StartRoot(context.Background(), "sluice.frame", time.Now(), tel.Tracing.Decide([]byte(parent)))
	s.End()
	if err := tel.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(term.String(), `"parent":"b7ad6b7169203331","name":"sluice.frame"`) {
		t.Error(term.String())
	}
}

func TestDefaultsAreValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"traces.sampleRatio": func(c *Config) { c.Traces.SampleRatio = 2 },
		"traces.protocol":    func(c *Config) { c.Traces.Protocol = "udp" },
		"logs.level":         func(c *Config) { c.Logs.Level = "x" },
		"logs.format":        func(c *Config) { c.Logs.Format = "x" },
		"memory.warnBytes":   func(c *Config) { c.Memory.WarnBytes = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeapFloor(t *testing.T) {
	for _, c := range []struct {
		limit int64
		gogc  string
		want  int
	}{{0, "", heapFloorBytes}, {1 << 30, "", heapFloorBytes}, {64 << 20, "", 0}, {0, "50", 0}, {0, "off", 0}} {
		if got := heapFloor(MemoryLimit{Bytes: c.limit}, env(map[string]string{"GOGC": c.gogc})); len(got) != c.want {
			t.Errorf("limit %d GOGC %q: %d bytes, want %d", c.limit, c.gogc, len(got), c.want)
		}
	}
}
