package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/frames/rest"
	"sluice/frames/ws"
	"sluice/pipeline"
	"sluice/pipeline/telemetry"
	"sluice/stages/adapter/hooks"
	"sluice/stages/defend"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/approvals"
	"sluice/stages/dispatch/methods/chat"
	"sluice/stages/dispatch/methods/connect"
	"sluice/stages/dispatch/methods/devices"
	"sluice/stages/dispatch/methods/outbound"
	"sluice/stages/dispatch/methods/security"
	"sluice/stages/dispatch/methods/sessions"
	"sluice/stages/dispatch/methods/settings"
	"sluice/stages/dispatch/methods/system"
	"sluice/storage"
	"sluice/storage/auth"
	"sluice/storage/config"
)

// gatewayOptions say what to build a Gateway from.
type gatewayOptions struct {
	location location
	environ  []string
	flags    map[string]string // dotted configuration keys
	stderr   io.Writer
	noListen bool // no socket: replay feeds the pipeline itself

	// Tests put themselves between the gateway and its store or its defenders; nil
	// leaves both as they are.
	wrapStore func(storage.Store) storage.Store
	defenders func([]defend.Defender) []defend.Defender
}

// Gateway is one running gateway: the edge, the pipeline and everything behind it.
type Gateway struct {
	opts     gatewayOptions
	loc      location
	conf     *config.Manager
	secret   string
	token    string
	made     bool // the token was made by this start
	log      *slog.Logger
	tel      *telemetry.Telemetry
	store    storage.Store
	path     string // of the store
	bootID   string
	versions frames.Versions

	pipe   *pipeline.Pipeline
	stages stages
	edge   *ws.Server
	rest   *rest.Handler
	hooks  *hooks.Handler
	http   *rest.Server
	addr   net.Addr

	runs      *agent.Registry
	presence  *system.Presence
	health    *system.Health
	loop      *system.LoopMeter
	stability *system.Stability
	trace     *tracer
	channels  channels
	hold      authHold
	reloading sync.Mutex // held while sections are put into force, so that two changes do not mix
	defence   defence
	authority *auth.Authority
	started   time.Time

	connect   *connect.Handler
	system    *system.Family
	sessions  *sessions.Family
	chat      *chat.Family
	devices   *devices.Handler
	settings  *settings.Family
	outbound  *outbound.Family
	approvals *approvals.Family
	security  *security.Family

	ready   atomic.Bool
	running atomic.Bool // the pipeline runs: persist is the store's one writer
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	stop    sync.Once
	seed    maphash.Seed
}

// newGateway builds a gateway and opens its state; nothing runs yet. On an error what
// was opened is closed again.
func newGateway(ctx context.Context, opts gatewayOptions) (*Gateway, error) {
	g := &Gateway{opts: opts, loc: opts.location, started: time.Now(), seed: maphash.MakeSeed(), stability: system.NewStability(), loop: system.NewLoopMeter()}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for _, step := range []func(context.Context) error{g.openState, g.openTelemetry, g.openStorage, g.buildEngine} {
		if err := step(ctx); err != nil {
			g.close(ctx)
			return nil, err
		}
	}
	return g, nil
}

// openState makes the state folder and loads the configuration.
func (g *Gateway) openState(context.Context) error {
	if err := prepareState(g.loc.state); err != nil {
		return err
	}
	var err error
	if g.secret, _, err = secretText(g.loc.state, secretFile, 32); err != nil {
		return err
	}
	schema, err := config.NewSchema(sections()...)
	if err != nil {
		return err
	}
	g.conf, err = config.Open(config.Options{Schema: schema, Path: g.loc.config, MustExist: g.loc.named,
		Environ: openAIEnv(g.opts.environ), ReservedEnv: reservedEnv, Flags: g.opts.flags, HashKey: []byte(g.secret),
		OnRevision: g.keepRevision, Log: slog.New(lateHandler{func() *slog.Logger { return g.log }})})
	if err != nil {
		return err
	}
	if g.token, g.made, err = secretText(g.loc.state, tokenFile, 24); err != nil {
		return err
	}
	return nil
}

// section decodes one section of a configuration; the list in settings.go guarantees it.
func section[T any](s *config.Snapshot, key string) T {
	v, err := config.Of[T](s, key)
	if err != nil {
		panic(err)
	}
	return v
}

func (g *Gateway) openTelemetry(ctx context.Context) error {
	var err error
	g.tel, err = telemetry.Start(ctx, telemetry.Options{Config: section[telemetry.Config](g.conf.Current(), "telemetry"),
		Version: Version, StateDir: g.loc.state, Stderr: g.opts.stderr, Getenv: getenv(g.opts.environ),
		OnMemory: g.memoryChanged})
	if err != nil {
		return err
	}
	g.log = g.tel.Logs.Logger
	for _, secret := range []string{g.token, g.secret, g.auth(g.conf.Current()).Secret} {
		if secret != "" {
			g.tel.Logs.Redactor.Add(secret)
		}
	}
	return nil
}

func (g *Gateway) memoryChanged(m telemetry.MemoryState) {
	if m.High {
		g.stability.Add("memory.high", fmt.Sprintf("resident memory is %d MiB", m.RSSBytes>>20))
	}
	if g.health != nil {
		g.health.Changed()
	}
}

func (g *Gateway) openStorage(ctx context.Context) error {
	var err error
	if g.store, g.path, err = openStore(g.loc, g.conf.Current()); err != nil {
		return err
	}
	if g.opts.wrapStore != nil {
		g.store = g.opts.wrapStore(g.store)
	}
	for _, file := range g.store.Health().SetAside {
		g.log.Error("damaged state was set aside; what could be read of it was kept", "file", file)
		g.stability.Add("storage.damaged", filepath.Base(file))
	}
	return g.store.Update(ctx, func(tx storage.Tx) error {
		if err := storage.CheckSchema(tx); err != nil {
			return err
		}
		if err := g.restoreVersions(tx); err != nil {
			return err
		}
		_, err := storage.AddCounter(tx, storage.CounterBoots, 1)
		return err
	})
}

// versionBlock is how many state versions one start reserves: the counters must not go
// back after a crash, and must not cost a write for each change.
const versionBlock = 100_000

// restoreVersions takes the counters up where the reservation of the former process
// ended, and reserves the next block.
func (g *Gateway) restoreVersions(tx storage.Tx) error {
	presence, err := storage.ReadCounter(tx, storage.CounterPresence)
	if err != nil {
		return err
	}
	health, err := storage.ReadCounter(tx, storage.CounterHealth)
	if err != nil {
		return err
	}
	g.versions.Restore(frames.StateVersion{Presence: uint64(presence), Health: uint64(health)})
	return g.reserveVersions(tx)
}

// reserveVersions moves the reservation ahead of the counters.
func (g *Gateway) reserveVersions(tx storage.Tx) error {
	now := g.versions.Snapshot()
	if _, err := storage.RaiseCounter(tx, storage.CounterPresence, int64(now.Presence)+versionBlock); err != nil {
		return err
	}
	_, err := storage.RaiseCounter(tx, storage.CounterHealth, int64(now.Health)+versionBlock)
	return err
}

// Start starts the pipeline, brings back what a former process left, and listens.
func (g *Gateway) Start(ctx context.Context) error {
	if err := g.pipe.Start(ctx); err != nil {
		return err
	}
	g.running.Store(true)
	if err := g.startDefence(ctx); err != nil {
		return err
	}
	waiting, interrupted, err := g.runs.Recover(ctx)
	if err != nil {
		return fmt.Errorf("runs of the former process could not be recovered: %w", err)
	}
	if len(waiting)+interrupted > 0 {
		g.log.Info("runs of the former process", "started again", len(waiting), "interrupted", interrupted)
	}
	for _, r := range waiting { // before anyone can ask for something newer
		g.stages.schedule.Restore(r)
	}
	if !g.opts.noListen {
		if err := g.listen(); err != nil {
			return err
		}
	}
	g.background()
	g.ready.Store(true)
	g.stability.Add("gateway.started", Version)
	g.log.Info("ready", "version", Version, "address", fmt.Sprint(g.addr), "store", g.path, "auth", g.auth(g.conf.Current()).Mode)
	return nil
}

func (g *Gateway) listen() error {
	cfg := section[gatewayConfig](g.conf.Current(), "gateway")
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w; is another gateway running? choose another address with --listen HOST:PORT", cfg.Listen, err)
	}
	g.addr = l.Addr()
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		if err := g.http.Serve(l); err != nil {
			g.log.Error("the listener failed", "err", err)
		}
	}()
	return nil
}

// Addr is where the gateway listens; nil before Start.
func (g *Gateway) Addr() net.Addr { return g.addr }

// Frame implements ws.Handler: one frame of a client enters the pipeline, or is refused
// at once when that is full.
func (g *Gateway) Frame(c *ws.Conn, l *bufpool.Lease) {
	e := pipeline.NewEnvelope(pipeline.SourceWire, l)
	e.Client, e.Peer, e.Shard = c, c.Peer(), uint32(maphash.String(g.seed, c.ID()))
	if err := g.pipe.Submit(e); err != nil {
		g.refuse(e, err)
	}
}

// refuse answers a frame that the pipeline has no room for. The frame is decoded for
// its id only.
func (g *Gateway) refuse(e *pipeline.Envelope, err error) {
	if derr := frames.Decode(e.Bytes(), &e.Frame); derr != nil {
		g.pipe.Refuse(e, derr)
		return
	}
	answer := pipeline.Refusal(err)
	if errors.Is(err, pipeline.ErrDraining) && e.Peer == nil {
		answer = answer.Closing(frames.CloseTryAgainLater) // a connect while stopping (wire.md 3.9)
	}
	g.pipe.Refuse(e, answer)
}

// Submit takes in an envelope of replay or of a webhook.
func (g *Gateway) Submit(e *pipeline.Envelope) error { return g.pipe.Submit(e) }

// Closed implements ws.Handler.
func (g *Gateway) Closed(c *ws.Conn) {
	g.stages.decode.Forget(c.ID())
	g.stages.dispatch.ClientGone(c.ID())
	if p := c.Peer(); p != nil {
		g.presence.Disconnected(p)
	}
}

// Stop ends the gateway: no new turns and no new frames, a drain for what is under way,
// the shutdown event and close 1012 for every client, then the state is closed.
func (g *Gateway) Stop(ctx context.Context) error {
	var err error
	g.stop.Do(func() { err = g.shutdown(ctx) })
	return err
}

func (g *Gateway) shutdown(ctx context.Context) error {
	g.ready.Store(false)
	g.stages.schedule.Hold()
	g.runs.Hold()
	g.connect.Close()                        // delayed refusals go now instead of holding the drain
	brokerErr := g.defence.broker.Close(ctx) // nobody decides any more: what waits is refused
	g.stages.dispatch.ReleaseWaits()
	g.log.Info("stopping: draining")
	if left := g.pipe.Drain(ctx); left > 0 {
		g.log.Warn("the drain time is over; running turns are ended and kept as they are", "in flight", left)
		g.stages.schedule.AbortAll("restart")
		g.stages.dispatch.Cancel()
		g.pipe.Drain(ctx)
	}
	g.saveTaints(ctx)
	errs := []error{brokerErr}
	limit := time.Duration(section[gatewayConfig](g.conf.Current(), "gateway").ShutdownMs) * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if g.edge != nil {
		errs = append(errs, g.edge.Shutdown(ctx, "gateway stopping"))
	}
	if g.http != nil {
		errs = append(errs, g.http.Shutdown(ctx))
	}
	g.cancel()
	g.wg.Wait()
	errs = append(errs, g.pipe.Stop(ctx))
	errs = append(errs, g.runs.Close(ctx))
	errs = append(errs, g.close(ctx))
	return errors.Join(errs...)
}

// close closes what newGateway has opened.
func (g *Gateway) close(ctx context.Context) error {
	g.cancel()
	var errs []error
	if g.connect != nil {
		g.connect.Close()
	}
	if g.rest != nil {
		errs = append(errs, g.rest.Close())
	}
	errs = append(errs, g.closeDefence(ctx)...)
	if g.store != nil {
		errs = append(errs, g.store.Close())
		g.store = nil
	}
	if g.tel != nil {
		errs = append(errs, g.tel.Shutdown(ctx))
		g.tel = nil
	}
	return errors.Join(errs...)
}
