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
	// Texts by the field that held them, in document order, decoded as the handlers
	// decode them. An argv is one text, joined by blanks.
	Prompts  [][]byte
	Commands [][]byte
	Tools    [][]byte
	Channels [][]byte
	URLs     [][]byte
	Files    [][]byte
	// Leaks is the number in a top-level leakMatches: what a scanner before us reported.
	Leaks float64
	// Raw are the params as they came; nil for a turn.
	Raw []byte

	rawID []byte
	id    string
	text  []byte // decoded texts, one after the other
	spans []span
}

// Empty reports whether there is nothing to judge (first-runtime.md 1.5).
func (a *Action) Empty() bool {
	return len(a.Prompts) == 0 && len(a.Commands) == 0 && len(a.URLs) == 0 && len(a.Files) == 0
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
func (a *Action) brief() *Action {
	return &Action{Source: a.Source, SessionKey: a.SessionKey, Raw: a.Raw, rawID: a.rawID, id: a.id}
}

// size is how much text there is to judge.
func (a *Action) size() int { return len(a.text) }

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
	a.SessionKey = e.SessionKey
	if e.Work == nil {
		a.Source, a.rawID, a.Raw = e.Frame.Method, e.Frame.ID, e.Frame.Params
		return
	}
	a.Source, a.id = SourceTurn, e.Work.ID()
	for _, text := range e.Work.Texts() {
		start := len(a.text)
		a.text = append(a.text, text...)
		a.add(span{fieldPrompt, start, len(a.text)})
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
	*a = Action{Prompts: a.Prompts[:0], Commands: a.Commands[:0], Tools: a.Tools[:0], Channels: a.Channels[:0],
		URLs: a.URLs[:0], Files: a.Files[:0], text: a.text[:0], spans: a.spans[:0]}
	actions.Put(a)
}

// joined returns the texts as one, for records made for people.
func joined(list [][]byte) string { return string(bytes.Join(list, []byte("\n"))) }
