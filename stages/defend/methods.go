package defend

import "sluice/frames"

// judged are the methods whose frames are judged: those that start or steer work, run a
// command, ask for one to be approved, let text leave, or change what is allowed. Frames of all other known
// methods pass untouched; frames of unknown methods are judged. methods_test.go walks
// the whole method table and fails on a method with a prompt- or command-like parameter,
// or without a description of its parameters, that stands in neither list.
var judged = []string{
	// Turns and what steers them.
	"agent", "chat.send", "chat.inject", "sessions.send", "sessions.steer", "sessions.create",
	"sessions.catalog.startTerminal", "sessions.goal.update", "sessions.title.prepare",
	"session.suggestions.add", "taskSuggestions.create", "conversations.send", "conversations.turn",
	"sessions.companion.ask", "openclaw.chat", "chat.toolTitles", "wake", "system-event", "update.run",
	"talk.client.steer", "talk.client.transcript", "talk.client.toolCall", "talk.session.steer",
	"talk.session.submitToolResult", "nativeHook.invoke", "node.event",
	"cron.add", "cron.update", "cron.scratch.set",
	// Results of tools and nodes, and what they say about themselves.
	"node.invoke.result", "node.invoke.progress", "node.pluginTools.update", "node.skills.update", "question.resolve",
	// Commands and tools.
	"node.invoke", "computer.invoke", "environments.session.exec", "terminal.input", "tools.invoke",
	"mcp.app.callTool", "mcp.app.updateModelContext", "browser.request", "plugins.sessionAction",
	"exec.approval.request", "plugin.approval.request", "question.request", "board.action", "board.event",
	// What leaves.
	"send", "poll", "message.action", "talk.speak", "tts.speak", "tts.convert",
	"sessions.github.publish", "push.test", "push.web.test", "webSearch.test",
	// Text that later turns read, and what is fetched or installed for them.
	"agents.create", "agents.update", "agents.files.set", "sessions.files.set", "sessions.patch", "sessions.patchMany", "sessions.pluginPatch",
	"terminal.upload", "projects.add", "projects.register", "portal.open", "board.update", "board.widget.put", "progressCard.put",
	"skills.install", "skills.update", "skills.upload.chunk", "skills.library.save", "skills.library.import", "skills.library.upload",
	"skills.proposals.create", "skills.proposals.update", "skills.proposals.revise",
	"skills.proposals.requestRevision",
	// What decides what is allowed.
	"config.set", "config.patch", "config.apply", "exec.approvals.set", "exec.approvals.node.set",
	"plugins.install", "plugins.setEnabled", "plugins.reload", "secrets.store.set", "secrets.store.delete",
}

// acting are the judged methods that do something whatever text they carry, or none: who
// may do it, and in which turn, is judged in any case.
var acting = map[string]bool{
	"node.invoke": true, "computer.invoke": true, "environments.session.exec": true, "terminal.input": true, "tools.invoke": true,
	"mcp.app.callTool": true, "browser.request": true, "plugins.sessionAction": true, "board.action": true, "talk.client.toolCall": true,
	"nativeHook.invoke": true, "send": true, "poll": true, "message.action": true, "cron.add": true, "cron.update": true, "update.run": true,
	"sessions.github.publish": true, "skills.install": true, "sessions.catalog.startTerminal": true, "terminal.upload": true,
}

// administrative are the judged methods that change what is allowed. Their content is
// configuration and not text; what is judged is who asks, and in which session's turn.
var administrative = map[string]bool{
	"config.set": true, "config.patch": true, "config.apply": true, "exec.approvals.set": true, "exec.approvals.node.set": true,
	"plugins.install": true, "plugins.setEnabled": true, "plugins.reload": true, "secrets.store.set": true, "secrets.store.delete": true,
}

// exempt are methods that look as if they carried an action and do not, with the reason.
var exempt = map[string]string{
	"themes.import": "dark.input and light.input are colours",
	"ui.command":    "names a view of the Control UI",

	// With texts that no assistant reads and no machine runs.
	"connect": "describes a client to the operators", "session.typing": people, "device.pair.rename": people, "node.rename": people,
	"users.setDisplayName": people, "users.setAvatar": people, "users.prefs.set": people, "users.linkEmail": people, "themes.set": people,
	"sessions.groups.put": people, "sessions.groups.rename": people, "sessions.groups.delete": people, "sessions.groups.update": people,
	"taskSuggestions.dismiss": people, "tasks.cancel": people, "talk.session.cancelOutput": people, "talk.voice.complete": people,
	"push.web.subscribe": people, "push.web.unsubscribe": people, "push.web.preferences.set": people, "board.widget.grant": people,
	"talk.session.appendAudio": "sound; what is heard in it comes by talk.client.transcript",
	"exec.approval.resolve":    resolves, "plugin.approval.resolve": resolves, "approval.resolve": resolves,
	"desktop.observe": logsIn, "mcp.authLogin": logsIn, "models.authLogin": logsIn, "models.authSetApiKey": logsIn, "users.authConnect.answer": logsIn,
	"users.authConnect.start": logsIn, "web.login.start": logsIn, "web.login.wait": logsIn, "openclaw.setup.activate": logsIn,
	"openclaw.setup.activate.start": logsIn, "openclaw.setup.auth.start": logsIn, "openclaw.setup.prepare.start": logsIn,
	"wizard.start": logsIn, "wizard.next": logsIn, "secrets.resolve": "names secrets; their values go to the caller alone",
	"tools.github.configure": "names an author and a secret of the store",

	// Choices: their strings name something that exists.
	"channels.pairing.approve": names, "channels.pairing.dismiss": names, "channels.pairing.list": names, "channels.start": names,
	"channels.stop": names, "channels.logout": names, "conversations.list": names, "desktop.release": names, "device.pair.setupCode": names,
	"device.token.rotate": names, "environments.prepare": names, "environments.session.create": names, "fs.listDir": names,
	"migrations.memory.apply": names, "models.authLogout": names, "models.authOrderSet": names, "models.probe": names,
	"node.pending.ack": names, "openclaw.changes.list": names, "plugins.credentials.inspect": names, "sessions.cleanup": names,
	"sessions.dispatch": names, "sessions.github.confirm": names, "sessions.move": names, "skills.library.activate": names,
	"skills.library.mutate": names, "skills.upload.begin": names, "talk.client.create": names, "talk.session.create": names,
	"talk.session.acknowledgeMark": names, "taskSuggestions.accept": names, "transcripts.summarize": names, "users.unlinkAuthProfile": names,
	"worktrees.branches": names, "worktrees.create": names,

	// Without a description of their parameters in the schema: reads and switches.
	"health": reads, "status": reads, "diagnostics.stability": reads, "diagnostics.lanes": reads,
	"diagnostics.cpuProfile": reads, "usage.status": reads, "usage.cost": reads, "last-heartbeat": reads,
	"system-presence": reads, "gateway.identity.get": reads, "sessions.get": reads,
	"sessions.usage.timeseries": reads, "sessions.usage.logs": reads, "assistant.media.get": reads,
	"exec.approval.list": reads, "exec.approval.waitDecision": reads, "plugin.approval.list": reads,
	"plugin.approval.waitDecision": reads, "openclaw.approval.list": reads, "terminal.list": reads,
	"tts.status": reads, "tts.providers": reads, "tts.personas": reads, "voicewake.get": reads,
	"voicewake.routing.get": reads, "memory.search": reads, "skills.proposals.inspect": reads,
	"skills.proposals.events.list": reads, "skills.proposals.evaluate": reads,
	"session.members.listEvidence": reads, "claws.monitors": reads, "mcp.app.view": reads,
	"mcp.app.listTools": reads, "mcp.app.listResources": reads, "mcp.app.listResourceTemplates": reads,
	"mcp.app.readResource": reads, "doctor.memory.status": reads, "doctor.memory.dreamDiary": reads,
	"controlUi.githubPreview": reads, "controlUi.sessionPreview": reads, "controlUi.linkPreview": reads,
	"controlUi.githubDetail": reads, "controlUi.sessionPullRequests.subscribe": reads,
	"controlUi.sessionPullRequests.checks": reads, "gateway.restart.preflight": reads,
	"github.detail": reads, "github.preview": reads, "github.image": reads,
	"memory.sessionBackfill.preview": reads,

	"sluice.ledger.release": operates, "sluice.integrity.status": operates, "sluice.integrity.accept": operates,

	"tts.enable": switches, "tts.disable": switches, "tts.setProvider": switches, "tts.setPersona": switches,
	"voicewake.set": switches, "set-heartbeats": switches, "secrets.reload": switches,
	"skills.curator.pin": switches, "skills.curator.unpin": switches, "skills.curator.restore": switches,
	"skills.proposals.apply": switches, "skills.proposals.reject": switches, "skills.proposals.quarantine": switches,
	"node.pluginSurface.refresh": switches, "node.runnerInventory.update": switches,
	"plugin.surface.refresh": switches, "gateway.restart.request": switches, "attach.grant": switches,
	"attach.revoke": switches, "claws.packages.remove": switches,
	"doctor.memory.backfillDreamDiary": switches, "doctor.memory.resetDreamDiary": switches,
	"doctor.memory.resetGroundedShortTerm": switches, "doctor.memory.repairDreamingArtifacts": switches,
	"doctor.memory.dedupeDreamDiary":  switches,
	"memory.sessionBackfill.rollback": switches, "memory.sessionBackfill.apply": switches,
}

const (
	reads    = "reads state"
	people   = "shown to people"
	names    = "names something that exists; carries no text of its own"
	logsIn   = "an operator's own account or first set-up; its answers go to a provider"
	resolves = "an operator's decision"
	operates = "of an operator with operator.admin alone (the handler refuses nodes, hooks and turns); its params are numbers"
	switches = "changes a setting by name; carries no text that an assistant reads or a machine runs"
)

// outbound are the judged methods whose text leaves the gateway.
var outbound = map[string]bool{"send": true, "poll": true, "message.action": true, "talk.speak": true, "tts.speak": true, "tts.convert": true,
	"sessions.github.publish": true, "push.test": true, "push.web.test": true, "webSearch.test": true}

// asking are the judged methods that put their content before an operator themselves: a
// review of them would ask the same person twice.
var asking = map[string]bool{"exec.approval.request": true, "plugin.approval.request": true}

// judgedMethods returns the table by Method.Index.
func judgedMethods() []bool {
	table := make([]bool, len(frames.Methods()))
	for _, name := range judged {
		if m := frames.LookupMethod([]byte(name)); m != nil {
			table[m.Index] = true
		}
	}
	return table
}
