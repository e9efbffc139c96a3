package security_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/stages/decode"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/methods/security"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parts are the defender's parts as the tests want them.
type parts struct {
	calls []string
	alert bool
	fail  error
	full  error
}

func (p *parts) deps() security.Deps {
	return security.Deps{
		Release: func(_ context.Context, by string, entries []uint64) ([]security.Released, error) {
			p.calls = append(p.calls, fmt.Sprint("release ", by, entries))
			return []security.Released{{Seq: entries[0], Path: "/q/x"}}, p.fail
		},
		Status: func(context.Context) (any, bool, error) {
			p.calls = append(p.calls, "status")
			return map[string]bool{"alert": p.alert}, p.alert, p.fail
		},
		Shown: func(_ context.Context, by string) (uint64, error) {
			p.calls = append(p.calls, "shown "+by)
			return 7, p.full
		},
		Accept: func(_ context.Context, by string) (any, error) {
			p.calls = append(p.calls, "accept "+by)
			return map[string]bool{"alert": false}, p.fail
		},
	}
}

// call sends one request as peer through decode and dispatch and returns the payload, or the
// error's code and message.
func (p *parts) call(t *testing.T, peer *frames.Peer, method, params string) string {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	var pipe *pipeline.Pipeline
	d, err := dispatch.New(dispatch.Default(), security.New(p.deps()).Methods(), func(e *pipeline.Envelope, err error) { pipe.Resume(e, err) }, log)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := decode.New(decode.Default(), d.Native, log)
	if err != nil {
		t.Fatal(err)
	}
	pipe = pipelinetest.Start(t, pipeline.Default(), dec, d)
	c := pipelinetest.NewClient()
	c.Accept(peer)
	e := pipelinetest.Request(t, c, method, params)
	e.Peer = peer
	if err := pipe.Submit(e); err != nil {
		t.Fatal(err)
	}
	a := c.Next(t)
	if a.Error != nil {
		return a.Error.Code + " " + a.Error.Message
	}
	return string(a.Payload)
}

func operator(scopes frames.Scopes) *frames.Peer {
	return &frames.Peer{Role: frames.RoleOperator, Identity: "device:1", Scopes: scopes}
}

func TestOperator(t *testing.T) {
	admin := operator(frames.Scopes(frames.ScopeAdmin))
	for _, c := range []struct {
		parts          parts
		method, params string
		answer, calls  string
	}{
		{parts{}, "sluice.ledger.release", `{"entries":[3,4]}`, `{"released":[{"seq":3,"path":"/q/x"}]}`, "release device:1[3 4]"},
		{parts{}, "sluice.ledger.release", `{}`, "/entries: 1 to 1024", ""},
		{parts{}, "sluice.ledger.release", `{"entries":["x"]}`, "INVALID_REQUEST", ""},
		{parts{}, "sluice.ledger.release", `{"entries":[-1]}`, "INVALID_REQUEST", ""},
		{parts{fail: frames.Invalid("no such entry")}, "sluice.ledger.release", `{"entries":[3]}`, "no such entry", "release device:1[3]"},
		{parts{}, "sluice.integrity.status", `{"shown":true}`, `{"integrity":{"alert":false}}`, "status"},
		{parts{alert: true}, "sluice.integrity.status", `{}`, `{"integrity":{"alert":true}}`, "status"},
		{parts{alert: true}, "sluice.integrity.status", `{"shown":true}`, `"ledgerEntry":7`, "status shown device:1"},
		{parts{alert: true, full: errors.New("no room")}, "sluice.integrity.status", `{"shown":true}`, `"unnoted":"no room"`, "status shown device:1"},
		{parts{fail: frames.Invalid("unreadable")}, "sluice.integrity.status", `{}`, "unreadable", "status"},
		{parts{}, "sluice.integrity.accept", `{}`, `{"integrity":{"alert":false}}`, "accept device:1"},
		{parts{fail: frames.Invalid("unreadable")}, "sluice.integrity.accept", `{}`, "unreadable", "accept device:1"},
	} {
		got := c.parts.call(t, admin, c.method, c.params)
		if calls := strings.Join(c.parts.calls, " "); !strings.Contains(got, c.answer) || calls != c.calls {
			t.Errorf("%s %s: %s, calls %q", c.method, c.params, got, calls)
		}
	}
}

// TestOthersAreRefused: nobody but an operator with operator.admin, whatever the scopes.
func TestOthersAreRefused(t *testing.T) {
	all := frames.Scopes(frames.ScopeAdmin | frames.ScopeRead | frames.ScopeWrite | frames.ScopeNode)
	for name, peer := range map[string]*frames.Peer{
		"reader": operator(frames.Scopes(frames.ScopeRead | frames.ScopeWrite | frames.ScopeApprovals)),
		"node":   {Role: frames.RoleNode, Identity: "node", Scopes: all},
		"system": {Role: frames.RoleSystem, Identity: "turn", Scopes: all},
	} {
		for _, method := range []string{"sluice.ledger.release", "sluice.integrity.status", "sluice.integrity.accept"} {
			p := &parts{}
			if got := p.call(t, peer, method, `{"entries":[1]}`); !strings.HasPrefix(got, "FORBIDDEN ") && !strings.HasPrefix(got, "INVALID_REQUEST ") || len(p.calls) > 0 {
				t.Errorf("%s: %s: %s, %v", name, method, got, p.calls)
			}
		}
	}
}
