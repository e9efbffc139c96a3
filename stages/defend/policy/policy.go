// Package policy is what the defender knows beside the texts: which tools may be called,
// what tools and channels weigh, how often a call may repeat, what foreign content in a
// turn forbids, and what follows when nothing can be judged. A signed bundle can set
// parts of it.
//
// The rules here are deterministic: no score can outvote the taint rule or a tool that
// is denied.
//
// Lifecycle: New, Assess from any goroutine, Reload and LoadBundle at any time.
package policy

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// State keeps which bundle was accepted last. Get returns nil bytes for a key that was
// never put. A value that Put has stored must survive the process.
type State interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
}

// Deps are what the policy needs from outside.
type Deps struct {
	// State is needed with a bundle.
	State State
	// Sender names who is behind an action, for the rate; nil takes its session.
	Sender func(*defend.Action) string
	// Model returns the "provider/model" that an action's session runs on; nil or an
	// empty answer skips tools.byProvider.
	Model func(*defend.Action) string
	// Changed is told of every policy that was put in force or refused: a ledger entry of
	// kind policy. May be nil.
	Changed func(ctx context.Context, c Change)
	Log     *slog.Logger     // may be nil
	Now     func() time.Time // may be nil
}

// Change is a policy that was put in force, or refused.
type Change struct {
	Source   string `json:"source"` // "config" or "bundle"
	BundleID string `json:"bundleId,omitzero"`
	Version  uint64 `json:"version,omitzero"`
	SHA256   string `json:"sha256,omitzero"` // of the bundle's canonical form
	Refused  string `json:"refused,omitzero"`
}

// Policy implements defend.Defender. It is safe for concurrent use.
type Policy struct {
	deps  Deps
	force atomic.Pointer[inForce]
	seed  maphash.Seed

	reload sync.Mutex // one Reload or LoadBundle at a time
	cfg    Config
	bundle *Bundle

	mu      sync.Mutex // guards the tables
	loops   *recent[calls]
	senders *recent[bucket]
	taints  taints

	// Stats are the counters.
	Stats Stats
}

// Stats are the policy's counters.
type Stats struct {
	Denied, Loops, Limited, Tainted atomic.Uint64
	// Tables are how many sessions and senders are remembered.
	LoopSessions, Senders atomic.Int64
}

// inForce is the configuration with the bundle over it, prepared for Assess.
type inForce struct {
	cfg         Config
	tools       *toolPolicy
	toolRisk    map[string]weight
	channelRisk map[string]weight
	toolActions map[string]least
	privileged  patterns
	methods     map[string]bool
	expires     time.Time // of the bundle; zero = none
}

// weight and least carry their reasons, so that Assess makes no text.
type weight struct {
	risk   int
	reason string
}

type least struct {
	action pipeline.Action
	reason string
}

var (
	_ defend.Defender = (*Policy)(nil)
	_ defend.Quick    = (*Policy)(nil)
)

// New returns the policy; with a bundle in the configuration it loads it, and a bundle
// that cannot be accepted is an error.
func New(ctx context.Context, cfg Config, deps Deps) (*Policy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if cfg.Bundle.Path != "" && deps.State == nil {
		return nil, fmt.Errorf("policy: Deps.State is missing: without it an old bundle could come back")
	}
	p := &Policy{deps: deps, seed: maphash.MakeSeed(), cfg: cfg, loops: newRecent[calls](cfg.Loop.Sessions),
		senders: newRecent[bucket](cfg.Rate.Senders), taints: taints{m: map[string]taint{}}}
	f, err := prepare(cfg, nil)
	if err != nil {
		return nil, err
	}
	p.force.Store(f)
	if cfg.Bundle.Path != "" {
		if err := p.LoadBundle(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Reload makes cfg valid from the next action on, under the bundle that is in force. On
// an error the policy in force stays.
func (p *Policy) Reload(ctx context.Context, cfg Config) error {
	p.reload.Lock()
	defer p.reload.Unlock()
	err := cfg.Validate()
	var f *inForce
	if err == nil {
		f, err = prepare(cfg, p.bundle)
	}
	if err != nil {
		err = fmt.Errorf("policy: the one in force is kept: %w", err)
		p.tell(ctx, Change{Source: "config", Refused: err.Error()})
		return err
	}
	p.cfg = cfg
	p.force.Store(f)
	p.tell(ctx, Change{Source: "config"})
	return nil
}

func (p *Policy) tell(ctx context.Context, c Change) {
	if c.Refused != "" {
		p.deps.Log.Error("policy refused; the one in force is kept", "source", c.Source, "bundle", c.BundleID, "err", c.Refused)
	} else {
		p.deps.Log.Info("policy in force", "source", c.Source, "bundle", c.BundleID, "version", c.Version)
	}
	if p.deps.Changed != nil {
		p.deps.Changed(ctx, c)
	}
}

// prepare puts a bundle over the configuration.
func prepare(cfg Config, b *Bundle) (*inForce, error) {
	f := &inForce{toolRisk: map[string]weight{}, channelRisk: map[string]weight{}, toolActions: map[string]least{}, methods: map[string]bool{}}
	if b != nil {
		f.expires = b.expires
		if b.Policy.ToolRiskBonus != nil {
			cfg.ToolRisk = b.Policy.ToolRiskBonus
		}
		if b.Policy.ChannelRiskBonus != nil {
			cfg.ChannelRisk = b.Policy.ChannelRiskBonus
		}
		if b.Policy.ToolPolicies != nil {
			cfg.ToolActions = b.Policy.ToolPolicies
		}
	}
	f.cfg = cfg
	for name, risk := range cfg.ToolRisk {
		f.toolRisk[fold(name)] = weight{risk, "the tool is " + fold(name)}
	}
	for name, risk := range cfg.ChannelRisk {
		f.channelRisk[fold(name)] = weight{risk, "the channel is " + fold(name)}
	}
	for name, action := range cfg.ToolActions {
		f.toolActions[toolName(name)] = least{actions[action], "the policy asks for " + action + " of the tool " + toolName(name)}
	}
	for _, m := range cfg.Taint.Methods {
		f.methods[m] = true
	}
	var err error
	if f.tools, err = newToolPolicy(cfg.Tools); err != nil {
		return nil, err
	}
	f.privileged, err = newPatterns(cfg.Taint.Privileged)
	return f, err
}

func fold(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// Name implements defend.Defender.
func (p *Policy) Name() string { return "policy" }

// QuickBytes implements defend.Quick: texts are hashed, no more.
func (p *Policy) QuickBytes() int { return 1 << 20 }

// Taint notes that content of foreign origin (a tool's result, a web page, an unknown
// sender) has come into the session's turn. On ErrTaintFull the rule holds for all
// sessions instead.
func (p *Policy) Taint(session, origin string) error {
	c := &p.force.Load().cfg.Taint
	return p.taints.mark(bounded(session), origin, p.deps.Now(), c.Sessions, c.age())
}

// BeginTurn notes that the owner has begun a new turn: with taint.sticky turn, the taint
// of the last one ends. It must not be called for turns that foreign content begins.
func (p *Policy) BeginTurn(session string) {
	if p.force.Load().cfg.Taint.Sticky == stickyTurn {
		p.taints.clear(bounded(session))
	}
}

// Tainted is how many sessions are tainted.
func (p *Policy) Tainted() int { return p.taints.count() }

// OnFailure is the verdict on an action that could not be judged: a timeout, a defender
// that failed. outbound says that the action's text leaves. The strictest of the classes
// that the action holds counts; one that holds none is reviewed.
func (p *Policy) OnFailure(a *defend.Action, outbound bool) pipeline.Action {
	c := &p.force.Load().cfg.Failure
	verdict, found := pipeline.Allow, false
	for _, class := range []struct {
		holds  bool
		action string
	}{
		{len(a.Prompts) > 0, c.Prompt}, {len(a.Commands) > 0 || len(a.Tools) > 0, c.Command},
		{len(a.URLs) > 0, c.URL}, {len(a.Files) > 0, c.File}, {outbound, c.Outbound},
	} {
		if class.holds {
			verdict, found = max(verdict, actions[class.action]), true
		}
	}
	if !found {
		return pipeline.Review
	}
	return verdict
}
