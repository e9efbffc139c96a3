package approval

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/storage"
	"sluice/storage/bolt"
)

// always makes a standing grant for a.
func (w *world) always(a Ask) Grant {
	w.tb.Helper()
	v := w.ask(a)
	w.wantResolve(Applied, Resolution{ID: v.ID, Decision: AllowAlways})
	return w.Grants(1)[0]
}

func TestGrantCoversOnlyItsCommand(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	w.always(echo("a"))
	if v := w.ask(echo("")); v.Status != "allowed" || v.Decision != AllowAlways {
		t.Fatalf("%+v", v)
	}
	if g := w.Grants(0)[0]; g.UseCount != 1 || g.LastUsedAtMs == 0 || g.ApprovalID != "a" || g.Command != "echo hi" || g.Cwd != "/tmp" {
		t.Errorf("%+v", g)
	}
	for name, change := range map[string]func(*Ask){
		"argv":    func(a *Ask) { a.Argv, a.Command = []string{"echo", "ho"}, "echo ho" },
		"no argv": func(a *Ask) { a.Argv = nil },
		"text":    func(a *Ask) { a.Command = "echo 'hi'" },
		"cwd":     func(a *Ask) { a.Cwd = "/tmp/x" },
		"blank":   func(a *Ask) { a.Cwd = "/tmp " },
		"no cwd":  func(a *Ask) { a.Cwd = "" },
		"agent":   func(a *Ask) { a.AgentID = "other" },
		"env":     func(a *Ask) { a.Env = map[string]string{"LD_PRELOAD": "/tmp/x.so"} },
		"host":    func(a *Ask) { a.Host = "sandbox" },
		"program": func(a *Ask) { a.ResolvedPath = "/tmp/echo" },
		"ask":     func(a *Ask) { a.AskMode = "always" },
		"once":    func(a *Ask) { a.OneShot = true },
	} {
		a := echo("")
		change(&a)
		if v := w.ask(a); v.Status != "pending" {
			t.Errorf("%s: passed", name)
		}
	}
}

func TestGrantOffered(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	for name, c := range map[string]struct {
		change func(*Ask)
		want   int
	}{
		"plain":  {func(*Ask) {}, 3},
		"no cwd": {func(a *Ask) { a.Cwd = " " }, 2},
		"always": {func(a *Ask) { a.AskMode = "Always" }, 2},
		"once":   {func(a *Ask) { a.OneShot = true }, 2},
	} {
		a := echo("")
		c.change(&a)
		if v := w.ask(a); len(v.Allowed) != c.want {
			t.Errorf("%s: %v", name, v.Allowed)
		}
	}
}

func TestRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		w := newWorldOver(t, store, nil)
		g := w.always(echo("a"))
		revoke := func(id, want string) {
			t.Helper()
			if got, err := w.Revoke(context.Background(), id, operator("c2")); err != nil || got != want {
				t.Fatalf("%s %v, want %s", got, err, want)
			}
		}
		revoke("nobody", "not-found")
		store.setFail(errDisk)
		if _, err := w.Revoke(context.Background(), g.ID, operator("c2")); wireCode(t, err).Code != frames.CodeUnavailable {
			t.Fatal(err)
		}
		if v := w.ask2(echo("")); v == "allowed" {
			t.Fatal("a revoked grant passed, though its disk failed")
		}
		store.setFail(nil)
		revoke(g.ID, "already-revoked")
		if got := w.Grants(0)[0]; got.RevokedAtMs == 0 || got.RevokedBy != "cli-c2" {
			t.Errorf("%+v", got)
		}
		w.close()
	})
}

// ask2 returns the status, or the error's text.
func (w *world) ask2(a Ask) string {
	v, err := w.Ask(context.Background(), a)
	if err != nil {
		return err.Error()
	}
	return v.Status
}

func TestRevokedStaysRevoked(t *testing.T) {
	store := newMemStore()
	w := newWorldOver(t, store, nil)
	// Two approvals of one command are open and both become allow-always.
	a, b := echo("a"), echo("b")
	w.ask(a)
	w.ask(b)
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b"} {
		wg.Go(func() { w.wantResolve(Applied, Resolution{ID: id, Decision: AllowAlways}) })
	}
	wg.Wait()
	list := w.Grants(0)
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	if _, err := w.Revoke(context.Background(), list[0].ID, operator("c2")); err != nil {
		t.Fatal(err)
	}
	w.close()
	again := newWorldOver(t, store, nil)
	defer again.close()
	if v := again.ask(echo("c")); v.Status != "pending" {
		t.Fatal("the other grant of the same command came back")
	}
}

func TestGrantEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, _ *Deps) { c.GrantDays = 2 })
		defer w.close()
		w.always(echo("a"))
		v := w.ask(func() Ask { a := echo("b"); a.Cwd = "/"; return a }())
		w.wantResolve(Applied, Resolution{ID: v.ID, Decision: AllowAlways, GrantDays: 5})
		time.Sleep(48 * time.Hour)
		if got := w.ask2(echo("")); got != "pending" {
			t.Error(got)
		}
		a := echo("")
		a.Cwd = "/"
		if got := w.ask2(a); got != "allowed" {
			t.Error(got)
		}
	})
}

func TestGrantBound(t *testing.T) {
	w := newWorld(t, func(c *Config, _ *Deps) { c.MaxGrants = 2 })
	defer w.close()
	in := func(dir string) Ask { a := echo("in" + dir[1:]); a.Cwd = dir; return a }
	first := w.always(in("/a"))
	w.always(in("/b"))
	w.ask(in("/c"))
	_, _, err := w.Resolve(context.Background(), Resolution{ID: "inc", Kind: KindExec, Decision: AllowAlways, By: operator("c2")})
	if e := wireCode(t, err); e.Code != frames.CodeUnavailable {
		t.Fatal(e)
	}
	if _, err := w.Revoke(context.Background(), first.ID, operator("c2")); err != nil {
		t.Fatal(err)
	}
	w.wantResolve(Applied, Resolution{ID: "inc", Decision: AllowAlways})
	if n := len(w.Grants(0)); n != 2 {
		t.Errorf("%d grants", n)
	}
	none := newWorld(t, func(c *Config, _ *Deps) { c.MaxGrants = 0 })
	defer none.close()
	if v := none.ask(echo("a")); len(v.Allowed) != 2 {
		t.Errorf("%v", v.Allowed)
	}
}

// TestMetaStore keeps the broker's state in a real store.
func TestMetaStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	for i := range 3 {
		store, err := bolt.Open(path, bolt.Default())
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(Default(), Deps{Store: MetaStore{View: store.View, Update: func(ctx context.Context, fn func(storage.Tx) error) error {
			return store.Update(ctx, fn)
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		if items, _, _ := b.History("", 0, ""); len(items) != i {
			t.Fatalf("start %d: %d approvals", i, len(items))
		}
		a := echo(fmt.Sprint(i))
		a.Cwd = fmt.Sprint("/", i)
		v, err := b.Ask(context.Background(), a)
		if err != nil || v.Status != "pending" {
			t.Fatal(v, err)
		}
		if _, _, err := b.Resolve(context.Background(), Resolution{ID: v.ID, Kind: KindExec, Decision: AllowAlways, By: operator("c2")}); err != nil {
			t.Fatal(err)
		}
		if n := len(b.Grants(0)); n != i+1 {
			t.Errorf("start %d: %d grants", i, n)
		}
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
