package defend

import (
	"bytes"
	"errors"
	"sync"

	"sluice/frames"

	"github.com/go-json-experiment/json/jsontext"
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
	// fieldAny is text beyond maxTexts: read as every kind.
	fieldAny
)

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
}

var walkers = sync.Pool{New: func() any { return new(walker) }}

var walkOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// extract fills the lists of texts from the params. An error means that they are no
// JSON or nested too deep, which a frame that was decoded cannot be.
func (a *Action) extract() error {
	if len(a.Raw) > 0 {
		if err := a.walk(a.Raw, 0); err != nil {
			return err
		}
	}
	a.resolve()
	return nil
}

func (a *Action) walk(value []byte, embedded int) error {
	w := walkers.Get().(*walker)
	w.a, w.embedded, w.root = a, embedded, embedded == 0
	// The decoder reads a bytes.Buffer in place and does not write to it.
	w.in = *bytes.NewBuffer(value)
	w.dec.Reset(&w.in, walkOptions...)
	err := w.value(fieldNone, 0)
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
	if f == fieldNone || f == fieldAttachment {
		return nil
	}
	start := len(w.a.text)
	if !w.scalar(raw) {
		return nil
	}
	return w.done(span{field: f, start: start, end: len(w.a.text)})
}

// object reads an object. A member without a kind of its own inherits that of the object
// as far as it is a prompt or a command: {"message":{"content":"…"}} is a prompt.
func (w *walker) object(f field, depth int) error {
	if depth > frames.MaxDepth {
		return errTooDeep
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	if f != fieldPrompt && f != fieldCommand && f != fieldAttachment {
		f = fieldNone
	}
	for w.dec.PeekKind() != '}' {
		name, err := w.dec.ReadValue()
		if err != nil {
			return errNotJSON
		}
		own := f
		var buf [32]byte
		text := unquoteName(buf[:0], name)
		if k := fieldOf(text); k != fieldNone {
			own = k
		} else if k := attachmentField(text); f == fieldAttachment && k != fieldNone {
			own = k
		} else if string(text) == "data" && w.a.Source == "terminal.input" {
			own = fieldCommand
		}
		if w.root && depth == 1 {
			switch string(text) {
			case "leakMatches", "leak_matches":
				if err := w.leaks(); err != nil {
					return err
				}
				continue
			case "inputProvenance":
				if err := w.provenance(); err != nil {
					return err
				}
				continue
			case "sessionKey", "session_key", "sessionId", "session_id":
				if w.session() {
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

// session takes the session that the params name, where no stage has found it: what is
// said about it here can only make the verdict stricter.
func (w *walker) session() bool {
	if w.a.SessionKey != "" || w.dec.PeekKind() != '"' {
		return false
	}
	raw, err := w.dec.ReadValue()
	if err == nil && len(raw) <= maxHintBytes {
		w.a.SessionKey = canonical(string(frames.Unquote(nil, raw)))
	}
	return true // an error is met again by the next read
}

// canonical is the name by which a session is known; what is no key stays as it is.
func canonical(key string) string {
	if k, err := frames.ParseSessionKey(key); err == nil {
		return k.Canonical(frames.DefaultAgent)
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
	return w.a.walk(raw, w.embedded+1)
}

// array reads an array. Scalars next to each other become one text: an argv joined by
// blanks, lines of a prompt by line feeds. Addresses and names stay apart.
func (w *walker) array(f field, depth int) error {
	if depth > frames.MaxDepth {
		return errTooDeep
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	join := f == fieldPrompt || f == fieldCommand
	start, open := 0, false
	args := [2]int{len(w.a.ends), len(w.a.ends)}
	for k := w.dec.PeekKind(); k != ']'; k = w.dec.PeekKind() {
		if !join || k == '{' || k == '[' {
			if open {
				w.a.add(span{f, start, len(w.a.text), args})
				open = false
			}
			if err := w.value(f, depth); err != nil {
				return err
			}
			continue
		}
		raw, err := w.dec.ReadValue()
		if err != nil {
			return errNotJSON
		}
		if !open {
			start = len(w.a.text)
			args = [2]int{len(w.a.ends), len(w.a.ends)}
		} else {
			w.a.text = append(w.a.text, separator(f))
		}
		open = w.scalar(raw) || open
		if f == fieldCommand && len(w.a.ends) < maxArgs {
			w.a.ends = append(w.a.ends, len(w.a.text))
			args[1] = len(w.a.ends)
		}
	}
	if open {
		w.a.add(span{f, start, len(w.a.text), args})
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	return nil
}

func separator(f field) byte {
	if f == fieldCommand {
		return ' '
	}
	return '\n'
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
	if s.field == fieldContent {
		if !w.a.decodeContent(&s) {
			w.a.text = w.a.text[:s.start]
			return nil
		}
		s.field = fieldPrompt
	}
	if s.field == fieldJSON {
		if w.embedded < maxEmbedded {
			inner := append([]byte(nil), w.a.text[s.start:s.end]...)
			mark := len(w.a.spans)
			if frames.Valid(inner) && w.a.walk(inner, w.embedded+1) == nil {
				return nil
			}
			w.a.spans = w.a.spans[:mark]
		}
		s.field = fieldAny
	}
	w.a.add(s)
	return nil
}

// add records a text, which is the end of a.text, unless it is empty.
func (a *Action) add(s span) {
	if s.start == s.end {
		return
	}
	if len(a.spans) < maxTexts {
		a.spans = append(a.spans, s)
	} else {
		// Texts lie one after the other, so the last span can grow over this one.
		last := &a.spans[len(a.spans)-1]
		last.field, last.end = fieldAny, s.end
	}
	// The line feed keeps the words of two texts apart if a span grows over both.
	a.text = append(a.text, '\n')
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
		if every || s.field == fieldPrompt {
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
