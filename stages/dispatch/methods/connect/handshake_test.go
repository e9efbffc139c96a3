package connect

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"sluice/frames"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestCheckOrder gives one connect every flaw at once and mends them one by one: each
// answer must be that of the first check that is still unhappy (wire.md 3.3).
func TestCheckOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ready = false
		hs := local()
		hs.Origin = "https://evil.example"
		d := newDevice(0)
		p := params("cli", "cli", role("admin"), scopes("operator.read"), deviceToken("wrong"))
		p.MinProtocol, p.MaxProtocol = 9, 9
		bad := d.sign(func(c *frames.ConnectDevice) { c.Nonce = "other" })
		for _, step := range []struct {
			mend           func()
			message, code  string
			closeCode      uint16
			rawInsteadOfIt string
		}{
			{func() {}, "invalid connect params: must have required property 'maxProtocol'", "", 1008, `{"minProtocol":4}`},
			{func() {}, "gateway starting; retry shortly", "", 1013, ""},
			{func() { w.ready = true }, "protocol mismatch", "PROTOCOL_MISMATCH", 1002, ""},
			{func() { p.MinProtocol, p.MaxProtocol = 4, 4 }, "invalid role", "", 1008, ""},
			{func() { p.Role = "operator" }, originMessage, "CONTROL_UI_ORIGIN_NOT_ALLOWED", 1008, ""},
			{func() { hs.Origin = "" }, "device identity required", "DEVICE_IDENTITY_REQUIRED", 1008, ""},
			{func() { bad(p) }, "device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH", 1008, ""},
			{func() { d.sign()(p) }, "unauthorized: device token mismatch (rotate/reissue device token)", "AUTH_DEVICE_TOKEN_MISMATCH", 1008, ""},
			{func() { hs = remote(); p.Auth = nil; token(testSecret)(p); d.sign()(p) }, "pairing required: device is not approved yet", "PAIRING_REQUIRED", 1008, ""},
		} {
			step.mend()
			var what any = p
			if step.rawInsteadOfIt != "" {
				what = step.rawInsteadOfIt
			}
			a := w.connect(hs, what)
			if a.message() != step.message || a.code() != step.code || a.close.Code != step.closeCode {
				t.Fatalf("got %q (%s) close %v, want %q (%s) close %d", a.message(), a.code(), a.close, step.message, step.code, step.closeCode)
			}
		}
		newDevice(1).sign()(p) // the first one has asked from afar, which a person must answer now
		if a := w.connect(local(), p); !a.OK {
			t.Fatalf("without a flaw: %s", a.raw)
		}
	})
}

// TestWithoutDevice is the table "no device block" of wire.md 3.4, as far as it lets
// clients in; the refusals are captured ones. CVE-2026-22172: the shared secret alone
// does not make self-declared scopes true.
func TestWithoutDevice(t *testing.T) {
	origin := local()
	origin.Origin = "http://localhost:5173"
	all := []string{"operator.admin", "operator.read"}
	for _, c := range []struct {
		name     string
		hs       frames.Handshake
		id, mode string
		auth     Auth
		cred     func(*frames.ConnectParams)
		scopes   []string
		code     string
	}{
		{"backend here", local(), "gateway-client", "backend", defaultAuth(), token(testSecret), all, ""},
		{"backend here, secret as password", local(), "gateway-client", "backend", defaultAuth(), password(testSecret), all, ""},
		{"backend here, mode none", local(), "gateway-client", "backend", Auth{Mode: ModeNone}, token("whatever"), all, ""},
		{"cli here", local(), "cli", "cli", defaultAuth(), token(testSecret), all, ""},
		{"cli probe here", local(), "cli", "probe", defaultAuth(), token(testSecret), nil, ""},
		{"test client here", local(), "test", "test", defaultAuth(), token(testSecret), nil, ""},
		{"backend elsewhere", remote(), "gateway-client", "backend", defaultAuth(), token(testSecret), nil, ""},
		{"cli elsewhere", remote(), "cli", "cli", defaultAuth(), token(testSecret), nil, ""},
		{"backend behind a proxy of this machine", frames.Handshake{Host: "x", RemoteIP: "127.0.0.1", PeerLoopback: true}, "gateway-client", "backend", defaultAuth(), token(testSecret), nil, ""},
		{"backend from a page", origin, "gateway-client", "backend", defaultAuth(), token(testSecret), nil, ""},
		{"cli from a page", origin, "cli", "cli", defaultAuth(), token(testSecret), nil, ""},
		{"cli here, mode none", local(), "cli", "cli", Auth{Mode: ModeNone}, token("x"), nil, "DEVICE_IDENTITY_REQUIRED"},
		{"control ui, mode none", origin, "openclaw-control-ui", "webchat", Auth{Mode: ModeNone}, token("x"), nil, "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"},
		{"node with the secret", local(), "node-host", "node", defaultAuth(), func(p *frames.ConnectParams) { token(testSecret)(p); p.Role = "node" }, nil, "DEVICE_IDENTITY_REQUIRED"},
		{"tui with the secret", local(), "openclaw-tui", "ui", defaultAuth(), token(testSecret), nil, "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(d *Deps) { d.Auth = c.auth })
			a := w.connect(c.hs, params(c.id, c.mode, scopes(all...), c.cred))
			if a.code() != c.code || a.OK != (c.code == "") {
				t.Fatalf("got %s, want code %q", a.raw, c.code)
			}
			if !a.OK {
				return
			}
			h := a.hello(t)
			if !slices.Equal(h.Auth.Scopes, c.scopes) || h.Auth.DeviceToken != "" {
				t.Errorf("auth %+v, want scopes %v and no device token", h.Auth, c.scopes)
			}
			if got := a.c.Peer().Scopes; got != frames.ParseScopes(c.scopes) {
				t.Errorf("peer has %v, want %v", got.Names(), c.scopes)
			}
			wantID := "shared"
			if c.auth.Mode == ModeNone {
				wantID = "open"
			}
			if p := a.c.Peer(); p.Identity != wantID || p.AuthMethod != c.auth.Mode || p.DeviceID != "" {
				t.Errorf("peer %+v, want identity %s by %s", p, wantID, c.auth.Mode)
			}
		})
	}
}

// hello is what the tests read of hello-ok.
type hello struct {
	Protocol int
	Auth     struct {
		Method, Role, DeviceToken string
		Scopes                    []string
		IssuedAtMs                int64
	}
	Snapshot map[string]jsontext.Value
}

func (a answer) hello(t testing.TB) hello {
	t.Helper()
	var h hello
	if !a.OK {
		t.Fatalf("refused: %s", a.raw)
	}
	if err := json.Unmarshal(a.Payload, &h, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHelloGolden shows both shapes whole; times and tokens are fixed by a fake clock
// and cut out.
func TestHelloGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.h.hello.deps.Versions.BumpHealth()
		d := newDevice(1)
		all := []string{"operator.admin", "operator.read", "operator.pairing", "operator.unheard-of"}
		for _, c := range []struct {
			file string
			p    *frames.ConnectParams
		}{
			{"hello_v4_admin.json", params("cli", "cli", scopes(all...), token(testSecret), d.sign())},
			{"hello_v4_shared.json", params("gateway-client", "backend", scopes("operator.read"), token(testSecret))},
			{"hello_v4_node.json", params("node-host", "node", role("node"), token(testSecret), newDevice(2).sign())},
			{"hello_v3_device.json", params("cli", "cli", scopes(all...), token(testSecret), v3(), d.sign())},
			{"hello_v3_shared.json", params("gateway-client", "backend", scopes("operator.admin"), token(testSecret), v3())},
		} {
			a := w.connect(local(), c.p)
			if !a.OK {
				t.Fatalf("%s: %s", c.file, a.raw)
			}
			got := a.Payload.Clone()
			if err := got.Indent(); err != nil {
				t.Fatal(err)
			}
			text := string(got) + "\n"
			if tok := a.hello(t).Auth.DeviceToken; tok != "" {
				text = strings.ReplaceAll(text, tok, "DEVICE-TOKEN")
			}
			text = cutMember(text, "recoveryScope")
			golden(t, "testdata/"+c.file, text)
		}
	})
}

func v3() func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { p.MinProtocol, p.MaxProtocol = 3, 3 }
}

// cutMember replaces a string member's value.
func cutMember(text, name string) string {
	head, rest, ok := strings.Cut(text, `"`+name+`": "`)
	if !ok {
		return text
	}
	_, tail, _ := strings.Cut(rest, `"`)
	return head + `"` + name + `": "CUT"` + tail
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestProtocols(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ low, high, want int }{{4, 4, 4}, {3, 4, 4}, {3, 3, 3}, {1, 99, 4}, {4, 5, 4}, {1, 3, 3}, {5, 5, 0}, {1, 2, 0}} {
		p := params("gateway-client", "backend", token(testSecret))
		p.MinProtocol, p.MaxProtocol = c.low, c.high
		a := w.connect(local(), p)
		switch {
		case c.want == 0 && (a.code() != "PROTOCOL_MISMATCH" || a.close.Code != 1002 || a.close.Reason != "protocol mismatch"):
			t.Errorf("%d-%d: %s %v, want a mismatch", c.low, c.high, a.raw, a.close)
		case c.want != 0 && (a.hello(t).Protocol != c.want || a.c.Peer().Protocol != c.want):
			t.Errorf("%d-%d: got %d, want %d", c.low, c.high, a.hello(t).Protocol, c.want)
		}
	}
}

func TestSetupCodesAreRefused(t *testing.T) {
	w := newWorld(t)
	d := newDevice(0)
	p := params("openclaw-ios", "ui", scopes("operator.read"))
	authOf(p).BootstrapToken = "setup-code"
	d.sign()(p)
	a := w.connect(local(), p)
	if a.code() != "AUTH_BOOTSTRAP_TOKEN_INVALID" || !strings.HasPrefix(a.message(), "unauthorized: setup code invalid") ||
		!strings.Contains(a.raw, noSetupCodes) || !strings.Contains(a.raw, `"authReason":"bootstrap_token_invalid"`) {
		t.Fatalf("got %s", a.raw)
	}
	p = params("openclaw-ios", "ui", scopes("operator.read"), token(testSecret))
	p.Auth.BootstrapToken = "setup-code"
	d.sign()(p)
	if a := w.connect(local(), p); a.hello(t).Auth.Method != "token" {
		t.Fatalf("a setup code beside the right token: %s", a.raw)
	}
}

func TestAgentRuntimeTokens(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		id, mode, want string
	}{
		{"cli", "cli", "agent runtime identity token is only accepted from local backend gateway clients"},
		{"gateway-client", "backend", "invalid agent runtime identity token"},
	} {
		p := params(c.id, c.mode, token(testSecret))
		p.Auth.AgentRuntimeIdentityToken = "x"
		if a := w.connect(local(), p); a.message() != c.want || a.close.Code != 1008 {
			t.Errorf("%s: %s %v", c.id, a.raw, a.close)
		}
	}
}

func TestCopilot(t *testing.T) {
	w := newWorld(t)
	page := local()
	page.Origin = "http://localhost:5173"
	ext := local()
	ext.Origin = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
	caps := func(p *frames.ConnectParams) { p.Caps = []string{"run-tool-bindings", "session-scoped-events"} }
	d := newDevice(0)
	for _, c := range []struct {
		hs   frames.Handshake
		p    *frames.ConnectParams
		want string
	}{
		{ext, params("openclaw-browser-copilot", "ui", token(testSecret)), errCopilotMode.Message},
		{page, params("openclaw-browser-copilot", "ui", token(testSecret), caps), "browser copilot requires a canonical Chrome extension origin"},
		{ext, params("openclaw-browser-copilot", "ui", token(testSecret), caps, d.sign()), errCopilotIdentity.Message},
	} {
		if a := w.connect(c.hs, c.p); a.message() != c.want {
			t.Errorf("got %s, want %q", a.raw, c.want)
		}
	}
}
