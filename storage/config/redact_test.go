package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const secretFile = `{
  // token: "commented-out-token", and s3cr3t-1 once more
  gateway: { auth: { token: 's3cr3t-1', password: "" }, ws: { headers: { 'x-api-key': 's3cr3t-2', plain: 'visible' } } },
  models: { providers: { a: { baseUrl: 'http://user:s3cr3t-3@host/', apiKey: 's3cr3t-4' } } },
  hooks: { list: [ { id: 'x', apiKey: 's3cr3t-5' }, { id: 'y', apiKey: 's3cr3t-6' } ] },
}`

func TestGetShowsNoSecret(t *testing.T) {
	m := mustOpen(t, mustWrite(t, "sluice.json5", secretFile), func(o *Options) {
		o.Environ = []string{"SLUICE_MODELS_PROVIDERS={b:{apiKey:'s3cr3t-7'}}"}
	})
	g := mustGet(t, m)
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"s3cr3t", "commented-out"} {
		if strings.Contains(string(text), s) {
			t.Errorf("%s is shown: %s", s, text)
		}
	}
	if g.Raw == nil || !strings.Contains(*g.Raw, "visible") || !strings.Contains(*g.Raw, Redacted) || !strings.Contains(*g.Raw, "  // token") {
		t.Errorf("raw %v", g.Raw)
	}
	if !strings.Contains(string(text), `"password":""`) {
		t.Error("an empty secret is not one")
	}
}

func TestSetRestoresSecrets(t *testing.T) {
	path := mustWrite(t, "sluice.json5", secretFile)
	m := mustOpen(t, path, func(o *Options) { o.Environ = []string{"SLUICE_MODELS_PROVIDERS={b:{apiKey:'s3cr3t-7'}}"} })
	g := mustGet(t, m)
	// The raw text, untouched but for one value, comes back with every secret.
	raw := strings.Replace(*g.Raw, "visible", "changed", 1)
	res, err := m.Set(WriteRequest{Raw: raw, BaseHash: g.Hash})
	if err != nil {
		t.Fatal(err)
	}
	written := mustRead(t, path)
	for _, s := range []string{"s3cr3t-1", "s3cr3t-2", "s3cr3t-3", "s3cr3t-4", "s3cr3t-5", "s3cr3t-6", "changed", "// token"} {
		if !strings.Contains(written, s) {
			t.Errorf("%s is missing: %s", s, written)
		}
	}
	// A form sends the effective configuration. What came from defaults and from the
	// environment must not be written into the file, least of all the secret.
	form := mustGet(t, m).Config
	put(form, []string{"gateway", "port"}, int64(4242))
	if _, err = m.Set(WriteRequest{Raw: pretty(form, ""), BaseHash: res.Hash}); err != nil {
		t.Fatal(err)
	}
	written = mustRead(t, path)
	if !strings.Contains(written, "4242") || !strings.Contains(written, "s3cr3t-4") {
		t.Errorf("written %s", written)
	}
	for _, s := range []string{"s3cr3t-7", "maxPayloadBytes", Redacted} {
		if strings.Contains(strings.ReplaceAll(written, "// token: \""+Redacted, ""), s) {
			t.Errorf("%s was written into the file: %s", s, written)
		}
	}
	// Entries are matched by id, not by place.
	swapped := `{hooks:{list:[{id:'y',apiKey:'` + Redacted + `'},{id:'x',apiKey:'` + Redacted + `'}]}}`
	if _, err = m.Set(WriteRequest{Raw: swapped, BaseHash: mustGet(t, m).Hash}); err != nil {
		t.Fatal(err)
	}
	if v, _ := m.Current().Value("hooks.list"); inline(v) != `[{"apiKey":"s3cr3t-6","id":"y"},{"apiKey":"s3cr3t-5","id":"x"}]` {
		t.Errorf("hooks %s", inline(v))
	}
}

func TestPlaceholderIsNeverData(t *testing.T) {
	m := mustOpen(t, mustWrite(t, "sluice.json5", `{gateway:{bind:'lan',auth:{token:'x'}}}`))
	for raw, want := range map[string]string{
		`{gateway:{bind:'` + Redacted + `'}}`:                                "Reserved redaction sentinel",
		`{models:{providers:{new:{apiKey:'` + Redacted + `'}}}}`:             `in key models.providers.new.apiKey is not valid as real data`,
		`{hooks:{list:[{id:'n',apiKey:'` + Redacted + `'}]}}`:                "is not valid as real data",
		`{gateway:{ws:{headers:{'x-` + Redacted + `':'` + Redacted + `'}}}}`: "is not valid as real data",
	} {
		for name, f := range map[string]func(WriteRequest) (*WriteResult, error){"set": m.Set, "patch": m.Patch} {
			_, err := f(WriteRequest{Raw: raw, BaseHash: m.Current().Hash})
			var req *RequestError
			if !errors.As(err, &req) || !strings.Contains(req.Message, want) {
				t.Errorf("%s %s: %v", name, raw, err)
			}
		}
	}
}

func TestHashKeyHidesTheContent(t *testing.T) {
	path := mustWrite(t, "sluice.json5", `{}`)
	m := mustOpen(t, path, func(o *Options) { o.HashKey = []byte("k") })
	h := mustGet(t, m).Hash
	if !strings.HasPrefix(h, "hmac-sha256:v1:") {
		t.Errorf("hash %s", h)
	}
	if _, err := m.Set(WriteRequest{Raw: `{gateway:{port:9}}`, BaseHash: h}); err != nil {
		t.Error(err)
	}
}

func TestWarnsAboutReadableSecrets(t *testing.T) {
	path := mustWrite(t, "sluice.json5", secretFile)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if w := mustOpen(t, path).Status().Warnings; len(w) != 1 || !strings.Contains(w[0], "chmod 600") {
		t.Errorf("warnings %v", w)
	}
}

func TestLookup(t *testing.T) {
	s := mustSchema(t)
	for path, want := range map[string]string{
		".":                         `.|config,gateway,hooks,models,ui`,
		"gateway.ws":                `gateway.ws|headers,maxPayloadBytes,optional,origins,ratio,tickMs`,
		"models.providers.*.apiKey": `models.providers.*.apiKey|`,
		"models.providers.open":     `models.providers.open|apiKey,baseUrl,id,models,retries`,
		"hooks.list[]":              `hooks.list.*|apiKey,baseUrl,id,models,retries`,
		"hooks.list[3].models":      `hooks.list.3.models|*`,
		" gateway..ws ":             `gateway.ws|headers,maxPayloadBytes,optional,origins,ratio,tickMs`,
	} {
		r, err := s.Lookup(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		keys := map[string]any{}
		for _, c := range r.Children {
			keys[c.Key] = nil
		}
		if got := r.Path + "|" + strings.Join(sortedKeys(keys), ","); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, path := range []string{"", "nope", "gateway.nope", "gateway.port.x", "hooks.list.x", "__proto__", strings.Repeat("a.", 40)} {
		if _, err := s.Lookup(path); err == nil || err.Error() != "config schema path not found" {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// The payloads fit the real gateway's own schemas, where those are at hand.
func TestAgainstProtocolSchema(t *testing.T) {
	file := filepath.Join("..", "..", "..", "shared", "protocol", "schema96.json")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Skip("the protocol's schema is not beside this checkout")
	}
	var all struct {
		Definitions map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	s := mustSchema(t)
	lookup, err := s.Lookup("gateway.ws")
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.Lookup(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		payload any
	}{
		{"ConfigSchemaResponse", s.Response("1.0.0", "2026-11-23T00:00:00Z")},
		{"ConfigSchemaLookupResult", lookup},
		{"ConfigSchemaLookupResult", root},
	} {
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource("mem:///"+c.name, all.Definitions[c.name]); err != nil {
			t.Fatal(err)
		}
		sch, err := compiler.Compile("mem:///" + c.name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(c.payload)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if err := sch.Validate(v); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// And the JSON Schema that we give accepts what we accept.
	text := marshal(s.JSONSchema())
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("mem:///sluice", doc); err != nil {
		t.Fatal(err)
	}
	sch, err := compiler.Compile("mem:///sluice")
	if err != nil {
		t.Fatal(err)
	}
	var defaults any
	if err := json.Unmarshal(marshal(s.defaults()), &defaults); err != nil {
		t.Fatal(err)
	}
	if err := sch.Validate(defaults); err != nil {
		t.Errorf("the defaults do not fit the schema: %v", err)
	}
}
