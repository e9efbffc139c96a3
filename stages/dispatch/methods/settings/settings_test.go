package settings

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"
	"sluice/storage/config"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type gatewayConfig struct {
	Listen string `json:"listen" doc:"where"`
	Token  string `json:"token" secret:"true" reload:"hot"`
}

type agentConfig struct {
	Name string   `json:"name" reload:"hot"`
	Tags []string `json:"tags" reload:"hot"`
}

// world is the family over a real file, with what it broadcasts.
type world struct {
	*Family
	path   string
	events []frames.Event
}

func (w *world) Broadcast(ev frames.Event) { w.events = append(w.events, ev) }

func (w *world) take() string {
	var names []string
	for _, ev := range w.events {
		names = append(names, ev.Name)
	}
	w.events = nil
	return strings.Join(names, " ")
}

func newWorld(tb testing.TB, text string, flags map[string]string) *world {
	tb.Helper()
	w := &world{path: filepath.Join(tb.TempDir(), "sluice.json5")}
	if text != "" {
		if err := os.WriteFile(w.path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	schema, err := config.NewSchema(
		config.Section{Key: "gateway", Default: gatewayConfig{Listen: "127.0.0.1:1"}},
		config.Section{Key: "agent", Default: agentConfig{Tags: []string{}}},
	)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := config.Open(config.Options{Schema: schema, Path: w.path, Flags: flags})
	if err != nil {
		tb.Fatal(err)
	}
	w.Family = New(Deps{Manager: m, Version: "1.2.3", Events: w})
	tb.Cleanup(w.Close)
	return w
}

var admin = &frames.Peer{Role: frames.RoleOperator, Scopes: frames.Scopes(frames.ScopeAdmin)}

// ask runs a method as dispatch would, params checked by the protocol's schema.
func (w *world) ask(tb testing.TB, method string, peer *frames.Peer, params any) (map[string]any, *frames.Error) {
	tb.Helper()
	raw, err := json.Marshal(params)
	if err != nil {
		tb.Fatal(err)
	}
	spec := frames.LookupMethod([]byte(method))
	if err := spec.Params.Validate(method, raw); err != nil {
		return nil, err
	}
	e := pipeline.NewEnvelope(pipeline.SourceWire, nil)
	e.Peer, e.Frame.Params = peer, raw
	err = handler(tb, w.Methods(), method)(context.Background(), e)
	if err != nil {
		var wire *frames.Error
		if !errors.As(err, &wire) {
			tb.Fatalf("%s: %v is no error of the protocol", method, err)
		}
		return nil, wire
	}
	payload, _, ok := e.Result()
	if !ok {
		tb.Fatalf("%s gave no answer", method)
	}
	var out map[string]any
	if err := json.Unmarshal(payload, &out); err != nil {
		tb.Fatal(err)
	}
	return out, nil
}

func handler(tb testing.TB, methods []dispatch.Method, name string) dispatch.Handler {
	tb.Helper()
	for _, m := range methods {
		if m.Name == name {
			return m.Handle
		}
	}
	tb.Fatalf("%s is not native", name)
	return nil
}

func (w *world) must(tb testing.TB, method string, params any) map[string]any {
	tb.Helper()
	out, err := w.ask(tb, method, admin, params)
	if err != nil {
		tb.Fatalf("%s: %v", method, err)
	}
	return out
}

func (w *world) hash(tb testing.TB) string {
	tb.Helper()
	return w.must(tb, "config.get", map[string]any{})["hash"].(string)
}

func at(v any, path string) any {
	for k := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func TestGet(t *testing.T) {
	w := newWorld(t, "{\n  // mine\n  gateway: {token: 'hush'},\n}\n", nil)
	g := w.must(t, "config.get", map[string]any{})
	for _, key := range []string{"path", "includedPaths", "includeProvenance", "agentRosterIncludeOwned", "bindingsIncludeOwned", "exists",
		"raw", "parsed", "sourceConfig", "resolved", "valid", "runtimeConfig", "config", "hash", "issues", "warnings", "legacyIssues",
		"configRevisionHash", "appliedConfigHash"} {
		if _, ok := g[key]; !ok {
			t.Errorf("%s is missing", key)
		}
	}
	if raw, _ := g["raw"].(string); !strings.Contains(raw, "// mine") || strings.Contains(raw, "hush") {
		t.Errorf("raw = %q", raw)
	}
	if got := at(g, "config.gateway.token"); got != config.Redacted {
		t.Errorf("token = %v", got)
	}
	if _, err := w.ask(t, "config.get", admin, map[string]any{"x": 1}); err == nil || err.Message != "invalid config.get params: at root: unexpected property 'x'" {
		t.Errorf("unknown property: %v", err)
	}
}

func TestSchema(t *testing.T) {
	w := newWorld(t, "", nil)
	s := w.must(t, "config.schema", map[string]any{})
	if s["version"] != "1.2.3" || at(s, "schema.properties.gateway.properties.listen.type") != "string" || s["uiHints"] == nil {
		t.Errorf("schema = %v", s)
	}
	if again := w.must(t, "config.schema", map[string]any{}); again["generatedAt"] != s["generatedAt"] {
		t.Error("generated twice")
	}
	l := w.must(t, "config.schema.lookup", map[string]any{"path": "gateway.listen"})
	if l["reloadKind"] != "restart" || l["hintPath"] != "gateway.listen" {
		t.Errorf("lookup = %v", l)
	}
	if _, err := w.ask(t, "config.schema.lookup", admin, map[string]any{"path": "nosuch.x"}); err == nil || err.Message != "config schema path not found" {
		t.Errorf("lookup of nothing: %v", err)
	}
}

// TestRefusals: the order and the texts are the real gateway's (raw-config.txt).
func TestRefusals(t *testing.T) {
	w := newWorld(t, "{agent:{tags:['a','b']}}", nil)
	hash := w.hash(t)
	for _, tc := range []struct {
		method string
		params map[string]any
		want   string
	}{
		{"config.set", map[string]any{}, "invalid config.set params: must have required property 'raw'"},
		{"config.set", map[string]any{"raw": "{bad"}, "config base hash required; re-run config.get and retry"},
		{"config.set", map[string]any{"raw": "{}", "baseHash": "zz"}, "config changed since last load; re-run config.get and retry"},
		{"config.set", map[string]any{"raw": "{}", "baseHash": hash, "note": "x"}, "invalid config.set params: at root: unexpected property 'note'"},
		{"config.patch", map[string]any{"raw": "{bad", "baseHash": hash}, "SyntaxError: JSON5: invalid end of input at 1:5"},
		{"config.patch", map[string]any{"raw": "[]", "baseHash": hash}, "config.patch raw must be an object"},
		{"config.apply", map[string]any{"raw": "{bad", "baseHash": hash}, "SyntaxError: JSON5: invalid end of input at 1:5"},
		{"config.patch", map[string]any{"raw": "{agent:{tags:['a']}}", "baseHash": hash}, "config.patch would remove entries from array path(s): agent.tags."},
	} {
		_, err := w.ask(t, tc.method, admin, tc.params)
		if err == nil || err.Code != frames.CodeInvalidRequest || !strings.HasPrefix(err.Message, tc.want) {
			t.Errorf("%s %v: %v, want %s", tc.method, tc.params, err, tc.want)
		}
	}
	_, err := w.ask(t, "config.set", admin, map[string]any{"raw": "{agent:{nam:'x'}}", "baseHash": hash})
	if err == nil || !strings.HasPrefix(err.Message, "invalid config: agent.nam: unknown key") {
		t.Fatalf("unknown key: %v", err)
	}
	details, _ := json.Marshal(err.Details)
	if !strings.Contains(string(details), `{"issues":[{"path":"agent.nam"`) {
		t.Errorf("details = %s", details)
	}
	if got := w.take(); got != "" {
		t.Errorf("refused writes announced %s", got)
	}
}

// TestOnlyOperatorsWrite: nothing that Sluice starts itself changes the policy.
func TestOnlyOperatorsWrite(t *testing.T) {
	w := newWorld(t, "", nil)
	for _, peer := range []*frames.Peer{
		nil,
		{Role: frames.RoleSystem, Scopes: frames.Scopes(frames.ScopeAdmin), Identity: "system:hook"},
		{Role: frames.RoleOperator, Scopes: frames.Scopes(frames.ScopeWrite)},
		{Role: frames.RoleNode},
	} {
		for _, method := range []string{"config.set", "config.patch", "config.apply"} {
			_, err := w.ask(t, method, peer, map[string]any{"raw": "{gateway:{token:'mine'}}"})
			if err == nil || err.Code != frames.CodeForbidden {
				t.Errorf("%s of %+v: %v", method, peer, err)
			}
		}
	}
	if _, err := os.Stat(w.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written: %v", err)
	}
}

func TestSet(t *testing.T) {
	w := newWorld(t, "", nil)
	res := w.must(t, "config.set", map[string]any{"raw": "{gateway:{token:'hush'}}"})
	if res["ok"] != true || res["path"] != w.path || res["hash"] != w.hash(t) || res["sentinel"] != nil || res["changedPaths"] != nil {
		t.Errorf("result = %v", res)
	}
	if at(res, "config.gateway.token") != config.Redacted {
		t.Errorf("the answer shows the secret: %v", res)
	}
	if got := w.take(); got != "config.changed" {
		t.Errorf("events = %s", got)
	}
	// The placeholder sent back keeps what is stored.
	w.must(t, "config.set", map[string]any{"raw": `{gateway:{token:"` + config.Redacted + `"},agent:{name:"n"}}`, "baseHash": w.hash(t)})
	if v, _ := w.deps.Manager.Current().Value("gateway.token"); v != "hush" {
		t.Errorf("token = %v", v)
	}
	if got := w.take(); got != "chat.metadata.changed config.changed" {
		t.Errorf("events = %s", got)
	}
}

func TestPatch(t *testing.T) {
	w := newWorld(t, "{}", map[string]string{"agent.name": "flagged"})
	res := w.must(t, "config.patch", map[string]any{"raw": "{gateway:{token:'t'}}", "baseHash": w.hash(t), "note": "probe", "sessionKey": "agent:main:main"})
	if res["ok"] != true || at(res, "sentinel.payload.kind") != "config-patch" || at(res, "sentinel.payload.message") != "probe" ||
		at(res, "sentinel.payload.stats.requiresRestart") != false || at(res, "sentinel.payload.stats.mode") != "config.patch" ||
		at(res, "sentinel.payload.sessionKey") != "agent:main:main" || at(res, "sentinel.persisted") != false {
		t.Errorf("result = %v", res)
	}
	if paths, _ := res["changedPaths"].([]any); len(paths) != 1 || paths[0] != "gateway.token" {
		t.Errorf("changedPaths = %v", res["changedPaths"])
	}
	var ev struct{ Path, Hash string }
	if len(w.events) != 1 || json.Unmarshal(w.events[0].Payload, &ev, json.MatchCaseInsensitiveNames(true)) != nil || ev.Hash != res["hash"] || ev.Path != w.path {
		t.Errorf("events = %+v", w.events)
	}
	w.take()
	res = w.must(t, "config.patch", map[string]any{"raw": "{gateway:{token:'t'}}", "baseHash": w.hash(t)})
	if res["noop"] != true || res["sentinel"] != nil || res["hash"] != nil || w.take() != "" {
		t.Errorf("noop = %v", res)
	}
	// A key that a flag overrides: written, not in force, and said so.
	res = w.must(t, "config.patch", map[string]any{"raw": "{agent:{name:'filed'}}", "baseHash": w.hash(t)})
	if m, _ := at(res, "sentinel.payload.message").(string); !strings.Contains(m, "agent.name is set by flag agent.name") {
		t.Errorf("message = %q", m)
	}
}

func TestRestart(t *testing.T) {
	w := newWorld(t, "{}", nil)
	res := w.must(t, "config.patch", map[string]any{"raw": "{gateway:{listen:'127.0.0.1:2'}}", "baseHash": w.hash(t)})
	if m, _ := at(res, "sentinel.payload.message").(string); at(res, "sentinel.payload.stats.requiresRestart") != true || !strings.Contains(m, "gateway.listen") {
		t.Errorf("patch = %v", res)
	}
	// A hot key alone needs none, although the other one still waits …
	res = w.must(t, "config.patch", map[string]any{"raw": "{agent:{name:'n'}}", "baseHash": w.hash(t)})
	if at(res, "sentinel.payload.stats.requiresRestart") != false || at(res, "sentinel.payload.message") != nil {
		t.Errorf("hot patch = %v", res)
	}
	// … and apply, which wants all of it in force, names what waits.
	apply := map[string]any{"raw": "{gateway:{listen:'127.0.0.1:2'}}", "baseHash": w.hash(t), "restartDelayMs": 5, "note": "go",
		"deliveryContext": map[string]any{"channel": "webhook", "to": "x"}}
	res = w.must(t, "config.apply", apply)
	m, _ := at(res, "sentinel.payload.message").(string)
	if at(res, "sentinel.payload.stats.requiresRestart") != true || !strings.HasPrefix(m, "go Restart the gateway") || at(res, "sentinel.payload.deliveryContext.to") != "x" {
		t.Errorf("apply = %v", res)
	}
	// Set back to what runs: nothing waits any more.
	res = w.must(t, "config.apply", map[string]any{"raw": "{}", "baseHash": w.hash(t)})
	if at(res, "sentinel.payload.stats.requiresRestart") != false {
		t.Errorf("apply back = %v", res)
	}
}

// TestTroubleWithTheFile: an operator learns what is wrong with it.
func TestTroubleWithTheFile(t *testing.T) {
	w := newWorld(t, "", nil)
	if err := os.Mkdir(w.path, 0o700); err != nil {
		t.Fatal(err)
	}
	for method, params := range map[string]any{"config.get": map[string]any{}, "config.set": map[string]any{"raw": "{}"}} {
		_, err := w.ask(t, method, admin, params)
		if err == nil || err.Code != frames.CodeUnavailable || !strings.Contains(err.Message, "not a regular file") {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestEditorsAreAnnounced(t *testing.T) {
	w := newWorld(t, "{}", nil)
	if err := os.WriteFile(w.path, []byte("{agent:{name:'x'}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.deps.Manager.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := w.take(); got != "chat.metadata.changed config.changed" {
		t.Errorf("events = %s", got)
	}
	w.Close()
	if err := os.WriteFile(w.path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.deps.Manager.Reload(); err != nil || w.take() != "" {
		t.Errorf("announced after Close: %v", err)
	}
}

func TestMessage(t *testing.T) {
	if message(nil, nil, nil) != nil {
		t.Error("nothing to say is null")
	}
	empty := ""
	if got := message(&empty, nil, nil); got == nil || *got != "" {
		t.Error("an empty note stays one")
	}
}
