package main

import (
	"context"
	"net"
	"strconv"

	"sluice/frames"
	"sluice/frames/ws"
	"sluice/pipeline"
	"sluice/pipeline/telemetry"
	"sluice/stages/adapter"
	"sluice/stages/decode"
	"sluice/stages/dedupe"
	"sluice/stages/defend"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/approvals"
	"sluice/stages/dispatch/methods/chat"
	"sluice/stages/dispatch/methods/connect"
	"sluice/stages/dispatch/methods/outbound"
	"sluice/stages/dispatch/methods/security"
	"sluice/stages/dispatch/methods/sessions"
	"sluice/stages/dispatch/methods/settings"
	"sluice/stages/dispatch/methods/system"
	"sluice/stages/dispatch/sessionview"
	"sluice/stages/persist"
	"sluice/stages/schedule"
	"sluice/storage"
	"sluice/storage/config"

	"github.com/google/uuid"
)

// buildEngine puts the parts together. It is the only place that knows all of them.
// The stages call the pipeline that is made from them, through g: nothing calls before
// Start.
func (g *Gateway) buildEngine(ctx context.Context) error {
	snap := g.conf.Current()
	g.bootID = uuid.NewString()
	if err := g.buildEdge(snap); err != nil {
		return err
	}
	if err := g.buildDefence(ctx, snap); err != nil {
		return err
	}
	for _, build := range []func(*config.Snapshot) error{g.buildOuterStages, g.buildRuns, g.buildMethods, g.buildDispatch, g.buildPipeline, g.buildHooks, g.buildHTTP} {
		if err := build(snap); err != nil {
			return err
		}
	}
	if err := g.registerMetrics(); err != nil {
		return err
	}
	g.conf.Subscribe(g.reload)
	return nil
}

func (g *Gateway) resume(e *pipeline.Envelope, err error) { g.pipe.Resume(e, err) }

func (g *Gateway) buildEdge(snap *config.Snapshot) (err error) {
	g.edge, err = ws.New(section[ws.Config](snap, "gateway.ws"), g, ws.Options{Log: g.log})
	return err
}

// buildOuterStages makes the stages that need no handler.
func (g *Gateway) buildOuterStages(snap *config.Snapshot) (err error) {
	s := &g.stages
	native := func(m *frames.Method) bool { return s.dispatch.Native(m) }
	if s.decode, err = decode.New(section[decode.Config](snap, "decode"), native, g.log); err != nil {
		return err
	}
	if s.dedupe, err = dedupe.New(section[dedupe.Config](snap, "dedupe"), g.store,
		func(e *pipeline.Envelope) { g.pipe.ResumeDone(e) }); err != nil {
		return err
	}
	if s.schedule, err = schedule.New(section[schedule.Config](snap, "schedule"), schedule.Deps{
		Inject: func(ctx context.Context, e *pipeline.Envelope, stage string) bool {
			return g.pipe.Inject(ctx, e, stage)
		},
		Policy: g.sessionPolicy, AgentExists: g.agentExists, Superseded: g.defence.broker.AbortSession, Log: g.log}); err != nil {
		return err
	}
	scorers, err := g.defenders(snap)
	if err != nil {
		return err
	}
	if s.defend, err = defend.New(g.defendConfig(snap), scorers, g.defendDeps()); err != nil {
		return err
	}
	if g.channels, err = g.openChannels(snap); err != nil {
		return err
	}
	if s.adapter, err = adapter.New(section[adapter.Config](snap, "adapter"), g.channels.senders,
		adapter.Deps{Store: groupCommit{g.store, func() *persist.Stage { return s.persist }}, Resume: g.resume, Guard: g.guardDelivery, Log: g.log}); err != nil {
		return err
	}
	s.persist, err = persist.New(section[persist.Config](snap, "persist"), g.store, g.resume, g.log)
	return err
}

// sessionPolicy reads what a session's own settings say about its lane.
func (g *Gateway) sessionPolicy(ctx context.Context, key string) schedule.Policy {
	var p schedule.Policy
	err := g.store.View(ctx, func(r storage.Reader) error {
		row, found, err := agent.FindSession(r, key)
		if err == nil && found {
			p = schedule.Policy{QueueMode: schedule.Mode(row.QueueMode), GroupActivation: row.GroupActivation}
		}
		return err
	})
	if err != nil {
		g.log.Error("a session's settings could not be read; the defaults hold", "err", err)
	}
	return p
}

func (g *Gateway) agentExists(id string) bool {
	_, ok := g.runs.Config().Agent(id)
	return ok
}

// live is what only the running process knows about a session.
func (g *Gateway) live(key string) sessionview.Live {
	holder, waiting := g.stages.schedule.Active(key)
	l := sessionview.Live{QueueMode: string(section[schedule.Config](g.conf.Current(), "schedule").QueueMode)}
	if holder != "" && g.runs.Open(holder) { // the lane lets go of a run after its end is told
		l.ActiveRunIDs = append(l.ActiveRunIDs, holder)
	}
	l.ActiveRunIDs = append(l.ActiveRunIDs, waiting...)
	return l
}

func (g *Gateway) buildRuns(snap *config.Snapshot) (err error) {
	g.trace = &tracer{tracing: g.tel.Tracing, hide: g.defence.secrets.Redact}
	g.runs, err = agent.NewRegistry(section[agent.Config](snap, "agent"), agent.Deps{
		Store: g.store, Update: g.stages.persist.Update, Events: g.edge, Live: g.live, Log: g.log, Span: g.trace.modelSpan,
		Lanes: reviewedLanes{g.stages.schedule, g.defence.broker}, Notices: g.notices, Foreign: g.readForeign})
	return err
}

// notices are what waits for a session's next turn; the turn that reads somebody else's
// words is tainted by them.
func (g *Gateway) notices(key string) []string {
	texts, origin := g.system.Notices(key)
	if origin != "" {
		g.readForeign(key, origin)
	}
	return texts
}

// readForeign is told of foreign content that a running turn is about to read.
func (g *Gateway) readForeign(key, origin string) {
	if err := g.defence.policy.Taint(key, origin); err != nil {
		g.log.Warn("foreign content in a session could not be noted apart", "err", err)
	}
}

func (g *Gateway) buildMethods(snap *config.Snapshot) error {
	if err := g.buildSystem(snap); err != nil {
		return err
	}
	active := g.stages.schedule.Active
	g.sessions = sessions.New(sessions.Deps{Store: g.store, StorePath: g.path, Runs: g.runs, Active: active,
		Live: g.live, AgentExists: g.agentExists, Approvals: g.defence.broker.Replay})
	g.approvals = approvals.New(brokerMethods{g.defence.broker})
	g.security = security.New(g.securityDeps())
	g.chat = chat.New(chat.Deps{Store: g.store, Runs: g.runs, Active: active, Live: g.live, Channels: g.channels.available,
		Models: g.system.Models, Commands: g.system.Commands, Events: g.edge, Queue: g.system.Queue})
	g.outbound = outbound.New(outbound.Deps{Channels: g.channels.available})
	g.settings = settings.New(g.settingsDeps())
	if err := g.buildConnect(snap); err != nil {
		return err
	}
	return g.buildDevices(snap)
}

func (g *Gateway) buildSystem(snap *config.Snapshot) error {
	cfg := section[system.Config](snap, "system")
	id, err := identity(g.loc.state)
	if err != nil {
		return err
	}
	deps := system.Deps{Version: Version, Port: g.port(), BootID: g.bootID, StateDir: g.loc.state, StorePath: g.path, Identity: id,
		Store: g.store, Runs: g.runs, Events: g.edge, Lanes: g.lanes, AgentIDs: func() []string { return g.runs.Config().AgentIDs() },
		Channels: g.channels.views, Warnings: g.warnings, ConfigProblem: func() string { return g.conf.Status().Error },
		Loop: g.loop, Tail: g.tail, Stability: g.stability,
		Waiting: func() (int64, int64) { return g.stages.dispatch.Waiting() }}
	g.presence = system.NewPresence(cfg, Version, g.bootID, &g.versions, g.edge)
	g.health = system.NewHealth(cfg, deps, &g.versions)
	g.system = system.New(cfg, deps, g.presence, g.health)
	return nil
}

// lanes shows the schedule stage's lanes to the system family: stages do not know each
// other.
func (g *Gateway) lanes() system.Lanes {
	v := g.stages.schedule.View()
	out := system.Lanes{Running: v.Running, MaxConcurrent: v.MaxConcurrent, Queued: v.Queued, Sessions: []system.Lane{}}
	for _, l := range v.Lanes {
		lane := system.Lane{SessionKey: l.SessionKey, AgentID: l.AgentID, Holder: l.Holder, HeldMs: l.HeldMs}
		for _, w := range l.Waiting {
			lane.Waiting = append(lane.Waiting, system.WaitingTurn{RunID: w.RunID, Mode: string(w.Mode), AgeMs: w.AgeMs, Stored: w.Stored})
		}
		out.Sessions = append(out.Sessions, lane)
	}
	return out
}

// port is the configured one; an ephemeral port is known only after Start.
func (g *Gateway) port() int {
	_, port, _ := net.SplitHostPort(section[gatewayConfig](g.conf.Current(), "gateway").Listen)
	n, _ := strconv.Atoi(port)
	return n
}

// warnings are what an operator should know now; health shows them.
func (g *Gateway) warnings() []string {
	var w []string
	if h := g.store.Health(); h.Degraded != "" {
		w = append(w, "storage: "+h.Degraded)
	}
	for _, file := range g.store.Health().SetAside {
		w = append(w, "storage: damaged state was set aside: "+file)
	}
	if m := g.tel.Memory.State(); m.High {
		w = append(w, "memory: resident memory is above telemetry.memory.warnBytes")
	}
	if g.pipe != nil {
		for _, s := range g.pipe.Stages() {
			if s.Health != "" && s.Name != "persist" {
				w = append(w, s.Name+": "+s.Health)
			}
		}
	}
	return append(append(w, g.defenceWarnings()...), g.conf.Status().Warnings...)
}

// auth is who may connect, with the made token where none is configured.
func (g *Gateway) auth(snap *config.Snapshot) connect.Auth {
	c := section[gatewayConfig](snap, "gateway")
	a := connect.Auth{Mode: c.Auth.Mode, AllowedOrigins: c.ControlUI.AllowedOrigins, AutoApproveLocal: c.Pairing.AutoApproveLocal}
	switch c.Auth.Mode {
	case connect.ModeToken:
		a.Secret = firstOf(c.Auth.Token, g.token)
	case connect.ModePassword:
		a.Secret = c.Auth.Password
	}
	return a
}

func (g *Gateway) buildDispatch(snap *config.Snapshot) (err error) {
	g.stages.dispatch, err = dispatch.New(section[dispatch.Config](snap, "dispatch"), g.methods(), g.resume, g.log)
	return err
}

func (g *Gateway) buildPipeline(snap *config.Snapshot) (err error) {
	list := g.stages.list()
	for _, s := range list {
		g.trace.names = append(g.trace.names, s.Name())
	}
	var t pipeline.Tracer
	if g.tel.Tracing.Enabled() {
		t = g.trace
	}
	g.pipe, err = pipeline.New(section[pipeline.Config](snap, "pipeline"), list, g.log, t)
	return err
}

// tail reads the log for logs.tail.
func (g *Gateway) tail(cursor *int64, limit, maxBytes int) (any, error) {
	return g.tel.Logs.Tail(g.ctx, telemetry.TailParams{Cursor: cursor, Limit: limit, MaxBytes: maxBytes})
}
