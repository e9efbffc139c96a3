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
	// Update runs fn in the persist stage's next batch and returns when it is durable.
	Update func(ctx context.Context, fn func(tx storage.Tx) error) error
	Events frames.Broadcaster
	// Live returns a session's running state for its rows.
	Live func(sessionKey string) sessionview.Live
	// Notices returns and removes what was queued for the session's next turn.
	Notices func(sessionKey string) []string
	// HTTP is used for model calls; nil means a client of the package's own.
	HTTP *http.Client
	// Span starts a span for one model call and returns its end; nil traces nothing.
	Span func(ctx context.Context, providerName, model, baseURL string) (context.Context, func(provider.Result, error))
	Log  *slog.Logger
}

// Registry holds the runs of this process and makes new ones.
type Registry struct {
	deps Deps
	cfg  atomic.Pointer[Config]
	prov atomic.Pointer[providerSet]

	mu       sync.Mutex
	runs     map[string]*Run
	finished []*Run // oldest first

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
	g := &Registry{deps: deps, runs: make(map[string]*Run)}
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
	Model      string
	Input      Input
	Claim      pipeline.Claim
	Ctx        context.Context // of the request, for the trace
}

// New makes a queued run. An id that another run of this process has is refused.
func (g *Registry) New(s Spec) (*Run, *frames.Error) {
	r := &Run{reg: g, id: s.ID, kind: s.Kind, sessionKey: s.SessionKey, agentID: s.AgentID, model: s.Model,
		createdAt: time.Now(), claim: s.Claim, inputs: []Input{s.Input}, status: Queued, done: make(chan struct{})}
	if s.Ctx != nil {
		r.parent = trace.SpanContextFromContext(s.Ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if old := g.runs[s.ID]; old != nil {
		return nil, frames.Invalid("This message ID was already used for different input. Check the conversation history and use a new message ID to send again.").
			WithDetails(map[string]any{"reason": "chat-request-conflict"})
	}
	g.runs[s.ID] = r
	return r, nil
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

// Wait returns when the run has ended, timeout is over or ctx ends; known is false when
// this process knows no such run.
func (g *Registry) Wait(ctx context.Context, id string, timeout time.Duration) (status Status, end End, known bool) {
	r := g.Get(id)
	if r == nil {
		return "", End{}, false
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-r.done:
	case <-t.C:
	case <-ctx.Done():
	}
	status, end = r.Snapshot()
	return status, end, true
}

// finish ends r for everyone who waits and keeps it for those who ask later.
func (g *Registry) finish(r *Run, end End) {
	r.mu.Lock()
	if r.status != Queued && r.status != Running {
		r.mu.Unlock()
		return
	}
	r.status, r.end, r.steerable, r.cancel = end.Status, end, false, nil
	replies, steered := r.replies, r.steered
	r.replies, r.steered = nil, nil
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
	for _, s := range steered {
		g.storeEnd(s, end)
		g.finish(s, end)
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
	g.Stats.TokensIn.Add(uint64(max(0, end.Input)))
	g.Stats.TokensOut.Add(uint64(max(0, end.Output)))
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
