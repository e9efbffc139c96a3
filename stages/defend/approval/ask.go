package approval

import (
	"regexp"
	"strings"
	"time"

	"sluice/frames"

	"github.com/go-json-experiment/json/jsontext"
)

// The kinds of approvals.
const (
	KindExec   = "exec"
	KindPlugin = "plugin"
)

// The decisions of operators.
const (
	AllowOnce   = "allow-once"
	AllowAlways = "allow-always"
	Deny        = "deny"
)

// Ask is a request for approval. What it says of agent, session and origin are claims:
// they are shown, and bound to the approval, never trusted. Blank strings are absent.
type Ask struct {
	Kind string
	// ID is the requester's own name for a command's approval; empty makes one.
	ID string
	// TimeoutMs is how long it waits; 0 is the kind's default.
	TimeoutMs int64
	// By is the connection that asks; nil for work without one.
	By *frames.Peer

	AgentID, SessionKey, SessionID, RunID, ToolCallID string
	// The conversation that led to it. ThreadID is a JSON string or number.
	Channel, To, AccountID string
	ThreadID               jsontext.Value
	// Scope is what the action reaches, as the protocol's ApprovalScope; may be nil.
	Scope jsontext.Value

	// Of a command. Argv is what would run; Command is how it is shown. Without Argv the
	// command is a line for a shell. Plan is a node's systemRunPlan. OneShot makes
	// allow-always unavailable.
	Command                                                     string
	Argv                                                        []string
	Env                                                         map[string]string
	Cwd, Host, NodeID, Security, AskMode, Warning, ResolvedPath string
	Plan                                                        jsontext.Value
	OneShot                                                     bool
	// NoRouteNeeded waits also when nobody can be told; Quiet tells nobody.
	NoRouteNeeded, Quiet bool

	// Of a plugin's action.
	PluginID, Title, Description, Detail, Severity, ToolName string
	Decisions                                                []string
}

// draft is an Ask that was checked, in the forms in which it is kept.
type draft struct {
	request      jsontext.Value // as operators get it in events and lists
	presentation jsontext.Value // as approval.* show it
	allowed      []string
	sum          Sum
	grant        *scope // what allow-always would allow; nil when it is unavailable
	agentID      string
	sessionKey   string
}

func invalid(reason, format string, args ...any) *frames.Error {
	err := frames.Invalid(format, args...)
	if reason != "" {
		err = err.WithDetails(map[string]any{"reason": reason})
	}
	return err
}

// pluginPrefix marks ids of plugin approvals; a command may not take one.
const pluginPrefix = "plugin:"

const maxIDBytes = 128

var badID = regexp.MustCompile(`[^A-Za-z0-9._:-]`)

// checkID refuses ids that could be mistaken for paths or for another kind's.
func checkID(id string) *frames.Error {
	switch {
	case id == "":
		return nil
	case strings.HasPrefix(id, pluginPrefix):
		return frames.Invalid("approval ids starting with %s are reserved", pluginPrefix)
	case len(id) > maxIDBytes || id == "." || id == ".." || badID.MatchString(id):
		return frames.Invalid("approval id must be 1-128 characters using only letters, numbers, '.', '_', ':', or '-', and cannot be '.' or '..'").
			WithDetails(map[string]any{"code": "EXEC_APPROVAL_ID_INVALID", "reason": "INVALID_APPROVAL_ID"})
	}
	return nil
}

// timeout is how long a waits.
func (a *Ask) timeout(cfg *Config) time.Duration {
	ms, top := a.TimeoutMs, cfg.MaxTimeoutMs
	if a.Kind == KindPlugin {
		top = min(top, maxPluginTimeoutMs)
	}
	switch {
	case ms > 0:
	case a.Kind == KindPlugin:
		ms = cfg.PluginTimeoutMs
	default:
		ms = cfg.ExecTimeoutMs
	}
	return time.Duration(min(max(ms, 1), top)) * time.Millisecond
}

// normalized is the real gateway's reading of a word: trimmed, lower case, one of list.
func normalized(word string, list ...string) *string {
	word = strings.ToLower(strings.TrimSpace(word))
	for _, w := range list {
		if w == word {
			return &w
		}
	}
	return nil
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
