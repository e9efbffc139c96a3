package ledger

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/storage"

	"github.com/go-json-experiment/json"
)

func TestAppendShowList(t *testing.T) {
	dir := t.TempDir()
	l := MustOpen(t, dir, Default(), Deps{})
	mustAppend(t, l, 20)
	e, err := l.Append(t.Context(), Entry{Kind: KindPolicy, Action: "reload", Content: []byte("password hunter2 \xff"), RequestID: "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Seq != 21 || e.Hash == "" || e.AtMs == 0 || strings.Contains(e.ContentRedacted, "hunter2") || e.ContentBytes != 18 ||
		strings.Contains(e.RequestID, "hunter2") {
		t.Errorf("%+v", e)
	}
	got, err := l.Show(t.Context(), 21)
	if err != nil || got.Hash != e.Hash || got.Kind != KindPolicy {
		t.Errorf("%+v %v", got, err)
	}
	for name, c := range map[string]struct {
		f    Filter
		n    int
		last uint64
	}{
		"all":    {Filter{}, 21, 21},
		"kind":   {Filter{Kind: KindPolicy}, 1, 21},
		"newest": {Filter{Newest: true, Limit: 3}, 3, 21},
		"oldest": {Filter{Limit: 3}, 3, 3},
		"range":  {Filter{AfterSeq: 4, BeforeSeq: 9}, 4, 8},
		"id":     {Filter{RequestID: "r7"}, 1, 8},
		"tag":    {Filter{Tag: "nothing"}, 0, 0},
	} {
		list, err := l.List(t.Context(), c.f)
		if err != nil || len(list) != c.n || c.n > 0 && list[c.n-1].Seq != c.last {
			t.Errorf("%s: %d entries, %v", name, len(list), err)
		}
	}
	if _, err := l.Show(t.Context(), 99); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if all := mustRead(t, journalFiles(t, dir)[0]); bytes.Contains(all, []byte("hunter2")) {
		t.Error("a secret is in the journal")
	}
	wantOK(t, dir, 21)
}

func TestRefused(t *testing.T) {
	l := MustOpen(t, t.TempDir(), Default(), Deps{})
	for _, e := range []Entry{{}, {Kind: "x"}, {Kind: KindDecision, Risk: 101}, {Kind: KindDecision, File: "../x"},
		{Kind: KindDecision, ContentSHA256: "abc"}} {
		if _, err := l.Append(t.Context(), e); err == nil {
			t.Errorf("%+v was taken", e)
		}
	}
}

func TestBounds(t *testing.T) {
	dir := t.TempDir()
	cfg := Default()
	cfg.MaxContentBytes = maxContent
	l := MustOpen(t, dir, cfg, Deps{})
	bad := strings.Repeat("\x01", maxContent+9) // six bytes each when escaped
	many := make([]string, 500)
	for i := range many {
		many[i] = bad[:2000]
	}
	e, err := l.Append(t.Context(), Entry{Kind: KindDecision, Content: []byte(bad), Tags: many, Reasons: many,
		SessionKey: bad, RequestID: bad, Source: bad, Method: bad, Action: bad})
	if err != nil || len(e.Tags) != maxTags || e.ContentBytes != len(bad) {
		t.Fatal(err, len(e.Tags))
	}
	if got, err := l.Show(t.Context(), 1); err != nil || got.ContentRedacted != e.ContentRedacted {
		t.Fatal(err)
	}
	wantOK(t, dir, 1)
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		l := MustOpen(t, dir, Default(), Deps{})
		if h := l.Health(); h != "" {
			t.Error(h)
		}
		mustAppend(t, l, 3)
		if _, err := Open(dir, Default(), Deps{}); !errors.Is(err, ErrInUse) {
			t.Errorf("a second writer: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantOK(t, dir, uint64(3*i+3))
		if _, err := l.Append(t.Context(), sample(1)); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l := MustOpen(t, dir, Default(), Deps{})
	mustAppend(t, l, 1)
	l.Close()
	os.Chmod(journalFiles(t, dir)[0], 0o644)
	MustOpen(t, dir, Default(), Deps{})
	for _, path := range append(journalFiles(t, dir), dir, filepath.Join(dir, headName)) {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
}

func TestRotationAndRetention(t *testing.T) {
	dir := t.TempDir()
	cfg := smallConfig()
	cfg.MaxBytes = 4 * cfg.SegmentBytes
	c := newClock()
	l := MustOpen(t, dir, cfg, Deps{Now: c.Now})
	mustAppend(t, l, 1200)
	removed, err := l.List(t.Context(), Filter{Tag: "ledger_retention"})
	if err != nil || len(removed) == 0 {
		t.Fatalf("retention left no entry: %v", err)
	}
	if n := len(journalFiles(t, dir)); n < 3 || n > 5 {
		t.Errorf("%d files", n)
	}
	rep := mustVerify(t, dir)
	if !rep.OK() || rep.FirstSeq == 1 {
		t.Errorf("%+v", rep)
	}
	if _, err := l.Show(t.Context(), rep.FirstSeq-1); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if e, err := l.Show(t.Context(), rep.LastSeq); err != nil || e.Seq != rep.LastSeq {
		t.Error(err)
	}
	l.Close()
	// The oldest file goes without retention having decided so.
	os.Remove(journalFiles(t, dir)[0])
	if rep := mustVerify(t, dir); rep.OK() || !strings.Contains(problems(rep), "first file is missing") {
		t.Error(problems(rep))
	}
}

func TestRetainDays(t *testing.T) {
	dir := t.TempDir()
	cfg := smallConfig()
	cfg.RetainDays = 10
	c := newClock()
	l := MustOpen(t, dir, cfg, Deps{Now: c.Now})
	mustAppend(t, l, 400)
	before := len(journalFiles(t, dir))
	c.advance(11 * 24 * time.Hour)
	mustAppend(t, l, 1)
	l.Close() // the round is over
	if after := len(journalFiles(t, dir)); before < 3 || after != 1 {
		t.Errorf("%d files, then %d", before, after)
	}
	if rep := mustVerify(t, dir); !rep.OK() {
		t.Error(problems(rep))
	}
}

func TestConcurrentAppend(t *testing.T) {
	dir := t.TempDir()
	l := MustOpen(t, dir, smallConfig(), Deps{})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := l.Append(context.Background(), sample(g*100+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 { // reading and verifying meanwhile finds nothing wrong
		if rep := mustVerify(t, dir); !rep.OK() {
			t.Error(problems(rep))
		}
		if _, err := l.List(t.Context(), Filter{Newest: true}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	wantOK(t, dir, 800)
	if c := l.Stats.Commits.Load(); c >= 800 {
		t.Errorf("%d commits for 800 entries", c)
	}
}

func TestContextEndsBeforeTurn(t *testing.T) {
	l := MustOpen(t, t.TempDir(), Default(), Deps{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, sample(1)); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	f := &faults{}
	f.room.Store(-1)
	l := MustOpen(t, dir, Default(), Deps{wrap: f.wrap})
	mustAppend(t, l, 5)
	for _, room := range []int64{0, 1, 100} {
		f.room.Store(room)
		if _, err := l.Append(t.Context(), sample(9)); !errors.Is(err, storage.ErrFull) {
			t.Fatalf("room for %d bytes: %v", room, err)
		}
		if !strings.Contains(l.Health(), "not written") {
			t.Error(l.Health())
		}
		wantOK(t, dir, 5)
	}
	f.room.Store(-1)
	mustAppend(t, l, 1)
	if l.Health() != "" {
		t.Error(l.Health())
	}
	wantGap(t, l, 6, "3 entries since ", "no space left")
	f.failSync.Store(true)
	if _, err := l.Append(t.Context(), sample(9)); err == nil {
		t.Fatal("a failed fsync was acknowledged")
	}
	f.failSync.Store(false)
	mustAppend(t, l, 1)
	wantGap(t, l, 8, "1 entries since ")
	l.Close()
	wantOK(t, dir, 9)
	MustOpen(t, dir, Default(), Deps{})
	wantOK(t, dir, 9)
}

// wantGap checks the line that says what is missing.
func wantGap(t *testing.T, l *Ledger, seq uint64, texts ...string) {
	t.Helper()
	e, err := l.Show(t.Context(), seq)
	if err != nil || e.Kind != KindIntegrity || e.Action != "gap" || len(e.Reasons) != 1 {
		t.Fatalf("entry %d: %+v, %v", seq, e, err)
	}
	for _, text := range texts {
		if !strings.Contains(e.Reasons[0], text) {
			t.Errorf("entry %d: %q, want %q", seq, e.Reasons[0], text)
		}
	}
}

// TestHealsByItself: without any further entry the journal is tried again.
func TestHealsByItself(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := &faults{}
		f.room.Store(-1)
		l, err := Open(dir, Default(), Deps{wrap: f.wrap})
		if err != nil {
			t.Fatal(err)
		}
		f.room.Store(0)
		if _, err := l.Append(t.Context(), sample(1)); !errors.Is(err, storage.ErrFull) {
			t.Fatal(err)
		}
		time.Sleep(2 * retryEvery)
		if l.Failing() == "" {
			t.Error("it heals on a full disk")
		}
		f.room.Store(-1)
		time.Sleep(retryEvery + time.Millisecond)
		if l.Failing() != "" {
			t.Error(l.Failing())
		}
		l.Close()
	})
	wantOK(t, dir, 1)
}

func TestDiskFullAtRotation(t *testing.T) {
	dir := t.TempDir()
	f := &faults{}
	f.room.Store(-1)
	l := MustOpenIdle(t, dir, smallConfig(), Deps{wrap: f.wrap})
	n := 0
	for ; l.w.bytes < 65536; n++ {
		mustCommit(t, l, 1)
	}
	f.room.Store(10)
	if err := commitOne(t, l); !errors.Is(err, storage.ErrFull) {
		t.Fatal(err)
	}
	f.room.Store(-1)
	mustCommit(t, l, 2)
	wantOK(t, dir, uint64(n+3)) // one about the gap
	if len(journalFiles(t, dir)) != 2 {
		t.Error(journalFiles(t, dir))
	}
}

func TestEncrypted(t *testing.T) {
	public, private, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Content, cfg.EncryptTo = ContentEncrypted, public
	dir := t.TempDir()
	l := MustOpen(t, dir, cfg, Deps{})
	if _, err := l.Append(t.Context(), Entry{Kind: KindDecision, Content: []byte("password hunter2")}); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mustRead(t, journalFiles(t, dir)[0]), []byte("hunter2")) {
		t.Error("in the clear")
	}
	e, err := l.Show(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := Decrypt(key, &e); err != nil || string(text) != "password hunter2" {
		t.Errorf("%q %v", text, err)
	}
	e.ContentSHA256 = strings.Repeat("0", 64)
	if _, err := Decrypt(key, &e); err == nil {
		t.Error("a content that was moved to another entry was read")
	}
	cfg.EncryptTo = "x"
	if cfg.Validate() == nil {
		t.Error("no key")
	}
}

func TestReleaseAndExport(t *testing.T) {
	quarantine := t.TempDir()
	mustWrite(t, filepath.Join(quarantine, "blocked-1-r.json"), []byte("{}"))
	if err := os.Symlink("/etc/passwd", filepath.Join(quarantine, "blocked-2-r.json")); err != nil {
		t.Fatal(err)
	}
	l := MustOpen(t, t.TempDir(), Default(), Deps{QuarantineDir: quarantine})
	mustAppend(t, l, 3)
	got, err := l.Release(t.Context(), "operator", 2)
	if err != nil || len(got) != 1 || got[0].Path != filepath.Join(quarantine, "blocked-1-r.json") {
		t.Fatal(got, err)
	}
	for _, seq := range []uint64{1, 3, 4, 99} { // no file, a link, no quarantine file named, no entry
		if seq == 4 {
			continue
		}
		if _, err := l.Release(t.Context(), "operator", seq); err == nil {
			t.Errorf("%d was released", seq)
		}
	}
	e, err := l.Show(t.Context(), 4)
	if err != nil || e.Kind != KindRelease || len(e.Releases) != 1 || e.Releases[0] != 2 || e.Source != "operator" {
		t.Errorf("%+v %v", e, err)
	}
	if _, err := l.Append(t.Context(), Entry{Kind: KindDecision, RequestID: "=cmd()"}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.Export(t.Context(), &out, FormatCSV, Filter{}); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 6 || rows[5][10] != "'=cmd()" {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	out.Reset()
	if err := l.Export(t.Context(), &out, FormatJSON, Filter{Kind: KindRelease}); err != nil {
		t.Fatal(err)
	}
	var one Entry
	if err := json.Unmarshal(out.Bytes(), &one); err != nil || one.Seq != 4 {
		t.Error(err)
	}
	if l.Export(t.Context(), &out, "xml", Filter{}) == nil {
		t.Error("xml")
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Config){
		func(c *Config) { c.SegmentBytes = 1 }, func(c *Config) { c.MaxBytes = c.SegmentBytes },
		func(c *Config) { c.RetainDays = -1 }, func(c *Config) { c.Content = "x" },
		func(c *Config) { c.MaxContentBytes = maxContent + 1 }, func(c *Config) { c.Queue = 0 },
		func(c *Config) { c.BatchEntries = 0 }, func(c *Config) { c.Content = ContentEncrypted },
	} {
		c := Default()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("case %d is taken", i)
		}
	}
}
