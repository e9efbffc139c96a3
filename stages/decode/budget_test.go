package decode

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
)

func TestConfig(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"controlPlaneWrites":   func(c *Config) { c.ControlPlaneWrites = 0 },
		"controlPlaneWindowMs": func(c *Config) { c.ControlPlaneWindowMs = 999 },
		"maxBudgetEntries":     func(c *Config) { c.MaxBudgetEntries = 15 },
		"maxUnauthorizedCalls": func(c *Config) { c.MaxUnauthorizedCalls = 0 },
		"maxStruckConnections": func(c *Config) { c.MaxStruckConnections = 0 },
	} {
		c := Default()
		change(&c)
		if _, err := New(c, all, nil); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestControlPlaneBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newStage(t, Default(), all))
		c := client(frames.RoleOperator, "operator.admin")
		patch := func() outcome { t.Helper(); return r.send(t, c, req("1", "config.patch", `{"raw":"{}"}`)) }
		for i := range 30 {
			if o := patch(); !o.answer.OK {
				t.Fatalf("write %d: %+v", i+1, o.answer.Error)
			}
		}
		time.Sleep(17*time.Second + 400*time.Millisecond) // synctest's clock
		a := patch().answer
		if a.OK || a.Error.Code != "UNAVAILABLE" || a.Error.Message != "rate limit exceeded for config.patch; retry after 43s" ||
			!a.Error.Retryable || a.Error.RetryAfterMs != 42_600 || string(a.Error.Details) != `{"limit":"30 per 60s","method":"config.patch"}` {
			t.Fatalf("the 31st: %+v %s", a.Error, a.Error.Details)
		}
		{ // another method, device or address has its own
			if o := r.send(t, c, req("1", "config.apply", `{"raw":"{}"}`)); !o.answer.OK {
				t.Errorf("method: %+v", o.answer.Error)
			}
			for _, change := range []func(*frames.Peer){func(p *frames.Peer) { p.DeviceID = "d2" }, func(p *frames.Peer) { p.RemoteIP = "10.0.0.9" }} {
				other := client(frames.RoleOperator, "operator.admin")
				change(other.PeerInfo)
				if o := r.send(t, other, req("1", "config.patch", `{"raw":"{}"}`)); !o.answer.OK {
					t.Errorf("%+v: %+v", other.PeerInfo, o.answer.Error)
				}
			}
		}
		{ // a reconnect does not renew it
			again := client(frames.RoleOperator, "operator.admin")
			again.PeerInfo.ConnID = "another"
			if o := r.send(t, again, req("1", "config.patch", `{"raw":"{}"}`)); o.answer.OK {
				t.Error("it did")
			}
		}
		{ // the budget comes before the params
			if o := r.send(t, c, req("1", "config.patch", `{}`)); !strings.HasPrefix(o.answer.Error.Message, "rate limit") {
				t.Errorf("%+v", o.answer.Error)
			}
		}
		{ // reads are free
			for range 100 {
				if o := r.send(t, c, req("1", "config.get", ``)); !o.answer.OK {
					t.Fatalf("%+v", o.answer.Error)
				}
			}
		}
		time.Sleep(42_599 * time.Millisecond)
		if o := patch(); o.answer.OK || o.answer.Error.RetryAfterMs != 1 {
			t.Fatalf("a millisecond early: %+v", o.answer)
		}
		time.Sleep(time.Millisecond)
		if o := patch(); !o.answer.OK {
			t.Fatalf("a minute later: %+v", o.answer.Error)
		}
	})
}

func TestCallersOfWhomNothingIsKnownShareNoBudget(t *testing.T) {
	b := newBudget(Default())
	for i := range 31 {
		if err := b.take("config.patch", &frames.Peer{ConnID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClockJumps(t *testing.T) {
	at := time.Unix(1_800_000_000, 0) // no monotonic reading: the worst clock there can be
	b := newBudget(Default())
	b.now = func() time.Time { return at }
	p := &frames.Peer{RemoteIP: "1"}
	spend := func() {
		for range 30 {
			b.take("config.patch", p)
		}
	}
	spend()
	at = at.Add(-24 * time.Hour)
	if err := b.take("config.patch", p); err != nil {
		t.Fatalf("back a day: %v", err)
	}
	spend()
	err := b.take("config.patch", p)
	if err == nil || err.RetryAfterMs > 60_000 {
		t.Fatalf("after a jump: %+v", err)
	}
	at = at.Add(48 * time.Hour)
	if err := b.take("config.patch", p); err != nil {
		t.Fatalf("forward two days: %v", err)
	}
}

func TestTheBudgetsTableIsBounded(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	cfg := Default()
	cfg.MaxBudgetEntries = 16
	b := newBudget(cfg)
	b.now = func() time.Time { return at }
	for i := range 1000 {
		at = at.Add(time.Second)
		if err := b.take("config.patch", &frames.Peer{RemoteIP: fmt.Sprint(i)}); err != nil {
			t.Fatalf("a new caller was locked out: %v", err)
		}
		if len(b.use) > 16 {
			t.Fatalf("%d entries", len(b.use))
		}
	}
}
