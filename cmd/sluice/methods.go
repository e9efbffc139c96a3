package main

import "sluice/stages/dispatch"

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
	}
	var all []dispatch.Method
	for _, f := range families {
		all = append(all, f...)
	}
	return all
}
