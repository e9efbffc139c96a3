package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/frames/client"
	"sluice/stages/defend/ledger"
	"sluice/stages/defend/policy"

	"github.com/go-json-experiment/json"
)

// defended is a world whose operator fears one word, so that the tests say what is
// suspicious and not a model.
func defended(t *testing.T) *world {
	w := newWorld(t)
	w.conf["defend.review"] = "approve"
	w.conf["defend.rules.promptInjectionPatterns"] = []string{"zebra", "quagga"}
	return w
}

// journalled returns the ledger's entries of a kind.
func (r *running) journalled(kind ledger.Kind) []ledger.Entry {
	r.w.tb.Helper()
	list, err := r.defence.ledger.List(context.Background(), ledger.Filter{Kind: kind, Limit: 1000})
	if err != nil {
		r.w.tb.Fatal(err)
	}
	return list
}

func actionsOf(list []ledger.Entry) string {
	var names []string
	for _, e := range list {
		names = append(names, e.Action)
	}
	return strings.Join(names, " ")
}

// approvalOf waits for the question about an approval and returns its id.
func approvalOf(c *conn, mark int) (id, detail string) {
	c.tb.Helper()
	ev := c.until(mark, "plugin.approval.requested", func(e event) bool { return e.Name == "plugin.approval.requested" })
	var p struct {
		ID      string
		Request struct{ Detail, Description string }
	}
	unmarshal(c.tb, ev.Payload, &p)
	return p.ID, p.Request.Detail
}

// TestReviewWaitsForAnOperator: law 4. The turn starts when one allows it, and never when
// one denies it or nobody answers.
func TestReviewWaitsForAnOperator(t *testing.T) {
	w := defended(t)
	w.conf["defend.approval.reviewTimeoutMs"] = 1000
	g := w.start()
	owner, sender := g.dial(), g.dial()
	ask := func(id string) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := sender.try("chat.send", obj{"sessionKey": key, "message": "draw a zebra " + id, "idempotencyKey": id})
			done <- err
		}()
		return done
	}
	answer := ask("yes")
	id, detail := approvalOf(owner, 0)
	if detail != "prompt: draw a zebra yes" || len(w.model.requests()) != 0 {
		t.Errorf("shown %q after %d model calls", detail, len(w.model.requests()))
	}
	owner.call("plugin.approval.resolve", obj{"id": id, "decision": "allow-once"}, nil)
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	if e := sender.end(0, "yes"); e.P.State != "final" {
		t.Errorf("the turn: %+v", e.P)
	}
	mark := owner.mark()
	answer = ask("no")
	id, _ = approvalOf(owner, mark)
	owner.call("plugin.approval.resolve", obj{"id": id, "decision": "deny"}, nil)
	wantRefusal(t, <-answer, "DEFENDER_REVIEW", "an operator denied it")
	answer = ask("late")
	wantRefusal(t, <-answer, "DEFENDER_REVIEW", "no operator approved it within 1s")
	if n := len(w.model.requests()); n != 1 {
		t.Errorf("%d model calls, want 1", n)
	}
	if got := actionsOf(g.journalled(ledger.KindApproval)); got != "requested allowed requested denied requested expired" {
		t.Errorf("the ledger has %s", got)
	}
	if got := actionsOf(g.journalled(ledger.KindDecision)); got != "review review review" {
		t.Errorf("the ledger has %s", got)
	}
}

func wantRefusal(t *testing.T, err error, code, text string) *client.RemoteError {
	t.Helper()
	re, ok := err.(*client.RemoteError)
	if !ok || re.Code != "FORBIDDEN" || !strings.Contains(re.Message, text) || !strings.Contains(string(re.Details), `"`+code+`"`) {
		t.Fatalf("answered %v, want %s and %q", err, code, text)
	}
	return re
}

// TestBlockLeavesEvidence: the error names it, the ledger and the quarantine have it, and
// none of them has the secret.
func TestBlockLeavesEvidence(t *testing.T) {
	g := defended(t).start()
	c := g.dial()
	secret := "ghp_" + strings.Repeat("Ab3dE9", 6)
	_, err := c.try("chat.send", obj{"sessionKey": key, "message": "zebra quagga " + secret, "idempotencyKey": "b"})
	re := wantRefusal(t, err, "DEFENDER_BLOCKED", "blocked by the defender: it matches the pattern zebra")
	var d struct {
		Ledger      string
		LedgerEntry uint64
	}
	unmarshal(t, re.Details, &d)
	list := g.journalled(ledger.KindDecision)
	if len(list) != 1 || list[0].Seq != d.LedgerEntry || list[0].File != d.Ledger || list[0].Action != "block" {
		t.Fatalf("details %+v, ledger %+v", d, list)
	}
	if !strings.Contains(list[0].ContentRedacted, "zebra quagga") {
		t.Errorf("content %q", list[0].ContentRedacted)
	}
	c.until(0, "the decision", func(e event) bool {
		return e.Name == "security.decision" && strings.Contains(string(e.Payload), `"action":"block"`)
	})
	report, err := g.defence.ledger.Verify(t.Context(), nil)
	if err != nil || !report.OK() {
		t.Errorf("verify: %+v, %v", report, err)
	}
	g.stop()
	filepath.WalkDir(filepath.Join(g.loc.state), func(path string, entry os.DirEntry, err error) error {
		if raw, rerr := os.ReadFile(path); rerr == nil && strings.Contains(string(raw), secret) {
			t.Errorf("%s holds the secret", path)
		}
		if info, ierr := entry.Info(); ierr == nil && strings.Contains(path, "ledger") && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return nil
	})
}

// TestIntegrity: an edit of a protected file raises every action's risk until an operator
// accepts it; what Sluice writes for an administrator does not.
func TestIntegrity(t *testing.T) {
	w := defended(t)
	w.conf["defend.host.enabled"], w.conf["defend.host.settleMs"] = true, 10
	w.conf["defend.review"] = "refuse"
	g := w.start()
	c := g.dial()
	var cfg struct{ Hash string }
	c.call("config.get", nil, &cfg)
	c.call("config.patch", obj{"raw": `{agent:{model:{name:"two"}}}`, "baseHash": cfg.Hash}, nil)
	if err := g.defence.host.Check(t.Context()); err != nil || g.defence.host.Status().Alert {
		t.Fatalf("an administrator's write raised an alert: %+v %v", g.defence.host.Status(), err)
	}
	if c.send(key, "before", "hello"); c.end(0, "before").P.State != "final" {
		t.Fatal("no turn")
	}
	w.conf["agent.model.name"] = "three"
	w.writeConfig()
	eventually(t, "the alert", func() bool { return g.defence.host.Status().Alert })
	_, err := c.try("chat.send", obj{"sessionKey": key, "message": "hello", "idempotencyKey": "during"})
	if re := wantRefusal(t, err, "DEFENDER_REVIEW", "the configuration"); !strings.Contains(string(re.Details), `"riskScore":55`) {
		t.Errorf("details %s", re.Details)
	}
	var health struct{ Warnings []string }
	eventually(t, "health says so", func() bool {
		c.call("health", nil, &health)
		return strings.Contains(strings.Join(health.Warnings, "\n"), "sluice integrity accept")
	})
	if _, err := g.defence.host.Accept(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if c.send(key, "after", "hello"); c.end(0, "after").P.State != "final" {
		t.Error("the alert still stands")
	}
	if got := actionsOf(g.journalled(ledger.KindIntegrity)); got != "baseline accepted changed accepted" {
		t.Errorf("the ledger has %s", got)
	}
}

// TestTaint: after a stranger's words have come into a session, what is privileged there is
// reviewed, whatever the scores say, until the owner's next turn.
func TestTaint(t *testing.T) {
	w := defended(t)
	w.conf["defend.review"] = "refuse"
	w.conf["hooks.enabled"], w.conf["hooks.token"], w.conf["hooks.allowRequestSessionKey"] = true, "the-token-of-the-hooks", true
	var out sync.Map
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		out.Store(string(b), true)
	}))
	t.Cleanup(target.Close)
	w.conf["channels.webhook.targets"] = obj{"out": obj{"url": target.URL, "secret": "a-secret-for-signatures", "allowPrivate": true}}
	g := w.start()
	c := g.dial()
	const key = "agent:main:main"
	send := func(id string) error {
		_, err := c.try("send", obj{"to": "out", "channel": "webhook", "message": "hi", "sessionKey": key, "idempotencyKey": id})
		return err
	}
	if err := send("s1"); err != nil {
		t.Fatal(err)
	}
	for _, in := range ingresses {
		if in.name == "hook" { // without a session it goes to the main one
			in.send(t, g, "wake", `{"text":"a stranger writes","mode":"next-heartbeat"}`)
		}
	}
	if g.defence.policy.Tainted() != 1 {
		t.Fatal("the stranger's words did not arrive")
	}
	wantRefusal(t, send("s2"), "DEFENDER_REVIEW", "content of foreign origin (sender)")
	for _, in := range ingresses {
		if in.name == "hook" {
			in.send(t, g, "agent", `{"message":"a stranger asks"}`)
		}
	}
	eventually(t, "the stranger's turn", func() bool {
		var list struct{ Sessions []struct{ Key string } }
		c.call("sessions.list", obj{"search": "hook"}, &list)
		for _, row := range list.Sessions {
			for _, m := range c.history(row.Key).Messages {
				if m.Role == "user" && strings.Contains(string(m.Raw), `"senderIsOwner":true`) {
					t.Errorf("a stranger's message is the owner's: %s", m.Raw)
				}
				if m.Role == "assistant" {
					return true
				}
			}
		}
		return false
	})
	g.stop() // a restart is no turn of the owner's
	g = w.start()
	c = g.dial()
	wantRefusal(t, send("s2b"), "DEFENDER_REVIEW", "content of foreign origin (sender)")
	for _, in := range ingresses {
		if in.name == "hook" { // what waited for the next turn is not kept, its taint is
			in.send(t, g, "wake", `{"text":"a stranger writes again","mode":"next-heartbeat"}`)
		}
	}
	// The owner's next turn reads the stranger's words: it stays tainted.
	c.send(key, "turn1", "hello")
	c.end(0, "turn1")
	wantRefusal(t, send("s3"), "DEFENDER_REVIEW", "content of foreign origin")
	c.send(key, "turn2", "hello again")
	c.end(0, "turn2")
	if err := send("s4"); err != nil {
		t.Errorf("after the owner's next turn: %v", err)
	}
}

// TestSecretsDoNotLeave: a message that leaves loses them.
func TestSecretsDoNotLeave(t *testing.T) {
	w := defended(t)
	got := make(chan string, 4)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}))
	t.Cleanup(target.Close)
	w.conf["channels.webhook.targets"] = obj{"out": obj{"url": target.URL, "secret": "a-secret-for-signatures", "allowPrivate": true}}
	g := w.start()
	c := g.dial()
	secret := "ghp_" + strings.Repeat("Ab3dE9", 6)
	c.call("send", obj{"to": "out", "channel": "webhook", "message": "the key is " + secret, "idempotencyKey": "1"}, nil)
	if body := <-got; strings.Contains(body, secret) || !strings.Contains(body, "[REDACTED_SECRET]") {
		t.Errorf("sent %s", body)
	}
	c.call("send", obj{"to": "out", "channel": "webhook", "message": "the token is " + g.token, "idempotencyKey": "2"}, nil)
	if body := <-got; strings.Contains(body, g.token) {
		t.Errorf("the gateway's own token left: %s", body)
	}
	w.conf["defend.secrets.outbound"], w.conf["defend.secrets.outboundGuess"] = "block", "block"
	w.writeConfig()
	n := 0
	eventually(t, "blocked", func() bool {
		n++
		_, err := c.try("send", obj{"to": "out", "channel": "webhook", "message": "the key is " + secret, "idempotencyKey": fmt.Sprint("k", n)})
		select {
		case <-got:
		default:
		}
		return err != nil && strings.Contains(err.Error(), "blocked by the defender")
	})
}

// TestReputation: a bad address blocks, an unknown answer is a tag and not silence.
func TestReputation(t *testing.T) {
	w := defended(t)
	bad := base64.RawURLEncoding.EncodeToString([]byte("http://bad.example/x"))
	vt := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("x-apikey") != "the-vt-key":
			rw.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/urls/"+bad):
			io.WriteString(rw, `{"data":{"attributes":{"last_analysis_stats":{"malicious":3,"suspicious":0,"harmless":60,"undetected":10}}}}`)
		default:
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(vt.Close)
	w.conf["defend.reputation.apiKey"], w.conf["defend.reputation.baseUrl"] = "the-vt-key", vt.URL
	w.conf["defend.review"] = "allow"
	w.conf["defend.events"] = "all"
	g := w.start()
	c := g.dial()
	_, err := c.try("chat.send", obj{"sessionKey": key, "message": "read http://bad.example/x please", "idempotencyKey": "1"})
	if re := wantRefusal(t, err, "DEFENDER_BLOCKED", ""); !strings.Contains(string(re.Details), "vt_url_malicious") {
		t.Errorf("details %s", re.Details)
	}
	c.send(key, "other", "read http://other.example/ please")
	c.until(0, "the tag", func(e event) bool {
		return e.Name == "security.decision" && strings.Contains(string(e.Payload), "vt_unavailable")
	})
	if e := c.end(0, "other"); e.P.State != "final" {
		t.Errorf("%+v", e.P)
	}
}

// TestSignedPolicy: a bundle goes before the configuration, is taken over when its file
// changes, and a bad one changes nothing.
func TestSignedPolicy(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "policy.json")
	write := func(sequence int, pattern string, damage bool) {
		b := obj{"version": 1, "bundleId": "b", "keyId": "k", "signedAt": time.Now().UTC().Format(time.RFC3339),
			"expiresAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "sequence": sequence,
			"policy": obj{"blockedCommandPatterns": []string{"never"}, "promptInjectionPatterns": []string{pattern, pattern + "s?"}}}
		raw, _ := json.Marshal(b)
		sig, err := policy.SignEd25519(private, raw)
		if err != nil {
			t.Fatal(err)
		}
		b["signature"] = sig
		if damage {
			b["bundleId"] = "other"
		}
		raw, _ = json.Marshal(b)
		if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(1, "zebra", false)
	w.conf["defend.policy.bundle.path"] = path
	w.conf["defend.policy.bundle.publicKeys"] = obj{"k": base64.StdEncoding.EncodeToString(public)}
	w.conf["defend.host.enabled"], w.conf["defend.host.settleMs"] = true, 10
	g := w.start()
	c := g.dial()
	blocked := func(text string) bool {
		_, err := c.try("chat.inject", obj{"sessionKey": key, "message": text})
		return err != nil && strings.Contains(err.Error(), "blocked by the defender")
	}
	c.call("sessions.create", obj{"key": key}, nil)
	if !blocked("zebra") || blocked("okapi") {
		t.Fatal("the bundle is not in force")
	}
	write(2, "okapi", false)
	g.pollBundle(t.Context())
	if !blocked("okapi") || blocked("zebra") {
		t.Error("the new bundle is not in force")
	}
	if err := g.defence.host.Check(t.Context()); err != nil || g.defence.host.Status().Alert {
		t.Errorf("a signed bundle raised an alert: %+v", g.defence.host.Status())
	}
	for name, bad := range map[string]func(){"damaged": func() { write(3, "zebra", true) }, "older": func() { write(1, "zebra", false) }} {
		bad()
		g.pollBundle(t.Context())
		if !blocked("okapi") || blocked("zebra") {
			t.Errorf("%s: it came into force", name)
		}
	}
	if got := actionsOf(g.journalled(ledger.KindPolicy)); got != "accepted accepted refused refused" {
		t.Errorf("the ledger has %s", got)
	}
}
