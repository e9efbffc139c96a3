package defend

import (
	"bytes"
	"errors"
	"strings"
	"sync"

	"sluice/frames"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of one extraction. At maxTexts the rest is joined into one text that is judged
// as every kind: nothing is skipped, and a frame of a million tiny texts costs no more
// memory than its bytes.
const (
	maxTexts    = 4096
	maxArgs     = 1 << 16 // arguments of all commands; the text holds them all in any case
	maxEmbedded = 4       // levels of JSON in strings in JSON
)

// span is one text in Action.text. Of an argv, args are where its arguments end, in
// Action.ends.
type span struct {
	field      field
	start, end int
	args       [2]int
}

var (
	errTooDeep = errors.New("nested too deep")
	errNotJSON = errors.New("not JSON")
)

// walker reads one JSON value. Names that come twice are all read, so that whichever of
// them a reader takes, it was judged; lone surrogates become U+FFFD as everywhere
// (frames.Unquote).
type walker struct {
	a        *Action
	dec      jsontext.Decoder
	in       bytes.Buffer
	embedded int
	root     bool
	items    []span // of the run that is being read
}

var walkers = sync.Pool{New: func() any { return new(walker) }}

var walkOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// extract fills the lists of texts from the params. An error means that they are no
// JSON or nested too deep, which a frame that was decoded cannot be.
func (a *Action) extract() error {
	if len(a.Raw) > 0 {
		if err := a.walk(a.Raw, fieldOther, 0); err != nil {
			return err
		}
	}
	if a.claimed != "" && a.SessionKey == "" {
		a.SessionKey = canonical(a.claimed, a.claimedAgent)
	}
	if a.Administrative() {
		a.spans, a.text = a.spans[:0], a.text[:0]
	}
	a.resolve()
	return nil
}

// walk reads JSON that stands under a member of the given kind, within embedded levels of
// JSON in strings.
func (a *Action) walk(value []byte, f field, embedded int) error {
	w := walkers.Get().(*walker)
	w.a, w.embedded, w.root = a, embedded, embedded == 0
	// The decoder reads a bytes.Buffer in place and does not write to it.
	w.in = *bytes.NewBuffer(value)
	w.dec.Reset(&w.in, walkOptions...)
	err := w.value(f, 0)
	w.a, w.in = nil, bytes.Buffer{}
	w.dec.Reset(&w.in)
	walkers.Put(w)
	return err
}

// value reads the next value, which stands under a member of the given kind.
func (w *walker) value(f field, depth int) error {
	switch w.dec.PeekKind() {
	case '{':
		return w.object(f, depth+1)
	case '[':
		return w.array(f, depth+1)
	}
	raw, err := w.dec.ReadValue()
	if err != nil {
		return errNotJSON
	}
	if f == fieldAttachment {
		f = fieldContent
	}
	if f == fieldNone || raw[0] != '"' && (f.open() || f == fieldContent) {
		w.a.more = w.a.more || f != fieldNone && raw[0] != 'n'
		return nil
	}
	start := len(w.a.text)
	if !w.scalar(raw) {
		return nil
	}
	return w.done(span{field: f, start: start, end: len(w.a.text)})
}

// object reads an object. A member without a kind of its own inherits that of the object
// as far as it is a prompt, a command or a tool's argument: {"message":{"content":"…"}} is
// a prompt.
func (w *walker) object(f field, depth int) error {
	if depth > frames.MaxDepth {
		return errTooDeep
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	for w.dec.PeekKind() != '}' {
		name, err := w.dec.ReadValue()
		if err != nil {
			return errNotJSON
		}
		var buf [32]byte
		text := unquoteName(buf[:0], name)
		own := w.memberField(f, text, depth)
		if w.root && depth == 1 {
			switch string(text) {
			case "leakMatches", "leak_matches":
				if err := w.leaks(); err != nil {
					return err
				}
				continue
			case "inputProvenance", "systemInputProvenance":
				if err := w.provenance(); err != nil {
					return err
				}
				continue
			case "sessionKey", "session_key", "sessionId", "session_id":
				if w.claim(&w.a.claimed) {
					continue
				}
			case "agentId":
				if w.claim(&w.a.claimedAgent) {
					continue
				}
			}
		}
		if err := w.value(own, depth); err != nil {
			return err
		}
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	return nil
}

func unquoteName(dst, raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	return frames.Unquote(dst, raw)
}

// leaks reads the count that a scanner in front of us may have left in the params.
func (w *walker) leaks() error {
	if w.dec.PeekKind() != '0' {
		return w.value(fieldNone, 1)
	}
	tok, err := w.dec.ReadToken()
	if err != nil {
		return errNotJSON
	}
	if n, err := tok.Float(); err == nil {
		w.a.Leaks = max(w.a.Leaks, n)
	}
	return nil
}

// claim takes a name that the params give, the first if there are several: which session
// is meant where no stage has found it, and of which agent.
func (w *walker) claim(to *string) bool {
	if *to != "" || w.dec.PeekKind() != '"' {
		return false
	}
	raw, err := w.dec.ReadValue()
	if err == nil && len(raw) <= maxHintBytes {
		*to = string(frames.Unquote(nil, raw))
	}
	return true // an error is met again by the next read
}

// canonical is the name by which a session is known; what is no key stays as it is.
func canonical(key, agent string) string {
	if agent = strings.ToLower(strings.TrimSpace(agent)); !frames.ValidAgentID(agent) {
		agent = frames.DefaultAgent
	}
	if k, err := frames.ParseSessionKey(key); err == nil {
		return k.Canonical(agent)
	}
	return key
}

// provenance reads what a client says about where its message comes from: a bridge that
// passes on somebody else's words says so. It only ever makes the origin more foreign.
func (w *walker) provenance() error {
	raw, err := w.dec.ReadValue()
	if err != nil {
		return errNotJSON
	}
	var p struct {
		Kind string `json:"kind"`
	}
	if frames.UnmarshalParams(raw, &p) == nil && p.Kind != "" && p.Kind != "owner" && p.Kind != "operator" {
		w.a.Origin = max(w.a.Origin, OriginSender)
	}
	return w.a.walk(raw, fieldOther, w.embedded+1)
}

// scalar appends the text of a string, number or boolean; null has none.
func (w *walker) scalar(raw []byte) bool {
	switch raw[0] {
	case 'n':
		return false
	case '"':
		w.a.text = frames.Unquote(w.a.text, raw)
	default:
		w.a.text = append(w.a.text, raw...)
	}
	return true
}

// done ends a text: a string with JSON in it is walked as what its reader will see, and
// an attachment's content is read if it is text.
func (w *walker) done(s span) error {
	if s.field == fieldURL && dataURL(w.a.text[s.start:s.end]) {
		s.field = fieldContent // an address that is its own document
	}
	if s.field == fieldContent {
		if !w.a.decodeContent(&s) {
			w.a.text = w.a.text[:s.start]
			return nil
		}
		s.field = fieldPrompt
	}
	if s.field == fieldJSON || s.field.open() && looksJSON(w.a.text[s.start:s.end]) {
		if w.inner(s) {
			return nil
		}
		if s.field == fieldJSON {
			s.field = fieldAny
		}
	}
	if s.field.open() && phrase(w.a.text[s.start:s.end]) {
		w.a.more = w.a.more || s.end > s.start
		w.a.text = w.a.text[:s.start]
		return nil
	}
	w.a.add(s)
	return nil
}

// inner walks a text that is JSON, and reports whether it is.
func (w *walker) inner(s span) bool {
	if w.embedded >= maxEmbedded {
		return false
	}
	text := append([]byte(nil), w.a.text[s.start:s.end]...)
	mark := len(w.a.spans)
	if frames.Valid(text) && w.a.walk(text, fieldArgs, w.embedded+1) == nil {
		return true
	}
	w.a.spans = w.a.spans[:mark]
	return false
}

// looksJSON tells an object or a list from other text.
func looksJSON(text []byte) bool {
	text = bytes.TrimSpace(text)
	return len(text) > 1 && (text[0] == '{' && text[len(text)-1] == '}' || text[0] == '[' && text[len(text)-1] == ']')
}

// add records a text, which is the end of a.text, unless it is empty.
func (a *Action) add(s span) {
	if s.start == s.end {
		return
	}
	a.record(s)
	// The line feed keeps the words of two texts apart if a span grows over both.
	a.text = append(a.text, '\n')
}

// record keeps s. Beyond the bound the last span grows over it: texts lie one after the
// other.
func (a *Action) record(s span) {
	if len(a.spans) < maxTexts {
		a.spans = append(a.spans, s)
		return
	}
	last := &a.spans[len(a.spans)-1]
	last.field, last.start, last.end = fieldAny, min(last.start, s.start), max(last.end, s.end)
	a.crowded = true
}

// argv returns the arguments of a command that came as a list of two or more. One that
// stands alone in its list may as well be a line for a shell, and is judged as one.
func (a *Action) argv(s span) []string {
	if s.field != fieldCommand || s.args[1]-s.args[0] < 2 {
		return nil
	}
	if a.ends[s.args[1]-1] != s.end {
		return nil // more than maxArgs: the joined text is all there is
	}
	list := make([]string, 0, s.args[1]-s.args[0])
	start := s.start
	for _, end := range a.ends[s.args[0]:s.args[1]] {
		list = append(list, string(a.text[min(start, end):end]))
		start = end + 1 // the blank between
	}
	return list
}

// resolve makes the lists; it runs when text no longer moves.
func (a *Action) resolve() {
	for _, s := range a.spans {
		t := a.text[s.start:s.end:s.end]
		every := s.field == fieldAny
		if every || s.field == fieldPrompt || s.field.open() {
			a.Prompts = append(a.Prompts, t)
		}
		if every || s.field == fieldCommand {
			a.Command(t, a.argv(s))
		}
		if every || s.field == fieldURL {
			a.URLs = append(a.URLs, t)
		}
		if every || s.field == fieldFile {
			a.Files = append(a.Files, t)
		}
		switch s.field {
		case fieldTool:
			a.Tools = append(a.Tools, t)
		case fieldChannel:
			a.Channels = append(a.Channels, t)
		}
	}
}
