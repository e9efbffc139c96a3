//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
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
	config := map[string]any{
		"agent": map[string]any{"model": map[string]any{
			"baseUrl": g.modelURL(), "apiKey": "fakekey", "name": "fake-1", "provider": "fake", "contextTokens": 128000,
		}},
	}
	if len(g.options.trustedProxies) > 0 {
		config["gateway"] = map[string]any{"ws": map[string]any{"trustedProxies": g.options.trustedProxies}}
	}
	b, err := json.Marshal(config)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
}
