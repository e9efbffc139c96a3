package policy

import (
	"fmt"
	"strings"

	"sluice/frames"
)

// protected are the parts of the configuration that decide what is allowed: a change of
// one can weaken the defender. A path counts with all below it, and with all above it:
// who replaces "defend" replaces "defend.policy".
var protected = []string{"defend", "auth", "gateway.auth", "tools", "approvals", "pipeline.timeoutsMs.defend", "hooks",
	"agents.defaults.tools", "agents.defaults.sandbox", "agents.entries", "agents.list", "plugins", "secrets", "channels"}

// Protected reports whether a change of that path of the configuration could weaken the
// policy. Paths are dotted; letter case does not count.
func Protected(path string) bool {
	path = strings.ToLower(strings.Trim(path, ". "))
	if path == "" {
		return true // the whole document
	}
	for _, p := range protected {
		p = strings.ToLower(p)
		if path == p || strings.HasPrefix(path, p+".") || strings.HasPrefix(path, p+"[") || strings.HasPrefix(p, path+".") {
			return true
		}
	}
	return false
}

// CheckChange refuses a change of protected paths to anything but an operator with
// operator.admin. peer is the connection's authenticated identity; nil, a node and
// Sluice's own work on an agent's behalf (RoleSystem) are refused. The error is for the
// client.
func CheckChange(peer *frames.Peer, paths ...string) error {
	if peer != nil && peer.Role == frames.RoleOperator && peer.Scopes.Allows(frames.ScopeAdmin) {
		return nil
	}
	for _, path := range paths {
		if Protected(path) {
			return &frames.Error{Code: frames.CodeForbidden,
				Message: fmt.Sprintf("changing %q can weaken the defender: only an operator with operator.admin may", path)}
		}
	}
	return nil
}
