package frames

import "unicode/utf8"

// JSON strings become text by one rule everywhere (validator, defenders, handlers,
// law 11): escapes are resolved, a pair of surrogate escapes is one rune, and a lone
// surrogate is U+FFFD. JavaScript clients send lone surrogates when they cut a string
// inside an emoji, so refusing them would refuse frames that the real gateway takes.
// docs/adr/0001-frame-codec.md has the reasons.

// Unquote appends to dst the text of raw, a JSON string with its quotes, and returns
// the extended slice. It does not allocate beyond growing dst. A raw that is no JSON
// string appends nothing.
func Unquote(dst, raw []byte) []byte {
	if len(raw) < 2 || raw[0] != '"' {
		return dst
	}
	body := raw[1 : len(raw)-1]
	for i := 0; i < len(body); {
		j := plain(body, i)
		dst = append(dst, body[i:j]...)
		if j >= len(body) {
			break
		}
		if body[j] != '\\' {
			dst = append(dst, body[j])
			i = j + 1
			continue
		}
		r, n := escape(body, j)
		dst = utf8.AppendRune(dst, r) // a lone surrogate becomes U+FFFD here
		i = j + n
	}
	return dst
}

// escape decodes the escape at i and returns its rune and its length in bytes. A lone
// surrogate is returned as itself.
func escape(b []byte, i int) (rune, int) {
	if i+1 >= len(b) {
		return utf8.RuneError, 1
	}
	switch b[i+1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		v, ok := hex4(b, i+2)
		if !ok {
			return utf8.RuneError, 2
		}
		r := rune(v)
		if r >= 0xD800 && r < 0xDC00 && i+8 <= len(b) && b[i+6] == '\\' && b[i+7] == 'u' {
			if low, ok := hex4(b, i+8); ok && low >= 0xDC00 && low < 0xE000 {
				return (r-0xD800)<<10 + (rune(low) - 0xDC00) + 0x10000, 12
			}
		}
		return r, 6
	}
	return rune(b[i+1]), 2
}

// quoted is a raw JSON string seen as text.
type quoted struct {
	raw     []byte // with quotes
	escaped bool   // raw contains an escape
}

// is reports whether the string's text is s. It does not allocate.
func (q quoted) is(s string) bool {
	body := q.raw[1 : len(q.raw)-1]
	if !q.escaped {
		return string(body) == s
	}
	var buf [utf8.UTFMax]byte
	for i := 0; i < len(body); {
		r, n := nextRune(body, i)
		i += n
		m := utf8.EncodeRune(buf[:], r)
		if len(s) < m || s[:m] != string(buf[:m]) {
			return false
		}
		s = s[m:]
	}
	return s == ""
}

// text returns the string's text; it allocates.
func (q quoted) text() string {
	if !q.escaped {
		return string(q.raw[1 : len(q.raw)-1])
	}
	return string(Unquote(nil, q.raw))
}

// nextRune decodes the rune at i of a JSON string's body and returns its length there.
// A lone surrogate escape is returned as itself.
func nextRune(body []byte, i int) (rune, int) {
	if c := body[i]; c < utf8.RuneSelf {
		if c == '\\' {
			return escape(body, i)
		}
		return rune(c), 1
	}
	return utf8.DecodeRune(body[i:])
}
