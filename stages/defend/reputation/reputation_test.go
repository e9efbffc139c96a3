package reputation

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/defend"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnswers(t *testing.T) {
	s := newVT(t)
	for host, want := range map[string]string{
		"malicious": "block 75 vt_url_malicious", "suspicious": "review 45 vt_url_suspicious", "clean": "allow 0 vt_url_clean",
		"silent": "allow 10 vt_url_unknown", "nobody": "allow 10 vt_url_unknown",
		"status-204": "allow 12 vt_url_error vt_unavailable", "status-401": "allow 12 vt_url_error vt_unavailable",
		"status-429": "allow 12 vt_url_error vt_unavailable", "status-500": "allow 12 vt_url_error vt_unavailable",
		"status-302": "allow 12 vt_url_error vt_unavailable",
		"cut":        "allow 0 vt_unavailable", "empty": "allow 0 vt_unavailable", "junk": "allow 0 vt_unavailable",
	} {
		d := s.open(t)
		got := judge(t, d, urls("http://"+host+".example/x"))
		if text := fmt.Sprintf("%s %d %s", got.Action, got.Risk, strings.Join(got.Tags, " ")); text != want {
			t.Errorf("%s: %s, want %s", host, text, want)
		}
		for _, r := range got.Reasons {
			if strings.Contains(r, "example") {
				t.Errorf("the reason repeats the address: %s", r)
			}
		}
	}
	for _, p := range s.paths {
		if p == "/elsewhere" {
			t.Error("the key followed a redirect")
		}
	}
}

func TestWrongKey(t *testing.T) {
	s := newVT(t)
	d := s.open(t, func(c *Config) { c.APIKey = "other" })
	judge(t, d, urls("http://clean.example"))
	if h := d.Health(); !strings.Contains(h, "refused") || strings.Contains(h, "other") {
		t.Error(h)
	}
	judge(t, d, urls("http://malicious.example"))
	if s.asked.Load() != 1 {
		t.Error("asked again with a key that was refused")
	}
}

func TestNoKeyAsksNothing(t *testing.T) {
	s := newVT(t)
	d := s.open(t, func(c *Config) { c.APIKey = "" })
	a := urls("http://malicious.example")
	if got := judge(t, d, a); len(got.Tags) != 0 || s.asked.Load() != 0 || d.Needs(a) || d.QuickBytes() == 0 {
		t.Errorf("%+v", got)
	}
}

func TestUnreachable(t *testing.T) {
	s := newVT(t)
	d := s.open(t)
	s.Close()
	if got := judge(t, d, urls("http://a.example")); strings.Join(got.Tags, " ") != "vt_unavailable" || got.Risk != 0 {
		t.Errorf("%+v", got)
	}
	d = s.open(t, func(c *Config) { c.ReviewUnavailable = true })
	if got := judge(t, d, urls("http://a.example")); got.Action != pipeline.Review {
		t.Errorf("fail closed: %+v", got)
	}
}

func TestSlow(t *testing.T) {
	s := newVT(t)
	d := s.open(t, func(c *Config) { c.TimeoutMs = 500 })
	at := time.Now()
	got := judge(t, d, urls("http://slow.example", "http://clean.example"))
	if took := time.Since(at); took > 3*time.Second || strings.Join(got.Tags, " ") != "vt_url_clean vt_unavailable" {
		t.Errorf("%+v after %v", got, took)
	}
}

func TestCacheAndExpiry(t *testing.T) {
	s := newVT(t)
	now := time.Now()
	var mu sync.Mutex
	d := s.open(t)
	d.deps.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	ask := func(host string, want int64) {
		t.Helper()
		judge(t, d, urls("http://"+host+".example"))
		if n := s.asked.Swap(0); n != want {
			t.Errorf("%s: %d questions, want %d", host, n, want)
		}
	}
	ask("clean", 1)
	ask("clean", 0)
	ask("nobody", 1)
	ask("nobody", 0)
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	ask("clean", 0)
	ask("nobody", 1)
	mu.Lock()
	now = now.Add(6 * time.Hour)
	mu.Unlock()
	ask("clean", 1)
	ask("empty", 1)
	ask("empty", 1) // a failure is not remembered
}

func TestCacheBound(t *testing.T) {
	c := newCache(16)
	now := time.Now()
	for i := range 100 {
		c.put(key{sum: [32]byte{byte(i)}}, verdict{risk: i}, now.Add(time.Hour))
		if _, ok := c.get(key{sum: [32]byte{0}}, now); !ok {
			t.Fatal("what was used last is gone")
		}
	}
	if len(c.m) != 16 || c.order.Len() != 16 {
		t.Errorf("%d entries", len(c.m))
	}
}

func TestSingleFlight(t *testing.T) {
	s := newVT(t)
	d := s.open(t, func(c *Config) { c.TimeoutMs = 10_000 })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			c := t.Context()
			if i == 0 {
				c = ctx
			}
			f := &defend.Findings{}
			if err := d.Assess(c, urls("http://slow.example"), f); (err != nil) != (i == 0) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	for d.Stats.Shared.Load() < 9 {
		runtime.Gosched() // nothing signals that a caller waits; the test's own timeout ends it
	}
	cancel() // one that goes away takes no answer from the others
	s.letGo()
	wg.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestLimits(t *testing.T) {
	s := newVT(t)
	d := s.open(t, func(c *Config) { c.RatePerMinute = 2 })
	for i := range 5 {
		judge(t, d, urls(fmt.Sprintf("http://nobody-%d.example", i)))
	}
	if n := s.asked.Load(); n != 2 || d.Stats.Limited.Load() != 3 {
		t.Errorf("%d questions, %d not asked", n, d.Stats.Limited.Load())
	}
	d = s.open(t, func(c *Config) { c.MaxURLs = 2 })
	got := judge(t, d, urls("http://a.clean.example", "http://b.example", "http://c.example"))
	if !strings.Contains(strings.Join(got.Tags, " "), "vt_unavailable") {
		t.Errorf("an address that was not looked up: %+v", got)
	}
}

func TestBreaker(t *testing.T) {
	s := newVT(t)
	now := time.Now()
	d := s.open(t, func(c *Config) { c.BreakerFailures = 3; c.BreakerCooldownMs = 1000 })
	d.deps.Now = func() time.Time { return now }
	ask := func(host string, want int64) {
		t.Helper()
		judge(t, d, urls("http://"+host+".example"))
		if n := s.asked.Swap(0); n != want {
			t.Errorf("%s: %d questions, want %d", host, n, want)
		}
	}
	for i := range 3 {
		ask(fmt.Sprintf("status-50%d", i), 1)
	}
	ask("clean", 0)
	if d.Health() == "" {
		t.Error("healthy")
	}
	now = now.Add(2 * time.Second)
	ask("status-500", 1) // the one that is tried
	ask("clean", 0)
	now = now.Add(2 * time.Second)
	ask("clean", 1)
	ask("status-502", 1)
	ask("silent", 1)
	ask("status-429", 1) // closes at once, for a minute
	now = now.Add(30 * time.Second)
	ask("suspicious", 0)
	now = now.Add(31 * time.Second)
	ask("suspicious", 1)
}

func TestClosed(t *testing.T) {
	s := newVT(t)
	d := s.open(t)
	d.Close()
	if got := judge(t, d, urls("http://clean.example")); strings.Join(got.Tags, " ") != "vt_unavailable" {
		t.Errorf("%+v", got)
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Config){
		func(c *Config) { c.BaseURL = "http://vt.example/" }, func(c *Config) { c.BaseURL = "" },
		func(c *Config) { c.BaseURL = "https://u:p@x.example" }, func(c *Config) { c.TimeoutMs = 1 },
		func(c *Config) { c.Roots = []string{"x"} }, func(c *Config) { c.MaxFileBytes = 0 }, func(c *Config) { c.MaliciousRisk = 101 },
	} {
		c := Default()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("case %d", i)
		}
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add([]byte("see https://one.example/a?b=c and x"))
	f.Add([]byte("http://[::1"))
	cfg := Default()
	cfg.APIKey = apiKey
	d, err := New(cfg, Deps{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, _ := d.addresses(&defend.Action{URLs: [][]byte{text}, Prompts: [][]byte{text}})
		if len(got) > cfg.MaxURLs {
			t.Errorf("%d addresses", len(got))
		}
		if s, err := readStats(strings.NewReader(string(text))); err == nil && s == nil {
			t.Error("no counts and no error")
		}
	})
}

func BenchmarkCached(b *testing.B) {
	s := newVT(b)
	d := s.open(b)
	a := urls("http://clean.example/x")
	judge(b, d, a)
	f := &defend.Findings{}
	b.ReportAllocs()
	for b.Loop() {
		*f = defend.Findings{}
		if err := d.Assess(b.Context(), a, f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNoAddress4K(b *testing.B) {
	s := newVT(b)
	d := s.open(b)
	a := &defend.Action{Prompts: [][]byte{[]byte(strings.Repeat("text without an address, to be read: all of it. ", 86))}}
	b.SetBytes(int64(len(a.Prompts[0])))
	b.ReportAllocs()
	for b.Loop() {
		if d.Needs(a) {
			b.Fatal("an address")
		}
	}
}
