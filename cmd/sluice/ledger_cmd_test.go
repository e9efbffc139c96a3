package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/stages/defend/ledger"

	"github.com/go-json-experiment/json"
)

// start runs a gateway that the test stops; the commands find it.
func (c *cli) start() (stop func()) {
	c.tb.Helper()
	loc, err := locate("", "", getenv(c.env))
	if err != nil {
		c.tb.Fatal(err)
	}
	g, err := newGateway(c.tb.Context(), gatewayOptions{location: loc, environ: c.env,
		flags: map[string]string{"gateway.listen": "127.0.0.1:0", "telemetry.logs.level": "error"}})
	if err == nil {
		err = g.Start(c.tb.Context())
	}
	if err != nil {
		c.tb.Fatal(err)
	}
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+g.Addr().String())
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			c.tb.Errorf("stop: %v", err)
		}
	}
	c.tb.Cleanup(stop)
	return stop
}

const blocking = `{defend: {rules: {promptInjectionPatterns: ["zebra", "quagga"]}}}`

// TestLedgerCommands: a block is listed, shown, verified, exported and released, with and
// without a gateway.
func TestLedgerCommands(t *testing.T) {
	c := newCLI(t)
	c.want(1, []string{"ledger", "list"}, "no gateway has run with this state folder yet")
	c.want(1, []string{"ledger", "release", "1"}, "no gateway has run")
	c.write("sluice.json5", blocking)
	stop := c.start()
	c.want(1, []string{"call", "chat.send", "--params", `{"sessionKey":"main","message":"a zebra and a quagga \u001b[31m","idempotencyKey":"k1"}`}, "DEFENDER_BLOCKED")

	out := c.want(0, []string{"ledger", "list", "--kind", "decision", "--since", "1h", "--tag", "prompt_injection"}, "SEQ", "block", "chat.send")
	seq := strings.Fields(strings.Split(out, "\n")[1])[0]
	c.want(0, []string{"ledger", "list", "--json", "--action", "block", "--session", "agent:main:main", "--newest", "--limit", "1"}, `"seq": `+seq, `"damaged": false`)
	if out := c.want(0, []string{"ledger", "list", "--until", "2020-01-01"}); strings.Count(out, "\n") != 1 {
		t.Errorf("entries before 2020:\n%s", out)
	}
	out = c.want(0, []string{"ledger", "show", seq}, "kind       decision", "risk       90", "session    agent:main:main", "file       blocked-", `a zebra and a quagga \x1b[31m`)
	if strings.Contains(out, "\x1b") {
		t.Error("an escape reached the terminal")
	}
	c.want(0, []string{"ledger", "show", seq, "--json"}, `"contentRedacted": "a zebra and a quagga`)
	c.want(1, []string{"ledger", "show", "99999"}, "entry 99999", "no such entry")
	for _, args := range [][]string{{"show", "x"}, {"show"}, {"list", "--kind", "poem"}, {"list", "--since", "soon"}, {"list", "--limit", "0"}, {"verify", "--anchor", "1:x"},
		{"export", "--format", "xml"}, {"release"}, {"release", "0"}, {"keygen"}} {
		c.want(2, append([]string{"ledger"}, args...))
	}

	online := c.want(0, []string{"ledger", "release", seq}, filepath.Join(c.state, "quarantine", "blocked-"))
	c.want(1, []string{"ledger", "release", "1"}, "entry 1 has no file in quarantine")
	stop()
	if offline := c.want(0, []string{"ledger", "release", seq}); offline != online {
		t.Errorf("released %q without a gateway, %q with one", offline, online)
	}
	c.want(0, []string{"ledger", "list", "--kind", "release"}, "shared", "local:")

	csv := filepath.Join(t.TempDir(), "out.csv")
	c.want(0, []string{"ledger", "export", "--format", "csv", "-o", csv})
	c.want(1, []string{"ledger", "export", "-o", csv}, "is there already")
	if b, err := os.ReadFile(csv); err != nil || strings.Count(string(b), "\n") < 4 || !strings.Contains(string(b), "chat.send") {
		t.Errorf("exported %s %v", b, err)
	}
	c.want(0, []string{"ledger", "export", "--kind", "decision"}, `"method":"chat.send"`)
}

// TestLedgerVerify: one changed byte is found and named, by every command that meets it.
func TestLedgerVerify(t *testing.T) {
	c := newCLI(t)
	c.start()()
	out := c.want(0, []string{"ledger", "verify"}, "nothing was changed", "keep elsewhere: --anchor ")
	_, anchor, _ := strings.Cut(strings.TrimSpace(out), "--anchor ")
	c.want(0, []string{"ledger", "verify", "--anchor", anchor, "--json"}, `"lastHash"`)
	number, hash, _ := strings.Cut(anchor, ":")
	c.want(exitFound, []string{"ledger", "verify", "--anchor", number + ":" + strings.Repeat("0", len(hash))}, "problem")

	files, _ := filepath.Glob(filepath.Join(c.state, "ledger", "*.jsonl"))
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], bytes.Replace(raw, []byte("integrity"), []byte("intEgrity"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	c.want(exitFound, []string{"ledger", "verify"}, filepath.Base(files[0])+":2: ", "changed")
	c.want(exitFound, []string{"ledger", "list"}, "sluice ledger verify says where")
	c.want(exitFound, []string{"ledger", "export"}, "sluice ledger verify says where")
	c.want(1, []string{"doctor"}, "fail  ledger", ":2: ")
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	c.want(1, []string{"doctor"}, "fail  ledger", files[0]+" is open to other users")
}

// TestLedgerKey: encrypted content is read with the private key alone.
func TestLedgerKey(t *testing.T) {
	c := newCLI(t)
	dir := t.TempDir()
	key, other := filepath.Join(dir, "key"), filepath.Join(dir, "other")
	public := strings.TrimSpace(c.want(0, []string{"ledger", "keygen", "--out", key}))
	c.want(0, []string{"ledger", "keygen", "--out", other})
	c.want(1, []string{"ledger", "keygen", "--out", key}, "exists")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key: %v %v", info, err)
	}
	cfg := ledger.Default()
	cfg.Content, cfg.EncryptTo = ledger.ContentEncrypted, public
	l, err := ledger.Open(filepath.Join(c.state, "ledger"), cfg, ledger.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), ledger.Entry{Kind: ledger.KindDecision, Action: "block", Content: []byte("what was said")}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.want(0, []string{"ledger", "show", "1"}, "read it with --key FILE")
	c.want(0, []string{"ledger", "show", "1", "--key", key}, "decrypted  what was said")
	c.want(0, []string{"ledger", "show", "1", "--key", key, "--json"}, `"contentDecrypted": "what was said"`)
	c.want(1, []string{"ledger", "show", "1", "--key", other}, "ledger:")
	c.want(1, []string{"ledger", "show", "1", "--key", dir}, "--key")
}

// TestIntegrityCommands: a changed file is shown by status and doctor, which say so in the
// ledger, until it is accepted; with and without a gateway.
func TestIntegrityCommands(t *testing.T) {
	c := newCLI(t)
	c.want(1, []string{"integrity"}, "no gateway has run")
	c.want(0, []string{"doctor"}, "integrity      there is no baseline yet", "ledger         ")
	file := filepath.Join(t.TempDir(), "policy.txt")
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.write("sluice.json5", fmt.Sprintf(`{defend: {host: {paths: [%q], watch: false}}}`, file))
	change := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stop := c.start()
	for _, running := range []bool{true, false} {
		if !running {
			stop()
		}
		c.want(0, []string{"integrity"}, "files as the baseline says", "accepted ")
		change(fmt.Sprint("changed, running ", running))
		c.want(exitFound, []string{"integrity", "status"}, "ALERT since", file+": changed", "noted in the ledger as entry", "sluice integrity accept")
		c.want(exitFound, []string{"integrity", "--json"}, `"alert": true`, `"ledgerEntry": `)
		c.want(1, []string{"doctor"}, "fail  integrity", file+": changed", "noted in the ledger as entry", "sluice integrity accept")
		c.want(0, []string{"integrity", "accept"}, "files as the baseline says")
		c.want(0, []string{"integrity", "status", "--json"}, `"alert": false`)
		c.want(0, []string{"doctor"}, "ok    integrity", "ok    ledger")
	}
	var list struct{ Entries []ledger.Entry }
	if err := json.Unmarshal([]byte(c.want(0, []string{"ledger", "list", "--kind", "integrity", "--json"})), &list, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, e := range list.Entries {
		who, _, _ := strings.Cut(e.Source, ":")
		n[e.Action+" "+who]++
	}
	if n["shown shared"] != 3 || n["shown local"] != 3 || n["accepted shared"] != 1 || n["accepted local"] != 1 {
		t.Errorf("noted %v", n)
	}
	c.want(2, []string{"integrity", "bogus"}, "takes no argument")
	// Another configuration without the path changes nothing about what is held.
	c.write("other.json5", `{}`)
	change("changed again")
	c.want(exitFound, []string{"integrity", "--config", filepath.Join(c.state, "other.json5")}, file+": changed")
	c.write("off.json5", `{defend: {host: {enabled: false}}}`)
	c.want(0, []string{"integrity", "--config", filepath.Join(c.state, "off.json5")}, "defend.host.enabled is false")
}

// TestDefenceHeld: a gateway that cannot be found holds the state, and the error says so.
func TestDefenceHeld(t *testing.T) {
	c := newCLI(t)
	c.start()
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN=127.0.0.1:1")
	for _, args := range [][]string{{"ledger", "release", "1"}, {"integrity", "accept"}, {"integrity"}} {
		c.want(1, args, "another process", "no gateway of this state folder answers at 127.0.0.1:1", "--config")
	}
}
