// Package approval is the broker of approvals: it keeps what waits for an operator's
// yes, tells the operators, takes the first decision, and denies what nobody decided in
// time.
//
// An approval is bound to the SHA-256 of the exact content that was asked about, and
// operators are shown all of that content or the request is refused. allow-always makes
// a standing grant for one command in one folder for one agent, which is listed and can
// be revoked. Commands and plugins ask through the protocol (exec.approval.request,
// plugin.approval.request); the defend stage asks with Review when its verdict is review.
//
// Whoever may call the resolve methods, by their scope, may decide. Work of Sluice's own
// (a turn, a hook, a channel message) never may: an agent cannot approve itself.
//
// Lifecycle: New, Start (reads what a former process kept), then any method from any
// goroutine, Reload at any time, Close before the pipeline drains: what still waits is
// cancelled then, so that nobody waits for it.
package approval

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Deps are what the broker needs from outside. All may be nil.
type Deps struct {
	// Store keeps grants and history; nil forgets them with the process.
	Store Store
	// Events tells operators. The broker calls it without holding a lock.
	Events frames.Broadcaster
	// Approvers returns the connections that are told of a new approval, but not exclude:
	// operators with operator.approvals. nil tells everyone with that scope, and takes it
	// that there is one; otherwise a request that reaches none is denied at once
	// ("no-route"), as upstream, unless it says that it can wait.
	Approvers func(exclude string) []string
	// Redact hides secrets in what operators are shown. It must not shorten its text.
	Redact func(string) string
	// Analyze says what a shell parser sees in a command; nil, or a nil result, is null.
	Analyze func(command string) *Analysis
	// Journal is told of everything that happened, in order for each approval; the ledger.
	// It is called before anybody learns of a decision, and without holding a lock.
	Journal func(Note)
	Log     *slog.Logger
}

// Broker keeps the approvals of one gateway.
type Broker struct {
	cfg  atomic.Pointer[Config]
	deps Deps

	mu      sync.Mutex
	pending map[string]*entry // waiting, and those being registered
	bytes   int64             // of pending
	foreign int               // of pending: asked by hooks and channels
	past    past
	grants  map[Sum]*grant // standing, by what they allow
	byID    map[string]*grant
	trash   []string    // keys of the store that the next write removes
	timer   *time.Timer // the one timer: the earliest end of pending
	closed  bool

	wg    sync.WaitGroup // the timer's work, and reviews being registered
	stats Stats
}

// Stats are the broker's counters.
type Stats struct {
	Asked     atomic.Uint64 // put before operators
	Granted   atomic.Uint64 // passed by a standing grant, unasked
	Allowed   atomic.Uint64
	Denied    atomic.Uint64
	Expired   atomic.Uint64
	Cancelled atomic.Uint64
	Refused   atomic.Uint64 // resolve calls that were not let through
	Full      atomic.Uint64 // requests refused at a bound
	Failed    atomic.Uint64 // changes that the store did not keep
}

// New returns a broker. The error names the configuration key that is wrong.
func New(cfg Config, deps Deps) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	b := &Broker{deps: deps, pending: map[string]*entry{}, past: newPast(), grants: map[Sum]*grant{}, byID: map[string]*grant{}}
	b.cfg.Store(&cfg)
	return b, nil
}

// Reload makes cfg valid from the next request on. On an error the one in force stays.
func (b *Broker) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("the configuration in force is kept: %w", err)
	}
	b.cfg.Store(&cfg)
	return nil
}

// Stats returns the counters.
func (b *Broker) Stats() *Stats { return &b.stats }

// Waiting returns how many approvals wait, and their bytes.
func (b *Broker) Waiting() (n int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending), b.bytes
}

// Errors of Ask, in the real gateway's words where it has the case.
var (
	errDuplicate   = frames.Invalid("approval id already pending")
	errUsedID      = &frames.Error{Code: frames.CodeUnavailable, Message: "approval request unavailable"}
	errUnavailable = frames.Unavailable(1000, "approval request unavailable")
	errClosed      = frames.Unavailable(1000, "gateway restart in progress")
)

// Ask puts a before the operators and returns its approval at once, durable and
// announced. It is "pending", unless a standing grant covers it ("allowed") or nobody
// could be told ("denied", reason "no-route"). Refusals are *frames.Error.
func (b *Broker) Ask(ctx context.Context, a Ask) (Approval, error) {
	var d *draft
	var err error
	if a.Kind == KindPlugin {
		d, err = b.plugin(&a)
	} else {
		a.Kind = KindExec
		d, err = b.exec(&a)
	}
	if err != nil {
		return Approval{}, err
	}
	if v, ok := b.granted(ctx, &a, d); ok {
		return v, nil
	}
	e, err := b.reserve(&a, d, a.timeout(b.cfg.Load()))
	if err != nil {
		return Approval{}, err
	}
	e.patient = a.NoRouteNeeded
	if err := b.register(ctx, e, a.Quiet); err != nil {
		return Approval{}, err
	}
	return b.view(e), nil
}

// reserve takes a's place: its id and its share of the bounds.
func (b *Broker) reserve(a *Ask, d *draft, timeout time.Duration) (*entry, error) {
	id := a.ID
	switch {
	case a.Kind == KindPlugin:
		id = pluginPrefix + uuid.NewString()
	case id == "":
		id = uuid.NewString()
	}
	cfg, now := b.cfg.Load(), time.Now()
	e := &entry{id: id, kind: a.Kind, draft: *d, stream: stream(d.sessionKey, d.agentID),
		createdMs: now.UnixMilli(), expiresMs: now.Add(timeout).UnixMilli(), deadline: now.Add(timeout),
		turn: make(chan struct{}, 1), done: make(chan struct{})}
	e.turn <- struct{}{} // register's
	if a.By != nil {
		e.conn, e.device = a.By.ConnID, a.By.DeviceID
		e.foreign = a.By.Role == frames.RoleSystem
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch old := b.past.get(id); {
	case b.closed:
		return nil, errClosed
	case b.pending[id] != nil, old != nil && old.live(cfg, now):
		return nil, errDuplicate
	case old != nil: // a button that was made for the old content must not meet new content
		return nil, errUsedID
	case e.size() > cfg.MaxPendingBytes/4:
		b.stats.Full.Add(1)
		return nil, frames.Invalid("approval request of %d bytes is too large to be shown; at most %d", e.size(), cfg.MaxPendingBytes/4)
	case len(b.pending) >= cfg.MaxPending, b.bytes+e.size() > cfg.MaxPendingBytes:
		b.stats.Full.Add(1)
		return nil, frames.Unavailable(1000, "%d approvals (%d bytes) are waiting already; decide some of them, or raise defend.approval.maxPending",
			len(b.pending), b.bytes)
	}
	if e.foreign {
		if b.foreign >= max(1, cfg.MaxPending/2) {
			b.stats.Full.Add(1)
			return nil, frames.Unavailable(1000, "%d approvals of hooks and channels are waiting already; the other half of defend.approval.maxPending is the operators' own", b.foreign)
		}
		b.foreign++
	}
	b.pending[id] = e
	b.bytes += e.size()
	return e, nil
}

// register makes e durable, then visible, then announces it. An approval that nobody
// hears of, or that the broker's end overtook, ends at once.
func (b *Broker) register(ctx context.Context, e *entry, quiet bool) error {
	changes, trash := b.withTrash(b.row(e))
	if err := b.write(ctx, changes...); err != nil {
		b.deps.Log.Error("an approval could not be kept; its request is refused", "id", e.id, "err", err)
		b.mu.Lock()
		b.trash = append(b.trash, trash...)
		b.forget(e)
		b.mu.Unlock()
		return errUnavailable
	}
	audience, route := b.audience(e, quiet)
	b.stats.Asked.Add(1)
	b.note(e, "requested", nil)
	b.mu.Lock()
	e.route, e.active = route, true
	closed := b.closed
	b.mu.Unlock()
	switch {
	case closed:
		b.finish(e, restarted)
	case route == routeNone && !e.patient:
		b.announce(e, nil) // its session's readers
		b.finish(e, verdict{status: statusDenied, reason: reasonNoRoute, resolver: system})
	default:
		b.announce(e, audience)
	}
	b.release(e)
	return nil
}

// forget takes e out of pending. b.mu is held.
func (b *Broker) forget(e *entry) {
	if b.pending[e.id] == e {
		delete(b.pending, e.id)
		b.bytes -= e.size()
		if e.foreign {
			b.foreign--
		}
	}
}

// find returns the approval of that id, waiting or decided not longer ago than graceMs.
// An approval that nobody was told of yet does not exist.
func (b *Broker) find(id string) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.pending[id]; e != nil && e.active {
		return e
	}
	if e := b.past.get(id); e != nil && e.live(b.cfg.Load(), time.Now()) {
		return e
	}
	return nil
}

// Find returns the approval of exactly that id, waiting or decided lately. Upstream also
// takes the beginning of an id; ids are the requester's to choose, so that another
// approval could slip under it.
func (b *Broker) Find(id string) (Approval, bool) {
	e := b.find(id)
	if e == nil {
		return Approval{}, false
	}
	return b.view(e), true
}

// Lookup is Find, over all that is kept.
func (b *Broker) Lookup(id string) (Approval, bool) {
	if v, ok := b.Find(id); ok {
		return v, ok
	}
	b.mu.Lock()
	e := b.past.get(id)
	b.mu.Unlock()
	if e == nil {
		return Approval{}, false
	}
	return b.view(e), true
}

// Pending lists what waits, oldest first.
func (b *Broker) Pending(kind string) []Approval {
	var out []Approval
	for _, e := range b.waiting() {
		if e.kind == kind {
			out = append(out, b.view(e))
		}
	}
	return out
}

// Replay lists what waits in a session, by its canonical key, as the approvals of
// sessions.messages.subscribe's approvalReplay.
func (b *Broker) Replay(sessionKey string) []jsontext.Value {
	out := []jsontext.Value{}
	for _, e := range b.waiting() {
		if e.stream == sessionKey && sessionKey != "" {
			s := e.snapshot(false)
			s.SourceSessionKey = e.stream
			out = append(out, b.encode(s))
		}
	}
	return out
}

// Wait waits until the approval is decided, and reports false when there is none.
func (b *Broker) Wait(ctx context.Context, id string) (Approval, bool, error) {
	e := b.find(id)
	if e == nil {
		return Approval{}, false, nil
	}
	select {
	case <-e.done:
		return b.view(e), true, nil
	case <-ctx.Done():
		return Approval{}, true, ctx.Err()
	}
}

func (b *Broker) encode(v any) jsontext.Value {
	raw, err := frames.MarshalPayload(v)
	if err != nil {
		b.deps.Log.Error("approval not encoded", "err", err)
		return jsontext.Value("null")
	}
	return raw
}

// write makes changes durable, within writeTimeoutMs.
func (b *Broker) write(ctx context.Context, changes ...Change) error {
	if b.deps.Store == nil || len(changes) == 0 {
		return nil
	}
	for _, c := range changes {
		if c.err != nil {
			b.stats.Failed.Add(1)
			return fmt.Errorf("%s not encoded: %w", c.Key, c.err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.cfg.Load().WriteTimeoutMs)*time.Millisecond)
	defer cancel()
	err := b.deps.Store.Write(ctx, changes...)
	if err != nil {
		b.stats.Failed.Add(1)
	}
	return err
}
