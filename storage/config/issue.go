package config

import (
	"fmt"
	"strings"
)

// Issue is one problem of a document.
type Issue struct {
	// Path is the key, dotted; empty for the document as a whole.
	Path string `json:"path"`
	// Message says what is wrong, why, and what would be right.
	Message string `json:"message"`
	// Source is where the value came from: "sluice.json5:12", "env SLUICE_X", "flag x".
	Source string `json:"source,omitzero"`
}

// String is the issue on one line.
func (i Issue) String() string {
	path := i.Path
	if path == "" {
		path = "<root>"
	}
	if i.Source != "" {
		return fmt.Sprintf("%s: %s (%s)", path, i.Message, i.Source)
	}
	return path + ": " + i.Message
}

// InvalidError carries every problem of a document that was not accepted.
type InvalidError struct{ Issues []Issue }

// Error lists the first three as the real gateway does; Issues has all.
func (e *InvalidError) Error() string {
	const shown = 3
	if len(e.Issues) == 0 {
		return "invalid config"
	}
	lines := make([]string, 0, shown)
	for _, i := range e.Issues[:min(shown, len(e.Issues))] {
		lines = append(lines, i.String())
	}
	text := "invalid config: " + strings.Join(lines, "; ")
	switch hidden := len(e.Issues) - shown; {
	case hidden == 1:
		text += " (+1 more issue)"
	case hidden > 1:
		text += fmt.Sprintf(" (+%d more issues)", hidden)
	}
	return text
}

// RequestError is the answer to a config.set, patch, apply or lookup that is refused.
// Message is the text for the client (code INVALID_REQUEST); Issues go into
// details.issues when there are any.
type RequestError struct {
	Message string
	Issues  []Issue
}

// Error returns the message.
func (e *RequestError) Error() string { return e.Message }

func refuse(format string, args ...any) error {
	return &RequestError{Message: fmt.Sprintf(format, args...)}
}

// maxIssueText bounds what an issue repeats of a document, in bytes.
const maxIssueText = 400

func clip(s string) string {
	if len(s) <= maxIssueText {
		return s
	}
	return strings.ToValidUTF8(s[:maxIssueText], "") + "..."
}

func newIssue(from *layers, path []string, message string) Issue {
	i := Issue{Path: clip(pathString(path)), Message: clip(message)}
	if from != nil {
		if o := from.origin(path); o.Kind != OriginDefault {
			i.Source = o.String()
		}
	}
	return i
}

// pathString joins a path whose list indexes are segments of the form [0].
func pathString(path []string) string {
	s := ""
	for _, p := range path {
		if strings.HasPrefix(p, "[") && strings.HasSuffix(p, "]") {
			s += p
			continue
		}
		s = joinPath(s, p)
	}
	return s
}
