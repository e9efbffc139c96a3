package model

import (
	"unicode/utf8"

	"sluice/stages/defend/prompt/phrases"
)

// Byte classes of normalised text.
const (
	clsOther = iota
	clsLetter
	clsDigit
	clsHigh
	clsSpace
	clsNewline
)

// What separates a token from the one before it, the strongest that was seen.
const (
	sepSpace = iota
	sepComma
	sepClose
	sepMark // - * # | = and other marks
	sepQuote
	sepOpen
	sepColon
	sepEnd
	sepLine
	sepPara
	seps = 10
)

var class, sepOf, lower = tables()

func tables() (cls, sep, low [256]uint8) {
	for i := range 256 {
		c := byte(i)
		low[i] = c
		switch {
		case c >= 'a' && c <= 'z':
			cls[i] = clsLetter
		case c >= 'A' && c <= 'Z':
			cls[i], low[i] = clsLetter, c|0x20
		case c >= '0' && c <= '9':
			cls[i] = clsDigit
		case c >= 0x80:
			cls[i] = clsHigh
		case c == ' ' || c == '\t' || c == '\r':
			cls[i] = clsSpace
		case c == '\n':
			cls[i] = clsNewline
		}
		sep[i] = sepMark
	}
	for s, set := range map[uint8]string{sepComma: ",;/&", sepClose: ")]}>", sepQuote: "\"'`", sepOpen: "([{<", sepColon: ":", sepEnd: ".!?"} {
		for _, c := range []byte(set) {
			sep[c] = s
		}
	}
	return
}

// token is one word on its way to features.
type token struct {
	hash, stem uint32
	concept    phrases.Concept
	shape      uint8
}

// Shapes of words.
const (
	shapeLower = iota
	shapeCap
	shapeUpper
	shapeMixed
	shapeDigits
	shapeAlnum
	shapeHigh
	shapeChar
	shapeLong
	shapes = 12
)

const (
	stemBytes    = 6  // a stem is a word's first letters; high scripts need two bytes each
	stemHigh     = 12 //
	longWord     = 12 // words from here on are tried as several words without blanks
	maxJoined    = 400
	maxWordBytes = 64
)

// scan turns one text or view into tokens and finds its best window.
func (m *Machine) scan(text []byte) {
	m.reset()
	start := len(m.sums)
	if m.collect != nil {
		m.collect(nil, false)
	}
	m.words(text)
	m.finish(start)
}

func (m *Machine) words(text []byte) {
	i := 0
	for i < len(text) && (class[text[i]] == clsSpace || class[text[i]] == clsNewline) {
		i++ // empty lines before a text say nothing
	}
	for i < len(text) {
		c := text[i]
		switch class[c] {
		case clsSpace:
			i++
		case clsLetter, clsHigh, clsDigit:
			i = m.word(text, i)
		case clsNewline:
			m.sep = max(m.sep, sepLine)
			if m.line {
				m.sep = sepPara
			}
			m.line = true
			m.punct = m.punct<<8 | '\n'
			i++
			continue
		default:
			if leetOf[c] != 0 && (i == 0 || leetOf[text[i-1]] == 0) {
				if n := m.leet(text, i); n > 0 {
					i += n
					continue
				}
			}
			if (c == '_' || c == '+') && i > 0 && i+1 < len(text) && class[text[i-1]] == clsLetter && class[text[i+1]] == clsLetter {
				i++ // ignore_all+previous_rules: a blank by another name
				break
			}
			m.sep = max(m.sep, sepOf[c])
			m.punct = m.punct<<8 | uint32(c)
			i++
		}
		m.line = false
	}
}

// letters reads the ASCII letters that most words consist of.
func letters(text []byte, start, limit int) (i, upper int, h, stem uint32, concept phrases.Concept) {
	i, h = start, phrases.Start
	for i < limit {
		c := text[i]
		if class[c] != clsLetter {
			break
		}
		upper += int(c>>5&1 ^ 1)
		h = phrases.Step(h, c|0x20)
		i++
		n := i - start
		if n == stemBytes || n == stemHigh {
			stem = h
		}
		if n >= phrases.MinPrefix && phrases.MaybePrefix(h) {
			if p := phrases.FindPrefix(h); p != 0 {
				concept = p
			}
		}
	}
	return
}

// word reads the word at text[i] and returns where it ends.
func (m *Machine) word(text []byte, i int) int {
	start := i
	digits, high := 0, false
	limit := min(len(text), start+maxWordBytes)
	i, upper, h, stem, concept := letters(text, start, limit)
	for i < limit {
		c := text[i]
		switch class[c] {
		case clsLetter:
			if c < 'a' {
				upper++
				c |= 0x20
			}
		case clsDigit:
			digits++
		case clsHigh:
			if lead := c; lead >= 0xE0 {
				if r, n := utf8.DecodeRune(text[i:]); unspaced(r) {
					if i == start {
						return m.char(text, i, n)
					}
					goto done
				}
			}
			high = true
		case clsOther:
			if c == '\'' && i > start && i+1 < limit && class[text[i+1]] == clsLetter {
				break
			}
			goto done
		default:
			goto done
		}
		h = phrases.Step(h, c)
		i++
		if n := i - start; n >= phrases.MinPrefix {
			if phrases.MaybePrefix(h) {
				if p := phrases.FindPrefix(h); p != 0 {
					concept = p
				}
			}
			if n == stemBytes && !high || n == stemHigh {
				stem = h
			}
		}
	}
done:
	n := i - start
	if stem == 0 {
		stem = h
	}
	if n == 1 && !high && digits == 0 {
		if end := m.spaced(text, start); end > 0 {
			return end
		}
	}
	if e := phrases.Find(h); e != 0 {
		concept = e
	}
	return m.whole(text, start, i, token{hash: h, stem: stem, concept: concept, shape: shapeOf(n, upper, digits, high)}, digits)
}

// whole emits the word text[start:i], unless it hides others: leet, or words without
// blanks. It returns where what was read ends.
func (m *Machine) whole(text []byte, start, i int, t token, digits int) int {
	n := i - start
	if t.concept == 0 && t.shape != shapeHigh {
		if (digits > 0 || i < len(text) && leetOf[text[i]] != 0) && (start == 0 || leetOf[text[start-1]] == 0) {
			if k := m.leet(text, start); k > 0 {
				return start + k
			}
		}
		if digits == 0 && n >= 5 && !phrases.Known(t.hash) {
			m.odd(text[start:i], start)
			if first := start == 0 || class[text[start-1]] != clsLetter; n >= longWord && first {
				if end := joinedEnd(text, i); m.joined(text, start, end) {
					return end
				}
			}
		}
	}
	m.pos = start
	m.emit(t)
	return i
}

// joinedEnd is where the letters from i on end.
func joinedEnd(text []byte, i int) int {
	for limit := min(len(text), i+maxJoined); i < limit && class[text[i]] == clsLetter; i++ {
	}
	return i
}

func shapeOf(n, upper, digits int, high bool) uint8 {
	switch {
	case high:
		return shapeHigh
	case digits == n:
		return shapeDigits
	case digits > 0:
		return shapeAlnum
	case n >= 20:
		return shapeLong
	case upper == 0:
		return shapeLower
	case upper == n && n > 1:
		return shapeUpper
	case upper == 1:
		return shapeCap
	}
	return shapeMixed
}

// unspaced reports scripts that are written without blanks between words.
func unspaced(r rune) bool {
	return r >= 0x3040 && r < 0xA000 || r >= 0x0E00 && r < 0x0F00 || r >= 0x1000 && r < 0x10A0 || r >= 0x1780 && r < 0x1800 ||
		r >= 0x20000 && r < 0x32000 || r >= 0x3005 && r < 0x3008
}

// maxCharWord bounds words of unspaced scripts, in runes.
const maxCharWord = 12

// char reads the longest word of the lexicon at text[i] in a script without blanks, or
// one character.
func (m *Machine) char(text []byte, i, n int) int {
	h := phrases.Start
	var first, best uint32
	var concept phrases.Concept
	end, j := i+n, i
	for k := 0; k < maxCharWord && j < len(text) && text[j] >= 0x80; k++ {
		_, size := utf8.DecodeRune(text[j:])
		for e := j + size; j < e; j++ {
			h = phrases.Step(h, text[j])
		}
		if k == 0 {
			first = h
		}
		if c := phrases.Find(h); c != 0 {
			concept, best, end = c, h, j
		}
		if k == 0 && concept == 0 && !phrases.Known(h) {
			break // no word of the lexicon begins with it
		}
	}
	if concept == 0 {
		best = first
	}
	m.pos = i
	m.emit(token{hash: best, stem: best, concept: concept, shape: shapeChar})
	return end
}
