package config

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// SyntaxError says where a document stops being JSON5.
type SyntaxError struct {
	Line int // 1-based
	Col  int // 1-based, in characters
	Msg  string
}

// Error uses the words of the real gateway's parser, which clients show as they are.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("SyntaxError: JSON5: %s at %d:%d", clip(e.Msg), e.Line, e.Col)
}

// node is one value of a parsed document with its place in the text, so that errors can
// name a line and an edit can leave the rest of the file, comments included, alone.
type node struct {
	start, end int // byte span of the value
	value      any // string, bool, int64, float64 or nil; unused for object and list
	object     bool
	list       bool
	members    []member
	items      []*node
}

// member is one key of an object.
type member struct {
	key      string
	keyStart int
	comma    int // offset of the comma after the value, or -1
	val      *node
}

// get returns the member's value, or nil.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for i := range n.members {
		if n.members[i].key == key {
			return n.members[i].val
		}
	}
	return nil
}

// plain converts to map[string]any, []any, string, bool, int64, float64 and nil.
func (n *node) plain() any {
	switch {
	case n.object:
		m := make(map[string]any, len(n.members))
		for i := range n.members {
			m[n.members[i].key] = n.members[i].val.plain()
		}
		return m
	case n.list:
		l := make([]any, len(n.items))
		for i, it := range n.items {
			l[i] = it.plain()
		}
		return l
	}
	return n.value
}

// parser reads JSON5 (spec.json5.org 1.0.0). It differs from the reference on purpose in
// four points, all of which are mistakes in a configuration: duplicate keys, Infinity and
// NaN, lone surrogates, and nesting beyond maxDepth are errors.
type parser struct {
	src   []byte
	pos   int
	depth int
}

// parseJSON5 parses one document.
func parseJSON5(src []byte) (*node, error) {
	p := &parser{src: src}
	if !utf8.Valid(src) {
		for i := 0; i < len(src); {
			r, w := utf8.DecodeRune(src[i:])
			if r == utf8.RuneError && w == 1 {
				return nil, p.errAt(i, "the text is not valid UTF-8")
			}
			i += w
		}
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	n, err := p.parseValue()
	if err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.pos < len(p.src) {
		return nil, p.unexpected()
	}
	return n, nil
}

func (p *parser) errAt(pos int, format string, args ...any) error {
	line, col := position(p.src, pos)
	return &SyntaxError{Line: line, Col: col, Msg: fmt.Sprintf(format, args...)}
}

func (p *parser) unexpected() error {
	if p.pos >= len(p.src) {
		return p.errAt(p.pos, "invalid end of input")
	}
	r, _ := utf8.DecodeRune(p.src[p.pos:])
	return p.errAt(p.pos, "invalid character %q", r)
}

// position turns an offset into a 1-based line and column.
func position(src []byte, pos int) (line, col int) {
	line, lineStart := 1, 0
	for i := 0; i < pos && i < len(src); i++ {
		if src[i] == '\n' {
			line, lineStart = line+1, i+1
		}
	}
	return line, utf8.RuneCount(src[lineStart:min(pos, len(src))]) + 1
}

func (p *parser) peek() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

// space skips white space and comments.
func (p *parser) space() error {
	for p.pos < len(p.src) {
		r, w := utf8.DecodeRune(p.src[p.pos:])
		switch {
		case r == '/':
			if err := p.comment(); err != nil {
				return err
			}
		case isSpace(r):
			p.pos += w
		default:
			return nil
		}
	}
	return nil
}

func (p *parser) comment() error {
	start := p.pos
	p.pos++
	switch {
	case p.pos < len(p.src) && p.src[p.pos] == '/':
		for p.pos < len(p.src) {
			r, w := utf8.DecodeRune(p.src[p.pos:])
			if isLineEnd(r) {
				return nil
			}
			p.pos += w
		}
		return nil
	case p.pos < len(p.src) && p.src[p.pos] == '*':
		for p.pos++; p.pos+1 < len(p.src); p.pos++ {
			if p.src[p.pos] == '*' && p.src[p.pos+1] == '/' {
				p.pos += 2
				return nil
			}
		}
		return p.errAt(start, "comment without an end")
	}
	return p.unexpected()
}

func isLineEnd(r rune) bool { return r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' }

func isSpace(r rune) bool {
	switch r {
	case ' ', '\t', '\v', '\f', '\u00a0', '\ufeff':
		return true
	}
	return isLineEnd(r) || r > 127 && unicode.Is(unicode.Zs, r)
}

func (p *parser) parseValue() (*node, error) {
	start := p.pos
	n := &node{start: start}
	var err error
	switch c := p.peek(); {
	case c == '{':
		err = p.object(n)
	case c == '[':
		err = p.list(n)
	case c == '"' || c == '\'':
		n.value, err = p.str()
	case c == '+' || c == '-' || c == '.' || c >= '0' && c <= '9' || c == 'I' || c == 'N':
		n.value, err = p.number()
	case c == 't':
		n.value, err = true, p.word("true")
	case c == 'f':
		n.value, err = false, p.word("false")
	case c == 'n':
		err = p.word("null")
	default:
		err = p.unexpected()
	}
	n.end = p.pos
	return n, err
}

func (p *parser) word(w string) error {
	for i := range len(w) {
		if p.peek() != w[i] {
			return p.unexpected()
		}
		p.pos++
	}
	if p.pos < len(p.src) {
		if r, _ := utf8.DecodeRune(p.src[p.pos:]); isIdentPart(r) {
			return p.unexpected()
		}
	}
	return nil
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.errAt(p.pos, "more than %d levels of nesting", maxDepth)
	}
	p.pos++
	return p.space()
}

func (p *parser) object(n *node) error {
	n.object = true
	if err := p.enter(); err != nil {
		return err
	}
	seen := make(map[string]struct{})
	for p.peek() != '}' {
		m := member{keyStart: p.pos, comma: -1}
		var err error
		if m.key, err = p.key(); err != nil {
			return err
		}
		if _, dup := seen[m.key]; dup {
			return p.errAt(m.keyStart, "duplicate key %q", m.key)
		}
		seen[m.key] = struct{}{}
		if err = p.space(); err != nil {
			return err
		}
		if p.peek() != ':' {
			return p.unexpected()
		}
		p.pos++
		if err = p.space(); err != nil {
			return err
		}
		if m.val, err = p.parseValue(); err != nil {
			return err
		}
		if err = p.separator('}', &m.comma); err != nil {
			return err
		}
		n.members = append(n.members, m)
	}
	p.pos++
	p.depth--
	return nil
}

func (p *parser) list(n *node) error {
	n.list = true
	if err := p.enter(); err != nil {
		return err
	}
	for p.peek() != ']' {
		v, err := p.parseValue()
		if err != nil {
			return err
		}
		var comma int
		if err = p.separator(']', &comma); err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	p.pos++
	p.depth--
	return nil
}

// separator reads a comma, or nothing before the closing character.
func (p *parser) separator(closing byte, comma *int) error {
	*comma = -1
	if err := p.space(); err != nil {
		return err
	}
	switch p.peek() {
	case ',':
		*comma = p.pos
		p.pos++
		return p.space()
	case closing:
		return nil
	}
	return p.unexpected()
}
