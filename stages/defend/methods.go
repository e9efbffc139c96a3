package defend

import "sluice/frames"

// judged are the methods whose frames are judged: those that start or steer work, run a
// command, ask for one to be approved, or let text leave. Frames of all other known
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
	"cron.add", "cron.update",
	// Commands and tools.
	"node.invoke", "computer.invoke", "environments.session.exec", "terminal.input", "tools.invoke",
	"mcp.app.callTool", "mcp.app.updateModelContext", "browser.request", "plugins.sessionAction",
	"exec.approval.request", "plugin.approval.request", "question.request", "board.action", "board.event",
	// What leaves.
	"send", "poll", "message.action", "talk.speak", "tts.speak", "tts.convert",
	// Text that later turns read.
	"skills.proposals.create", "skills.proposals.update", "skills.proposals.revise",
	"skills.proposals.requestRevision",
}

// exempt are methods that look as if they carried an action and do not, with the reason.
var exempt = map[string]string{
	"node.invoke.result":      "the answer to a command that was judged when it was sent",
	"node.pluginTools.update": "declares tools; each call of one is judged",
	"themes.import":           "dark.input and light.input are colours",
	"ui.command":              "names a view of the Control UI",
	"exec.approvals.set":      "a list of patterns to allow; no command runs by it",
	"exec.approvals.node.set": "a list of patterns to allow; no command runs by it",
	"projects.add":            "gitUrl is cloned by git, not read by an assistant",

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
	operates = "of an operator with operator.admin alone (the handler refuses nodes, hooks and turns); its params are numbers"
	switches = "changes a setting by name; carries no text that an assistant reads or a machine runs"
)

// outbound are the judged methods whose text leaves the gateway.
var outbound = map[string]bool{"send": true, "poll": true, "message.action": true, "talk.speak": true, "tts.speak": true, "tts.convert": true}

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
