package main

import "strings"

// What the description does not say about methods, from wire.md and the real gateway's
// source, and what Sluice decides about them.

// pluginMethods are the methods that the plugins of a default installation add (wire.md
// appendix A, the last seven rows). Their scope is what the plugins register them with.
var pluginMethods = []method{
	{name: "github.detail", Family: "plugin", Scope: "operator.read", Advertise: true},
	{name: "memory.sessionBackfill.preview", Family: "plugin", Scope: "operator.read", Advertise: true},
	{name: "github.preview", Family: "plugin", Scope: "operator.read", Advertise: true},
	{name: "memory.sessionBackfill.rollback", Family: "plugin", Scope: "operator.admin", Advertise: true},
	{name: "memory.sessionBackfill.apply", Family: "plugin", Scope: "operator.admin", Advertise: true},
	{name: "github.image", Family: "plugin", Scope: "operator.read", Advertise: true},
	{name: "browser.request", Family: "plugin", Scope: "operator.admin", Advertise: true},
}

// ownMethods are Sluice's own, which the protocol does not have. Their handlers check their
// params themselves.
var ownMethods = []method{
	{name: "sluice.ledger.release", Family: "sluice", Scope: "operator.admin", Advertise: true},
	{name: "sluice.integrity.status", Family: "sluice", Scope: "operator.admin", Advertise: true},
	{name: "sluice.integrity.accept", Family: "sluice", Scope: "operator.admin", Advertise: true},
}

var scopeNames = map[string]string{
	"operator.read": "ScopeRead", "operator.write": "ScopeWrite", "operator.admin": "ScopeAdmin",
	"operator.approvals": "ScopeApprovals", "operator.questions": "ScopeQuestions",
	"operator.pairing": "ScopePairing", "operator.talk": "ScopeTalk",
	"operator.sessions.write": "ScopeSessionsWrite", "node": "ScopeNode", "dynamic": "ScopeDynamic",
}

// dynamicScopes name the functions of frames/scope_dynamic.go.
var dynamicScopes = map[string]string{
	"agent": "scopeAgent", "channels.pairing.approve": "scopePairingApprove",
	"environments.list": "scopeEnvironmentsList", "fs.listDir": "scopeListDir",
	"node.invoke": "scopeNodeInvoke", "plugins.sessionAction": "scopeSessionAction",
	"sessions.create": "scopeSessionsCreate", "sessions.delete": "scopeSessionsDelete",
	"sessions.dispatch": "scopeSessionsDispatch", "sessions.move": "scopeSessionsMove",
	"sessions.patch": "scopeSessionsPatch", "sessions.patchMany": "scopeSessionsPatchMany",
	"talk.config": "scopeTalkConfig",
}

// express methods skip the queue (law 9).
var express = map[string]bool{"connect": true, "health": true}

// turns are the methods that can start or steer an agent's turn.
var turns = map[string]bool{
	"agent": true, "chat.send": true, "sessions.create": true, "sessions.send": true, "sessions.steer": true,
	"wake": true,
}

// readVerbs end the names of methods that only read although their scope is not read.
var readVerbs = map[string]bool{
	"list": true, "get": true, "status": true, "history": true, "inspect": true, "catalog": true,
	"preview": true, "detect": true, "plan": true, "resolveSecret": true, "setupStatus": true,
}

// reads and changes are the exceptions from the rule of changesState.
var (
	reads = map[string]bool{
		"connect": true, "agent.wait": true, "fs.listDir": true, "secrets.resolve": true,
		"talk.config": true, "environments.list": true, "worktrees.branches": true, "skills.bins": true,
		"exec.approval.waitDecision": true, "plugin.approval.waitDecision": true, "question.waitAnswer": true,
		"web.login.wait": true, "push.web.vapidPublicKey": true, "webSearch.test": true, "models.probe": true,
		"sessions.groups.defaults": true, "chat.toolTitles": true, "diagnostics.cpuProfile": true,
		"diagnostics.heapProfile": true,
	}
	changes = map[string]bool{
		"device.scopes.requestUpgrade": true, "mentions.dismiss": true, "plugins.controlUi.report": true,
		"sessions.companion.ask": true, "sessions.setInvolvement": true, "users.github.authorize.start": true,
		"users.github.authorize.poll": true, "users.github.authorize.cancel": true,
		"users.github.disconnect": true,
	}
)

// changesState decides Method.Effect: a method of read scope changes nothing unless it
// is listed, one of any other scope does unless its name says that it reads.
func changesState(m method) bool {
	switch {
	case changes[m.name]:
		return true
	case reads[m.name] || m.Scope == "operator.read":
		return false
	}
	verb := m.name[strings.LastIndexByte(m.name, '.')+1:]
	return !readVerbs[verb]
}
