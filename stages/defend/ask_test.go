package defend_test

import (
	"context"
	"strings"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/defend"
)

// TestBrokenBroker: a broker that panics refuses, and one that answers twice resumes once.
func TestBrokenBroker(t *testing.T) {
	g := mustGateway(t, nil, judgeBy)
	if r := g.call("chat.send", `{"message":"review me, broken broker"}`); r.err == nil || r.err.Code != frames.CodeUnavailable || g.worked.Load() != 0 {
		t.Fatalf("%+v", r.err)
	}
	g.submit("chat.send", `{"message":"review me"}`)
	q := <-g.asked
	q.done(nil)
	q.done(frames.Invalid("too late"))
	q.done(nil)
	if r := g.wait(); r.err != nil || g.worked.Load() != 1 {
		t.Fatalf("%v, worked %d", r.err, g.worked.Load())
	}
}

// TestAskShowsAll: what changes the meaning of a command is shown with it.
func TestAskShowsAll(t *testing.T) {
	g := mustGateway(t, nil, commandsReviewed)
	for params, want := range map[string][2]string{
		`{"command":"deploy","sessionKey":"main"}`:                         {"deploy", ""},
		`{"command":"deploy","env":{"LD_PRELOAD":"/tmp/x.so"}}`:            {"", "/tmp/x.so"},
		`{"command":"deploy","params":{"elevated":true}}`:                  {"", `"elevated":true`},
		`{"command":"deploy","args":["-p","x"]}`:                           {"", `["-p","x"]`},
		`{"command":"system.run","params":{"command":["deploy"],"n":"x"}}`: {"", "command: deploy"},
	} {
		g.submit("environments.session.exec", params)
		q := <-g.asked
		if q.Command != want[0] || !strings.Contains(q.Text, want[1]) || string(q.Content) != params {
			t.Errorf("%s: command %q, text %q", params, q.Command, q.Text)
		}
		q.done(frames.Invalid("no"))
		g.wait()
	}
}

// TestToolWithoutText: a tool that is called with no text is judged all the same.
func TestToolWithoutText(t *testing.T) {
	tools := fakeDefender(func(_ context.Context, a *defend.Action, f *defend.Findings) error {
		if a.Source == "update.run" || len(a.Tools) > 0 && string(a.Tools[0]) == "gateway" {
			f.Floor(pipeline.Block, "denied", "it is denied")
		}
		return nil
	})
	g := mustGateway(t, nil, tools)
	for method, params := range map[string]string{"tools.invoke": `{"name":"gateway","args":{"action":"restart"}}`, "update.run": `{}`} {
		if r := g.call(method, params); r.err == nil {
			t.Errorf("%s %s passed", method, params)
		}
	}
}
