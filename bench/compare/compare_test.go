package compare

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"sluice/bench/limit"
	"sluice/bench/load"

	"go.uber.org/goleak"
)

// TestMain runs the limit server when a test starts this binary as a target.
func TestMain(m *testing.M) {
	for i, a := range os.Args {
		switch a {
		case "--listen":
			os.Exit(serve(os.Args[i+1]))
		case "--fail":
			println("cannot start: no such thing")
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

func serve(addr string) int {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return 1
	}
	s, err := limit.New(limit.Default())
	if err != nil || s.Serve(context.Background(), ln) != nil {
		return 1
	}
	return 0
}

func mustTarget(t *testing.T, text string) Target {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseTarget(text, self)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func mustRequire(t *testing.T, texts ...string) (all []Requirement) {
	t.Helper()
	for _, text := range texts {
		r, err := ParseRequirement(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestRun(t *testing.T) {
	base := load.Default()
	base.Connections, base.WarmupMs, base.DurationMs = 2, 10, 150
	one, err := ParseScenario("health", base)
	if err != nil {
		t.Fatal(err)
	}
	two, err := ParseScenario("mixed:mix=health=2,chat.inject=1;connections=1;inflight=2;seconds=0.1", base)
	if err != nil || two.Load.DurationMs != 100 || two.Load.Mix != "health=2,chat.inject=1" {
		t.Fatalf("%+v, %v", two, err)
	}
	cfg := Config{Targets: []Target{mustTarget(t, "a=@limit"), mustTarget(t, "limit=@limit")}, Scenarios: []Scenario{one, two}, Rounds: 3,
		Requirements: mustRequire(t, "health.rps_ratio>=0.01", "health.cpu_ratio@limit<=1000", "mixed.failed<=0", "health.p99<=0")}
	res, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Runs) != 12 || res.Runs[0].Name != "a health" || res.Runs[1].Name != "limit health" || res.Reference != "limit" {
		t.Errorf("%d runs, reference %s", len(res.Runs), res.Reference)
	}
	for i, want := range []bool{true, true, true, false} {
		if v := res.Verdicts[i]; v.OK != want {
			t.Errorf("%+v", v)
		}
	}
	if res.Held() {
		t.Error("a broken requirement was not noticed")
	}
	var b bytes.Buffer
	if err := res.Table(&b); err != nil || !strings.Contains(b.String(), "BROKEN") || !strings.Contains(b.String(), "answers a second") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestCommandFails(t *testing.T) {
	self, _ := os.Executable()
	cfg := Config{Targets: []Target{mustTarget(t, "a=exec:"+self+" --fail")}, Scenarios: []Scenario{{Name: "health", Load: load.Default()}}, Rounds: 1}
	_, err := Run(t.Context(), cfg, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("err = %v", err)
	}
}

func TestNothingMeasuredDoesNotHold(t *testing.T) {
	res := &Result{Targets: []Target{{Name: "a"}}, Reference: "b", Rows: []Row{{Scenario: "s", Target: "a", Metric: "rps", Median: 5}}}
	for text, ok := range map[string]bool{"s.cpu<=5": false, "s.rps_ratio<=5": false, "s.rps>4": true, "s.rps>5": false, "s.rps<6": true, "s.rps>=5": true} {
		v := mustRequire(t, text)[0].check(res)
		if v.OK != ok || (v.Value == 0) != (v.Why != "") {
			t.Errorf("%s: %+v", text, v)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{"", "x", "=@limit", "a=what", "a=exec:", "a=ws://h,pid=x", "a=ws://h,shoe=1"} {
		if got, err := ParseTarget(text, "self"); err == nil {
			t.Errorf("target %q gave %+v", text, got)
		}
	}
	for _, text := range []string{"", "a b", "x:shoe=1", "x:connections=y"} {
		if got, err := ParseScenario(text, load.Default()); err == nil {
			t.Errorf("scenario %q gave %+v", text, got)
		}
	}
	for _, text := range []string{"", "a.b<=1", "a.cpu=1", "a.cpu<=x", "a.cpu@b<=1"} {
		if got, err := ParseRequirement(text); err == nil {
			t.Errorf("requirement %q gave %+v", text, got)
		}
	}
	r := mustRequire(t, "chat.inject.cpu_ratio@openclaw<=0.01")[0]
	if r.Scenario != "chat.inject" || r.Metric != "cpu" || !r.Ratio || r.Versus != "openclaw" || r.Bound != 0.01 {
		t.Errorf("%+v", r)
	}
	two := []Target{{Name: "a"}, {Name: "a"}}
	s := []Scenario{{Name: "s"}}
	for _, c := range []Config{{}, {Targets: two, Scenarios: s, Rounds: 1}, {Targets: two[:1], Scenarios: s}, {Targets: two[:1], Scenarios: s, Rounds: 1, Reference: "z"},
		{Targets: two[:1], Scenarios: s, Rounds: 1, Requirements: []Requirement{r}}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a=ws://127.0.0.1:1,pid=3")
	f.Add("x:mix=a=1;rate=2")
	f.Add("health.cpu_ratio@b<=1e3")
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = ParseTarget(s, "self")
		_, _ = ParseScenario(s, load.Default())
		_, _ = ParseRequirement(s)
	})
}
