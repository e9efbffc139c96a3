package disk

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	cfg := Default()
	cfg.Dir, cfg.DurationMs, cfg.Writers, cfg.MaxFileBytes = t.TempDir(), 50, 8, 256<<10
	res, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if res.Single.Writes == 0 || res.Single.Fsyncs != res.Single.Writes {
		t.Errorf("single: %+v", res.Single)
	}
	if g := res.Grouped; g.Writes == 0 || g.Fsyncs > g.Writes {
		t.Errorf("grouped: %+v", g)
	}
	if left, _ := os.ReadDir(cfg.Dir); len(left) > 0 {
		t.Errorf("files stay: %v", left)
	}
	var b bytes.Buffer
	if err := res.Table(&b); err != nil || !strings.Contains(b.String(), "8 writers, grouped") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestRefused(t *testing.T) {
	for _, edit := range []func(c *Config){
		func(c *Config) { c.Dir = "/nonexistent" },
		func(c *Config) { c.Writers = 0 },
		func(c *Config) { c.MaxFileBytes = 1 },
	} {
		cfg := Default()
		cfg.Dir = t.TempDir()
		edit(&cfg)
		if _, err := Run(context.Background(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
