package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite golden files")

// The sections of an imagined gateway: one of each kind of field.

type gatewayConfig struct {
	Bind string `json:"bind" enum:"loopback,lan" doc:"Which interfaces to listen on."`
	Port int    `json:"port" min:"1" max:"65535" doc:"TCP port."`
}

type authConfig struct {
	Mode     string `json:"mode" enum:"none,token,password" doc:"How clients prove themselves."`
	Token    string `json:"token" secret:"true" reload:"hot" doc:"The shared token."`
	Password string `json:"password" doc:"The shared password."`
}

func (c authConfig) Validate() error {
	if c.Mode == "password" && c.Password == "" {
		return errors.New("password must be set when mode is password")
	}
	return nil
}

type wsConfig struct {
	MaxPayloadBytes int               `json:"maxPayloadBytes" unit:"bytes" min:"1024" max:"104857600" reload:"hot" doc:"Largest frame."`
	TickMs          int               `json:"tickMs" unit:"ms" min:"250" reload:"hot" doc:"Time between ticks."`
	Origins         []string          `json:"origins" max:"8" doc:"Allowed origins."`
	Ratio           float64           `json:"ratio" min:"0" max:"1" doc:"A ratio."`
	Headers         map[string]string `json:"headers" doc:"Extra headers."`
	Optional        *int              `json:"optional,omitempty" doc:"May be absent."`
	Internal        func()            `json:"-"`
}

type providerConfig struct {
	ID      string          `json:"id"`
	BaseURL string          `json:"baseUrl" doc:"Where it is."`
	APIKey  string          `json:"apiKey" doc:"Its key."`
	Retries int             `json:"retries" min:"0" max:"10" doc:"How often to try again."`
	Models  []providerModel `json:"models"`
}

type providerModel struct {
	ID      string `json:"id"`
	Context int64  `json:"context" min:"1"`
}

func (providerConfig) ConfigDefault() any { return providerConfig{Retries: 3} }

type prefsConfig struct {
	Theme string `json:"theme"`
}

func testSections() []Section {
	return []Section{
		{Key: "gateway", Doc: "The gateway.", Default: gatewayConfig{Bind: "loopback", Port: 18789}},
		{Key: "gateway.auth", Doc: "Authentication.", Default: authConfig{Mode: "token"}},
		{Key: "gateway.ws", Doc: "The WebSocket edge.", Default: wsConfig{MaxPayloadBytes: 26214400, TickMs: 30000, Ratio: 0.5, Origins: []string{"http://localhost"}}},
		{Key: "models.providers", Doc: "Model providers by name.", Default: map[string]providerConfig{}, Reload: ReloadHot},
		{Key: "hooks.list", Doc: "Hooks.", Default: []providerConfig{}},
		{Key: "ui.prefs", Doc: "Preferences.", Default: prefsConfig{Theme: "auto"}, Reload: ReloadHot, Docs: map[string]string{"theme": "The theme."}},
		{Key: "config", Doc: "This package.", Default: Default()},
	}
}

func mustSchema(tb testing.TB) *Schema {
	tb.Helper()
	s, err := NewSchema(testSections()...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// mustWrite puts a file into a fresh folder and returns its path.
func mustWrite(tb testing.TB, name, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func mustOf[T any](tb testing.TB, s *Snapshot, key string) T {
	tb.Helper()
	v, err := Of[T](s, key)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}

func TestPrecedence(t *testing.T) {
	path := mustWrite(t, "sluice.json5", `{
	// a comment
	gateway: { port: 1000, auth: { token: 'file' }, ws: { tickMs: 1000, origins: ['a', 'b'] } },
	}`)
	opts := Options{Schema: mustSchema(t), Path: path,
		Environ: []string{"SLUICE_GATEWAY_PORT=2000", "SLUICE_GATEWAY_WS_TICK_MS=2000", `SLUICE_GATEWAY_WS_ORIGINS=x, "y,z ",w`, "HOME=/x",
			"SLUICE_CONFIG=/y", "SLUICE_SERVICE_HOST=10.0.0.1", "SLUICE_PORT=tcp://10.0.0.1:18789", "SLUICE_PORT_18789_TCP_ADDR=1",
			"SLUICE_GATEWAY_WS_HEADERS=a=1,b=2", `SLUICE_MODELS_PROVIDERS={openai:{baseUrl:'http://x',apiKey:'k'}}`},
		ReservedEnv: []string{"SLUICE_CONFIG"},
		Flags:       map[string]string{"gateway.ws.tickMs": "3000", "models.providers.openai.retries": "7"},
	}
	s, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	gw := mustOf[gatewayConfig](t, s, "gateway")
	ws := mustOf[wsConfig](t, s, "gateway.ws")
	p := mustOf[map[string]providerConfig](t, s, "models.providers")["openai"]
	checks := []struct{ what, got, want string }{
		{"default", gw.Bind, "loopback"},
		{"env over file", fmt.Sprint(gw.Port), "2000"},
		{"flag over env", fmt.Sprint(ws.TickMs), "3000"},
		{"file", mustOf[authConfig](t, s, "gateway.auth").Token, "file"},
		{"list from env", strings.Join(ws.Origins, "|"), "x|y,z |w"},
		{"map from env", ws.Headers["a"] + ws.Headers["b"], "12"},
		{"entry from env and flag", p.BaseURL + p.APIKey + fmt.Sprint(p.Retries), "http://xk7"},
		{"origin flag", s.Origin("gateway.ws.tickMs").String(), "flag gateway.ws.tickMs"},
		{"origin env", s.Origin("gateway.port").String(), "env SLUICE_GATEWAY_PORT"},
		{"origin file", s.Origin("gateway.auth.token").String(), "sluice.json5:3"},
		{"origin default", s.Origin("gateway.bind").String(), "default"},
	}
	for _, c := range checks {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
}

func TestTOMLHasTheSameKeys(t *testing.T) {
	path := mustWrite(t, "sluice.toml", "[gateway]\nport = 1000\n[gateway.ws]\nratio = 1.0\norigins = [\"a\"]\n[models.providers.\"a.b\"]\nbaseUrl = \"u\"\n")
	s, err := Load(Options{Schema: mustSchema(t), Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if got := mustOf[gatewayConfig](t, s, "gateway").Port; got != 1000 {
		t.Errorf("port %d", got)
	}
	p := mustOf[map[string]providerConfig](t, s, "models.providers")["a.b"]
	if p.BaseURL != "u" || p.Retries != 3 {
		t.Errorf("provider %+v: a new entry starts from its ConfigDefault", p)
	}
	if got := s.Origin("gateway.port").String(); got != "sluice.toml" {
		t.Errorf("origin %q", got)
	}
}

func TestStrict(t *testing.T) {
	cases := []struct {
		name, file, want string
		env              []string
		flags            map[string]string
	}{
		{"unknown key", `{gateway:{auth:{tokn:'x'}}}`, `gateway.auth.tokn: unknown key; did you mean "gateway.auth.token"? (sluice.json5:1)`, nil, nil},
		{"swapped letters", "{\n gateway:{\n  prot: 1}}", `gateway.prot: unknown key; did you mean "gateway.port"? (sluice.json5:3)`, nil, nil},
		{"elsewhere", `{gateway:{token:'x'}}`, `did you mean "gateway.auth.token"?`, nil, nil},
		{"nothing near", `{zebra:1}`, "zebra: unknown key; `sluice config explain` lists the keys", nil, nil},
		{"wrong case", `{gateway:{Port:1}}`, `did you mean "gateway.port"?`, nil, nil},
		{"wrong type", `{gateway:{port:'80'}}`, `gateway.port: value "80" is a string, must be a whole number (sluice.json5:1)`, nil, nil},
		{"fraction", `{gateway:{port:80.5}}`, "must be a whole number", nil, nil},
		{"whole float", `{gateway:{port:8e1, ws:{ratio:2}}}`, "gateway.ws.ratio: value 2 is out of bounds; allowed: 0 to 1", nil, nil},
		{"bounds", `{gateway:{port:70000}}`, "gateway.port: value 70000 is out of bounds; allowed: 1 to 65535 (sluice.json5:1)", nil, nil},
		{"enum", `{gateway:{bind:'lann'}}`, `value "lann" is not one of loopback, lan; did you mean "lan"?`, nil, nil},
		{"list length", `{gateway:{ws:{origins:[1]}}}`, `gateway.ws.origins[0]: value 1 is a number, must be a string`, nil, nil},
		{"list too long", `{gateway:{ws:{origins:['','','','','','','','','']}}}`, "has 9 entries; allowed: entries at most 8", nil, nil},
		{"secret not shown", `{gateway:{auth:{token:5}}}`, "value (secret) is a number", nil, nil},
		{"section is no object", `{gateway:5}`, "gateway: value 5 is a number, must be an object", nil, nil},
		{"null", `{gateway:{port:null}}`, "value null is null", nil, nil},
		{"validate", `{gateway:{auth:{mode:'password'}}}`, "gateway.auth: password must be set when mode is password (sluice.json5:1)", nil, nil},
		{"in a map", `{models:{providers:{x:{retrys:1}}}}`, `models.providers.x.retrys: unknown key; did you mean "models.providers.*.retries"?`, nil, nil},
		{"syntax", "{\n a b", "SyntaxError: JSON5: invalid character 'b' at 2:4 (sluice.json5:2)", nil, nil},
		{"duplicate", `{gateway:{},gateway:{}}`, `duplicate key "gateway" at 1:13`, nil, nil},
		{"unknown variable", `{}`, `unknown variable SLUICE_GATEWAY_PROT; did you mean "SLUICE_GATEWAY_PORT"? (env SLUICE_GATEWAY_PROT)`, []string{"SLUICE_GATEWAY_PROT=1"}, nil},
		{"bad variable", `{}`, `gateway.port: value "x" must be a number (env SLUICE_GATEWAY_PORT)`, []string{"SLUICE_GATEWAY_PORT=x"}, nil},
		{"variable out of bounds", `{}`, "gateway.port: value 0 is out of bounds; allowed: 1 to 65535 (env SLUICE_GATEWAY_PORT)", []string{"SLUICE_GATEWAY_PORT=0"}, nil},
		{"unknown flag", `{}`, `gateway.prt: unknown key; did you mean "gateway.port"? (flag gateway.prt)`, nil, map[string]string{"gateway.prt": "1"}},
	}
	schema := mustSchema(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(Options{Schema: schema, Path: mustWrite(t, "sluice.json5", c.file), Environ: c.env, Flags: c.flags})
			var inv *InvalidError
			if !errors.As(err, &inv) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

func TestSchemaRefusesBadDeclarations(t *testing.T) {
	type untagged struct{ A int }
	type badDefault struct {
		N int `json:"n" min:"5"`
	}
	type collision struct {
		AB int `json:"aB"`
		A  struct {
			B int `json:"b"`
		} `json:"a"`
	}
	for name, secs := range map[string][]Section{
		"json tag":     {{Key: "x", Default: untagged{}}},
		"not valid":    {{Key: "x", Default: badDefault{}}},
		"both set by":  {{Key: "x", Default: collision{}}},
		"taken":        {{Key: "x", Default: gatewayConfig{Bind: "lan", Port: 1}}, {Key: "x", Default: gatewayConfig{Bind: "lan", Port: 1}}},
		"unsupported":  {{Key: "x", Default: make(chan int)}},
		"also a":       {{Key: "x.port", Default: prefsConfig{}}, {Key: "x", Default: gatewayConfig{Bind: "lan", Port: 1}}},
		"cannot hold":  {{Key: "x", Default: gatewayConfig{Bind: "lan", Port: 1}}, {Key: "x.port.y", Default: prefsConfig{}}},
		"has no Defau": {{Key: "x"}},
	} {
		if _, err := NewSchema(secs...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGolden(t *testing.T) {
	schema := mustSchema(t)
	golden(t, "config.md", Markdown(schema))
	golden(t, "schema.json", pretty(schema.JSONSchema(), "")+"\n")
	path := mustWrite(t, "sluice.json5", "{\n  gateway: {\n    port: 1000,\n    auth: { token: 'abc' },\n  },\n}\n")
	s, err := Load(Options{Schema: schema, Path: path, Environ: []string{"SLUICE_GATEWAY_AUTH_PASSWORD=geheim"}, Flags: map[string]string{"gateway.ws.tickMs": "500"}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WriteExplain(&b, s, ""); err != nil {
		t.Fatal(err)
	}
	golden(t, "explain.txt", strings.ReplaceAll(b.String(), filepath.Dir(path), "DIR"))
	if strings.Contains(b.String(), "geheim") || strings.Contains(b.String(), "abc") {
		t.Error("explain shows a secret")
	}
}

func TestEnvNames(t *testing.T) {
	for key, want := range map[string]string{
		"gateway.auth.token":         "SLUICE_GATEWAY_AUTH_TOKEN",
		"gateway.ws.maxPayloadBytes": "SLUICE_GATEWAY_WS_MAX_PAYLOAD_BYTES",
		"a.maxURLBytes":              "SLUICE_A_MAX_URL_BYTES",
		"a.sha256Sum":                "SLUICE_A_SHA256_SUM",
	} {
		if got := envName(key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}
