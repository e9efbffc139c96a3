package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// key reads a member name: a string or an ECMAScript 5.1 identifier name.
func (p *parser) key() (string, error) {
	if c := p.peek(); c == '"' || c == '\'' {
		return p.str()
	}
	var b strings.Builder
	for p.pos < len(p.src) {
		r, w := utf8.DecodeRune(p.src[p.pos:])
		at := p.pos
		if r == '\\' {
			p.pos++
			if p.peek() != 'u' {
				return "", p.unexpected()
			}
			p.pos++
			var err error
			if r, err = p.hex(4); err != nil {
				return "", err
			}
			w = 0
		}
		if b.Len() == 0 && !isIdentStart(r) || b.Len() > 0 && !isIdentPart(r) {
			if w == 0 { // an escape that is no identifier character
				return "", p.errAt(at, "invalid identifier character")
			}
			break
		}
		b.WriteRune(r)
		p.pos += w
	}
	if b.Len() == 0 {
		return "", p.unexpected()
	}
	return b.String(), nil
}

func isIdentStart(r rune) bool {
	return r == '$' || r == '_' || unicode.IsLetter(r) || unicode.Is(unicode.Nl, r)
}

func isIdentPart(r rune) bool {
	return isIdentStart(r) || unicode.In(r, unicode.Mn, unicode.Mc, unicode.Nd, unicode.Pc) ||
		r == '\u200c' || r == '\u200d'
}

// str reads a quoted string.
func (p *parser) str() (string, error) {
	start, quote := p.pos, p.src[p.pos]
	p.pos++
	var b strings.Builder
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		switch {
		case c == quote:
			p.pos++
			return b.String(), nil
		case c == '\n' || c == '\r':
			return "", p.unexpected()
		case c == '\\':
			p.pos++
			if err := p.escape(&b); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	return "", p.errAt(start, "string without an end")
}

func (p *parser) escape(b *strings.Builder) error {
	if p.pos >= len(p.src) {
		return p.unexpected()
	}
	at := p.pos - 1
	r, w := utf8.DecodeRune(p.src[p.pos:])
	p.pos += w
	switch r {
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case 'v':
		b.WriteByte('\v')
	case '0':
		if c := p.peek(); c >= '0' && c <= '9' {
			return p.unexpected()
		}
		b.WriteByte(0)
	case '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return p.errAt(at+1, "invalid character %q", r)
	case 'x':
		v, err := p.hex(2)
		if err != nil {
			return err
		}
		b.WriteRune(v)
	case 'u':
		return p.unicodeEscape(b, at)
	case '\r':
		if p.peek() == '\n' {
			p.pos++
		}
	case '\n', '\u2028', '\u2029': // a line continuation
	default:
		b.WriteRune(r)
	}
	return nil
}

// unicodeEscape reads what follows \u. Half of a pair alone cannot be written as UTF-8,
// so it is an error here although JavaScript lets it pass.
func (p *parser) unicodeEscape(b *strings.Builder, at int) error {
	v, err := p.hex(4)
	if err != nil {
		return err
	}
	if utf16.IsSurrogate(v) {
		if p.peek() != '\\' || p.pos+1 >= len(p.src) || p.src[p.pos+1] != 'u' {
			return p.errAt(at, "half of a surrogate pair")
		}
		p.pos += 2
		low, err := p.hex(4)
		if err != nil {
			return err
		}
		if v = utf16.DecodeRune(v, low); v == utf8.RuneError {
			return p.errAt(at, "half of a surrogate pair")
		}
	}
	b.WriteRune(v)
	return nil
}

func (p *parser) hex(digits int) (rune, error) {
	var v rune
	for range digits {
		d := hexDigit(p.peek())
		if d < 0 || p.pos >= len(p.src) {
			return 0, p.unexpected()
		}
		v = v<<4 | rune(d)
		p.pos++
	}
	return v, nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func (p *parser) digits() int {
	n := 0
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.pos++
		n++
	}
	return n
}

// number reads a JSON5 number: int64 where the value is whole and fits, else float64.
func (p *parser) number() (any, error) {
	start := p.pos
	sign := ""
	if c := p.peek(); c == '+' || c == '-' {
		if c == '-' {
			sign = "-"
		}
		p.pos++
	}
	body := p.pos
	if c := p.peek(); c == 'I' || c == 'N' {
		return nil, p.errAt(start, "Infinity and NaN are not allowed in a configuration")
	}
	if p.peek() == '0' && p.pos+1 < len(p.src) && (p.src[p.pos+1]|0x20) == 'x' {
		p.pos += 2
		for p.pos < len(p.src) && hexDigit(p.src[p.pos]) >= 0 {
			p.pos++
		}
		if p.pos == body+2 {
			return nil, p.unexpected()
		}
		return p.finish(start, sign+string(p.src[body:p.pos]))
	}
	whole := p.digits()
	if whole > 1 && p.src[body] == '0' {
		p.pos = body + 1
		return nil, p.unexpected()
	}
	fraction := 0
	if p.peek() == '.' {
		p.pos++
		fraction = p.digits()
	}
	if whole+fraction == 0 {
		return nil, p.unexpected()
	}
	if p.peek()|0x20 == 'e' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if p.digits() == 0 {
			return nil, p.unexpected()
		}
	}
	return p.finish(start, sign+string(p.src[body:p.pos]))
}

func (p *parser) finish(start int, text string) (any, error) {
	if p.pos < len(p.src) {
		if r, _ := utf8.DecodeRune(p.src[p.pos:]); isIdentPart(r) {
			return nil, p.unexpected()
		}
	}
	v, err := parseNumber(text)
	if err != nil {
		return nil, p.errAt(start, "number %s is out of range", p.src[start:p.pos])
	}
	return v, nil
}

// parseNumber reads decimal or 0x text. Whole values become int64, so that 1, 1.0 and
// 1e0 are the same value, as they are in JavaScript.
func parseNumber(text string) (any, error) {
	unsigned := strings.TrimPrefix(text, "-")
	base := 10
	if len(unsigned) > 2 && unsigned[0] == '0' && unsigned[1]|0x20 == 'x' {
		base = 0
	}
	if i, err := strconv.ParseInt(text, base, 64); err == nil {
		return i, nil
	} else if base == 0 {
		return nil, err
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, err
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, errors.New("not finite")
	}
	return wholeNumber(f), nil
}

// wholeNumber turns a float that stands for a whole number exactly into an int64.
func wholeNumber(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int64(f)
	}
	return f
}
