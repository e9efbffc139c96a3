package frames

import "strings"

// FamilyUnknown is the family of a method that no rule knows.
const FamilyUnknown = "unknown"

// MethodFamily sorts a method into the first runtime's families, its rules in their
// order (first-runtime.md 1.3): connect, gateway, agent, sessions, session, node, cron,
// message, browser, canvas, pairing, config. It trims and ignores case, and knows names
// that the protocol does not have, as the parity cases ask. Where those rules say
// unknown, a method of the protocol has its family from the table (Method.Family).
func MethodFamily(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	head, _, more := strings.Cut(name, ".")
	switch head {
	case "connect", "health", "status":
		if more {
			break
		}
		if head == "connect" {
			return "connect"
		}
		return "gateway"
	case "agent", "agents":
		return "agent"
	case "gateway", "usage", "models", "skills", "update", "web", "wizard":
		return "gateway"
	case "sessions", "session", "node", "cron", "message", "browser", "canvas", "pairing", "config":
		return head
	}
	for i := range methodTable {
		if m := &methodTable[i]; m.Family != "" && strings.EqualFold(m.Name, name) {
			return m.Family
		}
	}
	return FamilyUnknown
}
