package defend_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/bufpool"
	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/defend"
	"sluice/stages/defend/rules"
	"sluice/stages/defend/secrets"
)

// fakeStage is a stage that is one function.
type fakeStage struct {
	name string
	fn   func(context.Context, *pipeline.Envelope) (pipeline.Verdict, error)
}

func (f fakeStage) Name() string { return f.name }
func (f fakeStage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	return f.fn(ctx, e)
}

// fakeDefender is a defender that is one function; it is not Quick.
type fakeDefender func(context.Context, *defend.Action, *defend.Findings) error

func (fakeDefender) Name() string { return "fake" }
func (f fakeDefender) Assess(ctx context.Context, a *defend.Action, fs *defend.Findings) error {
	return f(ctx, a, fs)
}

// events collects what is broadcast.
type events struct {
	mu   sync.Mutex
	list []frames.Event
}

func (b *events) Broadcast(ev frames.Event) {
	b.mu.Lock()
	b.list = append(b.list, ev)
	b.mu.Unlock()
}

func (b *events) take() []frames.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	return list
}

// asked is a question to the operators.
type asked struct {
	defend.Ask
	done func(*frames.Error)
}

// provenance keeps what was said about sessions.
type provenance struct {
	mu     sync.Mutex
	notes  []string
	noDisk atomic.Bool
}

func (p *provenance) note(text string) {
	p.mu.Lock()
	p.notes = append(p.notes, text)
	p.mu.Unlock()
}

func (p *provenance) Taint(session, origin string) error {
	p.note("taint " + session + " " + origin)
	return nil
}

func (p *provenance) BeginTurn(session string) { p.note("turn " + session) }

func (p *provenance) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := strings.Join(p.notes, ", ")
	p.notes = nil
	return all
}

// gateway is the stage in a pipeline: decode, defend, and work that counts.
type gateway struct {
	*testing.T
	stage   *defend.Stage
	pipe    *pipeline.Pipeline
	worked  atomic.Int64
	events  events
	asked   chan asked
	records chan defend.Record
	session provenance
	disk    sync.RWMutex // held: the ledger's disk hangs
	dir     string
	verdict chan result
}

type result struct {
	err      *frames.Error
	decision *pipeline.Decision
}

// Settle implements pipeline.Settler.
func (g *gateway) Settle(e *pipeline.Envelope) {
	_, err, _ := e.Result()
	g.verdict <- result{err, e.Decision}
}

func mustGateway(t *testing.T, change func(*defend.Config), defenders ...defend.Defender) *gateway {
	t.Helper()
	bufpooltest.NoLeaks(t)
	g := &gateway{T: t, asked: make(chan asked, 8), records: make(chan defend.Record, 64), dir: filepath.Join(t.TempDir(), "quarantine"), verdict: make(chan result, 64)}
	if defenders == nil {
		d, err := rules.New(rules.FirstRuntime())
		if err != nil {
			t.Fatal(err)
		}
		defenders = []defend.Defender{d}
	}
	cfg := defend.Default()
	cfg.Quarantine.Dir = g.dir
	if change != nil {
		change(&cfg)
	}
	keeper, err := secrets.New(secrets.Default())
	if err != nil {
		t.Fatal(err)
	}
	lines := uint64(0)
	g.stage, err = defend.New(cfg, defenders, defend.Deps{Broadcaster: &g.events, Redact: keeper.Redact, Provenance: &g.session,
		Journal: func(_ context.Context, r defend.Record) (uint64, error) {
			g.disk.RLock()
			g.disk.RUnlock()
			r.Content = bytes.Clone(r.Content)
			g.records <- r
			if g.session.noDisk.Load() {
				return 0, errors.New("no space left")
			}
			return atomic.AddUint64(&lines, 1), nil
		},
		Approve: func(a defend.Ask, done func(*frames.Error)) {
			if strings.Contains(a.Text, "broken broker") {
				panic("the broker is broken")
			}
			g.asked <- asked{a, done}
		},
		Resume: func(e *pipeline.Envelope, err error) { g.pipe.Resume(e, err) }})
	if err != nil {
		t.Fatal(err)
	}
	g.pipe, err = pipeline.New(pipeline.Default(), []pipeline.Stage{
		fakeStage{"decode", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
			if e.Work == nil {
				if err := frames.Decode(e.Bytes(), &e.Frame); err != nil {
					return pipeline.Done, err
				}
			}
			return pipeline.Next, nil
		}},
		g.stage,
		fakeStage{"dispatch", func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
			g.worked.Add(1)
			e.Answer([]byte("{}"))
			return pipeline.Done, nil
		}},
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.pipe.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.pipe.Drain(context.Background())
		if err := g.pipe.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *gateway) submit(method, params string) {
	g.Helper()
	g.submitAs("r1", method, params)
}

func (g *gateway) submitAs(id, method, params string) {
	g.Helper()
	lease := bufpool.Get(len(params) + 128)
	lease.B = frames.AppendRequest(lease.B, id, method, []byte(params))
	e := pipeline.NewEnvelope(pipeline.SourceWire, lease)
	e.OnSettle(g)
	if err := g.pipe.Submit(e); err != nil {
		g.Fatal(err)
	}
}

func (g *gateway) call(method, params string) result {
	g.Helper()
	g.submit(method, params)
	return g.wait()
}

func (g *gateway) wait() result {
	g.Helper()
	select {
	case r := <-g.verdict:
		return r
	case <-time.After(10 * time.Second):
		g.Fatal("no verdict")
		panic("unreachable")
	}
}
