// Package connect answers the handshake: the first request of a connection, which says
// who the client is. It checks in the order of the real gateway (wire.md 3.3 and 3.4)
// and refuses with its codes, texts and close reasons; what it grants is decided by the
// server alone and becomes the connection's frames.Peer after hello is on its way.
//
// What a handshake changes (a pairing, a token, when a device was last seen) is an
// effect for persist, so hello goes out only after it is durable; most handshakes
// change nothing and touch no disk.
//
// Setup codes (bootstrap tokens) are not issued in this version: each one is refused
// as invalid, and the details say so. The Control UI's build gate is not enforced.
package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"
	"sluice/storage"
	"sluice/storage/auth"
)

// Deps is what the handshake needs of the rest of the gateway. All of it is required
// unless it says otherwise, is used from many goroutines, and must not block.
type Deps struct {
	Config Config
	// Auth is who may connect at first; Handler.SetAuth changes it.
	Auth Auth
	// Authority decides about devices, over Store.
	Authority *auth.Authority
	Store     storage.Store
	Log       *slog.Logger

	Server Server
	// Policy is hello's policy; it is encoded once.
	Policy Policy
	// Ready is false while the gateway still starts; clients are then told to retry.
	Ready func() bool
	// Resume is the pipeline's: it continues an envelope whose refusal was delayed.
	Resume func(*pipeline.Envelope, error)
	// Connected is told of each accepted connection, after hello: presence, health
	// refresh.
	Connected func(*frames.Peer)
	// CloseWhere closes the accepted connections that match.
	CloseWhere func(match func(*frames.Peer) bool, c frames.Close)
	// DeviceConnected reports whether a device has an accepted connection.
	DeviceConnected func(deviceID string) bool
	Broadcaster     frames.Broadcaster

	// Methods, Events and Capabilities are hello's features. Methods is asked once, at
	// the first hello: the dispatch stage knows only then.
	Methods      func() []string
	Events       []string
	Capabilities []string
	// Presence and Health return the snapshots as encoded JSON; the bytes are not kept.
	Presence func() []byte
	Health   func() []byte
	Versions *frames.Versions
	// SessionDefaults and ConfigHash may change with the configuration; the hash may be
	// empty.
	SessionDefaults func() SessionDefaults
	ConfigHash      func() string
}

func (d *Deps) validate() error {
	if err := d.Config.Validate(); err != nil {
		return err
	}
	if err := d.Auth.Validate(); err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"Authority", d.Authority == nil}, {"Store", d.Store == nil}, {"Log", d.Log == nil}, {"Ready", d.Ready == nil}, {"Resume", d.Resume == nil},
		{"Connected", d.Connected == nil}, {"CloseWhere", d.CloseWhere == nil}, {"DeviceConnected", d.DeviceConnected == nil},
		{"Broadcaster", d.Broadcaster == nil},
		{"Methods", d.Methods == nil}, {"Presence", d.Presence == nil}, {"Health", d.Health == nil},
		{"Versions", d.Versions == nil}, {"SessionDefaults", d.SessionDefaults == nil}, {"ConfigHash", d.ConfigHash == nil},
	} {
		if f.missing {
			return errors.New("Deps." + f.name + " is missing")
		}
	}
	return nil
}

// Handler answers connect. It is safe for concurrent use.
type Handler struct {
	deps    Deps
	cfg     Config
	hello   helloWriter
	limiter *limiter
	delays  *delays

	auth   atomic.Pointer[generation]
	rotate sync.Mutex // orders SetAuth calls
	// revoked counts revocations of devices: a connect that was under way during one
	// looks again before it counts on what it read.
	revoked atomic.Uint64

	// Stats are counters for metrics.
	Stats Stats
}

// Stats counts handshakes.
type Stats struct {
	Accepted atomic.Uint64
	Refused  atomic.Uint64
	// Unauthorized are the refusals for a wrong or missing credential, LockedOut those of
	// them that a lockout decided.
	Unauthorized atomic.Uint64
	LockedOut    atomic.Uint64
	Paired       atomic.Uint64
	Pending      atomic.Uint64
}

// New returns the handler. Close ends it.
func New(deps Deps) (*Handler, error) {
	if err := deps.validate(); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	h := &Handler{deps: deps, cfg: deps.Config, limiter: newLimiter(deps.Config),
		delays: newDelays(deps.Config.MaxDelayed, deps.Resume)}
	h.hello.deps, h.hello.cfg = deps, deps.Config
	h.auth.Store(newGeneration(deps.Auth, 1))
	return h, nil
}

// Methods lists what the handler answers.
func (h *Handler) Methods() []dispatch.Method {
	return []dispatch.Method{{Name: "connect", Handle: h.handle}}
}

// Close answers the refusals that are still delayed. Call it before the pipeline's
// drain; later refusals are not delayed.
func (h *Handler) Close() { h.delays.close() }

// Delayed is how many refusals wait now, and Remembered how many addresses the limiter
// of failed authentications knows.
func (h *Handler) Delayed() int { return h.delays.count() }

// Remembered see Delayed.
func (h *Handler) Remembered() int { return h.limiter.size() }

// errStarting is what clients get until the gateway is ready (wire.md 3.9).
var errStarting = &frames.Error{Code: frames.CodeUnavailable, Message: "gateway starting; retry shortly",
	Retryable: true, RetryAfterMs: 500, Details: startingDetails{"startup-sidecars"},
	Close: &frames.Close{Code: frames.CloseTryAgainLater, Reason: "gateway starting"}}

type startingDetails struct {
	Reason string `json:"reason"`
}

func (h *Handler) handle(_ context.Context, e *pipeline.Envelope) error {
	p, perr := frames.ParseConnect(e.Frame.Params)
	if perr != nil {
		h.Stats.Refused.Add(1)
		return closing(perr)
	}
	if !h.deps.Ready() {
		h.Stats.Refused.Add(1)
		return errStarting
	}
	a := &attempt{h: h, e: e, hs: e.Client.Handshake(), p: p, gen: h.auth.Load(), kind: kindOf(&p.Client),
		now: time.Now(), revoked: h.revoked.Load()}
	a.who = subjectOf(a.hs)
	err := a.run()
	var refusal *frames.Error
	if !errors.As(err, &refusal) {
		return err
	}
	h.refused(a, refusal)
	if a.delay > 0 && h.delays.hold(e, refusal, a.delay) {
		return nil // parked: the pipeline takes no verdict from here
	}
	return refusal
}

// refused counts and logs a refusal; secrets and what the client wrote about itself at
// length stay out of the log.
func (h *Handler) refused(a *attempt, err *frames.Error) {
	h.Stats.Refused.Add(1)
	level := slog.LevelInfo
	if d, ok := err.Details.(authDetails); ok {
		h.Stats.Unauthorized.Add(1)
		if d.AuthReason == rateLimited {
			h.Stats.LockedOut.Add(1)
		}
		level = slog.LevelWarn
	}
	h.deps.Log.LogAttrs(context.Background(), level, "connect refused", slog.String("conn", a.e.Client.ID()),
		slog.String("why", err.Message), slog.String("client", a.p.Client.ID), slog.String("mode", a.p.Client.Mode),
		slog.String("role", a.p.Role), slog.String("ip", a.hs.RemoteIP), slog.Bool("device", a.p.Device != nil))
}
