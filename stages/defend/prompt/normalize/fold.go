// Package normalize rewrites text into the one form that the prompt model reads: ASCII
// look-alikes become ASCII, marks and invisible characters go, escapes are resolved.
//
// It is one pass over the input into a Buffer that is reused. Case of ASCII letters
// stays, because the model looks at it; other letters come out in lower case.
package normalize

import (
	_ "embed"
	"unicode/utf8"
)

// foldTable maps runes below foldLimit: an index of pages of 64 runes, the pages, the
// strings of runes that become several letters, and the look-alikes of Greek and
// Cyrillic. `go generate` makes it from golang.org/x/text (see ../train/fold.go).
//
//go:embed fold.bin
var foldTable string

const (
	foldLimit  = 0x20000
	pageRunes  = 64
	indexBytes = foldLimit / pageRunes
	// A page holds 16-bit codes: the rune's replacement, or one of these.
	codeSame   = 0
	codeDelete = 1
	codeSpace  = 2
	codeMulti  = 0xE000 // + n: the n-th string
	multiBytes = 4
	// Look-alikes of lookLow..lookHigh are one ASCII byte each, 0 for none.
	lookLow  = 0x370
	lookHigh = 0x590
)

// fold returns what r becomes: one rune, or letters in multi; a negative rune is nothing.
func fold(r rune) (out rune, multi string) {
	if r >= foldLimit {
		return foldHigh(r), ""
	}
	page := int(foldTable[int(r)/pageRunes])
	if page == 0 {
		return r, ""
	}
	at := indexBytes + (page-1)*pageRunes*2 + int(r)%pageRunes*2
	code := rune(foldTable[at]) | rune(foldTable[at+1])<<8
	switch {
	case code == codeSame:
		return r, ""
	case code == codeDelete:
		return -1, ""
	case code == codeSpace:
		return ' ', ""
	case code >= codeMulti && code < codeMulti+0x1000:
		at := multiAt() + int(code-codeMulti)*multiBytes
		end := at + multiBytes
		for foldTable[end-1] == 0 {
			end--
		}
		return 0, foldTable[at:end]
	}
	return code, ""
}

// foldHigh handles the planes above: tag characters spell ASCII invisibly, selectors
// are invisible.
func foldHigh(r rune) rune {
	switch {
	case r >= 0xE0020 && r < 0xE007F:
		return r - 0xE0000
	case r >= 0xE0000 && r < 0xE0200:
		return -1
	}
	return r
}

// The table ends with the look-alikes, and before them a 16-bit count of pages.
func lookAt() int  { return len(foldTable) - (lookHigh - lookLow) }
func pages() int   { return int(foldTable[lookAt()-2]) | int(foldTable[lookAt()-1])<<8 }
func multiAt() int { return indexBytes + pages()*pageRunes*2 }

// lookalike is the ASCII letter that r, in lower case, is mistaken for; 0 for none.
func lookalike(r rune) byte {
	if r < lookLow || r >= lookHigh {
		return 0
	}
	return foldTable[lookAt()+int(r-lookLow)]
}

// Word returns s as a word of the normalised text, in lower case. It is for the makers
// of tables; it allocates.
func Word(s string) string {
	var b Buffer
	text := b.Run([]byte(s))
	out := make([]byte, 0, len(text))
	for _, c := range text {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		out = append(out, c)
	}
	if !utf8.Valid(out) {
		return s
	}
	return string(out)
}
