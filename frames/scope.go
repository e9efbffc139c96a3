package frames

import "strings"

// This file is who may do and see what, as the real gateway decides it (its
// method-scopes, operator-scope-compat and EVENT_SCOPE_GUARDS sources).

// EventScope returns the scope that a connection needs to be sent the event, ScopeNone
// for events that everyone gets. An event that is not in the table is never sent
// (false), except plugin.*, which needs write.
func EventScope(name string) (Scope, bool) {
	switch name {
	case "health", "heartbeat", "shutdown", "gateway.suspension", "tick", "update.available":
		return ScopeNone, true
	case "chat.metadata.changed":
		return ScopeSessionsRead, true // read or sessions.read: read implies the other
	case "agent", "chat", "board.changed", "board.command", "progressCard.changed", "ui.command",
		"chat.send_timing", "chat.side_result", "cron", "presence", "talk.event", "task",
		"task.suggestion", "config.changed", "users.prefs.changed", "mentions.changed",
		"skills.changed", "plugins.changed", "voicewake.changed", "voicewake.routing.changed",
		"node.presence", "node.hostStats", "node.runnerInventory.changed", "sessions.catalog.host",
		"sessions.changed", "controlUi.sessionPullRequests.changed", "plugins.controlUi.changed",
		"session.message", "session.observer", "session.operation", "session.sharing",
		"session.sharing.evidence", "session.suggestion", "session.typing", "session.tool",
		"portal.changed":
		return ScopeRead, true
	case "exec.approval.requested", "exec.approval.resolved", "plugin.approval.requested",
		"plugin.approval.resolved", "openclaw.approval.requested", "openclaw.approval.resolved",
		"session.approval":
		return ScopeApprovals, true
	case "question.requested", "question.resolved":
		return ScopeQuestions, true
	case "talk.mode", "talk.voice.change":
		return ScopeTalk, true
	case "update.run.changed", "plugins.install.progress", "terminal.data", "terminal.exit":
		return ScopeAdmin, true
	case "device.pair.changed", "device.pair.requested", "device.pair.resolved",
		"device.pair.setup.completed", "device.pair.setup.deliveryUncertain",
		"node.pair.requested", "node.pair.resolved":
		return ScopePairing, true
	}
	if strings.HasPrefix(name, "plugin.") {
		return ScopeWrite, true
	}
	return ScopeNone, false
}

// Authorize decides whether a connection of that role and grant may call a method, in
// the order and with the errors of wire.md 3.6. m is nil for a method that the protocol
// does not have: it needs operator.admin, and passes then, so that its caller can be
// told that it is unknown. params are the request's raw params; only methods of dynamic
// scope look at them. It does not allocate when it allows.
func Authorize(m *Method, role Role, granted Scopes, params []byte) *Error {
	if role == RoleSystem {
		return nil
	}
	if m != nil && m.Name == "health" {
		return nil
	}
	if role != RoleOperator && role != RoleNode || (role == RoleNode) != (m != nil && m.Node) {
		return Invalid("unauthorized role: %s", role)
	}
	if role == RoleNode || granted.Allows(ScopeAdmin) {
		return nil
	}
	need := ScopeAdmin
	if m != nil {
		switch m.Name {
		case "device.scopes.requestUpgrade", "device.scopes.waitUpgrade":
			return nil
		}
		need = m.Needs(params)
	}
	if granted.Allows(need) || m != nil && m.narrowed(need, granted) {
		return nil
	}
	return missingScopes(need, granted)
}

// Needs returns the scopes that the method needs with these params; several when it
// needs all of them.
func (m *Method) Needs(params []byte) Scope {
	if m.Scope == ScopeDynamic && m.Dynamic != nil {
		return m.Dynamic(params)
	}
	return m.Scope
}

// missingScopes is MissingScope for a need of several scopes: it names the first that
// is missing and lists them all.
func missingScopes(need Scope, granted Scopes) *Error {
	if need&(need-1) == 0 {
		return MissingScope(need)
	}
	required := Scopes(need).Names()
	missing := required[0]
	for _, n := range scopeNames {
		if need&n.s != 0 && !granted.Allows(n.s) {
			missing = n.name
			break
		}
	}
	return &Error{
		Code:    CodeForbidden,
		Message: "missing scope: " + missing,
		Details: map[string]any{"code": "MISSING_SCOPE", "missingScope": missing, "requiredScopes": required},
	}
}

// narrowed reports whether one of the session scopes stands in for the scope needed.
func (m *Method) narrowed(need Scope, granted Scopes) bool {
	switch need {
	case ScopeRead:
		return granted.Allows(ScopeSessionsRead) && sessionRead(m.Name)
	case ScopeWrite:
		return granted.Allows(ScopeSessionsWrite) && sessionWrite(m.Name)
	case ScopeQuestions:
		return granted.Allows(ScopeSessionsWrite) && strings.HasPrefix(m.Name, "question.")
	}
	return false
}

// sessionRead reports whether operator.sessions.read is enough for the method.
func sessionRead(name string) bool {
	switch name {
	case "sessions.list", "sessions.subscribe", "sessions.messages.subscribe",
		"sessions.messages.unsubscribe", "sessions.viewers.set", "sessions.preview",
		"sessions.describe", "sessions.branches.list", "sessions.get", "sessions.resolve",
		"sessions.search", "sessions.files.list", "sessions.files.get", "sessions.setInvolvement",
		"chat.history", "chat.startup", "chat.metadata", "chat.message.get",
		"session.members.list", "session.members.listEvidence":
		return true
	}
	return false
}

// sessionWrite reports whether operator.sessions.write is enough for the method.
func sessionWrite(name string) bool {
	switch name {
	case "chat.send", "chat.abort", "sessions.create", "sessions.patch", "sessions.patchMany",
		"sessions.delete", "sessions.fork", "sessions.recover", "sessions.send",
		"sessions.steer", "sessions.abort", "sessions.goal.update", "sessions.goal.clear":
		return true
	}
	return false
}
