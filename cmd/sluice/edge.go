package main

import (
	"net"
	"net/http"

	"sluice/frames"
	"sluice/frames/rest"
	"sluice/frames/ws"
	"sluice/stages/adapter/hooks"
	"sluice/stages/dispatch/methods/connect"
	"sluice/stages/dispatch/methods/devices"
	"sluice/storage/auth"
	"sluice/storage/config"
)

func (g *Gateway) buildConnect(snap *config.Snapshot) (err error) {
	if g.authority, err = auth.New(section[auth.Config](snap, "gateway.devices"), []byte(g.secret)); err != nil {
		return err
	}
	edge := section[ws.Config](snap, "gateway.ws")
	g.connect, err = connect.New(connect.Deps{Authority: g.authority, DeviceConnected: g.deviceConnected,
		Config: section[connect.Config](snap, "gateway.handshake"),
		Policy: connect.Policy{TickIntervalMs: int64(edge.TickIntervalMs), MaxPayloadBytes: int64(edge.MaxFrameBytes), MaxBufferedBytes: int64(edge.MaxBufferedBytes)},
		Auth:   g.auth(snap), Store: g.store, Log: g.log,
		Server: connect.Server{Version: Version, BootID: g.bootID, ConfigPath: g.loc.config, StateDir: g.loc.state, Started: g.started},
		Ready:  g.ready.Load, Resume: g.resume, Connected: g.connected,
		CloseWhere:  func(match func(*frames.Peer) bool, c frames.Close) { g.edge.CloseWhere(match, c) },
		Broadcaster: g.edge, Methods: func() []string { return g.stages.dispatch.Advertised() }, Events: events, Capabilities: capabilities,
		Presence: g.presence.JSON, Health: g.health.HelloJSON, Versions: &g.versions, ConfigHash: g.configHash,
		SessionDefaults: func() connect.SessionDefaults {
			return connect.SessionDefaults{DefaultAgentID: frames.DefaultAgent, MainKey: "main", MainSessionKey: "agent:main:main",
				Scope: "per-sender", ModelConfigured: g.runs.Ready() == nil}
		}})
	return err
}

func (g *Gateway) buildDevices(snap *config.Snapshot) (err error) {
	g.devices, err = devices.New(devices.Deps{Authority: g.authority, Store: g.store, Log: g.log, Broadcaster: g.edge,
		Disconnect: g.connect.Disconnect, DeviceConnected: g.deviceConnected,
		LoopbackOnly: func() bool {
			host, _, _ := net.SplitHostPort(section[gatewayConfig](g.conf.Current(), "gateway").Listen)
			return loopbackHost(host)
		}})
	return err
}

// deviceConnected reports whether a device has an accepted connection.
func (g *Gateway) deviceConnected(deviceID string) bool {
	for _, c := range g.edge.Conns() {
		if p := c.Peer(); p != nil && p.DeviceID == deviceID {
			return true
		}
	}
	return false
}

// buildHooks makes the webhook entrance; it is off unless hooks.enabled.
func (g *Gateway) buildHooks(snap *config.Snapshot) (err error) {
	g.hooks, err = hooks.New(section[hooks.Config](snap, "hooks"), hooks.Deps{Pipeline: g.pipe, Log: g.log,
		Channels: g.channels.available, AgentExists: g.agentExists, DefaultAgent: frames.DefaultAgent,
		ClientIP: func(r *http.Request) string {
			in, _ := g.edge.Ingress(r)
			return in.RemoteIP
		}})
	return err
}

// buildHTTP makes the one HTTP server: WebSocket, probes, metrics, hooks, Control UI.
func (g *Gateway) buildHTTP(snap *config.Snapshot) (err error) {
	cfg := section[rest.Config](snap, "gateway.http")
	g.rest, err = rest.New(rest.Deps{Config: cfg, WS: g.edge, Ready: g.readiness, Startup: g.startup,
		Authorize: g.authorizeHTTP, Metrics: g.tel.Registry.Handler(), Hooks: g.hooks, HooksPath: g.hooks.Path(), Log: g.log})
	if err != nil {
		return err
	}
	g.http = rest.NewServer(cfg, g.rest, g.log)
	return nil
}

// readiness is what /readyz says: ready means that requests are answered, and that writes
// and evidence reach the disk.
func (g *Gateway) readiness() rest.Readiness {
	r := rest.Readiness{Ready: g.ready.Load(), Failing: []string{}, UptimeMs: g.loop.Uptime().Milliseconds(), EventLoop: g.loop.Snapshot()}
	if !r.Ready {
		r.Failing = append(r.Failing, "startup")
	}
	if g.pipe.Draining() {
		r.Ready, r.Failing = false, append(r.Failing, "draining")
	}
	if h := g.store.Health(); h.Degraded != "" {
		r.Ready, r.Failing = false, append(r.Failing, "storage")
	}
	if g.defence.ledger.Failing() != "" {
		r.Ready, r.Failing = false, append(r.Failing, "ledger")
	}
	return r
}

func (g *Gateway) startup() rest.Startup {
	return rest.Startup{Started: g.ready.Load(), Version: Version, UptimeMs: g.loop.Uptime().Milliseconds()}
}

// authorizeHTTP checks a Bearer secret on the HTTP side, with the limiter of connect.
func (g *Gateway) authorizeHTTP(r *http.Request, in ws.Ingress) rest.Verdict {
	secret := rest.BearerToken(r)
	if secret == "" {
		return rest.Verdict{}
	}
	good, retryAfterMs := g.connect.AuthorizeSecret(&frames.Handshake{RemoteIP: in.RemoteIP, PeerLoopback: in.PeerLoopback, Local: in.Local}, secret)
	return rest.Verdict{OK: good, RetryAfterMs: retryAfterMs}
}
