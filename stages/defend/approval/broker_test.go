package approval

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
)

func TestFirstDecisionWins(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	a := w.ask(echo("a"))
	if a.Status != "pending" || a.DeliveryRoute != "approval-client" || a.Decision != "" {
		t.Fatalf("%+v", a)
	}
	w.wantResolve(Missing, Resolution{ID: "a", Kind: KindPlugin, Decision: AllowOnce})
	w.wantResolve(Missing, Resolution{ID: "A", Decision: AllowOnce}) // exactly that id
	w.wantResolve(Applied, Resolution{ID: "a", Decision: AllowOnce})
	w.wantResolve(Same, Resolution{ID: "a", Decision: AllowOnce})
	w.wantResolve(Conflict, Resolution{ID: "a", Decision: Deny})
	got, found, err := w.Wait(context.Background(), "a")
	if err != nil || !found || got.Decision != AllowOnce || got.Status != "allowed" || got.Reason != "user" {
		t.Fatalf("%+v %v %v", got, found, err)
	}
	if told := w.told(); told != "session.approval exec.approval.requested session.approval exec.approval.resolved" {
		t.Fatal(told)
	}
	if acts := w.actions(); acts != "requested allowed" {
		t.Fatal(acts)
	}
	for _, ev := range w.events {
		if ev.Scope != frames.ScopeApprovals {
			t.Errorf("%s goes to everyone", ev.Name)
		}
	}
}

func TestExpiryDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		// Longest first: the one timer must be set anew for each.
		for _, ms := range []int64{30_000, 20_000, 10_000} {
			a := echo(fmt.Sprint(ms))
			a.TimeoutMs = ms
			w.ask(a)
		}
		start := time.Now()
		for _, ms := range []int64{10_000, 20_000, 30_000} {
			got, found, err := w.Wait(context.Background(), fmt.Sprint(ms))
			if err != nil || !found || got.Status != "expired" || got.Decision != "" || got.Reason != "timeout" {
				t.Fatalf("%+v %v %v", got, found, err)
			}
			if passed := time.Since(start); passed != time.Duration(ms)*time.Millisecond {
				t.Fatalf("expired after %s", passed)
			}
		}
		synctest.Wait()
		ev := w.payload("exec.approval.resolved")
		if ev["decision"] != "deny" || ev["resolvedBy"] != nil {
			t.Fatal(ev)
		}
		w.wantResolve(Conflict, Resolution{ID: "30000", Decision: AllowOnce})
		time.Sleep(15 * time.Second) // the grace is over
		w.wantResolve(Missing, Resolution{ID: "30000", Decision: AllowOnce})
		if _, found := w.Find("30000"); found {
			t.Error("found after its grace")
		}
		if v, found := w.Lookup("30000"); !found || v.Status != "expired" {
			t.Error("not in the history")
		}
		if n, bytes := w.Waiting(); n != 0 || bytes != 0 {
			t.Errorf("%d waiting, %d bytes", n, bytes)
		}
	})
}

// TestExpiryAgainstDecision: whoever is first, nobody is told two things.
func TestExpiryAgainstDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		for i := range 50 {
			id := fmt.Sprint(i)
			a := echo(id)
			a.TimeoutMs = 1000
			w.ask(a)
			done := make(chan string, 1)
			go func() {
				time.Sleep(time.Second)
				_, result, err := w.Resolve(context.Background(), Resolution{ID: id, Kind: KindExec, Decision: AllowOnce, By: operator("c2")})
				if err != nil {
					result = err.Error()
				}
				done <- result
			}()
			got, _, err := w.Wait(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			if result := <-done; (result == Applied) != (got.Status == "allowed") {
				t.Fatalf("%s, but the requester was told %s", result, got.Status)
			}
		}
	})
}

func TestManyResolvers(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	for i := range 20 {
		id := fmt.Sprint(i)
		w.ask(echo(id))
		var applied atomic.Int32
		var wg sync.WaitGroup
		for j := range 8 {
			wg.Go(func() {
				decision := AllowOnce
				if j%2 == 1 {
					decision = Deny
				}
				v, result, err := w.Resolve(context.Background(), Resolution{ID: id, Kind: KindExec, Decision: decision, By: operator("c2")})
				switch {
				case err != nil:
					t.Error(err)
				case result == Applied:
					applied.Add(1)
				case (result == Same) != (v.Decision == decision):
					t.Errorf("%s: %s and %s", result, v.Decision, decision)
				}
			})
		}
		wg.Wait()
		if n := applied.Load(); n != 1 {
			t.Fatalf("%d decisions were the first", n)
		}
	}
	if n := strings.Count(w.told(), "exec.approval.resolved"); n != 20 {
		t.Errorf("%d resolved events", n)
	}
}

func TestWhoMayDecide(t *testing.T) {
	w := newWorld(t, func(c *Config, _ *Deps) { c.AllowSelf = false })
	defer w.close()
	w.ask(echo("a"))
	agent := operator("c2")
	agent.Role = frames.RoleSystem
	reader := operator("c2")
	reader.Scopes = frames.ParseScopes([]string{"operator.write"})
	for _, p := range []*frames.Peer{nil, agent, reader, {Role: frames.RoleNode}} {
		if _, result, _ := w.Resolve(context.Background(), Resolution{ID: "a", Kind: KindExec, Decision: AllowOnce, By: p}); result != Forbidden {
			t.Errorf("%v: %s", p, result)
		}
		if outcome, err := w.Revoke(context.Background(), "x", p); err == nil {
			t.Errorf("%v may revoke: %s", p, outcome)
		}
	}
	w.wantResolve(Self, Resolution{ID: "a", Decision: AllowOnce, By: operator("c1")})
	w.wantResolve(Applied, Resolution{ID: "a", Decision: Deny, By: operator("c1")}) // its own no is a no
	b := echo("b")
	b.By.DeviceID = "d1"
	w.ask(b)
	again := operator("c9")
	again.DeviceID = "d1"
	w.wantResolve(Self, Resolution{ID: "b", Decision: AllowOnce, By: again})
	w.wantResolve(Applied, Resolution{ID: "b", Decision: AllowOnce})
	if !strings.Contains(w.actions(), "refused") {
		t.Error("a refused decision is not in the journal")
	}
}

func TestBoundContent(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	a := w.ask(echo("a"))
	w.wantResolve(Changed, Resolution{ID: "a", Decision: AllowOnce, SHA256: SumOf([]byte("something else")).String()})
	e := echo("a")
	sum := e.sum()
	if sum.String() != a.SHA256 {
		t.Fatal("the sum shown is not the bound one")
	}
	if w.Redeem("a", sum) {
		t.Fatal("used before it was allowed")
	}
	w.wantResolve(Applied, Resolution{ID: "a", Decision: AllowOnce, SHA256: a.SHA256})
	e.Cwd = "/"
	if w.Redeem("a", e.sum()) {
		t.Error("used in another folder")
	}
	if !w.Redeem("a", sum) || w.Redeem("a", sum) {
		t.Error("allow-once is for one use")
	}
	if w.Redeem("none", sum) {
		t.Error("used without an approval")
	}
}

func TestUnified(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	for i, c := range []struct {
		kind, decision, status, reason string
	}{
		{KindExec, AllowOnce, "allowed", "user"},
		{KindExec, Deny, "denied", "user"},
		{KindPlugin, AllowOnce, "denied", "malformed-verdict"},
		{KindExec, "maybe", "denied", "malformed-verdict"},
	} {
		id := fmt.Sprint(i)
		w.ask(echo(id))
		v, result := w.resolve(Resolution{ID: id, Kind: c.kind, Unified: true, Decision: c.decision})
		if result != Applied || v.Status != c.status || v.Reason != c.reason {
			t.Errorf("%+v: %s %+v", c, result, v)
		}
	}
	a := echo("once")
	a.OneShot = true
	w.ask(a)
	w.wantResolve(Unavailable, Resolution{ID: "once", Decision: AllowAlways})
	w.wantResolve(Applied, Resolution{ID: "once", Decision: AllowOnce})
}

func TestBounds(t *testing.T) {
	w := newWorld(t, func(c *Config, _ *Deps) { c.MaxPending, c.MaxHistory = 3, 2 })
	defer w.close()
	for i := range 3 {
		w.ask(echo(fmt.Sprint(i)))
	}
	_, err := w.Ask(context.Background(), echo("3"))
	if e := wireCode(t, err); e.Code != frames.CodeUnavailable || !e.Retryable {
		t.Error(e)
	}
	_, err = w.Ask(context.Background(), echo("1"))
	if e := wireCode(t, err); e.Message != "approval id already pending" {
		t.Error(e)
	}
	for i := range 3 {
		w.wantResolve(Applied, Resolution{ID: fmt.Sprint(i), Decision: Deny})
	}
	if items, next, ok := w.History("", 0, ""); !ok || next != "" || len(items) != 2 || items[0].ID != "2" || items[1].ID != "1" {
		t.Fatalf("%v %q %v", items, next, ok)
	}
	w.ask(echo("4")) // its write takes the rows that history let go
	if rows := len(w.store.rows); rows != 3 {
		t.Errorf("%d rows kept: %v", rows, w.store.rows)
	}
	big := echo("big")
	big.Argv, big.Command = nil, "echo "+strings.Repeat("x", maxShown)
	if _, err = w.Ask(context.Background(), big); wireCode(t, err).Details.(map[string]any)["reason"] != ReasonDisplayLimit {
		t.Error(err)
	}
	big = echo("big")
	big.Env = map[string]string{strings.Repeat("X", maxShown): "1"}
	for i := range 200 {
		big.Env[strings.Repeat("X", maxShown-4)+fmt.Sprint(i)] = "1"
	}
	if _, err = w.Ask(context.Background(), big); wireCode(t, err).Code != frames.CodeInvalidRequest {
		t.Error(err)
	}
}

func TestUsedIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.ask(echo("a"))
		w.wantResolve(Applied, Resolution{ID: "a", Decision: Deny})
		_, err := w.Ask(context.Background(), echo("a"))
		if e := wireCode(t, err); e.Message != "approval id already pending" {
			t.Error(e)
		}
		time.Sleep(time.Minute)
		_, err = w.Ask(context.Background(), echo("a"))
		if e := wireCode(t, err); e.Message != "approval request unavailable" {
			t.Error(e)
		}
		for _, id := range []string{"plugin:x", "..", ".", "a/b", "a b", strings.Repeat("x", 129), "\x00"} {
			if _, err := w.Ask(context.Background(), echo(id)); wireCode(t, err).Code != frames.CodeInvalidRequest {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
}

func TestRoutes(t *testing.T) {
	approvers := []string{"c1", "c2"}
	w := newWorld(t, func(_ *Config, d *Deps) {
		d.Approvers = func(exclude string) (out []string) {
			for _, c := range approvers {
				if c != exclude {
					out = append(out, c)
				}
			}
			return out
		}
	})
	defer w.close()
	w.ask(echo("a"))
	if ev := w.events[1]; ev.Name != "exec.approval.requested" || ev.Reach != frames.ReachConn || ev.ConnID != "c2" || len(w.events) != 2 {
		t.Fatalf("%+v", w.events)
	}
	approvers = []string{"c1"}
	b := w.ask(echo("b"))
	if b.Status != "denied" || b.Reason != "no-route" || b.Decision != "" {
		t.Fatalf("%+v", b)
	}
	patient := echo("c")
	patient.NoRouteNeeded = true
	if c := w.ask(patient); c.Status != "pending" || c.DeliveryRoute != "none" {
		t.Fatalf("%+v", c)
	}
	quiet := echo("d")
	quiet.Quiet = true
	if d := w.ask(quiet); d.Reason != "no-route" {
		t.Fatalf("%+v", d)
	}
}

func TestDisk(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	w.store.setFail(errDisk)
	_, err := w.Ask(context.Background(), echo("a"))
	if e := wireCode(t, err); e.Message != "approval request unavailable" || !e.Retryable {
		t.Fatal(e)
	}
	if n, bytes := w.Waiting(); n != 0 || bytes != 0 || w.told() != "" {
		t.Fatalf("%d waiting, %d bytes, %s", n, bytes, w.told())
	}
	w.store.setFail(nil)
	w.ask(echo("a"))
	w.store.setFail(errDisk)
	for _, decision := range []string{AllowOnce, AllowAlways, Deny} {
		_, _, err = w.Resolve(context.Background(), Resolution{ID: "a", Kind: KindExec, Decision: decision, By: operator("c2")})
		if e := wireCode(t, err); e.Message != "approval resolve unavailable" {
			t.Fatal(e)
		}
	}
	if v, _ := w.Find("a"); v.Status != "pending" || len(w.Grants(0)) != 0 {
		t.Fatalf("%+v", v)
	}
	w.store.setFail(nil)
	w.wantResolve(Applied, Resolution{ID: "a", Decision: AllowAlways})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		first := newWorldOver(t, store, nil)
		first.ask(echo("decided"))
		first.wantResolve(Applied, Resolution{ID: "decided", Decision: AllowAlways})
		other := echo("waiting")
		other.Cwd = "/srv"
		first.ask(other)
		store.rows["record/damaged"] = []byte(`{"id":`)
		store.rows["record/liar"] = []byte(`{"id":"x","kind":"exec","presentation":null,"allowed":[]}`)
		// No Close: the process was killed.
		first.mu.Lock()
		first.Broker.timer.Stop()
		first.mu.Unlock()
		time.Sleep(time.Second)

		w := newWorldOver(t, store, nil)
		defer w.close()
		items, _, _ := w.History("", 0, "")
		if len(items) != 2 || items[0].ID != "waiting" || items[0].Status != "cancelled" || items[0].Reason != "gateway-restart" ||
			items[1].ID != "decided" || items[1].Status != "allowed" {
			t.Fatalf("%+v", items)
		}
		if w.actions() != "cancelled" {
			t.Error(w.actions())
		}
		w.wantResolve(Missing, Resolution{ID: "waiting", Decision: AllowOnce})
		if got := w.ask(echo("")); got.Decision != AllowAlways {
			t.Error("the grant did not survive")
		}
		if string(store.rows["record/damaged"]) != `{"id":` {
			t.Error("a damaged record was not left alone")
		}
	})
}

func TestClose(t *testing.T) {
	w := newWorld(t, nil)
	w.ask(echo("a"))
	done := make(chan Approval, 1)
	go func() {
		v, _, _ := w.Wait(context.Background(), "a")
		done <- v
	}()
	w.close()
	if v := <-done; v.Status != "cancelled" || v.Reason != "gateway-restart" || v.Decision != "" {
		t.Fatalf("%+v", v)
	}
	_, err := w.Ask(context.Background(), echo("b"))
	if e := wireCode(t, err); e.Message != "gateway restart in progress" {
		t.Error(e)
	}
	w.close()
}

func TestHistoryPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		for i := range 10 {
			id := fmt.Sprint(i)
			w.ask(echo(id))
			if i%3 == 0 {
				time.Sleep(time.Millisecond)
			}
			w.wantResolve(Applied, Resolution{ID: id, Decision: Deny})
		}
		var seen []string
		for after := ""; ; {
			items, next, ok := w.History(after, 3, KindExec)
			if !ok {
				t.Fatal("its own cursor is none")
			}
			for _, it := range items {
				seen = append(seen, it.ID)
			}
			if after = next; after == "" {
				break
			}
		}
		if got := strings.Join(seen, ""); got != "9876543210" {
			t.Error(got)
		}
		if items, _, _ := w.History("", 0, KindPlugin); len(items) != 0 {
			t.Error("another kind")
		}
		for _, c := range []string{"x", "e30", "eyJ2IjoxfQ"} {
			if _, _, ok := w.History(c, 1, ""); ok {
				t.Errorf("%q is no cursor", c)
			}
		}
	})
}

func TestCancel(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	w.ask(echo("a"))
	if !w.Cancel(context.Background(), "a") || w.Cancel(context.Background(), "a") || w.Cancel(context.Background(), "b") {
		t.Error("cancelled once, and only what waits")
	}
	if v, _ := w.Find("a"); v.Status != "cancelled" || v.Reason != "run-aborted" {
		t.Errorf("%+v", v)
	}
}

func TestReplay(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	w.ask(echo("a"))
	list := w.Replay("agent:main:main")
	if len(list) != 1 || !strings.Contains(string(list[0]), `"sourceSessionKey":"agent:main:main"`) || len(w.Replay("agent:main:x")) != 0 {
		t.Fatalf("%s", list)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.MaxPending = 0
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "defend.approval.maxPending") {
		t.Error(err)
	}
	if _, err := New(c, Deps{}); err == nil {
		t.Error("a broker without room")
	}
	w := newWorld(t, nil)
	defer w.close()
	if err := w.Reload(c); err == nil {
		t.Error("reloaded")
	}
	c = Default()
	c.MaxPending = 1
	if err := w.Reload(c); err != nil {
		t.Error(err)
	}
}
