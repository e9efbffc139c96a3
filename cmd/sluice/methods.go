package main

import (
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/methods/approvals"
	"sluice/stages/dispatch/methods/chat"
	"sluice/stages/dispatch/methods/connect"
	"sluice/stages/dispatch/methods/devices"
	"sluice/stages/dispatch/methods/outbound"
	"sluice/stages/dispatch/methods/security"
	"sluice/stages/dispatch/methods/sessions"
	"sluice/stages/dispatch/methods/settings"
	"sluice/stages/dispatch/methods/system"
)

// methods are the native methods, family by family. A new method is one handler in its
// family's Methods; a new family is one folder in stages/dispatch/methods and one line
// here.
func (g *Gateway) methods() []dispatch.Method {
	families := [][]dispatch.Method{
		g.connect.Methods(),
		g.system.Methods(),
		g.sessions.Methods(),
		g.chat.Methods(),
		g.devices.Methods(),
		g.settings.Methods(),
		g.outbound.Methods(),
		g.approvals.Methods(),
		g.security.Methods(),
	}
	var all []dispatch.Method
	for _, f := range families {
		all = append(all, f...)
	}
	return all
}

// listMethods is the dispatch table without a gateway, for `sluice methods`: handlers
// are named, not called.
func listMethods() ([]dispatch.View, error) {
	g := &Gateway{connect: new(connect.Handler), system: system.New(system.Default(), system.Deps{}, nil, new(system.Health)),
		sessions: new(sessions.Family), chat: new(chat.Family), devices: new(devices.Handler),
		settings: new(settings.Family), outbound: new(outbound.Family), approvals: approvals.New(nil),
		security: security.New(security.Deps{})}
	s, err := dispatch.New(dispatch.Default(), g.methods(), nil, nil)
	if err != nil {
		return nil, err
	}
	return s.Methods(), nil
}
