package defend

import (
	"bytes"
	"strings"
)

// field is the kind of text that a member holds.
type field uint8

const (
	fieldNone field = iota
	fieldPrompt
	fieldCommand
	fieldTool
	fieldChannel
	fieldURL
	fieldFile
	// fieldJSON holds JSON in a string, which the handler decodes again.
	fieldJSON
	// fieldAttachment is an attachment, fieldContent its bytes in base64.
	fieldAttachment
	fieldContent
	// fieldOther is text under a name that nobody knows: it is judged as a prompt, because
	// a handler, a tool or the gateway behind this one may well hand it to a model. fieldArgs
	// is the same for what a tool or a node defines itself, where no name is an identifier.
	fieldOther
	fieldArgs
	// fieldAny is text beyond maxTexts: read as every kind.
	fieldAny
)

// open reports whether any text of this kind is read, whatever its name.
func (f field) open() bool { return f == fieldOther || f == fieldArgs }

// maxPhrase is how long one or two words are that are no text: "user", "now", "exec.finished".
// Under a name that is not known to hold a prompt they name or choose something, and a
// model that was made for sentences says nothing about them that is worth hearing ("now"
// had a score of 72). Words in a list are judged as the text that they make.
const maxPhrase = 24

func phrase(text []byte) bool {
	if len(text) > maxPhrase {
		return false
	}
	blanks := 0
	for _, c := range bytes.TrimSpace(text) {
		switch {
		case c == ' ', c == '\n':
			blanks++
		case c < ' ', c >= 0x7F: // other scripts say more with less
			return false
		}
	}
	return blanks < 2
}

// fieldOf names the members that are read: the first runtime's (first-runtime.md 1.5),
// then those of the protocol's own schema that carry the same. Names match exactly, as
// the handlers' do.
func fieldOf(name []byte) field {
	switch string(name) {
	case "prompt", "message", "text", "input",
		"task", "question", "options", "objective", "initialMessage", "continuationMessage",
		"extraSystemPrompt", "sourcePromptPrefix", "filename", "fileName":
		return fieldPrompt
	case "command", "shell", "bash", "exec",
		"argv", "commandArgv", "commandText", "rawCommand", "cmd", "script":
		return fieldCommand
	case "tool", "tool_name", "toolName":
		return fieldTool
	case "channel", "channel_name", "channelName", "platform", "provider":
		return fieldChannel
	case "url", "artifact_url", "artifactUrl",
		"mediaUrl", "mediaUrls", "gitUrl":
		return fieldURL
	case "file_path", "filePath", "artifact_path", "artifactPath":
		return fieldFile
	case "payloadJSON", "paramsJSON":
		return fieldJSON
	case "attachments", "attachment":
		return fieldAttachment
	case "buffer":
		return fieldContent
	}
	return fieldNone
}

// attachmentField names what is read of an attachment: names are shown to the model, and
// so is content that is text.
func attachmentField(name []byte) field {
	switch string(name) {
	case "name", "fileName", "filename", "title", "caption", "alt":
		return fieldPrompt
	case "content", "data", "base64", "body":
		return fieldContent
	}
	return fieldNone
}

// argsField names the members whose content is a tool's, a node's or a plugin's own.
func argsField(name []byte) bool {
	switch string(name) {
	case "args", "arguments", "params", "payload", "result", "value", "props", "parameters":
		return true
	}
	return false
}

// identifiers are the members of the protocol that are looked up, compared or counted,
// and never read as text. All other texts of a judged frame are judged, whatever their
// name: what this list forgets is judged once too often, not once too little.
var identifiers = map[string]bool{
	"to": true, "replyTo": true, "replyToId": true, "from": true, "key": true, "sha256": true, "id": true,
	"model": true, "thinking": true, "thinkingLevel": true, "lane": true, "queueMode": true, "mode": true, "kind": true, "type": true,
	"mimeType": true, "contentType": true, "language": true, "voice": true, "outputFormat": true, "cursor": true, "generation": true,
	"tz": true, "at": true, "expr": true, "host": true, "security": true, "ask": true, "severity": true, "ticket": true,
	"replyChannel": true, "sourceChannel": true, "turnSourceChannel": true, "turnSourceTo": true, "originatingChannel": true, "originatingTo": true,
	"twoPhase": true, "status": true, "phase": true, "chatType": true, "decision": true, "scope": true, "role": true,
}

// identifier reports whether a member of that name is one of identifiers, or ends as
// names of them do.
func identifier(name string) bool {
	if identifiers[name] {
		return true
	}
	for _, end := range [...]string{"Id", "Ids", "_id", "Key", "_key", "Hash", "Revision", "Digest", "Sha256", "Ms", "Sequence"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// namesTool are the methods whose own "name" is the tool that is called.
var namesTool = map[string]bool{"tools.invoke": true, "talk.client.toolCall": true, "mcp.app.callTool": true, "nativeHook.invoke": true}

// memberField is what the member of that name holds, in an object under f.
func (w *walker) memberField(f field, name []byte, depth int) field {
	if f == fieldAttachment {
		if k := attachmentField(name); k != fieldNone {
			return k
		}
	}
	if k := fieldOf(name); k != fieldNone {
		return k
	}
	if w.root && depth == 1 {
		switch {
		case namesTool[w.a.Source] && string(name) == "name":
			return fieldTool
		case w.a.Source == "terminal.input" && string(name) == "data":
			return fieldCommand
		}
	}
	switch f {
	case fieldPrompt, fieldArgs:
		return fieldArgs
	case fieldCommand:
		return f
	case fieldAttachment:
		if identifier(string(name)) {
			return fieldNone
		}
		return f
	}
	if argsField(name) {
		return fieldArgs
	}
	if strings.HasSuffix(string(name), "Base64") {
		return fieldContent
	}
	if identifier(string(name)) {
		return fieldNone
	}
	return fieldOther
}
