package agent

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent/provider"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"go.opentelemetry.io/otel/trace"
)

// Deps are what runs need from outside.
type Deps struct {
	Store storage.Store
	// Update runs fn in the persist stage's next batch and returns when it is durable. It
	// must not be called on the goroutine that settles envelopes: that is the writer.
	Update func(ctx context.Context, fn func(tx storage.Tx) error) error
	Events frames.Broadcaster
	// Live returns a session's running state for its rows.
	Live func(sessionKey string) sessionview.Live
	// Notices returns and removes what was queued for the session's next turn.
	Notices func(sessionKey string) []string
	// Foreign is told of a message that is not the owner's when a running turn is about to
	// read it. May be nil.
	Foreign func(sessionKey, origin string)
	// Lanes order the runs of a session.
	Lanes Lanes
	// HTTP is used for model calls; nil means a client of the package's own.
	HTTP *http.Client
	// Span starts a span for one model call and returns its end; nil traces nothing.
	Span func(ctx context.Context, providerName, model, baseURL string) (context.Context, func(provider.Result, error))
	Log  *slog.Logger
}

// Lanes is the schedule stage as runs see it.
type Lanes interface {
	// Active returns the run that holds the session's lane and those that wait.
	Active(sessionKey string) (holder string, waiting []string)
	// Abort ends turns of a session.
	Abort(sessionKey, runID, reason string) []string
	// Restore puts a run that was accepted back into its lane.
	Restore(w pipeline.Work)
}

// Registry holds the runs of this process and makes new ones.
type Registry struct {
	deps Deps
	cfg  atomic.Pointer[Config]
	prov atomic.Pointer[providerSet]

	mu       sync.Mutex
	runs     map[string]*Run
	finished []*Run // oldest first

	// Ends that are stored beside any envelope. ctx ends with Close.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	held   atomic.Bool

	Stats Stats
}

// Stats are the package's counters.
type Stats struct {
	Started   atomic.Uint64
	Succeeded atomic.Uint64
	Failed    atomic.Uint64
	Aborted   atomic.Uint64
	Retried   atomic.Uint64
	TokensIn  atomic.Uint64
	TokensOut atomic.Uint64
	Duration  pipeline.Histogram
}

type providerSet struct {
	provider provider.Provider
	missing  string // why there is none
}

// NewRegistry returns a registry for cfg.
func NewRegistry(cfg Config, deps Deps) (*Registry, error) {
	if deps.HTTP == nil {
		deps.HTTP = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment,
			MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second}}
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	g := &Registry{deps: deps, runs: make(map[string]*Run)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g, g.Reload(cfg)
}

// Reload takes over a new configuration; runs that have started keep the old one.
func (g *Registry) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	set := &providerSet{missing: cfg.Model.Missing()}
	if set.missing == "" {
		p, err := provider.NewOpenAI(cfg.Model.Provider, cfg.Model.BaseURL, cfg.Model.APIKey, g.deps.HTTP, provider.Limits{
			FirstByte: time.Duration(cfg.Model.FirstByteMs) * time.Millisecond,
			Idle:      time.Duration(cfg.Model.IdleMs) * time.Millisecond, Bytes: int64(cfg.AnswerBytes) * 8})
		if err != nil {
			return err
		}
		set.provider = p
	}
	g.prov.Store(set)
	g.cfg.Store(&cfg)
	return nil
}

// Hold lets no run that waits be ended any more: the gateway is stopping, and what waits
// is stored and starts with the next process.
func (g *Registry) Hold() { g.held.Store(true) }

// Close waits for the ends that are still being stored, at most as long as ctx, and
// frees the connections to the model. Call it when the pipeline has stopped.
func (g *Registry) Close(ctx context.Context) error {
	g.Hold()
	g.cancel()
	done := make(chan struct{})
	go func() { g.wg.Wait(); close(done) }()
	defer g.deps.HTTP.CloseIdleConnections()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Config returns the configuration in force; it must not be changed.
func (g *Registry) Config() *Config { return g.cfg.Load() }

// Model returns what clients are told about an agent's model.
func (g *Registry) Model(agentID string) sessionview.Model {
	c := g.cfg.Load()
	a, _ := c.Agent(agentID)
	if a.Model == "" {
		return sessionview.Model{ContextTokens: c.Model.ContextTokens}
	}
	return sessionview.Model{Provider: c.Model.Provider, ID: a.Model, Name: a.Model,
		ContextTokens: c.Model.ContextTokens, Configured: g.prov.Load().missing == ""}
}

// Ready returns why no turn can run now; nil when one can.
func (g *Registry) Ready() *frames.Error {
	if why := g.prov.Load().missing; why != "" {
		return &frames.Error{Code: frames.CodeUnavailable, Message: why, Details: map[string]any{"code": "MODEL_NOT_CONFIGURED"}}
	}
	return nil
}

// Spec describes a new run.
type Spec struct {
	ID         string
	Kind       Kind
	SessionKey string
	AgentID    string
	Model      string        // "" takes the session's or the agent's
	System     string        // text for the model beside the agent's own
	Timeout    time.Duration // 0 takes agent.turnTimeoutMs, which also bounds it
	Input      Input
	Claim      pipeline.Claim
	Ctx        context.Context // of the request, for the trace
}

// New makes a queued run; it is nil when another run of this process has the id.
func (g *Registry) New(s Spec) *Run {
	r := &Run{reg: g, id: s.ID, kind: s.Kind, sessionKey: s.SessionKey, agentID: s.AgentID, model: s.Model, system: s.System,
		timeout: s.Timeout, createdAt: time.Now(), claim: s.Claim, inputs: []Input{s.Input}, status: Queued, done: make(chan struct{})}
	if s.Ctx != nil {
		r.parent = trace.SpanContextFromContext(s.Ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.runs[s.ID] != nil {
		return nil
	}
	g.runs[s.ID] = r
	return r
}

// Forget drops a run whose request failed before it was stored.
func (g *Registry) Forget(r *Run) {
	g.mu.Lock()
	if g.runs[r.id] == r {
		delete(g.runs, r.id)
	}
	g.mu.Unlock()
	close(r.done)
}

// Get returns a run of this process, nil when there is none of that id.
func (g *Registry) Get(id string) *Run {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs[id]
}

// Open reports whether the run has not ended. Its lane lets go of it a moment later, so
// a session's rows ask here and not there.
func (g *Registry) Open(id string) bool {
	r := g.Get(id)
	if r == nil {
		return false
	}
	status, _ := r.Snapshot()
	return status.open()
}

// Wait returns when the run has ended, timeout is over or ctx ends; it is nil when this
// process knows no such run.
func (g *Registry) Wait(ctx context.Context, id string, timeout time.Duration) *Run {
	r := g.Get(id)
	if r == nil {
		return nil
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-r.done:
	case <-t.C:
	case <-ctx.Done():
	}
	return r
}

// finish ends r for everyone who waits and keeps it for those who ask later. What it
// tells must be durable already.
func (g *Registry) finish(r *Run, end End) {
	r.mu.Lock()
	if !r.status.open() {
		r.mu.Unlock()
		return
	}
	r.status, r.end, r.steerable, r.cancel, r.out = end.Status, end, false, nil, nil
	replies, joined, back := r.replies, r.joined, r.steered
	r.replies, r.joined, r.steered = nil, nil, nil
	r.mu.Unlock()
	g.count(end)
	if r.claim != nil {
		r.claim.Replace(r.finalPayload(end))
	}
	for _, rep := range replies {
		rep.client.Send(pipeline.EncodeAnswer(rep.id, r.finalPayload(end), r.finalError(end)))
	}
	g.deps.Events.Broadcast(r.finalEvent(end))
	close(r.done)
	for _, o := range joined {
		g.finish(o, end.joined())
	}
	// What was steered in and not read has still to be answered.
	for _, o := range back {
		g.deps.Lanes.Restore(o)
	}
	g.retain(r)
}

func (g *Registry) count(end End) {
	switch end.Status {
	case OK:
		g.Stats.Succeeded.Add(1)
	case Aborted, Interrupted:
		g.Stats.Aborted.Add(1)
	default:
		g.Stats.Failed.Add(1)
	}
	g.Stats.Duration.Observe(int64(end.EndedAt.Sub(end.StartedAt)))
}

// retain keeps ended runs within their bounds.
func (g *Registry) retain(r *Run) {
	c := g.cfg.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finished = append(g.finished, r)
	limit := time.Now().Add(-time.Duration(c.FinishedRunsMs) * time.Millisecond)
	for len(g.finished) > c.FinishedRuns || (len(g.finished) > 0 && g.finished[0].end.EndedAt.Before(limit)) {
		old := g.finished[0]
		g.finished = g.finished[1:]
		if g.runs[old.id] == old {
			delete(g.runs, old.id)
		}
	}
}

// Count returns the runs in memory.
func (g *Registry) Count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.runs)
}

// Abort ends turns of a session as its lane does, and also reaches messages that a
// running turn was given and has not read yet.
func (g *Registry) Abort(sessionKey, runID, reason string) []string {
	var ids []string
	ended := "" // its lane lets go of a run a moment after its end is told
	if holder, _ := g.deps.Lanes.Active(sessionKey); holder != "" {
		if r := g.Get(holder); r != nil {
			if status, _ := r.Snapshot(); !status.open() {
				ended = holder
			}
			for _, o := range r.release(runID) {
				o.Drop(errDropped)
				ids = append(ids, o.id)
			}
		}
	}
	for _, id := range g.deps.Lanes.Abort(sessionKey, runID, reason) {
		if id != ended {
			ids = append(ids, id)
		}
	}
	return ids
}

// AbortOthers is Abort for all turns of a session from within a request that has a place
// in its lane itself: that place stays.
func (g *Registry) AbortOthers(sessionKey, reason string) {
	holder, waiting := g.deps.Lanes.Active(sessionKey)
	if r := g.Get(holder); r != nil {
		for _, o := range r.release("") {
			o.Drop(errDropped)
		}
	}
	for _, id := range append(waiting, holder) {
		if id != "" {
			g.deps.Lanes.Abort(sessionKey, id, reason)
		}
	}
}

// errDropped ends a run that the user took back before it began.
var errDropped = frames.Unavailable(0, "aborted")
