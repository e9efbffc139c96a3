// Package reputation asks VirusTotal what it knows of the addresses and files in an
// action.
//
// Addresses are those that the action names and those in its texts; files are hashed
// here, below configured folders only, and never sent. Answers are remembered for a
// while; one question about the same thing is asked once, however many actions wait for
// it. When no answer can be had (timeout, limit, failure, breaker) the action gets the
// tag vt_unavailable: no answer is never taken for a good one.
//
// Lifecycle: New, Assess from any goroutine, Close.
package reputation

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/stages/defend"

	"golang.org/x/time/rate"
)

// Deps are what the defender needs from outside; all may be missing.
type Deps struct {
	// Secret reports whether text holds a secret. An address with one is looked up
	// without its query.
	Secret func(text []byte) bool
	Log    *slog.Logger
	Now    func() time.Time
}

// Defender implements defend.Defender. It is safe for concurrent use.
type Defender struct {
	cfg    Config
	deps   Deps
	client *http.Client

	limit   *rate.Limiter
	breaker breaker
	cache   *cache
	flights flights

	ctx    context.Context // of the questions: they outlive the action that asked first
	cancel context.CancelFunc

	// Stats are the counters.
	Stats Stats
}

// Stats are the defender's counters, for the metrics exporter.
type Stats struct {
	Asked       atomic.Uint64 // questions sent
	Cached      atomic.Uint64 // answered from memory
	Shared      atomic.Uint64 // answered by a question already under way
	Failed      atomic.Uint64 // questions without a verdict
	Limited     atomic.Uint64 // not asked: rate, concurrency or breaker
	Unavailable atomic.Uint64 // addresses and files without an answer
	Latency     pipeline.Histogram
}

var (
	_ defend.Defender = (*Defender)(nil)
	_ defend.Quick    = (*Defender)(nil)
)

// New returns the defender.
func New(cfg Config, deps Deps) (*Defender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	d := &Defender{cfg: cfg, deps: deps, cache: newCache(cfg.CacheEntries),
		limit:   rate.NewLimiter(rate.Limit(float64(cfg.RatePerMinute)/60), cfg.RatePerMinute),
		breaker: breaker{most: cfg.BreakerFailures, cooldown: time.Duration(cfg.BreakerCooldownMs) * time.Millisecond},
		flights: flights{m: map[key]*flight{}, most: cfg.Concurrency}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = cfg.Concurrency
	transport.MaxResponseHeaderBytes = 64 << 10
	d.client = &http.Client{Transport: transport,
		// The key must not follow a redirect to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return d, nil
}

// Close ends the questions under way. Assess may still be called: it answers
// vt_unavailable.
func (d *Defender) Close() error {
	d.cancel()
	d.flights.close()
	d.client.CloseIdleConnections()
	return nil
}

// Name implements defend.Defender.
func (d *Defender) Name() string { return "reputation" }

// Enabled reports whether there is a key.
func (d *Defender) Enabled() bool { return d.cfg.APIKey != "" }

// QuickBytes implements defend.Quick: with a key, judging waits for the network.
func (d *Defender) QuickBytes() int {
	if d.Enabled() {
		return 0
	}
	return 1 << 30
}

// Needs reports whether a holds anything to look up: an action without can be judged on
// the stage's worker.
func (d *Defender) Needs(a *defend.Action) bool {
	if !d.Enabled() {
		return false
	}
	if len(a.Files) > 0 {
		return true
	}
	urls, _ := d.addresses(a)
	return len(urls) > 0
}

// Health says why nothing can be asked; empty when all is well or there is no key.
func (d *Defender) Health() string {
	if why := d.breaker.why(d.deps.Now()); why != "" {
		return "reputation: VirusTotal is not asked for now: " + why
	}
	return ""
}

// Assess implements defend.Defender.
func (d *Defender) Assess(ctx context.Context, a *defend.Action, f *defend.Findings) error {
	if !d.Enabled() {
		return nil
	}
	urls, more := d.addresses(a)
	files := a.Files
	if len(files) > d.cfg.MaxFiles {
		files, more = files[:d.cfg.MaxFiles], more+len(files)-d.cfg.MaxFiles
	}
	if len(urls)+len(files) == 0 {
		return nil
	}
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, time.Duration(d.cfg.TimeoutMs)*time.Millisecond)
	defer cancel()
	verdicts := make([]verdict, len(urls)+len(files))
	var wg sync.WaitGroup
	for i, u := range urls {
		wg.Go(func() { verdicts[i] = d.address(ctx, u) })
	}
	for i, path := range files {
		// The bytes are the action's; a read that outlives ctx must not use them.
		name := string(path)
		wg.Go(func() { verdicts[len(urls)+i] = d.file(ctx, name) })
	}
	wg.Wait()
	if err := outer.Err(); err != nil {
		return err
	}
	d.conclude(verdicts, more, f)
	return nil
}

// conclude adds the verdicts to f, each kind once: ten bad addresses are as bad as one,
// and ten unknown ones are not bad.
func (d *Defender) conclude(verdicts []verdict, more int, f *defend.Findings) {
	done := map[string]bool{}
	hit := func(risk int, tag, reason string) {
		if !done[tag] {
			done[tag] = true
			f.Add(risk, tag, reason)
		}
	}
	missing := more
	for _, v := range verdicts {
		if v.tag != "" {
			hit(v.risk, v.tag, v.reason)
		}
		if v.unavailable {
			missing++
		}
	}
	if missing == 0 {
		return
	}
	d.Stats.Unavailable.Add(uint64(missing))
	const reason = "VirusTotal could not be asked about all addresses and files"
	if d.cfg.ReviewUnavailable {
		f.Floor(pipeline.Review, "vt_unavailable", reason)
		return
	}
	hit(0, "vt_unavailable", reason)
}

// verdict is what is known of one address or file. It is remembered.
type verdict struct {
	risk        int
	tag         string // empty = nothing to say
	reason      string
	unavailable bool
}

// thing is the kind of what is looked up.
type thing uint8

const (
	anAddress thing = iota
	aFile
)

func (t thing) tag(what string) string {
	if t == aFile {
		return "vt_file_" + what
	}
	return "vt_url_" + what
}

func (t thing) String() string {
	if t == aFile {
		return "a file"
	}
	return "an address"
}
