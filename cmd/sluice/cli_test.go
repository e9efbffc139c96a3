package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cli is one user's machine: a state folder and an environment.
type cli struct {
	tb    testing.TB
	state string
	env   []string
	in    string
}

func newCLI(tb testing.TB) *cli {
	tb.Helper()
	c := &cli{tb: tb, state: filepath.Join(tb.TempDir(), "state")}
	c.env = []string{"SLUICE_STATE_DIR=" + c.state}
	return c
}

// run runs the program and returns what it did.
func (c *cli) run(args ...string) (code int, out, errOut string) {
	c.tb.Helper()
	var o, e bytes.Buffer
	code = Run(c.tb.Context(), args, c.env, strings.NewReader(c.in), &o, &e)
	return code, o.String(), e.String()
}

// want runs the program and checks status and texts; each text must be in what was
// printed, on either stream.
func (c *cli) want(code int, args []string, texts ...string) string {
	c.tb.Helper()
	got, out, errOut := c.run(args...)
	if got != code {
		c.tb.Errorf("sluice %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errOut)
	}
	for _, text := range texts {
		if !strings.Contains(out+errOut, text) {
			c.tb.Errorf("sluice %s: no %q in\n%s%s", strings.Join(args, " "), text, out, errOut)
		}
	}
	return out
}

func (c *cli) write(name, text string) string {
	c.tb.Helper()
	path := filepath.Join(c.state, name)
	if err := os.MkdirAll(c.state, 0o700); err != nil {
		c.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	return path
}

// serve runs a gateway of this machine on a free port until the test ends and returns
// its address. The commands find it: the port is written into the configuration.
func (c *cli) serve() string {
	c.tb.Helper()
	loc, err := locate("", "", getenv(c.env))
	if err != nil {
		c.tb.Fatal(err)
	}
	g, err := newGateway(c.tb.Context(), gatewayOptions{location: loc, environ: c.env,
		flags: map[string]string{"gateway.listen": "127.0.0.1:0", "telemetry.logs.level": "error"}})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			c.tb.Errorf("stop: %v", err)
		}
	})
	if err := g.Start(c.tb.Context()); err != nil {
		c.tb.Fatal(err)
	}
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+g.Addr().String())
	return g.Addr().String()
}

func TestVersion(t *testing.T) {
	c := newCLI(t)
	c.want(0, []string{"version"}, "sluice "+Version, "protocol 3 to 4", "backends bolt, jsonfile, sqlite")
	c.want(0, []string{"version", "--json"}, `"version": "`+Version+`"`, `"backends": [`)
	c.want(2, []string{"version", "x"}, "takes no argument")
	c.want(2, []string{"version", "--jsn"}, "unknown flag", "--help")
}

func TestMethods(t *testing.T) {
	c := newCLI(t)
	c.want(0, []string{"methods"}, "of 482 methods of the protocol are native", "config.patch", "3 methods (family sluice) are Sluice's own")
	out := c.want(0, []string{"methods", "--family", "config", "--native"}, "config.get", "operator.admin")
	if strings.Contains(out, "config.openFile") || strings.Contains(out, "chat.send") {
		t.Errorf("methods that were not asked for:\n%s", out)
	}
	c.want(0, []string{"methods", "--refused", "--json"}, `"total": 482`, `"state": "refused"`)
	c.want(2, []string{"methods", "--family", "confg"}, "no family", "config")
	c.want(2, []string{"methods", "--native", "--refused"}, "exclude each other")
}

// TestCompletion: cobra's own command works with ours.
func TestCompletion(t *testing.T) {
	c := newCLI(t)
	c.want(0, []string{"completion", "bash"}, "sluice")
	c.want(0, []string{"__complete", "con"}, "config")
}
