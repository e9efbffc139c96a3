package connect

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestFailuresFromThisMachineAreDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		wrong := params("gateway-client", "backend", token("wrong"))
		for i, want := range []int64{250, 500, 1000, 2000, 4000, 5000, 5000} {
			begin := time.Now()
			a := w.connect(local(), wrong)
			if got := time.Since(begin).Milliseconds(); got != want || a.code() != "AUTH_TOKEN_MISMATCH" {
				t.Fatalf("failure %d: %s after %d ms, want a mismatch after %d", i+1, a.code(), got, want)
			}
		}
		begin := time.Now()
		if a := w.connect(local(), params("gateway-client", "backend", token(testSecret))); !a.OK || time.Since(begin) != 0 {
			t.Fatalf("the right token after failures: ok=%v after %s", a.OK, time.Since(begin))
		}
		begin = time.Now()
		w.connect(local(), wrong)
		if got := time.Since(begin).Milliseconds(); got != 250 {
			t.Errorf("first failure after a success waits %d ms, want 250", got)
		}
	})
}

// TestDelayBlocksNobody: law 9, a guesser slows itself only.
func TestDelayBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		guesser := w.client(local())
		w.submit(guesser, params("gateway-client", "backend", token("wrong")))
		synctest.Wait()
		if w.h.Delayed() != 1 {
			t.Fatalf("%d answers wait, want 1", w.h.Delayed())
		}
		begin := time.Now()
		if a := w.connect(local(), params("gateway-client", "backend", token(testSecret))); !a.OK || time.Since(begin) != 0 {
			t.Fatalf("another client: ok=%v after %s", a.OK, time.Since(begin))
		}
		if a := w.await(guesser); a.code() != "AUTH_TOKEN_MISMATCH" {
			t.Fatalf("the guesser got %s", a.raw)
		}
	})
}

func TestDelayedAnswersAreBoundedAndDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(d *Deps) { d.Config.MaxDelayed = 2 })
		var waiting []*client
		for range 2 {
			c := w.client(local())
			w.submit(c, params("gateway-client", "backend", token("wrong")))
			synctest.Wait()
			waiting = append(waiting, c)
		}
		begin := time.Now()
		if a := w.connect(local(), params("gateway-client", "backend", token("wrong"))); a.code() != "AUTH_TOKEN_MISMATCH" || time.Since(begin) != 0 {
			t.Fatalf("over the bound: %s after %s, want a refusal at once", a.code(), time.Since(begin))
		}
		w.h.Close()
		for _, c := range waiting {
			w.await(c)
		}
		if w.h.Delayed() != 0 || time.Since(begin) != 0 {
			t.Errorf("%d answers wait %s after Close", w.h.Delayed(), time.Since(begin))
		}
	})
}

// TestLockout: CVE-2026-62220, the limiter is keyed by address and credential class, and
// holds for clients that are no browser too; even the right token does not pass.
func TestLockout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := remote()
		other.RemoteIP = "203.0.113.8"
		for i := range 10 {
			begin := time.Now()
			if a := w.connect(remote(), params("cli", "cli", token("wrong"))); a.code() != "AUTH_TOKEN_MISMATCH" || time.Since(begin) != 0 {
				t.Fatalf("failure %d: %s after %s", i+1, a.raw, time.Since(begin))
			}
		}
		a := w.connect(remote(), params("cli", "cli", token(testSecret)))
		if a.code() != "AUTH_RATE_LIMITED" || !a.Error.Retryable || a.Error.RetryAfterMs != 300_000 ||
			a.message() != "unauthorized: too many failed authentication attempts (retry later)" || a.close.Code != 1008 {
			t.Fatalf("locked out: %s close %v", a.raw, a.close)
		}
		if a := w.connect(other, params("cli", "cli", token(testSecret))); !a.OK {
			t.Errorf("another address: %s", a.raw)
		}
		time.Sleep(300 * time.Second)
		if a := w.connect(remote(), params("cli", "cli", token(testSecret))); !a.OK {
			t.Errorf("after the lockout: %s", a.raw)
		}
		for i := range 10 { // a web page on this machine is no local script
			page := local()
			page.Origin = "http://localhost:5173"
			begin := time.Now()
			if a := w.connect(page, params("webchat-ui", "webchat", token("wrong"))); a.code() != "AUTH_TOKEN_MISMATCH" || time.Since(begin) != 0 {
				t.Fatalf("page, failure %d: %s", i+1, a.raw)
			}
		}
		page := local()
		page.Origin = "http://localhost:5173"
		if a := w.connect(page, params("webchat-ui", "webchat", token(testSecret))); a.code() != "AUTH_RATE_LIMITED" {
			t.Errorf("page: %s, want a lockout", a.raw)
		}
		if a := w.connect(local(), params("cli", "cli", token(testSecret))); !a.OK {
			t.Errorf("this machine after a page's lockout: %s", a.raw)
		}
	})
}

// TestWrongSharedSecretWithDeviceToken: a wrong shared secret counts once, and only if
// the device token is wrong as well.
func TestWrongSharedSecretWithDeviceToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := newDevice(0)
		tok := w.connect(local(), params("cli", "cli", scopes("operator.read"), token(testSecret), d.sign())).hello(t).Auth.DeviceToken
		for range 12 {
			begin := time.Now()
			a := w.connect(local(), params("cli", "cli", scopes("operator.read"), token(tok), d.sign()))
			if h := a.hello(t); h.Auth.Method != "device-token" || time.Since(begin) != 0 {
				t.Fatalf("device token in auth.token: %s after %s", a.raw, time.Since(begin))
			}
		}
		begin := time.Now()
		if a := w.connect(local(), params("cli", "cli", scopes("operator.read"), token("wrong"), d.sign())); a.code() != "AUTH_TOKEN_MISMATCH" || time.Since(begin) != 250*time.Millisecond {
			t.Fatalf("%s after %s, want a mismatch after 250 ms", a.raw, time.Since(begin))
		}
		for range 10 { // the failures of device tokens lock out device tokens only
			w.connect(remote(), params("cli", "cli", scopes("operator.read"), deviceToken("wrong"), d.sign()))
		}
		if a := w.connect(remote(), params("cli", "cli", scopes("operator.read"), deviceToken(tok), d.sign())); a.code() != "AUTH_RATE_LIMITED" {
			t.Errorf("device token after ten failures: %s", a.raw)
		}
		if a := w.connect(remote(), params("cli", "cli", scopes("operator.read"), token(testSecret), d.sign())); !a.OK {
			t.Errorf("shared secret after failures of device tokens: %s", a.raw)
		}
	})
}

// TestAuthorizeSecret: one limiter for both paths.
func TestAuthorizeSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		far := remote()
		if ok, _ := w.h.AuthorizeSecret(&far, testSecret); !ok {
			t.Error("the right secret is refused")
		}
		for range 5 {
			if ok, _ := w.h.AuthorizeSecret(&far, "wrong"); ok {
				t.Fatal("a wrong secret passes")
			}
			w.connect(remote(), params("cli", "cli", token("wrong")))
		}
		if ok, retry := w.h.AuthorizeSecret(&far, testSecret); ok || retry != 300_000 {
			t.Errorf("after ten failures on both paths: ok=%v retry=%d", ok, retry)
		}
		if a := w.connect(remote(), params("cli", "cli", token(testSecret))); a.code() != "AUTH_RATE_LIMITED" {
			t.Errorf("connect: %s", a.raw)
		}
		if ok, _ := w.h.AuthorizeSecret(&far, " "); ok {
			t.Error("an empty secret passes")
		}
	})
}

func TestConfigBounds(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.FailureDelayMaxMs = 20_000 }, func(c *Config) { c.FailureDelayMaxMs = 1 },
		func(c *Config) { c.MaxFailures = 0 }, func(c *Config) { c.LimiterEntries = 0 },
	} {
		c := Default()
		if change(&c); c.Validate() == nil {
			t.Errorf("accepted: %+v", c)
		}
	}
	if _, err := New(Deps{Config: Default(), Auth: defaultAuth()}); err == nil {
		t.Error("New took Deps with holes")
	}
}
