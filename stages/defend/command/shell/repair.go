package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sluice/stages/defend/command/code"
)

// maxRecover is how many missing quotes and brackets the second attempt supplies.
const maxRecover = 6

// repair parses text as if the quotes and brackets that it lacks were there; nil if that
// does not help.
func (m *Machine) repair(text string) *syntax.File {
	if f, err := m.parse(m.lenient, text); err == nil && len(f.Stmts) > 0 {
		return f
	}
	if len(text) > maxBroken {
		return nil // each attempt reads it all again
	}
	for _, end := range [...]string{"\"", "'", "`", ")", "\n}", "\nfi", "\ndone"} {
		if f, err := m.parse(m.parser, text+end); err == nil {
			return f
		}
	}
	return nil
}

// unclosed parses a text whose here-document is not closed. Shells accept that: the end
// of the text closes it.
func (m *Machine) unclosed(text string) *syntax.File {
	i := strings.LastIndex(text, "<<")
	if i < 0 {
		return nil
	}
	word := strings.TrimLeft(text[i+2:], "- \t")
	end := strings.IndexAny(word, " \t\n;|&><)")
	if end < 0 {
		end = len(word)
	}
	word = strings.Trim(word[:end], `"'\`)
	if word == "" || len(word) > 64 {
		return nil
	}
	f, err := m.parse(m.parser, text+"\n"+word+"\n")
	if err != nil {
		return nil
	}
	return f
}

// untemplated returns text with the ${{ … }} of a workflow file made a variable whose value
// is not known; "" if there are none.
func untemplated(text string) string {
	if !strings.Contains(text, "${{") {
		return unnamed(text)
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "${{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		_, text, ok = strings.Cut(rest, "}}")
		if !ok {
			return ""
		}
		b.WriteString("$__template")
	}
}

// maxPlaceholder is the longest <name of a value> that is taken for one.
const maxPlaceholder = 40

// unnamed returns text with the <placeholders> of a manual made variables whose value is not
// known; "" if there are none. A shell would run none of such a line; all else that stands
// in it is judged as usual.
func unnamed(text string) string {
	var b strings.Builder
	some := false
	for i := 0; i < len(text); i++ {
		if text[i] == '<' && (i == 0 || text[i-1] != '<') && i+1 < len(text) && letters(text[i+1:i+2]) {
			end := strings.IndexByte(text[i:], '>')
			if end > 1 && end <= maxPlaceholder && strings.IndexAny(text[i+1:i+end], "<|&;$`'\"\\(){}\n") < 0 {
				b.WriteString("$__template")
				some, i = true, i+end
				continue
			}
		}
		b.WriteByte(text[i])
	}
	if !some {
		return ""
	}
	return b.String()
}

// unquoted evaluates a text that does not parse as if it had no quotes: a stray quote
// must not hide what follows it.
func (m *Machine) unquoted(text string, in stream, via Via) {
	plain := strings.NewReplacer("\"", "", "'", "", "`", "", "\u2018", "'", "\u2019", "'", "\u201c", "'", "\u201d", "'").Replace(text)
	if f, err := m.parse(m.parser, plain); err == nil {
		m.stmts(f.Stmts, in, via)
	}
}

// asCode looks at a text that is no command line as code of another language, if it would
// start something.
func (m *Machine) asCode(text string, via Via) {
	if code.Inspect(text)&(code.Spawn|code.Sock|code.Eval) == 0 {
		return
	}
	j := job{via: via, start: 0, end: len(text)}
	call := Call{Name: "code", Given: "code"}
	if open := strings.IndexByte(text, '('); open > 0 && open < 24 { // system('id');
		call.Args = append(m.room(1), Value{S: strings.TrimLeft(text[:open+1], " ;'\"<?ph=\n\t&|")})
	}
	m.record(&call, &j)
	m.inspect(text, language{}, &j, len(m.trace.Calls)-1)
}

// maxFragments bounds how many pieces of a text that is no command line are looked at.
const maxFragments = 256

// fragments evaluates the pieces of a text that does not parse, each for itself.
func (m *Machine) fragments(text string, in stream, via Via) Value {
	if m.depth >= 3 {
		return Value{S: hole, Taint: Unknown}
	}
	if n := len(text); n > maxBroken {
		m.trace.Problems |= TooMuch
		text = text[:maxBroken/2] + "\n" + text[n-maxBroken/2:]
	}
	m.depth++
	defer func() { m.depth-- }()
	pieces := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ';' || r == '|' || r == '&' })
	if n := len(pieces); n > maxFragments { // what is hidden stands at the end
		m.trace.Problems |= TooMuch
		pieces = append(pieces[:maxFragments/2], pieces[n-maxFragments/2:]...)
	}
	for _, piece := range pieces {
		piece = strings.Trim(piece, " \t`()")
		f, err := m.parse(m.parser, piece)
		if err != nil {
			if f = m.repair(piece); f == nil {
				continue
			}
		}
		m.stmts(f.Stmts, in, via)
	}
	return Value{S: hole, Taint: Unknown}
}

// maxBroken bounds the text that is tried piece by piece.
const maxBroken = 16 << 10
