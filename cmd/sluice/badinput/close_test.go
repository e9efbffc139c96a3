package badinput_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// TestShutdownCloses: SIGTERM ends every socket with 1012, after the event shutdown to
// who is connected (wire.md 3.9 and section 1), and requests under way are answered.
func TestShutdownCloses(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	operator, waiting := g.operator(t), g.dial(t)
	node := g.dial(t)
	node.mustConnect(clientOf("node-host", "node").with("role", "node").as(newDevice(t)))
	half := g.operator(t)
	half.write(clientText(requestFrame("x", "health", ""))[:5])
	g.terminate()
	for _, p := range []*peer{operator, node} {
		for {
			f, ok := p.frame()
			if !ok {
				t.Fatalf("no event shutdown: %s", f.raw)
			}
			if f.Event == "shutdown" {
				if string(f.Payload) != `{"reason":"gateway stopping"}` {
					t.Errorf("shutdown %s", f.Payload)
				}
				break
			}
		}
		p.wantClose("1012 service restart")
	}
	waiting.wantClose("1012 service restart")
	half.wantClose("1012 service restart")
	<-g.ended
}

// TestDrain: while a stop waits for a run under way, what still comes is told to try
// again, a handshake with 1013 (wire.md 3.9), and nothing hangs.
func TestDrain(t *testing.T) {
	t.Parallel()
	m := startModel(t)
	g := start(t, m.settings().and(settings{"pipeline.drainMs": 1500}))
	p := g.operator(t)
	if r := p.call("chat.send", `{"sessionKey":"main","message":"HANG","idempotencyKey":"k1"}`); !r.OK {
		t.Fatal(r)
	}
	if !poll(func() bool { return m.calls.Load() == 1 }) {
		t.Fatal("the model was not asked")
	}
	early := g.dial(t)
	g.terminate()
	if !poll(func() bool { return strings.Contains(g.out.String(), "draining") }) {
		t.Fatal("it does not drain")
	}
	for _, r := range []reply{p.call("status", ""), early.connect(backend("operator.read"))} {
		if r.Error.Code != "UNAVAILABLE" || !strings.Contains(r.Error.Message, "gateway restart") || !r.Error.Retryable || r.Error.RetryAfterMs <= 0 {
			t.Error(r)
		}
	}
	early.wantClose("1013 gateway restart in progress")
	if res := g.http(t, "GET", "/readyz", ""); res.StatusCode != 503 {
		t.Errorf("/readyz: %s", res.Status)
	}
	for { // the run ends as aborted, then the socket
		f, ok := p.frame()
		if !ok {
			if f.raw != "close 1012 service restart" {
				t.Error(f.raw)
			}
			break
		}
	}
	<-g.ended
}

// patchConfig merges raw into the configuration, as config.patch wants it.
func (p *peer) patchConfig(raw string) reply {
	p.t.Helper()
	var got struct {
		Hash string `json:"hash"`
	}
	if err := json.Unmarshal(p.call("config.get", "").Payload, &got); err != nil {
		p.t.Fatal(err)
	}
	return p.call("config.patch", string(mustJSON(p.t, object{"raw": raw, "baseHash": got.Hash})))
}

// TestSecretRotation: a new secret closes what the old one let in, at once, and the old
// one opens nothing (GHSA-xmxx, CVE-2026-41916).
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"gateway.auth.token": token, "gateway.handshake.failureDelayMs": 0})
	for _, secret := range [][2]string{{token, "another-token-9876543210"}, {"another-token-9876543210", token}} {
		old, next := object{"token": secret[0]}, object{"token": secret[1]}
		admin, reader, device := g.dial(t), g.dial(t), g.dial(t)
		admin.mustConnect(backend(allScopes...).with("auth", old))
		reader.mustConnect(backend("operator.read").with("auth", old))
		device.mustConnect(clientOf("cli", "cli", "operator.read").with("auth", old).as(newDevice(t)))
		pending := g.dial(t) // its connect comes after the change
		if r := admin.patchConfig(fmt.Sprintf(`{"gateway":{"auth":{"token":%q}}}`, secret[1])); !r.OK {
			t.Fatal(r)
		}
		for _, p := range []*peer{admin, reader, device} {
			p.wantClose("4001 gateway auth changed")
		}
		pending.refusedConnect(backend("operator.read").with("auth", old), "INVALID_REQUEST", tokenMismatch, "")
		p := g.dial(t)
		p.mustConnect(backend("operator.read").with("auth", next))
		p.bye()
		if res := g.http(t, "GET", "/api/diagnostics/prometheus", "", "Authorization", "Bearer "+secret[0]); res.StatusCode != 401 {
			t.Errorf("the old secret over HTTP: %s", res.Status)
		}
	}
	if log := g.out.String(); strings.Contains(log, token) || strings.Contains(log, "another-token") {
		t.Error("a secret is in the log")
	}
}

// TestWaitsEndWithTheirClient: a client that leaves takes its waiting requests along, or
// a few clients could use up all places for such requests.
func TestWaitsEndWithTheirClient(t *testing.T) {
	t.Parallel()
	g, p := startHanging(t)
	const many = 100
	waiter := g.operator(t)
	for i := range many {
		waiter.send(requestFrame(fmt.Sprint(i), "agent.wait", `{"runId":"run1","timeoutMs":600000}`))
	}
	if !poll(func() bool { return g.level().frames > many }) {
		t.Fatalf("they do not wait: %+v", g.level())
	}
	_ = waiter.Close()
	gone := func() bool { return g.level().frames < many/2 }
	for began := time.Now(); !gone() && time.Since(began) < 2*time.Second; {
		p.mustHealth()
	}
	if !gone() {
		t.Errorf("%d requests of a client that is gone still wait", g.level().frames)
	}
	p.endRun()
}

// TestWaitsDoNotBlockOthers: what a waiting request was sent in must not count against
// the frames of everybody for as long as it waits.
func TestWaitsDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	g, p := startHanging(t)
	waiter := g.operator(t)
	for i := range 2 {
		waiter.send(pad(requestFrame(fmt.Sprint(i), "agent.wait", `{"runId":"run1","timeoutMs":600000}`), maxFrame))
	}
	if !poll(func() bool { return g.level().frames >= 3 }) {
		t.Fatalf("they do not wait: %+v", g.level())
	}
	for _, method := range []string{"health", "status", "sessions.list"} {
		if r := p.call(method, ""); !r.OK {
			t.Errorf("%s while two large requests wait: %s", method, r)
		}
	}
	_ = waiter.Close()
	if t.Failed() { // not even the run can be aborted now
		g.terminate()
		return
	}
	p.endRun()
}

// startHanging starts a gateway in which the run run1 is under way and does not end.
func startHanging(t testing.TB) (*gateway, *peer) {
	t.Helper()
	m := startModel(t)
	// 25 MiB of JSON take longer than two seconds on a machine that is busy; two such
	// requests may wait here.
	g := start(t, m.settings().and(settings{"pipeline.drainMs": 1000, "pipeline.timeoutsMs.decode": 30_000, "pipeline.waitingBytes": 60 << 20}))
	p := g.operator(t)
	if r := p.call("chat.send", `{"sessionKey":"main","message":"HANG","idempotencyKey":"run1"}`); !r.OK {
		t.Fatal(r)
	}
	if !poll(func() bool { return m.calls.Load() == 1 }) {
		t.Fatal("the model was not asked")
	}
	return g, p
}

// endRun aborts what hangs and leaves.
func (p *peer) endRun() {
	p.t.Helper()
	if !poll(func() bool { return p.call("chat.abort", `{"sessionKey":"main"}`).OK }) {
		p.t.Error("the run cannot be aborted")
	}
	p.bye()
}
