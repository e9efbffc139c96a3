package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/frames/client"
)

// TestCrash: after a kill the running turn is reported as interrupted and those that
// waited start again, once, in their order.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.dial()
	busy(t, w, c)
	c.until(0, "the first delta", chatState("first", "delta"))
	var waiting []string
	for i := range 5 {
		id := fmt.Sprintf("%c%d", 'z'-i, i) // ids in another order than time
		waiting = append(waiting, id)
		c.send(key, id, "queued "+id, "queueMode", "followup")
	}
	g.kill()
	g = w.start()
	c = g.dial()
	eventually(t, "the waiting runs have ended", func() bool {
		var s struct{ Status string }
		c.call("agent.wait", obj{"runId": waiting[4], "timeoutMs": 50}, &s)
		return s.Status == "ok"
	})
	var s struct{ Status, Error string }
	if c.call("agent.wait", obj{"runId": "first"}, &s); s.Status != "error" || !strings.Contains(s.Error, "restarted") {
		t.Errorf("the interrupted run: %+v", s)
	}
	h := c.history(key)
	var users []string
	for _, text := range h.texts() {
		if after, ok := strings.CutPrefix(text, "user: queued "); ok {
			users = append(users, after)
		}
	}
	if !slices.Equal(users, waiting) {
		t.Errorf("the waiting messages ran as %q, were sent as %q", users, waiting)
	}
	for _, id := range waiting {
		if n := w.model.seen["queued "+id]; n != 1 {
			t.Errorf("the model was asked %d times for %s", n, id)
		}
	}
	if n := w.model.seen["HOLD first"]; n != 1 {
		t.Errorf("the interrupted message was put to the model %d times", n)
	}
	g.stop()
	// Nothing is left to start a third time.
	g = w.start()
	if n := g.runs.Count(); n != 0 {
		t.Errorf("%d runs were brought back after all had ended", n)
	}
}

// TestDrain: a stop lets a running turn end, tells everybody, and closes with 1012.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c, r := g.dial(), g.dial(readOnly)
	release := busy(t, w, c)
	c.send(key, "second", "after the restart", "queueMode", "followup")
	stopped := make(chan struct{})
	go func() { g.stop(); close(stopped) }()
	eventually(t, "the gateway drains", g.pipe.Draining)
	c.refused("status", nil, "UNAVAILABLE", "gateway restart in progress")
	release()
	<-stopped
	for _, conn := range []*conn{c, r} {
		if e := conn.end(0, "first"); e.P.State != "final" {
			t.Errorf("the running turn ended with %s", e.P.State)
		}
		conn.until(0, "shutdown", func(e event) bool { return e.Name == "shutdown" && e.P.Reason == "gateway stopping" })
		<-conn.Done()
		var closed *client.CloseError
		if !errors.As(conn.Err(), &closed) || closed.Code != 1012 || closed.Reason != "service restart" {
			t.Errorf("closed with %v", conn.Err())
		}
		conn.noGaps()
	}
	c = w.start().dial()
	eventually(t, "the waiting message is answered by the next process", func() bool {
		return slices.Equal(c.history(key).texts(), []string{"user: HOLD first", "assistant: word0 released",
			"user: after the restart", "assistant: echo: after the restart"})
	})
}

// TestDrainTimeIsOver: a turn that does not end is ended, and what it said is kept.
func TestDrainTimeIsOver(t *testing.T) {
	w := newWorld(t)
	w.conf["pipeline.drainMs"] = 50
	g := w.start()
	c := g.dial()
	c.send(key, "slow", "SLOW forever")
	c.until(0, "a delta", chatState("slow", "delta"))
	begin := time.Now()
	g.stop()
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the stop took %s", d)
	}
	if e := c.end(0, "slow"); e.P.State != "aborted" || e.P.StopReason != "restart" {
		t.Errorf("the end: %s %s", e.P.State, e.P.StopReason)
	}
	c = w.start().dial()
	if got := c.history(key).texts(); len(got) != 2 || !strings.HasPrefix(got[1], "assistant: word0") {
		t.Errorf("history: %q", got)
	}
}

// TestStopDoesNotWaitForWaiters: a client that waits for a run does not hold up a stop.
func TestStopDoesNotWaitForWaiters(t *testing.T) {
	w := newWorld(t)
	w.conf["pipeline.drainMs"] = 20_000
	g := w.start()
	c := g.dial()
	done := make(chan error, 1)
	go func() {
		_, err := c.try("agent.wait", obj{"runId": "nobody's", "timeoutMs": 60_000})
		done <- err
	}()
	if err := <-done; err != nil { // of an unknown run it does not wait
		t.Fatal(err)
	}
	busy(t, w, c)
	go func() {
		_, err := c.try("agent.wait", obj{"runId": "first", "timeoutMs": 60_000})
		done <- err
	}()
	eventually(t, "the handler waits", func() bool { n, _ := g.stages.dispatch.Waiting(); return n == 1 })
	c.call("chat.abort", obj{"sessionKey": key}, nil)
	c.end(0, "first")
	<-done
	c.send(key, "next", "HOLD next")
	release := w.model.held(t)
	go func() {
		_, err := c.try("agent.wait", obj{"runId": "next", "timeoutMs": 60_000})
		done <- err
	}()
	eventually(t, "the handler waits", func() bool { n, _ := g.stages.dispatch.Waiting(); return n == 1 })
	release()
	begin := time.Now()
	g.stop()
	<-done
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the stop took %s", d)
	}
}

// TestReload: a new model is used from the next turn on; a broken file changes nothing.
func TestReload(t *testing.T) {
	w := newWorld(t)
	w.conf["agent.model.name"] = "one"
	g := w.start()
	c := g.dial()
	turn := func(id string) string {
		c.send(key, id, id)
		if e := c.end(0, id); e.P.State != "final" {
			t.Fatalf("%s: %+v", id, e.P)
		}
		calls := w.model.requests()
		return calls[len(calls)-1].Model
	}
	if m := turn("t1"); m != "one" {
		t.Errorf("model %q", m)
	}
	hash := g.conf.Current().Hash
	w.conf["agent.model.name"] = "two"
	w.writeConfig()
	eventually(t, "the new configuration is in force", func() bool { return g.conf.Current().Hash != hash })
	eventually(t, "the new model is in force", func() bool { return g.runs.Model("main").ID == "two" })
	if m := turn("t2"); m != "two" {
		t.Errorf("model %q", m)
	}
	w.writeConfigText(`{agent:{model:{name:"three"}, turnTimeoutMs: -5}}`)
	eventually(t, "the broken file is reported", func() bool { return g.conf.Status().Error != "" })
	if m := turn("t3"); m != "two" {
		t.Errorf("after a broken file the model is %q", m)
	}
	var health struct{ Warnings []string }
	eventually(t, "health names the broken file", func() bool {
		c.call("health", nil, &health)
		return strings.Contains(strings.Join(health.Warnings, "\n"), "config: ")
	})
	w.writeConfig()
	eventually(t, "the file is good again", func() bool { return g.conf.Status().Error == "" })
	eventually(t, "health is good again", func() bool {
		health.Warnings = nil
		c.call("health", nil, &health)
		return len(health.Warnings) == 0
	})
	// The session's own model.
	c.call("sessions.patch", obj{"key": key, "model": "fake/own"}, nil)
	if m := turn("t4"); m != "own" {
		t.Errorf("a session with a model of its own asked %q", m)
	}
	c.call("sessions.patch", obj{"key": key, "model": nil}, nil)
	if m := turn("t5"); m != "two" {
		t.Errorf("after taking it back it asked %q", m)
	}
}

// TestTokenRotation: a new token ends the connections that the old one opened.
func TestTokenRotation(t *testing.T) {
	w := newWorld(t)
	w.conf["gateway.auth.token"] = "the-first-token-of-all"
	g := w.start()
	c := g.dial()
	w.conf["gateway.auth.token"] = "the-second-token-of-all"
	w.writeConfig()
	<-c.Done()
	var closed *client.CloseError
	if !errors.As(c.Err(), &closed) || closed.Code != 4001 || closed.Reason != "gateway auth changed" {
		t.Errorf("closed with %v", c.Err())
	}
	g.dial().call("health", nil, nil)
	o := client.Default()
	o.URL, o.Auth.Token = "ws://"+g.Addr().String(), "the-first-token-of-all"
	if cl, err := client.Dial(t.Context(), o); err == nil {
		cl.Close()
		t.Error("the old token still opens connections")
	}
}

// TestStartFails: a gateway that cannot start says why, ends, and leaves nothing.
func TestStartFails(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(w *world)
		text    string
	}{
		"a bad configuration":      {func(w *world) { w.conf["agent.retries"] = -1 }, "retries"},
		"no backend of that name":  {func(w *world) { w.conf["storage.path"] = "x.oracle" }, ""},
		"the state cannot be made": {func(w *world) { w.file("sluice.db/in/the/way") }, ""},
		"the quarantine is a file": {func(w *world) { w.file("quarantine") }, "quarantine"},
		"the address is taken":     {func(w *world) { w.conf["taken"] = true }, "another gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.prepare(w)
			opts := w.options()
			if w.conf["taken"] != nil {
				delete(w.conf, "taken")
				opts.flags["gateway.listen"] = newWorld(t).start().Addr().String()
			}
			w.writeConfig()
			g, err := newGateway(t.Context(), opts)
			if err == nil {
				err = g.Start(t.Context())
				stop := (&running{Gateway: g, w: w}).stop
				stop()
			}
			if name == "no backend of that name" && err == nil {
				return // the ending decides only among known ones
			}
			if err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v, want one with %q", err, tc.text)
			}
		})
	}
}

// file puts a file where the gateway wants a folder, or the reverse.
func (w *world) file(name string) {
	w.tb.Helper()
	path := filepath.Join(w.state, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
		w.tb.Fatal(err)
	}
}
