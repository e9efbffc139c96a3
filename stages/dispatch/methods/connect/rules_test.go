package connect

import (
	"strings"
	"testing"
	"time"

	"sluice/frames"
)

func TestCheckOrigin(t *testing.T) {
	const ok = ""
	for _, c := range []struct {
		name, origin, host string
		local              bool
		allowed            []string
		want               string
	}{
		{"page of this machine, any port", "http://localhost:5173", "127.0.0.1:18789", true, nil, ok},
		{"page of this machine, any scheme", "tauri://localhost", "127.0.0.1:18789", true, nil, ok},
		{"v6 loopback page", "http://[::1]:5173", "127.0.0.1:18789", true, nil, ok},
		{"loopback page of a remote client", "http://localhost:5173", "10.0.0.2:18789", false, nil, originNotAllowed},
		{"own host, loopback, local", "http://127.0.0.1:18789", "127.0.0.1:18789", true, nil, ok},
		{"own host, loopback, but not local", "http://127.0.0.1:18789", "127.0.0.1:18789", false, nil, originNotAllowed},
		{"own host, private address", "http://192.168.1.5:18789", "192.168.1.5:18789", false, nil, ok},
		{"own host, carrier-grade NAT", "http://100.101.1.1:18789", "100.101.1.1:18789", false, nil, ok},
		{"own host, .local", "http://box.local:18789", "BOX.local:18789", false, nil, ok},
		{"own host, tailnet", "https://box.tail.ts.net", "box.tail.ts.net", false, nil, ok},
		{"own host, default port dropped", "https://box.tail.ts.net:443/", "box.tail.ts.net", false, nil, ok},
		{"own host, public name: DNS rebinding", "https://evil.example", "evil.example", false, nil, originNotAllowed},
		{"own host, public address", "http://203.0.113.5:18789", "203.0.113.5:18789", false, nil, originNotAllowed},
		{"foreign page", "https://evil.example", "127.0.0.1:18789", true, nil, originNotAllowed},
		{"suffix of a loopback name", "http://localhost.evil.example", "127.0.0.1:18789", true, nil, originNotAllowed},
		{"name that ends in local without a dot", "http://evillocal", "evillocal", false, nil, originNotAllowed},
		{"allowed", "https://ui.example", "127.0.0.1:18789", false, []string{"https://UI.example "}, ok},
		{"allowed with another port", "https://ui.example:8443", "127.0.0.1:18789", false, []string{"https://ui.example"}, originNotAllowed},
		{"all allowed", "https://ui.example", "127.0.0.1:18789", false, []string{"*"}, ok},
		{"no origin", "", "127.0.0.1:18789", true, []string{"*"}, originInvalid},
		{"null", "null", "127.0.0.1:18789", true, []string{"*"}, originInvalid},
		{"credentials", "http://user@localhost", "127.0.0.1:18789", true, nil, originInvalid},
		{"path", "http://localhost/x", "127.0.0.1:18789", true, nil, originInvalid},
		{"escape", "http://local%68ost", "127.0.0.1:18789", true, nil, originInvalid},
		{"no scheme", "localhost:5173", "127.0.0.1:18789", true, nil, originInvalid},
		{"backslash", `http://localhost\@evil.example`, "127.0.0.1:18789", true, nil, originInvalid},
		{"outside ASCII", "http://löcalhost", "127.0.0.1:18789", true, nil, originInvalid},
		{"control byte", "http://local\thost", "127.0.0.1:18789", true, nil, originInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &frames.Handshake{Origin: c.origin, Host: c.host, Local: c.local}
			if got := checkOrigin(h, c.allowed); got != c.want {
				t.Fatalf("checkOrigin(%q, Host %q, local %v) = %q, want %q", c.origin, c.host, c.local, got, c.want)
			}
		})
	}
}

func FuzzParseOrigin(f *testing.F) {
	for _, s := range []string{"http://localhost:5173", "https://a.b:443/", "null", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "http://[::1]:80", "http://%00", "a://b:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, ok := parseOrigin(s)
		if !ok {
			return
		}
		again, ok := parseOrigin(o.text)
		if !ok || again != o {
			t.Fatalf("parseOrigin(%q) = %+v, whose text reads back as %+v, %v", s, o, again, ok)
		}
	})
}

func TestLimiterLocksOut(t *testing.T) {
	l := newLimiter(Default())
	who, now := subject{key: "203.0.113.9"}, time.UnixMilli(1_000_000)
	for i := range 10 {
		if _, ok := l.check(classShared, who, now); !ok {
			t.Fatalf("locked out after %d failures, want 10", i)
		}
		if d := l.fail(classShared, who, now.Add(time.Duration(i)*time.Second)); d != 0 {
			t.Fatalf("a remote failure waits %s, want 0", d)
		}
	}
	retry, ok := l.check(classShared, who, now.Add(10*time.Second))
	if ok || retry != 299_000 {
		t.Fatalf("after 10 failures: ok=%v retry=%d, want locked for 299000 ms more", ok, retry)
	}
	if _, ok := l.check(classDevice, who, now); !ok {
		t.Error("another credential class is locked out too")
	}
	if _, ok := l.check(classShared, subject{key: "203.0.113.10"}, now); !ok {
		t.Error("another address is locked out too")
	}
	if _, ok := l.check(classShared, who, now.Add(310*time.Second)); !ok {
		t.Error("still locked out after the lockout")
	}
}

func TestLimiterWindow(t *testing.T) {
	l := newLimiter(Default())
	who, now := subject{key: "203.0.113.9"}, time.UnixMilli(1_000_000)
	for i := range 40 { // one each 7 s: never 10 within 60 s
		l.fail(classShared, who, now.Add(time.Duration(7*i)*time.Second))
	}
	if _, ok := l.check(classShared, who, now.Add(280*time.Second)); !ok {
		t.Error("slow failures lock out")
	}
}

func TestLimiterDelaysThisMachine(t *testing.T) {
	l := newLimiter(Default())
	who, now := subject{key: "127.0.0.1", exempt: true}, time.UnixMilli(1_000_000)
	want := []int64{250, 500, 1000, 2000, 4000, 5000, 5000, 5000, 5000, 5000, 5000, 5000}
	for i, ms := range want {
		if got := l.fail(classShared, who, now).Milliseconds(); got != ms {
			t.Fatalf("failure %d waits %d ms, want %d", i+1, got, ms)
		}
		if _, ok := l.check(classShared, who, now); !ok {
			t.Fatal("this machine is locked out")
		}
	}
	l.reset(classShared, who)
	if got := l.fail(classShared, who, now).Milliseconds(); got != 250 {
		t.Fatalf("first failure after a success waits %d ms, want 250", got)
	}
	if got := l.fail(classShared, who, now.Add(2*time.Minute)).Milliseconds(); got != 250 {
		t.Fatalf("first failure in a window waits %d ms, want 250", got)
	}
}

func TestLimiterIsBounded(t *testing.T) {
	cfg := Default()
	cfg.LimiterEntries, cfg.MaxFailures = 16, 1
	l := newLimiter(cfg)
	now := time.UnixMilli(1_000_000)
	addr := func(i int) subject {
		return subject{key: "2001:db8::" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)}
	}
	for i := range 100 {
		l.fail(classShared, addr(i), now)
		if l.size() > 16 {
			t.Fatalf("%d entries, at most 16", l.size())
		}
	}
	if _, ok := l.check(classShared, addr(99), now); ok {
		t.Error("a full limiter lets an unknown client try: lockouts could be pushed out")
	}
	if _, ok := l.check(classShared, addr(99), now.Add(302*time.Second)); !ok {
		t.Error("unknown clients are refused after the lockouts ended")
	}
}

func TestSubject(t *testing.T) {
	long := "http://" + strings.Repeat("a", 4000) + ".example"
	for _, c := range []struct {
		h    frames.Handshake
		want subject
	}{
		{frames.Handshake{RemoteIP: "127.0.0.1", Local: true, PeerLoopback: true}, subject{"127.0.0.1", true}},
		{frames.Handshake{RemoteIP: "203.0.113.1"}, subject{"203.0.113.1", false}},
		// A forwarded address that claims to be this machine does not make it so.
		{frames.Handshake{RemoteIP: "127.0.0.1", PeerLoopback: true}, subject{"127.0.0.1", false}},
		{frames.Handshake{RemoteIP: "127.0.0.1", Local: true, Origin: "http://localhost:5173"}, subject{"browser-origin:http://localhost:5173", false}},
		{frames.Handshake{RemoteIP: "203.0.113.1", Origin: "http://localhost:5173"}, subject{"203.0.113.1", false}},
		{frames.Handshake{RemoteIP: "127.0.0.1", Local: true, Origin: "nonsense"}, subject{"browser-origin:invalid", false}},
	} {
		if got := subjectOf(&c.h); got != c.want {
			t.Errorf("subjectOf(%+v) = %+v, want %+v", c.h, got, c.want)
		}
	}
	if got := subjectOf(&frames.Handshake{RemoteIP: "::1", Local: true, Origin: long}); len(got.key) > 160 {
		t.Errorf("a long origin makes a key of %d bytes", len(got.key))
	}
}
