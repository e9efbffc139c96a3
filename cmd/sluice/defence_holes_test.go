package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/stages/defend"
	"sluice/stages/defend/ledger"
	"sluice/stages/defend/policy"
	"sluice/storage/config"
)

// TestChangedSecretsAreNoted: a replaced token changes who is let in, and its value is
// shown nowhere.
func TestChangedSecretsAreNoted(t *testing.T) {
	w := defended(t)
	w.conf["hooks.enabled"], w.conf["hooks.token"] = true, "the-token-of-the-hooks"
	g := w.start()
	w.conf["hooks.token"] = "another-token-of-the-hooks"
	w.writeConfig()
	eventually(t, "the ledger has the change", func() bool {
		for _, e := range g.journalled(ledger.KindPolicy) {
			if text := strings.Join(e.Reasons, " "); strings.Contains(text, "hooks.token") {
				return !strings.Contains(text, "another-token")
			}
		}
		return false
	})
}

// TestProtectedNames: what the policy protects is what this program calls it.
func TestProtectedNames(t *testing.T) {
	schema, err := config.NewSchema(sections()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range policy.ProtectedRoots() {
		found := false
		for _, f := range schema.Fields() {
			found = found || f.Key == root || strings.HasPrefix(f.Key, root+".")
		}
		if !found {
			t.Errorf("%q is protected and no key of the configuration", root)
		}
	}
}

// TestBundleThresholds: a bundle that names one threshold does not contradict the
// configuration's other one.
func TestBundleThresholds(t *testing.T) {
	w := defended(t)
	g := w.start()
	for _, c := range []struct{ review, block, wantReview, wantBlock int }{{80, 0, 64, 65}, {0, 20, 19, 20}, {10, 90, 10, 90}} {
		p := policy.BundlePolicy{}
		if c.review > 0 {
			p.ReviewThreshold = &c.review
		}
		if c.block > 0 {
			p.BlockThreshold = &c.block
		}
		cfg := section[defend.Config](g.conf.Current(), "defend")
		if got := withBundle(cfg, p); got.ReviewThreshold != c.wantReview || got.BlockThreshold != c.wantBlock || got.Validate() != nil {
			t.Errorf("%+v: %d %d", c, got.ReviewThreshold, got.BlockThreshold)
		}
	}
}

// TestAddressesCarryNoSecrets: not only a message's text leaves.
func TestAddressesCarryNoSecrets(t *testing.T) {
	w := defended(t)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Error("something left") }))
	t.Cleanup(target.Close)
	w.conf["channels.webhook.targets"] = obj{"out": obj{"url": target.URL, "secret": "a-secret-for-signatures", "allowPrivate": true}}
	g := w.start()
	c := g.dial()
	for i, part := range []string{"threadId", "accountId", "idempotencyKey", "to"} {
		params := obj{"to": "out", "channel": "webhook", "message": "hi", "idempotencyKey": fmt.Sprint("k", i)}
		params[part] = g.token
		c.refused("send", params, "FORBIDDEN", "it holds a secret")
	}
}

// TestSpansHideSecrets: a session or a run may be named after a secret.
func TestSpansHideSecrets(t *testing.T) {
	g := defended(t).start()
	secret := "ghp_" + strings.Repeat("Ab3dE9", 6)
	if got := g.trace.name("agent:main:" + secret); strings.Contains(got, secret) || !strings.HasPrefix(got, "agent:main:") {
		t.Errorf("%q", got)
	}
	if got := g.trace.name("agent:main:main"); got != "agent:main:main" {
		t.Errorf("%q", got)
	}
}

// TestSteeredForeignWordsTaint: words that were judged before a turn began, and are read by
// it afterwards, taint it, although its beginning was the owner's.
func TestSteeredForeignWordsTaint(t *testing.T) {
	w := defended(t)
	w.conf["hooks.enabled"], w.conf["hooks.token"], w.conf["hooks.allowRequestSessionKey"] = true, "the-token-of-the-hooks", true
	g := w.start()
	c := g.dial()
	const main = "agent:main:main"
	c.send(main, "first", "HOLD first")
	release := w.model.held(t)
	for _, in := range ingresses {
		if in.name == "hook" {
			in.send(t, g, "wake", `{"text":"a stranger writes","mode":"now"}`)
		}
	}
	eventually(t, "the stranger's words are given to the turn", func() bool { return g.stages.schedule.Stats.Steered.Load() == 1 })
	g.defence.policy.BeginTurn(main) // as if the turn had begun only now
	release()
	c.end(0, "first")
	if n := g.defence.policy.Tainted(); n != 1 {
		t.Errorf("%d sessions are tainted", n)
	}
}
