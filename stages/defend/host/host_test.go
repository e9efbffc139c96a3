package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/defend"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAlertSticksUntilAccepted(t *testing.T) {
	k := newKit(t)
	g := k.open()
	if s := g.Status(); s.Alert || s.Files != 3 || s.Missing != 1 || k.said() != "baseline" {
		t.Fatalf("%+v", s)
	}
	if d := decide(t, g); d.Risk != 0 {
		t.Errorf("%+v", d)
	}
	step := func(want string) {
		t.Helper()
		if err := g.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := k.said(); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
	}
	step("")
	k.write("sluice", "changed")
	step("changed sluice")
	step("") // said once
	d := decide(t, g)
	if d.Risk != 55 || d.Action != pipeline.Review || d.Tags[0] != "host_integrity" || strings.Contains(d.Reasons[0], k.dir) ||
		!strings.Contains(d.Reasons[0], "the running binary") {
		t.Errorf("%+v", d)
	}
	k.write("sluice", "binary")
	step("restored sluice")
	if !g.Status().Alert || g.Health() == "" {
		t.Error("the alert went away by itself")
	}
	k.write("config.json", "{}")
	os.Remove(k.path("plugins/a"))
	k.write("plugins/deep/b", "two")
	step("appeared config.json, missing plugins/a, appeared plugins/deep/b")

	g = k.open() // a restart
	if got := k.said(); got != "appeared config.json, missing plugins/a, appeared plugins/deep/b" {
		t.Errorf("after a restart: %q", got)
	}
	if s := g.Status(); !s.Alert || len(s.Changes) != 4 {
		t.Errorf("after a restart: %+v", s)
	}
	s, err := g.Accept(t.Context(), "ops")
	if err != nil || s.Alert || s.AcceptedBy != "ops" || k.said() != "accepted" {
		t.Errorf("%+v %v", s, err)
	}
	step("")
	if d := decide(t, g); d.Risk != 0 {
		t.Errorf("%+v", d)
	}
	if s := k.open().Status(); s.Alert {
		t.Errorf("accepted, and back after a restart: %+v", s)
	}
}

func TestAcceptPaths(t *testing.T) {
	k := newKit(t)
	g := k.open()
	k.write("config.json", "{}")
	k.write("sluice", "x")
	if s, err := g.AcceptPaths(t.Context(), "ops", k.path("config.json")); err != nil || s.Alert {
		t.Fatalf("%+v %v", s, err)
	}
	k.said()
	if err := g.Check(t.Context()); err != nil || k.said() != "changed sluice" {
		t.Error(err)
	}
}

func TestPermissionsAndLinks(t *testing.T) {
	k := newKit(t)
	g := k.open()
	k.said()
	os.Chmod(k.path("sluice"), 0o666)
	os.Rename(k.path("plugins/a"), k.path("elsewhere"))
	os.Symlink(k.path("elsewhere"), k.path("plugins/a"))
	if err := g.Check(t.Context()); err != nil || k.said() != "changed plugins/a, changed sluice" {
		t.Error(err, g.Status().Changes)
	}
}

func TestErrorsAreRiskWhileTheyLast(t *testing.T) {
	k := newKit(t)
	g := k.open()
	k.said()
	os.Remove(k.path("sluice"))
	os.Mkdir(k.path("sluice"), 0o700) // a folder now, with a file that is too large
	k.write("sluice/x", "y")
	g.cfg.MaxFileBytes = 1
	if err := g.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.write("plugins/a", "larger than a byte")
	g.Check(t.Context())
	d := decide(t, g)
	if d.Risk != 75 || strings.Join(d.Tags, " ") != "host_integrity host_integrity_error" {
		t.Errorf("%+v %+v", d, g.Status())
	}
	if _, err := g.Accept(t.Context(), "ops"); err == nil {
		t.Error("accepted what cannot be read")
	}
	g.cfg.MaxFileBytes = 1 << 20
	if _, err := g.Accept(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	if d := decide(t, g); d.Risk != 0 {
		t.Errorf("%+v", d)
	}
}

func TestDamagedBaseline(t *testing.T) {
	k := newKit(t)
	k.open()
	k.store.m[Key] = []byte("{")
	k.said()
	g := k.open()
	if s := g.Status(); !s.Alert || k.said() != "damaged" {
		t.Errorf("%+v", s)
	}
	if s := k.open().Status(); !s.Alert {
		t.Error("forgotten after a restart")
	}
}

func TestStoreFails(t *testing.T) {
	k := newKit(t)
	g := k.open()
	k.write("sluice", "x")
	g.Check(t.Context())
	k.store.fail = errors.New("disk")
	if _, err := g.Accept(t.Context(), "ops"); err == nil || !g.Status().Alert {
		t.Errorf("accepted without storing it: %v", err)
	}
	if _, err := New(t.Context(), Default(), Deps{Store: &k.store}); err == nil {
		t.Error("no baseline, no error")
	}
}

func TestNewAndDroppedPaths(t *testing.T) {
	k := newKit(t)
	k.open()
	k.write("extra", "e")
	k.said()
	g := k.open(func(c *Config) { c.Paths = []string{k.path("extra")} })
	if got := k.said(); got != "removed plugins/a, added extra" || g.Status().Alert {
		t.Errorf("%q %+v", got, g.Status())
	}
	k.open(func(c *Config) { c.Paths = []string{k.path("extra")} })
	if got := k.said(); got != "" {
		t.Error(got)
	}
}

// waitFor waits for a check after which ok holds.
func waitFor(t *testing.T, g *Guard, ok func() bool) {
	t.Helper()
	end := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-g.checked:
		case <-end:
			t.Fatalf("it did not happen: %+v", g.Status())
		}
	}
}

func TestWatch(t *testing.T) {
	k := newKit(t)
	g := k.open(func(c *Config) { c.IntervalMs = 86_400_000; c.SettleMs = 10 })
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer g.Stop(context.Background())
	before := g.Stats.Checks.Load()
	waitFor(t, g, func() bool { return g.Stats.Checks.Load() > before && g.Status().Watching })
	k.write("config.json", "{}") // was missing
	waitFor(t, g, func() bool { return g.Status().Alert })
	if err := g.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestInterval(t *testing.T) {
	k := newKit(t)
	g := k.open(func(c *Config) { c.IntervalMs = 1000; c.SettleMs = 10; c.Watch = false })
	g.Start(t.Context())
	defer g.Stop(context.Background())
	before := g.Stats.Checks.Load()
	waitFor(t, g, func() bool { return g.Stats.Checks.Load() > before })
	k.write("plugins/a", "x")
	waitFor(t, g, func() bool { return g.Status().Alert })
	if g.Status().Watching {
		t.Error("it says that it watches")
	}
}

func TestStale(t *testing.T) {
	k := newKit(t)
	g := k.open()
	g.done = make(chan struct{}) // as if started
	g.Check(t.Context())
	k.now = k.now.Add(time.Hour)
	if d := decide(t, g); d.Risk != 20 || d.Tags[0] != "host_integrity_error" {
		t.Errorf("%+v", d)
	}
}

func TestDisabled(t *testing.T) {
	k := newKit(t)
	g := k.open(func(c *Config) { c.Enabled = false })
	if d := decide(t, g); d.Risk != 0 || g.Start(t.Context()) != nil || g.Stop(t.Context()) != nil || g.Check(t.Context()) != nil {
		t.Errorf("%+v", d)
	}
	if _, err := g.Accept(t.Context(), "ops"); err == nil {
		t.Error("accepted")
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Config){
		func(c *Config) { c.Paths = []string{"relative"} }, func(c *Config) { c.IntervalMs = 1 },
		func(c *Config) { c.SettleMs = 1 }, func(c *Config) { c.MaxFiles = 0 }, func(c *Config) { c.MaxFileBytes = 0 },
		func(c *Config) { c.Risk = 101 }, func(c *Config) { c.ErrorRisk = -1 }, func(c *Config) { c.Paths = make([]string, 257) },
	} {
		c := Default()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("case %d", i)
		}
	}
}

func FuzzBaseline(f *testing.F) {
	f.Add([]byte(`{"version":1,"files":{"/x":{"sha256":"aa"}},"roots":["/x"]}`))
	f.Add([]byte(`{"version":1}`))
	path := filepath.Join(f.TempDir(), "x")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		store := &memory{m: map[string][]byte{Key: raw}}
		g, err := New(t.Context(), Default(), Deps{Store: store, Files: []Protected{{"x", path}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Accept(t.Context(), "ops"); err != nil || g.Status().Alert {
			t.Errorf("%v %+v", err, g.Status())
		}
	})
}

func BenchmarkAssess(b *testing.B) {
	dir := b.TempDir()
	g, err := New(b.Context(), Default(), Deps{Store: &memory{}, Files: []Protected{{"x", filepath.Join(dir, "x")}}})
	if err != nil {
		b.Fatal(err)
	}
	f, a := &defend.Findings{}, &defend.Action{}
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Assess(b.Context(), a, f); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheck hashes a file of the size of a binary.
func BenchmarkCheck(b *testing.B) {
	path := filepath.Join(b.TempDir(), "binary")
	if err := os.WriteFile(path, make([]byte, 32<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	g, err := New(b.Context(), Default(), Deps{Store: &memory{}, Files: []Protected{{"x", path}}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(32 << 20)
	for b.Loop() {
		if err := g.Check(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAcceptWhile: what Sluice writes for an operator is no change, however fast the watcher
// is, and does not end an alert that somebody else's edit has raised.
func TestAcceptWhile(t *testing.T) {
	k := newKit(t)
	path := k.path("config")
	k.write("config", "one")
	g, err := New(t.Context(), Default(), Deps{Store: &k.store, Files: []Protected{{"the configuration", path}}})
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) func() error {
		return func() error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	if err := g.AcceptWhile(t.Context(), "admin", write("two"), path); err != nil || g.Status().Alert {
		t.Fatalf("%v %+v", err, g.Status())
	}
	if err := g.Check(t.Context()); err != nil || g.Status().Alert {
		t.Fatalf("a later check: %v %+v", err, g.Status())
	}
	if err := write("tampered")(); err != nil {
		t.Fatal(err)
	}
	if err := g.Check(t.Context()); err != nil || !g.Status().Alert {
		t.Fatalf("an edit was not seen: %v", err)
	}
	if err := g.AcceptWhile(t.Context(), "admin", write("three"), path); err != nil || !g.Status().Alert {
		t.Errorf("a patch ended the alert: %v %+v", err, g.Status())
	}
	refused := errors.New("refused")
	if err := g.AcceptWhile(t.Context(), "admin", func() error { return refused }, path); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
}
