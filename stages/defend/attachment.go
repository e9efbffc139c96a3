package defend

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"
)

// decodeContent replaces the text of s, the content of an attachment, by what it says:
// base64 with or without a data: address in front of it is decoded in place. It reports
// false for content that no model reads as text, such as a picture.
func (a *Action) decodeContent(s *span) bool {
	text := a.text[s.start:s.end]
	coded := text
	if bytes.HasPrefix(text, []byte("data:")) {
		if i := bytes.IndexByte(text, ','); i >= 0 {
			coded = text[i+1:]
		}
	}
	n, ok := unbase64(coded)
	switch {
	case !ok:
		return utf8.Valid(text) // text as it is
	case !utf8.Valid(coded[:n]) || bytes.IndexByte(coded[:n], 0) >= 0:
		return false
	}
	s.end = s.start + copy(text, coded[:n])
	a.text = a.text[:s.end]
	return true
}

// minBase64 is the shortest text that is taken for base64: shorter ones are words.
const minBase64 = 16

// unbase64 decodes text into itself and returns how long the result is. A text that is no
// base64 stays as it is.
func unbase64(text []byte) (n int, ok bool) {
	text = bytes.TrimRight(text, "=\r\n ")
	if len(text) < minBase64 {
		return 0, false
	}
	enc := base64.RawStdEncoding
	for _, c := range text {
		switch {
		case c == '-' || c == '_':
			enc = base64.RawURLEncoding
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '\n', c == '\r':
		default:
			return 0, false
		}
	}
	out := make([]byte, enc.DecodedLen(len(text)))
	n, err := enc.Decode(out, text)
	if err != nil {
		return 0, false
	}
	return copy(text, out[:n]), true
}
