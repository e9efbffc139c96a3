package normalize

import "unicode/utf8"

// latinise writes ASCII for the Greek and Cyrillic letters of words that are Latin: those
// with ASCII letters in them, and in a text of ASCII letters those made of look-alikes
// only. It works in place and keeps the marks right.
func (b *Buffer) latinise(text []byte) []byte {
	latin := mostlyLatin(text)
	k, w := 0, 0
	for i := 0; i < len(text); {
		end, ascii, strict := word(text, i)
		asLatin := ascii || strict && latin
		for i < end {
			for k < len(b.marks) && int(b.marks[k].out) <= i {
				b.marks[k].out -= uint32(i - w)
				k++
			}
			r, n := rune(text[i]), 1
			if r >= utf8.RuneSelf {
				r, n = utf8.DecodeRune(text[i:])
				if c := lookalike(r); c != 0 && asLatin {
					text[w] = c | 0x20
					i, w = i+n, w+1
					continue
				}
			}
			w += copy(text[w:], text[i:i+n])
			i += n
		}
	}
	for ; k < len(b.marks); k++ {
		b.marks[k].out -= uint32(len(text) - w)
	}
	return text[:w]
}

// word returns the end of the word at text[i], at least one byte on; whether it has ASCII
// letters; and whether all else in it are letters that pass for ASCII on their own.
func word(text []byte, i int) (end int, ascii, strict bool) {
	strict = true
	for end = i; end < len(text); {
		c := text[end]
		if c < utf8.RuneSelf {
			if c |= 0x20; c < 'a' || c > 'z' {
				break
			}
			ascii = true
			end++
			continue
		}
		r, n := utf8.DecodeRune(text[end:])
		strict = strict && lookalike(r) >= 'a'
		end += n
	}
	return max(end, i+1), ascii, strict
}

// mostlyLatin samples the text: does ASCII prevail among its letters?
func mostlyLatin(text []byte) bool {
	step := max(1, len(text)/512)
	ascii, high := 0, 0
	for i := 0; i < len(text); i += step {
		switch c := text[i] | 0x20; {
		case c >= 'a' && c <= 'z':
			ascii++
		case text[i] >= 0xCD && text[i] <= 0xD5: // leads of Greek and Cyrillic
			high++
		}
	}
	return ascii >= 2*high
}
