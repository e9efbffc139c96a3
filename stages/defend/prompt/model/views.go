package model

import (
	"unicode/utf8"

	"sluice/stages/defend/prompt/phrases"
)

// viewer notices words that are shifted in the alphabet or written backwards, and makes
// the views that undo it.
type viewer struct {
	shift    [27]uint8 // words seen for each shift; 26 is the mirrored alphabet
	reversed int
	lo, hi   int
	text     []byte
}

func (v *viewer) reset() {
	v.shift = [27]uint8{}
	v.reversed, v.lo, v.hi = 0, -1, 0
}

// telling are words by which turned text is noticed.
var telling = [...]string{"ignore", "previous", "instructions", "instruction", "system", "prompt", "reveal", "disregard", "forget", "repeat", "please",
	"assistant", "message", "password", "output", "secret", "hidden", "rules", "everything", "above", "following", "pretend", "unrestricted",
	"developer", "guidelines", "without", "should", "always", "answer", "respond", "response", "write", "print", "information", "before", "about", "there",
	"your", "user", "with", "that", "this", "from", "must"}

// turns maps a hash of a word's shape under shifts, or of the word backwards, to it.
var turns = func() (t struct {
	shape, back [512]uint16
	hash        [2][64]uint32
}) {
	for i, w := range telling {
		b := []byte(w)
		h := shapeHash(b, false)
		t.hash[0][i] = h
		if len(w) >= 6 {
			for s := h % 512; ; s = (s + 1) % 512 {
				if t.shape[s] == 0 {
					t.shape[s] = uint16(i + 1)
					break
				}
			}
		}
		r := phrases.Start
		for k := len(b) - 1; k >= 0; k-- {
			r = phrases.Step(r, b[k])
		}
		t.hash[1][i] = r
		for s := r % 512; ; s = (s + 1) % 512 {
			if t.back[s] == 0 {
				t.back[s] = uint16(i + 1)
				break
			}
		}
	}
	return
}()

// shapeHash is the same for all shifts of a word; mirror undoes a mirrored alphabet.
func shapeHash(w []byte, mirror bool) uint32 {
	h := phrases.Start
	for i := 1; i < len(w); i++ {
		d := int(lower[w[i]]) - int(lower[w[i-1]])
		if mirror {
			d = -d
		}
		h = phrases.Step(h, byte((d+26)%26))
	}
	return h
}

// odd looks at an unknown word of ASCII letters, which begins at text[at].
func (m *Machine) odd(w []byte, at int) {
	v := &m.views
	if len(w) > 14 {
		return
	}
	r := phrases.Start
	for _, c := range w {
		r = phrases.Step(r, lower[c])
	}
	for s := r % 512; turns.back[s] != 0; s = (s + 1) % 512 {
		if turns.hash[1][turns.back[s]-1] == r {
			v.reversed++
			v.seen(at)
			return
		}
	}
	if len(w) < 6 {
		return
	}
	for _, mirror := range [2]bool{false, true} {
		h := shapeHash(w, mirror)
		for s := h % 512; turns.shape[s] != 0; s = (s + 1) % 512 {
			i := turns.shape[s] - 1
			if turns.hash[0][i] != h || len(telling[i]) != len(w) {
				continue
			}
			k := 26
			if !mirror {
				k = (int(lower[w[0]]) - int(telling[i][0]) + 26) % 26
			}
			if v.shift[k] < 255 {
				v.shift[k]++
			}
			v.seen(at)
			return
		}
	}
}

func (v *viewer) seen(at int) {
	if v.lo < 0 {
		v.lo = at
	}
	v.hi = at
}

const (
	// viewMargin is how much text around the turned words a view takes, in bytes.
	viewMargin = 512
	// maxView bounds one view.
	maxView = 6 << 10
)

// turned reads the views of text that its words asked for.
func (m *Machine) turned(text []byte, budget *int) {
	v := m.views
	if v.lo < 0 {
		return
	}
	lo := max(0, v.lo-viewMargin)
	hi := min(len(text), v.hi+viewMargin, lo+maxView)
	part := text[lo:hi]
	back := m.view
	for k, n := range v.shift {
		if n > 0 && k > 0 && len(part) <= *budget {
			*budget -= len(part)
			m.view = viewShifted | lo<<3
			m.scan(m.unshift(part, k))
		}
	}
	if v.reversed > 0 && 2*len(part) <= *budget {
		*budget -= 2 * len(part)
		m.view = viewReversed | lo<<3
		m.scan(m.backwards(part))
		m.scan(m.mirrorWords(part))
	}
	m.view = back
	m.views = viewer{lo: -1, text: m.views.text}
}

func (m *Machine) unshift(text []byte, k int) []byte {
	out := m.views.text[:0]
	for _, c := range text {
		if class[c] == clsLetter {
			a := c&0x20 | 'A'
			if k == 26 {
				c = a + 25 - (c - a)
			} else {
				c = a + byte((int(c-a)-k+26)%26)
			}
		}
		out = append(out, c)
	}
	m.views.text = out
	return out
}

func (m *Machine) backwards(text []byte) []byte {
	out := m.views.text[:0]
	for len(text) > 0 {
		_, n := utf8.DecodeLastRune(text)
		out = append(out, text[len(text)-n:]...)
		text = text[:len(text)-n]
	}
	m.views.text = out
	return out
}

// mirrorWords turns each word around and leaves it in its place.
func (m *Machine) mirrorWords(text []byte) []byte {
	out := append(m.views.text[:0], text...)
	for i := 0; i < len(out); i++ {
		j := i
		for j < len(out) && class[out[j]] == clsLetter {
			j++
		}
		for a, b := i, j-1; a < b; a, b = a+1, b-1 {
			out[a], out[b] = out[b], out[a]
		}
		i = j
	}
	m.views.text = out
	return out
}
