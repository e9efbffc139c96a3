//go:build e2e

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// sluiceConfig writes sluice.json5 into the state folder, where serve finds it: the fake model, and
// what a test asked for. It is written once; a restart reads the same file.
func sluiceConfig(tb testing.TB, g *gateway) {
	tb.Helper()
	path := filepath.Join(g.state, "sluice.json5")
	if _, err := os.Stat(path); err == nil {
		return
	}
	values := map[string]any{
		"agent.model": map[string]any{
			"baseUrl": g.modelURL(), "apiKey": "fakekey", "name": "fake-1", "provider": "fake", "contextTokens": 128000,
		},
	}
	if len(g.options.trustedProxies) > 0 {
		values["gateway.ws.trustedProxies"] = g.options.trustedProxies
	}
	maps.Copy(values, g.options.config)
	b, err := json.Marshal(nested(values))
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// nested turns dotted keys into objects.
func nested(values map[string]any) map[string]any {
	root := map[string]any{}
	for key, value := range values {
		at, parts := root, strings.Split(key, ".")
		for _, part := range parts[:len(parts)-1] {
			next, ok := at[part].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[part] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = value
	}
	return root
}
