package normalize

import (
	"encoding/binary"
	"unicode/utf8"
)

// Buffer holds the normalised text and the way back to the source. The zero value is
// ready; it is reused by calling Run again, and is for one goroutine.
type Buffer struct {
	text  []byte
	marks []mark
	plain bool

	src   []byte
	looks bool // a letter was written that looks like an ASCII one
}

// mark says that from text offset out on, the source offset is in + (offset - out), up
// to the next mark.
type mark struct{ out, in uint32 }

// Class of bytes for the copying loop.
const (
	plainByte = iota
	highByte
	escapeByte // & \ %
	ctrlByte
)

var classes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= 0x80:
			t[c] = highByte
		case c == '&' || c == '\\' || c == '%':
			t[c] = escapeByte
		case c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c == 0x7f:
			t[c] = ctrlByte
		}
	}
	return
}()

// Run normalises src. The result is valid until the next Run or until src changes: text
// with nothing to change is returned as it is, without a copy.
func (b *Buffer) Run(src []byte) []byte {
	b.marks = b.marks[:0]
	b.src = src
	i := skipPlain(src, 0)
	if i == len(src) {
		b.plain = true
		return src
	}
	b.plain = false
	b.looks = false
	out := append(b.text[:0], src[:i]...)
	b.marks = append(b.marks, mark{0, 0})
	for i < len(src) {
		var next int
		switch classes[src[i]] {
		case highByte:
			out, next = b.high(out, i)
		case escapeByte:
			out, next = b.escape(out, i)
		default: // a control character
			next = i + 1
		}
		j := skipPlain(src, next)
		b.mark(len(out), next)
		out = append(out, src[next:j]...)
		i = j
	}
	if b.looks {
		out = b.latinise(out)
	}
	b.text = out
	return out
}

// skipPlain returns the first byte from i on that is not plain. Eight bytes are looked at
// together while they have no high bit, no & \ % and, of control characters, none.
func skipPlain(src []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(src) {
		w := binary.LittleEndian.Uint64(src[i:])
		amp, back, pct := w^'&'*ones, w^'\\'*ones, w^'%'*ones
		odd := w | (w-' '*ones)&^w | (amp-ones)&^amp | (back-ones)&^back | (pct-ones)&^pct | (w + ones)
		if odd&highs != 0 { // or a line break: byte by byte tells
			n := i + 8
			for i < n && classes[src[i]] == plainByte {
				i++
			}
			if i < n {
				return i
			}
			continue
		}
		i += 8
	}
	for i < len(src) && classes[src[i]] == plainByte {
		i++
	}
	return i
}

// markEvery bounds the marks of text in which every character changes.
const markEvery = 16

func (b *Buffer) mark(out, in int) {
	if last := b.marks[len(b.marks)-1]; out-int(last.out) < markEvery {
		return
	}
	b.marks = append(b.marks, mark{uint32(out), uint32(in)})
}

// Source returns the offset in the source of offset at in the normalised text, within
// some bytes.
func (b *Buffer) Source(at int) int {
	if b.plain {
		return min(at, len(b.src))
	}
	lo, hi := 0, len(b.marks)
	for lo+1 < hi {
		if mid := (lo + hi) / 2; int(b.marks[mid].out) <= at {
			lo = mid
		} else {
			hi = mid
		}
	}
	if lo >= len(b.marks) {
		return 0
	}
	m := b.marks[lo]
	limit := len(b.src)
	if lo+1 < len(b.marks) {
		limit = int(b.marks[lo+1].in)
	}
	return min(int(m.in)+at-int(m.out), limit)
}

// high writes the rune at src[i].
func (b *Buffer) high(out []byte, i int) ([]byte, int) {
	r, n := utf8.DecodeRune(b.src[i:])
	if r == utf8.RuneError && n == 1 {
		return append(out, ' '), i + 1
	}
	if isSelector(r) {
		if text, next := b.selectors(out, i); next > i {
			return text, next
		}
	}
	return b.rune(out, r), i + n
}

// rune writes r.
func (b *Buffer) rune(out []byte, r rune) []byte {
	if r < 0x80 {
		return append(out, byte(r))
	}
	f, multi := fold(r)
	switch {
	case multi != "":
		return append(out, multi...)
	case f < 0:
		return out
	case f < 0x80:
		return append(out, byte(f))
	}
	b.looks = b.looks || lookalike(f) != 0
	return utf8.AppendRune(out, f)
}

// Cap is the memory that b keeps, in bytes.
func (b *Buffer) Cap() int { return cap(b.text) + cap(b.marks)*8 }

// Plain reports whether the last Run had nothing to change.
func (b *Buffer) Plain() bool { return b.plain }
