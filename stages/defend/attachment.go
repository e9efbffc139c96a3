package defend

import (
	"bytes"
	"encoding/base64"
	"unicode/utf16"
	"unicode/utf8"
)

// decodeContent replaces the text of s, the content of an attachment, by what it says:
// base64 with or without a data: address in front of it is decoded in place. It reports
// false for content in which there is nothing to read, such as most pictures.
func (a *Action) decodeContent(s *span) bool {
	text := a.text[s.start:s.end]
	coded := text
	if dataURL(text) {
		if i := bytes.IndexByte(text, ','); i >= 0 {
			coded = text[i+1:]
		}
	}
	n, ok := unbase64(coded)
	if !ok {
		return utf8.Valid(text) // text as it is
	}
	said := readable(coded[:n])
	a.text = append(a.text[:s.start], said...)
	s.end = len(a.text)
	return len(said) > 0
}

// dataURL reports whether text is an address of the scheme data.
func dataURL(text []byte) bool {
	const scheme = "data:"
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) >= len(scheme) && bytes.EqualFold(text[:len(scheme)], []byte(scheme))
}

// readable is what of some bytes a reader would see as text, in their own memory where
// that is possible: all of a text, whatever single bytes in it are none, and of anything
// else the runs that are long enough to say something.
func readable(b []byte) []byte {
	if len(b) > 1 && (b[0] == 0xFF && b[1] == 0xFE || b[0] == 0xFE && b[1] == 0xFF) {
		return utf16Text(b[2:], b[0] == 0xFE)
	}
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		return b
	}
	bad := 0
	for rest := b; len(rest) > 0; {
		size, ok := textRune(rest)
		if !ok {
			bad += size
		}
		rest = rest[size:]
	}
	least := 0 // of a run
	if bad*minTextShare > len(b) {
		least = minRun
	}
	return runs(b, least)
}

const (
	// minTextShare: with one byte of so many that is no text, it is no text.
	minTextShare = 8
	// minRun is how long a run of text in a picture is before it is read.
	minRun = 24
)

// textRune reports whether b begins with a character of a text, and its bytes.
func textRune(b []byte) (size int, ok bool) {
	r, size := utf8.DecodeRune(b)
	return size, (r != utf8.RuneError || size > 1) && (r >= ' ' && r != 0x7F || r == '\n' || r == '\r' || r == '\t')
}

// runs keeps the runs of text in b that have least bytes, blanks in place of what is
// between them.
func runs(b []byte, least int) []byte {
	out, start := b[:0], 0
	flush := func(end int) {
		if end-start >= max(least, 1) {
			if out = append(out, b[start:end]...); end < len(b) {
				out = append(out, ' ')
			}
		}
	}
	for i := 0; i < len(b); {
		size, ok := textRune(b[i:])
		if !ok {
			flush(i)
			start = i + size
		}
		i += size
	}
	flush(len(b))
	return bytes.TrimRight(out, " ")
}

// utf16Text decodes UTF-16.
func utf16Text(b []byte, big bool) []byte {
	units := make([]uint16, len(b)/2)
	for i := range units {
		if lo, hi := b[2*i], b[2*i+1]; big {
			units[i] = uint16(lo)<<8 | uint16(hi)
		} else {
			units[i] = uint16(hi)<<8 | uint16(lo)
		}
	}
	return []byte(string(utf16.Decode(units)))
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
	enc, blanks := base64.RawStdEncoding, 0
	for _, c := range text {
		switch {
		case c == ' ' || c == '\t':
			blanks++
		case c == '-' || c == '_':
			enc = base64.RawURLEncoding
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '\n', c == '\r':
		default:
			return 0, false
		}
	}
	coded := text
	if blanks > 0 { // lines that were wrapped and indented; not the blanks of prose
		if blanks*minBase64 > len(text) {
			return 0, false
		}
		coded = bytes.Join(bytes.Fields(text), nil)
	}
	out := make([]byte, enc.DecodedLen(len(coded)))
	n, err := enc.Decode(out, coded)
	if err != nil {
		return 0, false
	}
	return copy(text, out[:n]), true
}
