//go:build e2e

package badinput_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The parts of a gateway whose wall clock a test can move. Go programs do not go through
// libc, so libfaketime cannot reach them; an overlay of package time can. The monotonic
// clock goes on as it does when an administrator sets the time.
const (
	jumpSource = `package time

import "sync/atomic"

// ClockJump are seconds that Now adds to the wall clock.
var ClockJump atomic.Int64
`
	stdinSource = `package main

import (
	"bufio"
	"os"
	"strconv"
	"time"
)

func init() {
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			if n, err := strconv.ParseInt(in.Text(), 10, 64); err == nil {
				time.ClockJump.Store(n)
			}
		}
	}()
}
`
)

// buildJumping builds the program with a movable clock. The first build compiles all
// packages anew and takes minutes; later ones come from the cache.
func buildJumping(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "sluice-clock") // paths of an overlay are part of the cache's keys
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(runtime.GOROOT(), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const read = "\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), read) == 0 {
		t.Skip("this Go reads its clock in another way; the overlay must be adapted")
	}
	patched := strings.Replace(string(source), read, read+"\tsec += ClockJump.Load()\n", 1)
	replace := object{}
	for target, text := range map[string]string{original: patched, filepath.Join(filepath.Dir(original), "zz_jump.go"): jumpSource,
		filepath.Join(repository(t), "cmd", "sluice", "zz_clock.go"): stdinSource} {
		file := filepath.Join(dir, filepath.Base(target))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[target] = file
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, mustJSON(t, object{"Replace": replace}), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "sluice-clock")
	if err := build(out, "-overlay", overlay); err != nil {
		t.Fatal(err)
	}
	return out
}

func repository(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Clean(filepath.Join(wd, "..", "..", ".."))
}

// TestClockJumps sets the clock of a running gateway forth and back by years. Sockets
// stay, requests are answered, what was acknowledged is there, nothing is done twice,
// and nobody is locked out, or in, for longer than before.
func TestClockJumps(t *testing.T) {
	normal := program
	program = buildJumping(t)
	defer func() { program = normal }()
	m := startModel(t)
	g := start(t, m.settings().and(behindProxy).and(settings{"gateway.ws.tickIntervalMs": 200,
		"gateway.handshake.failureDelayMs": 0, "gateway.handshake.lockoutMs": 3000}))
	p := g.operator(t)
	day := int64(24 * 3600)
	send := func(i int) reply {
		return p.call("chat.send", fmt.Sprintf(`{"sessionKey":"main","message":"m%d","idempotencyKey":"k%d"}`, i, i))
	}
	if r := send(0); !r.OK {
		t.Fatal(r)
	}
	for i, jump := range []int64{365 * day, -365 * day, -20 * 365 * day, 100, 60 * 365 * day, 0} {
		g.jump(t, jump)
		_ = p.SetDeadline(time.Now().Add(patience))
		if r := send(i + 1); !r.OK {
			t.Errorf("after a jump to %d: %s", jump, r)
		}
		if r := send(i + 1); !r.OK || strings.Contains(r.raw, `"started"`) {
			t.Errorf("a repetition after a jump to %d: %s", jump, r)
		}
		for _, method := range []string{"health", "status", "sessions.list", "system-presence", "device.pair.list"} {
			if r := p.call(method, ""); !r.OK {
				t.Errorf("%s after a jump to %d: %s", method, jump, r)
			}
		}
		if f, ok := p.event("tick"); !ok {
			t.Fatalf("no tick after a jump to %d: %s", jump, f.raw)
		}
		device := g.dial(t)
		device.mustConnect(clientOf("cli", "cli", "operator.read").as(newDevice(t)))
		device.bye()
		g.lockedOutFor(t, fmt.Sprintf("203.0.113.%d", 100+i), jump)
	}
	r := p.call("chat.history", `{"sessionKey":"main"}`)
	for i := range 7 {
		if n := strings.Count(r.raw, fmt.Sprintf(`"content":"m%d"`, i)); n != 1 {
			t.Errorf("m%d is in the history %d times", i, n)
		}
	}
	p.bye()
}

// jump moves the wall clock to so many seconds off.
func (g *gateway) jump(t *testing.T, seconds int64) {
	t.Helper()
	if _, err := fmt.Fprintln(g.stdin, seconds); err != nil {
		t.Fatal(err)
	}
	want := time.Now().Unix() + seconds
	if !poll(func() bool {
		p := g.dial(t, from("203.0.113.250"))
		defer p.Close()
		return max(p.challenge.TS/1000-want, want-p.challenge.TS/1000) < 60
	}) {
		t.Fatalf("the clock did not jump by %d s", seconds)
	}
}

// lockedOutFor locks an address out and moves the clock back by a year: the lockout must
// end all the same.
func (g *gateway) lockedOutFor(t *testing.T, ip string, jump int64) {
	t.Helper()
	for range 10 {
		p := g.dial(t, from(ip))
		p.connect(clientOf("test", "test").with("auth", object{"token": "wrong"}))
		_ = p.Close()
	}
	p := g.dial(t, from(ip))
	p.refusedConnect(clientOf("test", "test"), "INVALID_REQUEST", rateLimited, "")
	g.jump(t, jump-365*24*3600)
	defer g.jump(t, jump)
	if !poll(func() bool {
		p := g.dial(t, from(ip))
		defer p.Close()
		return p.connect(clientOf("test", "test")).OK
	}) {
		t.Error("a lockout of 3 s outlasts a clock that was set back")
	}
}
