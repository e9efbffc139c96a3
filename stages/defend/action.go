package defend

import (
	"bytes"
	"sync"

	"sluice/frames"
	"sluice/pipeline"
)

// Action is what one frame would make the assistant do: every text in it that a prompt,
// command, address or file name could be read from. Its slices are valid while the
// action is judged; defenders read them only.
type Action struct {
	// Source is the method, or "agent.turn" for a turn whose time has come.
	Source string
	// SessionKey is the session that the schedule stage found; may be empty.
	SessionKey string
	// Origin is where the action comes from, Sender the identity of who sent it: a
	// connection's, a hook's, or empty.
	Origin Origin
	Sender string
	// Admin says that the sender is an operator with operator.admin.
	Admin bool
	// Texts by the field that held them, in document order, decoded as the handlers
	// decode them. An argv is one text, joined by blanks.
	Prompts  [][]byte
	Commands [][]byte
	// Argv has, for each of Commands that came as a list, its arguments; nil for lines.
	Argv     [][]string
	Tools    [][]byte
	Channels [][]byte
	URLs     [][]byte
	Files    [][]byte
	// Leaks is the number in a top-level leakMatches: what a scanner before us reported.
	Leaks float64
	// Raw are the params as they came; nil for a turn.
	Raw []byte

	textless bool // a brief: its lists say what there was, not what it said

	more    bool // its params say more than its texts do: words, numbers, switches
	crowded bool // it has more texts than are looked at one by one

	claimed, claimedAgent string // the session and agent that the params name

	rawID []byte
	id    string
	text  []byte // decoded texts, one after the other
	spans []span
	ends  []int // of the arguments of argv spans, in text
}

// Administrative reports whether the action would change what is allowed. It holds no
// texts then: what counts is Admin, and its session.
func (a *Action) Administrative() bool { return administrative[a.Source] }

// Empty reports whether there is nothing to judge (first-runtime.md 1.5).
func (a *Action) Empty() bool {
	return !a.Administrative() && !acting[a.Source] && len(a.Tools) == 0 && len(a.Prompts) == 0 && len(a.Commands) == 0 && len(a.URLs) == 0 && len(a.Files) == 0
}

// RequestID is the frame's id, or the run's; "unknown" when there is none.
func (a *Action) RequestID() string {
	switch {
	case a.id != "":
		return a.id
	case len(a.rawID) > 2: // more than the quotes
		return string(frames.Unquote(nil, a.rawID))
	}
	return "unknown"
}

// brief is a without its texts: what may be said of it while another goroutine still
// reads them.
// The lists keep their lengths, which say what classes of content it holds.
func (a *Action) brief() *Action {
	b := &Action{Source: a.Source, SessionKey: a.SessionKey, Origin: a.Origin, Sender: a.Sender, Admin: a.Admin, Raw: a.Raw, rawID: a.rawID, id: a.id,
		Prompts: blanks(a.Prompts), Commands: blanks(a.Commands), Tools: blanks(a.Tools), URLs: blanks(a.URLs), Files: blanks(a.Files), textless: true}
	if len(a.Raw) == 0 {
		b.text = a.text // of a turn: it is complete, nothing writes to it
	}
	return b
}

// blanks is one empty text if there is any.
func blanks(list [][]byte) [][]byte {
	if len(list) == 0 {
		return nil
	}
	return [][]byte{nil}
}

// size is how much text there is to judge.
func (a *Action) size() int { return len(a.text) }

// Command adds one command to a, as a line or, with argv, as a list of arguments; for
// judging outside of a gateway.
func (a *Action) Command(line []byte, argv []string) {
	a.Commands, a.Argv = append(a.Commands, line), append(a.Argv, argv)
}

// SourceTurn is the Source of a turn's action.
const SourceTurn = "agent.turn"

// ParseAction returns the action in raw params, for replay and tests.
func ParseAction(source string, params []byte) (*Action, error) {
	a := newAction()
	a.Source, a.Raw = source, params
	return a, a.extract()
}

// describe takes from e what extract needs; e is not read afterwards.
func (a *Action) describe(e *pipeline.Envelope) {
	a.SessionKey, a.Origin = e.SessionKey, originOf(e)
	if e.Peer != nil {
		a.Sender = e.Peer.Identity
		a.Admin = e.Peer.Role == frames.RoleOperator && e.Peer.Scopes.Allows(frames.ScopeAdmin)
	}
	if e.Work == nil {
		a.Source, a.rawID, a.Raw = e.Frame.Method, e.Frame.ID, e.Frame.Params
		return
	}
	a.Source, a.id = SourceTurn, e.Work.ID()
	for _, text := range e.Work.Texts() {
		start := len(a.text)
		a.text = append(a.text, text...)
		a.add(span{field: fieldPrompt, start: start, end: len(a.text)})
	}
}

var actions = sync.Pool{New: func() any { return new(Action) }}

func newAction() *Action { return actions.Get().(*Action) }

// Pooled actions keep their memory up to these bounds.
const (
	maxPooledText  = 256 << 10
	maxPooledSpans = 1 << 10
)

func (a *Action) free() {
	if cap(a.text) > maxPooledText || cap(a.spans) > maxPooledSpans {
		return
	}
	for _, list := range [][][]byte{a.Prompts, a.Commands, a.Tools, a.Channels, a.URLs, a.Files} {
		clear(list)
	}
	clear(a.Argv)
	*a = Action{Prompts: a.Prompts[:0], Commands: a.Commands[:0], Argv: a.Argv[:0], Tools: a.Tools[:0], Channels: a.Channels[:0],
		URLs: a.URLs[:0], Files: a.Files[:0], text: a.text[:0], spans: a.spans[:0], ends: a.ends[:0]}
	actions.Put(a)
}

// joined returns the texts as one, for records made for people.
func joined(list [][]byte) string { return string(bytes.Join(list, []byte("\n"))) }
