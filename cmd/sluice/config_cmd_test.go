package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigExplain(t *testing.T) {
	c := newCLI(t)
	c.write("sluice.json5", "{\n  gateway: {\n    auth: {token: 'a very secret token'},\n  },\n}\n")
	c.env = append(c.env, "SLUICE_AGENT_MODEL_NAME=m-1", "OPENAI_BASE_URL=http://127.0.0.1:1/v1")
	out := c.want(0, []string{"config", "explain"}, "KEY", "sluice.json5:3", "env SLUICE_AGENT_MODEL_NAME", "env SLUICE_AGENT_MODEL_BASE_URL")
	if strings.Contains(out, "very secret") {
		t.Errorf("the token is shown:\n%s", out)
	}
	c.want(0, []string{"config", "explain", "gateway.shutdownMs"}, "value     10000", "default   10000", "source    default",
		"100 to 600000 ms", "a change needs a restart", "SLUICE_GATEWAY_SHUTDOWN_MS")
	c.want(0, []string{"config", "explain", "agent.model", "--json"}, `"value": "m-1"`, `"source": "env SLUICE_AGENT_MODEL_NAME"`)
	c.want(1, []string{"config", "explain", "gateway.shutdwnMs"}, `did you mean "gateway.shutdownMs"?`)
	c.want(2, []string{"config", "explain", "a", "b"}, "at most one KEY")
}

func TestConfigCheck(t *testing.T) {
	c := newCLI(t)
	c.want(0, []string{"config", "check"}, "not there", "ok")
	c.write("sluice.json5", "{gateway:{listen:'127.0.0.1:1',shutdownMs:1},agnt:{}}")
	c.want(1, []string{"config", "check"}, "gateway.shutdownMs", "100 to 600000", "agnt: unknown key", `"agent"`, "2 problems")
	good := c.write("other.toml", "[gateway]\nlisten = \"127.0.0.1:2\"\n")
	c.want(0, []string{"config", "check", good}, good+": ok")
	c.want(1, []string{"config", "check", filepath.Join(c.state, "none")}, "does not exist")
	c.write("sluice.json5", "{gateway:{listen:'0.0.0.0:1',auth:{mode:'none'}}}")
	c.want(1, []string{"config", "check"}, "everyone who reaches it would be admitted")
}

func TestConfigSchema(t *testing.T) {
	c := newCLI(t)
	c.want(0, []string{"config", "schema"}, `"$schema": "http://json-schema.org/draft-07/schema#"`, `"additionalProperties": false`)
	c.want(0, []string{"config"}, "explain", "check")
}

// TestConfigMarkdown keeps docs/config.md equal to the code; -update rewrites it.
func TestConfigMarkdown(t *testing.T) {
	const path = "../../docs/config.md"
	c := newCLI(t)
	out := c.want(0, []string{"config", "markdown"}, "# Configuration")
	if *update {
		if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != out {
		t.Errorf("%s is not what the code says; run `go test ./cmd/sluice -run TestConfigMarkdown -update`", path)
	}
}
