package badinput_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// program is the built program. SLUICE_BIN names one that is built already.
var program = os.Getenv("SLUICE_BIN")

func TestMain(m *testing.M) {
	flag.Parse()
	code := run(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "badinput:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	if program == "" {
		dir, err := os.MkdirTemp("", "sluice-badinput-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "badinput:", err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		program = filepath.Join(dir, "sluice")
		if err := build(program); err != nil {
			fmt.Fprintln(os.Stderr, "badinput:", err)
			return 1
		}
	}
	return m.Run()
}

// build makes the program that is tested; the tests' own build has compiled nearly all
// of its packages, so this links.
func build(out string, args ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, args...), "sluice/cmd/sluice")...)
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build of cmd/sluice: %w\n%s", err, b)
	}
	return nil
}
