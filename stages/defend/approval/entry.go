package approval

import (
	"cmp"
	"net/url"
	"slices"
	"time"

	"sluice/frames"

	"github.com/go-json-experiment/json/jsontext"
)

// The states of an approval, and why it left "pending", in the protocol's words.
const (
	statusPending   = "pending"
	statusAllowed   = "allowed"
	statusDenied    = "denied"
	statusExpired   = "expired"
	statusCancelled = "cancelled"

	reasonUser      = "user"
	reasonTimeout   = "timeout"
	reasonMalformed = "malformed-verdict"
	reasonNoRoute   = "no-route"
	reasonAborted   = "run-aborted"
	reasonRestart   = "gateway-restart"
)

// How operators hear of an approval, in the protocol's words.
const (
	routeClient = "approval-client"
	routeNone   = "none"
)

// resolver is who decided.
type resolver struct {
	Kind string `json:"kind"` // device, runtime or system
	ID   string `json:"id,omitzero"`
}

var system = resolver{Kind: "system"}

// verdict is how an approval ends.
type verdict struct {
	status   string
	decision string // what its requester gets; "" is null
	reason   string
	by       string // resolvedBy in events; "" is null
	atMs     int64  // 0 is the moment of finish
	resolver resolver
}

// entry is one approval. What stands before turn does not change once it is active; the
// rest is guarded by Broker.mu.
type entry struct {
	id, kind string
	draft
	stream               string // canonical session key, for its readers; empty without one
	conn, device         string // who asked
	foreign              bool   // it was a hook or a channel
	createdMs, expiresMs int64
	deadline             time.Time
	route                string
	patient              bool // it waits also when nobody could be told
	// decided is called once, after everybody else was told; nil but for reviews.
	decided func(verdict)
	runID   string // of a review

	// turn is full while somebody decides, and until it was announced.
	turn chan struct{}
	// done is closed when it is decided.
	done chan struct{}

	active   bool // visible
	end      *verdict
	consumed bool
}

// overhead is what an entry costs beside its texts.
const overhead = 512

func (e *entry) size() int64 {
	return int64(len(e.request)+len(e.presentation)+2*len(e.id)+len(e.stream)) + overhead
}

// live reports whether a decided approval can still be asked for as if it waited.
func (e *entry) live(cfg *Config, now time.Time) bool {
	return !e.deadline.IsZero() && now.UnixMilli()-e.end.atMs < cfg.GraceMs
}

// Approval is what is known of one approval. Its JSON is shared: do not change it.
type Approval struct {
	ID, Kind string
	// Status is pending, allowed, denied, expired or cancelled; Reason why it is no longer
	// pending.
	Status, Reason string
	// Decision is what its requester gets: allow-once, allow-always or deny; empty is null,
	// which no requester may take for a yes.
	Decision                             string
	CreatedAtMs, ExpiresAtMs, ResolvedAt int64
	DeliveryRoute                        string
	// SHA256 is the sum that it is bound to, in hex.
	SHA256 string
	// Allowed are the decisions that it can get.
	Allowed []string
	// Request is as exec.approval.list shows it; empty for what a former process kept.
	// Presentation and Snapshot are as approval.get shows them.
	Request, Presentation, Snapshot jsontext.Value
}

func (b *Broker) view(e *entry) Approval {
	b.mu.Lock()
	v := Approval{ID: e.id, Kind: e.kind, Status: statusPending, CreatedAtMs: e.createdMs, ExpiresAtMs: e.expiresMs,
		DeliveryRoute: e.route, SHA256: e.sum.String(), Allowed: e.allowed, Request: e.request, Presentation: e.presentation}
	if e.end != nil {
		v.Status, v.Reason, v.Decision, v.ResolvedAt = e.end.status, e.end.reason, e.end.decision, e.end.atMs
	}
	s := e.snapshot(true)
	b.mu.Unlock()
	v.Snapshot = b.encode(s)
	return v
}

// snapshot is the protocol's ApprovalSnapshot.
type snapshot struct {
	ID           string         `json:"id"`
	Status       string         `json:"status"`
	Presentation jsontext.Value `json:"presentation"`
	URLPath      string         `json:"urlPath"`
	CreatedAtMs  int64          `json:"createdAtMs"`
	ExpiresAtMs  int64          `json:"expiresAtMs"`
	ResolvedAtMs int64          `json:"resolvedAtMs,omitzero"`
	Reason       string         `json:"reason,omitzero"`
	Decision     string         `json:"decision,omitzero"`
	Source       *source        `json:"source,omitzero"`
	Resolver     *resolver      `json:"resolver,omitzero"`
	// SourceSessionKey only in replays.
	SourceSessionKey string `json:"sourceSessionKey,omitzero"`
}

type source struct {
	AgentID    string `json:"agentId,omitzero"`
	SessionKey string `json:"sessionKey,omitzero"`
}

// snapshot shows e; who asked and who decided only with attribution, and only when it is
// decided. Broker.mu is held, or e cannot change.
func (e *entry) snapshot(attribution bool) snapshot {
	s := snapshot{ID: e.id, Status: statusPending, Presentation: e.presentation, URLPath: "/approve/" + escapeID(e.id),
		CreatedAtMs: e.createdMs, ExpiresAtMs: e.expiresMs}
	if e.end == nil {
		return s
	}
	s.Status, s.ResolvedAtMs, s.Reason = e.end.status, e.end.atMs, e.end.reason
	switch e.end.status {
	case statusAllowed:
		s.Decision = e.end.decision
	case statusDenied:
		s.Decision = Deny
	}
	if attribution {
		r := e.end.resolver
		s.Source, s.Resolver = &source{e.agentID, e.sessionKey}, &r
	}
	return s
}

// escapeID is encodeURIComponent for the characters that ids have.
func escapeID(id string) string { return url.QueryEscape(id) }

// waiting lists what operators may decide, oldest first.
func (b *Broker) waiting() []*entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*entry
	for _, e := range b.pending {
		if e.active && e.end == nil {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.createdMs, b.createdMs), cmp.Compare(a.id, b.id))
	})
	return out
}

// stream is the canonical key of a session that a requester named.
func stream(sessionKey, agentID string) string {
	if sessionKey == "" {
		return ""
	}
	k, err := frames.ParseSessionKey(sessionKey)
	if err != nil {
		return ""
	}
	return k.Canonical(or(agentID, frames.DefaultAgent))
}
