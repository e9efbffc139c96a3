package normalize

import (
	"strings"
	"unicode/utf8"
)

// escape resolves what starts with & \ or % at src[i]; what is no escape stays.
func (b *Buffer) escape(out []byte, i int) ([]byte, int) {
	rest := b.src[i:]
	var r rune
	n := 0
	switch rest[0] {
	case '&':
		r, n = entity(rest)
	case '\\':
		r, n = backslash(rest)
	case '%':
		r, n = percent(rest)
	}
	if n == 0 {
		return append(out, rest[0]), i + 1
	}
	if r >= 0x80 {
		return b.rune(out, r), i + n
	}
	if r < 0x20 && r != '\n' {
		r = ' '
	}
	return append(out, byte(r)), i + n
}

// names are the entities that occur; the numeric ones are what attackers use.
var names = [...]struct {
	name string
	r    rune
}{
	{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}, {"nbsp;", ' '},
	{"Tab;", '\t'}, {"NewLine;", '\n'}, {"colon;", ':'}, {"lpar;", '('}, {"rpar;", ')'},
	{"period;", '.'}, {"comma;", ','}, {"sol;", '/'}, {"num;", '#'}, {"shy;", 0xAD}, {"ZeroWidthSpace;", 0x200B},
}

func entity(s []byte) (rune, int) {
	if len(s) < 4 {
		return 0, 0
	}
	if s[1] != '#' {
		head := string(s[1:min(len(s), 20)]) // does not escape: no allocation
		for i := range names {
			if strings.HasPrefix(head, names[i].name) {
				return names[i].r, 1 + len(names[i].name)
			}
		}
		return 0, 0
	}
	base, i := rune(10), 2
	if s[2]|0x20 == 'x' {
		base, i = 16, 3
	}
	start := i
	var r rune
	for i < len(s) && i < start+8 {
		d := digit(s[i])
		if d < 0 || d >= base {
			break
		}
		r = r*base + d
		i++
	}
	if i == start || !valid(r) {
		return 0, 0
	}
	if i < len(s) && s[i] == ';' {
		i++
	}
	return r, i
}

func valid(r rune) bool { return r > 0 && r <= utf8.MaxRune && utf8.ValidRune(r) }

func backslash(s []byte) (rune, int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case 'n':
		return '\n', 2
	case 'r', 't':
		return ' ', 2
	case '"', '\'', '/':
		return rune(s[1]), 2
	case 'x':
		return hexRune(s, 2, 2)
	case 'u':
		if len(s) > 3 && s[2] == '{' {
			return braced(s)
		}
		r, n := hexRune(s, 2, 4)
		if n == 6 && r >= 0xD800 && r < 0xDC00 {
			return surrogates(s, r)
		}
		return r, n
	case 'U':
		return hexRune(s, 2, 8)
	}
	return 0, 0
}

func hexRune(s []byte, at, digits int) (rune, int) {
	if len(s) < at+digits {
		return 0, 0
	}
	var r rune
	for _, c := range s[at : at+digits] {
		d := digit(c)
		if d < 0 {
			return 0, 0
		}
		r = r<<4 | d
	}
	if r <= 0 || r > utf8.MaxRune {
		return 0, 0
	}
	return r, at + digits
}

func braced(s []byte) (rune, int) {
	var r rune
	for i := 3; i < len(s) && i < 10; i++ {
		if s[i] == '}' && i > 3 && valid(r) {
			return r, i + 1
		}
		d := digit(s[i])
		if d < 0 {
			break
		}
		r = r<<4 | d
	}
	return 0, 0
}

func surrogates(s []byte, high rune) (rune, int) {
	if len(s) < 12 || s[6] != '\\' || s[7] != 'u' {
		return ' ', 6
	}
	low, n := hexRune(s[6:], 2, 4)
	if n == 0 || low < 0xDC00 || low > 0xDFFF {
		return ' ', 6
	}
	return (high-0xD800)<<10 + (low - 0xDC00) + 0x10000, 12
}

// percent resolves %XX, and several of them that make one rune.
func percent(s []byte) (rune, int) {
	var raw [utf8.UTFMax]byte
	n := 0
	for n < len(raw) && len(s) >= 3*n+3 && s[3*n] == '%' {
		hi, lo := digit(s[3*n+1]), digit(s[3*n+2])
		if hi < 0 || lo < 0 {
			break
		}
		raw[n] = byte(hi<<4 | lo)
		n++
		if raw[0] < 0x80 {
			break
		}
	}
	if n == 0 || raw[0] == 0 {
		return 0, 0
	}
	r, size := utf8.DecodeRune(raw[:n])
	if r == utf8.RuneError {
		return 0, 0
	}
	return r, 3 * size
}

func digit(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

func isSelector(r rune) bool { return r >= 0xFE00 && r <= 0xFE0F || r >= 0xE0100 && r <= 0xE01EF }

// minSelectors is the shortest run of variation selectors that is read as hidden bytes.
const minSelectors = 4

// selectors reads a run of variation selectors at src[i] as the bytes they can carry,
// one each. next is i when there is no such message.
func (b *Buffer) selectors(out []byte, i int) (text []byte, next int) {
	start, n := len(out), 0
	for i < len(b.src) {
		r, size := utf8.DecodeRune(b.src[i:])
		if !isSelector(r) {
			break
		}
		c := byte(r - 0xFE00)
		if r >= 0xE0100 {
			c = byte(r - 0xE0100 + 16)
		}
		if c < 0x20 || c >= 0x7f {
			c = ' '
		}
		out = append(out, c)
		n++
		i += size
	}
	if n < minSelectors {
		return out[:start], i
	}
	return append(out, ' '), i
}
