package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"sluice/frames"
	"sluice/frames/ws"
	"sluice/pipeline/telemetry"
	"sluice/stages/adapter/hooks"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/settings"
	"sluice/storage/config"
)

// reloadPart is one part that takes over its section of a new configuration.
type reloadPart struct {
	name  string
	apply func() error
}

// reload puts a changed configuration into force where that can be done while running.
// A part that refuses its new section keeps the old one; the log and health say so.
func (g *Gateway) reload(old, snap *config.Snapshot) {
	g.configChanged(old, snap)
	parts := []reloadPart{
		{"gateway.auth", g.applyAuth},
		{"gateway.ws", func() error { return g.edge.SetConfig(section[ws.Config](snap, "gateway.ws")) }},
		{"hooks", func() error { return g.hooks.Reload(section[hooks.Config](snap, "hooks")) }},
		{"agent", func() error { return g.runs.Reload(section[agent.Config](snap, "agent")) }},
		{"telemetry", func() error { return g.tel.Reload(section[telemetry.Config](snap, "telemetry")) }},
	}
	parts = append(parts, g.reloadDefence(snap)...)
	if secret := g.auth(snap).Secret; secret != "" {
		g.tel.Logs.Redactor.Add(secret)
	}
	g.reloading.Lock()
	g.apply(parts)
	g.reloading.Unlock()
	g.stability.Add("config.reloaded", snap.Hash)
	g.health.Changed()
}

func (g *Gateway) apply(parts []reloadPart) {
	for _, p := range parts {
		if err := p.apply(); err != nil {
			g.log.Error("a section of the new configuration was not taken over; the old one stays", "section", p.name, "err", err)
			g.stability.Add("config.refused", fmt.Sprintf("%s: %v", p.name, err))
		}
	}
}

// authHold lets a config method answer before a replaced secret closes its caller.
type authHold struct {
	mu      sync.Mutex
	holders int
	pending bool
}

// holdAuth keeps applyAuth back until release is called.
func (g *Gateway) holdAuth() (release func()) {
	g.hold.mu.Lock()
	g.hold.holders++
	g.hold.mu.Unlock()
	return func() {
		g.hold.mu.Lock()
		g.hold.holders--
		due := g.hold.holders == 0 && g.hold.pending
		if due {
			g.hold.pending = false
		}
		g.hold.mu.Unlock()
		if due {
			if err := g.connect.SetAuth(g.auth(g.conf.Current())); err != nil {
				g.log.Error("the new gateway.auth was not taken over", "err", err)
			}
		}
	}
}

// applyAuth puts gateway.auth into force, at once or when nobody holds it back.
func (g *Gateway) applyAuth() error {
	g.hold.mu.Lock()
	if g.hold.holders > 0 {
		g.hold.pending = true
		g.hold.mu.Unlock()
		return nil
	}
	g.hold.mu.Unlock()
	return g.connect.SetAuth(g.auth(g.conf.Current()))
}

// settingsDeps are what the config.* methods need.
func (g *Gateway) settingsDeps() settings.Deps {
	return settings.Deps{Manager: g.conf, Version: Version, Events: g.edge, Hold: g.holdAuth, Guard: g.guardConfig}
}

// configHash is what hello shows as appliedConfigHash.
func (g *Gateway) configHash() string { return g.conf.Current().RevisionHash() }

// events are the events that this gateway sends: hello's features.events.
var events = strings.Fields(`connect.challenge agent chat session.message sessions.changed presence tick shutdown health
	device.pair.requested device.pair.resolved config.changed chat.metadata.changed security.decision
	exec.approval.requested exec.approval.resolved plugin.approval.requested plugin.approval.resolved session.approval`)

// capabilities are hello's features.capabilities: only what is served (law 12).
var capabilities = []string{"published-model-catalog"}

// connected is told of each accepted connection, after hello.
func (g *Gateway) connected(p *frames.Peer) {
	g.presence.Connected(p)
	g.log.Debug("connected", "conn", p.ConnID, "client", p.Client.ID, "mode", p.Client.Mode, "role", p.Role.String(), "auth", p.AuthMethod)
}

// shutdownTimeout bounds a stop from outside of the configuration.
const shutdownTimeout = 11 * time.Minute
