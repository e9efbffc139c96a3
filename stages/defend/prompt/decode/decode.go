// Package decode finds runs of encoded text (base64, base32, hex, and lists of bytes in
// hex, binary or decimal) and turns those back that hold text.
//
// Finding is linear, with less than one look a byte in prose; what is decoded never
// exceeds the input.
package decode

import "unicode/utf8"

// Run is an encoded stretch src[Start:End]; its text is Text[From:To] of the Finder.
type Run struct{ Start, End, From, To int }

// Finder keeps the runs of one text. It is reused; it is for one goroutine.
type Finder struct {
	Runs []Run
	Text []byte
}

const (
	// minRun is the shortest unbroken run that is tried: 16 letters of base64 are two
	// words.
	minRun = 16
	// maxRuns bounds the runs of one text.
	maxRuns = 64
)

var alphabet = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-") {
		t[c] = true
	}
	return
}()

// Find fills Runs and Text from src and reports whether there are any.
//
// A stretch of minRun bytes is read from its end: the first byte that is not of the
// alphabet rules out all stretches before it, so that most of a text is never looked at.
func (f *Finder) Find(src []byte) bool {
	f.Runs, f.Text = f.Runs[:0], f.Text[:0]
	for i := 0; i+minRun <= len(src) && len(f.Runs) < maxRuns; {
		j := i + minRun - 1
		for j >= i && alphabet[src[j]] {
			j--
		}
		if j >= i {
			i = j + 1
			continue
		}
		hi := i + minRun
		for hi < len(src) && alphabet[src[hi]] {
			hi++
		}
		f.try(src, i, hi)
		i = hi
	}
	f.lists(src)
	return len(f.Runs) > 0
}

func (f *Finder) try(src []byte, lo, hi int) {
	run := src[lo:hi]
	for _, d := range [...]func(dst, src []byte) ([]byte, bool){hexText, base32Text, base64Text} {
		from := len(f.Text)
		text, ok := d(f.Text, run)
		if ok && readable(text[from:]) {
			f.Text = text
			f.Runs = append(f.Runs, Run{lo, hi, from, len(text)})
			return
		}
		f.Text = text[:from]
	}
}

// readable reports whether b looks like text: valid UTF-8, hardly any control or
// rare characters, and letters for the most part.
func readable(b []byte) bool {
	if len(b) < 6 || !utf8.Valid(b) {
		return false
	}
	letters, odd := 0, 0
	for _, c := range b {
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c == ' ', c >= 0x80:
			letters++
		case c < 0x20 && c != '\n' && c != '\t' && c != '\r', c == 0x7f:
			odd++
		}
	}
	return odd == 0 && letters*10 >= len(b)*6
}

func nibble(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

func hexText(dst, src []byte) ([]byte, bool) {
	if len(src)%2 != 0 {
		return dst, false
	}
	for i := 0; i < len(src); i += 2 {
		hi, lo := nibble(src[i]), nibble(src[i+1])
		if hi < 0 || lo < 0 {
			return dst, false
		}
		dst = append(dst, byte(hi<<4|lo))
	}
	return dst, true
}

func base32Text(dst, src []byte) ([]byte, bool) {
	var acc uint32
	bits := 0
	for _, c := range src {
		var v byte
		switch {
		case c >= 'A' && c <= 'Z':
			v = c - 'A'
		case c >= '2' && c <= '7':
			v = c - '2' + 26
		case c == '=':
			continue
		default:
			return dst, false
		}
		acc = acc<<5 | uint32(v)
		if bits += 5; bits >= 8 {
			bits -= 8
			dst = append(dst, byte(acc>>bits))
		}
	}
	return dst, true
}

var sextet = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = int8(i)
	}
	t['-'], t['_'] = 62, 63
	return
}()

// base64Text takes the standard and the URL alphabet, padded or not. A word glued to the
// run by '=' ("text=aGk...") is not handled here: the run is then tried from there.
func base64Text(dst, src []byte) ([]byte, bool) {
	for i, c := range src {
		if c == '=' && i+2 < len(src) {
			src = src[i+1:]
			break
		}
	}
	var acc uint32
	bits := 0
	for _, c := range src {
		if c == '=' {
			break
		}
		v := sextet[c]
		if v < 0 {
			return dst, false
		}
		acc = acc<<6 | uint32(v)
		if bits += 6; bits >= 8 {
			bits -= 8
			dst = append(dst, byte(acc>>bits))
		}
	}
	return dst, true
}
