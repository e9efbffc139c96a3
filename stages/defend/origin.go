package defend

import (
	"sluice/frames"
	"sluice/pipeline"
)

// Origin is where an action comes from: the same sentence is a task when the owner wrote
// it, and an injection when a web page did. It is what the connection and the route say;
// a claim in the params can only lower it.
type Origin uint8

// The origins, from the least known to the most foreign.
const (
	// OriginUnknown says nothing.
	OriginUnknown Origin = iota
	// OriginOwner is an authenticated operator.
	OriginOwner
	// OriginSender is a person who is not an operator: a hook, a channel's message.
	OriginSender
	// OriginTool is what a tool, a node or a plugin returned.
	OriginTool
	// OriginWeb is a page, a document or an attachment.
	OriginWeb
)

// String names the origin, as in scan's input.
func (o Origin) String() string {
	return [...]string{"unknown", "owner", "sender", "tool", "web"}[o]
}

// Foreign reports whether content of this origin is not the owner's.
func (o Origin) Foreign() bool { return o >= OriginSender }

// ParseOrigin returns the origin of this name; what is not known is OriginUnknown.
func ParseOrigin(name string) Origin {
	switch name {
	case "owner", "operator":
		return OriginOwner
	case "sender", "channel", "user", "hook":
		return OriginSender
	case "tool", "tool_result", "node":
		return OriginTool
	case "web", "document", "attachment", "email", "file":
		return OriginWeb
	}
	return OriginUnknown
}

// fromTools are the methods by which results of tools come in, whoever calls them.
var fromTools = map[string]bool{
	"talk.session.submitToolResult": true, "talk.client.toolCall": true, "nativeHook.invoke": true,
	"mcp.app.updateModelContext": true, "mcp.app.callTool": true, "node.event": true,
	"node.invoke.result": true, "node.invoke.progress": true, "node.pluginTools.update": true, "node.skills.update": true,
}

// originOf is the origin of e by its route and its connection.
func originOf(e *pipeline.Envelope) Origin {
	if e.Source == pipeline.SourceHook || e.Source == pipeline.SourceChannel {
		return OriginSender
	}
	if e.Work == nil && fromTools[e.Frame.Method] {
		return OriginTool
	}
	switch {
	case e.Peer == nil:
		return OriginUnknown
	case e.Peer.Role == frames.RoleNode:
		return OriginTool
	case e.Peer.Role == frames.RoleOperator:
		return OriginOwner
	}
	return OriginUnknown
}
