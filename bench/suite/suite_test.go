package suite_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice/bench/limit"
	"sluice/bench/suite"

	"go.uber.org/goleak"
)

// TestMain makes this test program stand in for the one that is measured: called with
// serve or bench limit it is the limit server, which answers every method.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "bench") {
		if err := standIn(os.Args); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func standIn(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", args[slices.Index(args, "--listen")+1])
	if err != nil {
		return err
	}
	s, err := limit.New(limit.Default())
	if err != nil {
		return err
	}
	return s.Serve(ctx, ln)
}

func quick(t *testing.T) suite.Config {
	c := suite.Default()
	c.Self, c.StateDir = os.Args[0], t.TempDir()
	c.Rounds, c.DurationMs, c.WarmupMs, c.SettleMs, c.FloodMs, c.IdleConnections = 1, 60, 0, 10, 60, 20
	return c
}

// TestEveryCase runs all cases, each for a moment, against the stand-in.
func TestEveryCase(t *testing.T) {
	res, err := suite.Run(t.Context(), quick(t), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := res.Table(&out); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &out)
	for _, name := range suite.Cases() {
		if !slices.ContainsFunc(res.Rows, func(r suite.Row) bool { return r.Case == name && r.Op != "" }) {
			t.Errorf("case %s requires nothing", name)
		}
	}
	for _, r := range res.Rows {
		if r.What == "health, answers that were no result" && (r.Value != 0 || !r.Met) {
			t.Errorf("%+v", r)
		}
	}
	for _, name := range res.Names() {
		if res.Single[name] == nil {
			t.Errorf("no result %s", name)
		}
	}
	if len(res.Verdicts()) < 10 {
		t.Errorf("%d verdicts", len(res.Verdicts()))
	}
}

func TestOnly(t *testing.T) {
	c := quick(t)
	c.Only = []string{"memory"}
	res, err := suite.Run(t.Context(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(res.Rows, func(r suite.Row) bool { return r.Case != "memory" }) {
		t.Errorf("%+v", res.Rows)
	}
}

// TestHeld: what is soft counts in a strict run only.
func TestHeld(t *testing.T) {
	for _, c := range []struct {
		row    suite.Row
		strict bool
		want   bool
	}{
		{suite.Row{Op: "<=", Met: true}, true, true},
		{suite.Row{Op: "<="}, false, false},
		{suite.Row{Op: "<=", Soft: true}, false, true},
		{suite.Row{Op: "<=", Soft: true}, true, false},
	} {
		r := &suite.Result{Config: suite.Config{Strict: c.strict}, Rows: []suite.Row{c.row}}
		if r.Held() != c.want {
			t.Errorf("%+v strict %v: held %v", c.row, c.strict, r.Held())
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for name, change := range map[string]func(*suite.Config){
		"rounds": func(c *suite.Config) { c.Rounds = 0 }, "duration": func(c *suite.Config) { c.DurationMs = 0 },
		"idle": func(c *suite.Config) { c.IdleConnections = 1 << 20 }, "nonsense": func(c *suite.Config) { c.Only = []string{"nonsense"} },
		"program": func(c *suite.Config) { c.Self = "" }, "folder": func(c *suite.Config) { c.StateDir = "/no/such" },
	} {
		c := quick(t)
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
