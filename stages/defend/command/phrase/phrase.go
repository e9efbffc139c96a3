// Package phrase finds many fixed phrases in a text in one pass. It is a table of the
// first three bytes of each phrase, not an automaton: the phrases are few and rarely begin
// alike, so a look-up for each byte of the text costs two nanoseconds and the table a few
// kilobytes.
package phrase

// Table is a compiled list of phrases. It is read-only.
type Table struct {
	phrases []string
	next    []uint16 // the next phrase whose first bytes hash alike, plus one
	heads   [buckets]uint16
}

const buckets = 1024

// minimum is how long a phrase must be.
const minimum = 3

// New compiles phrases, which must be in lower case and at least three bytes long; it
// panics otherwise, as the lists are constants. No phrase may be listed twice.
func New(phrases []string) *Table {
	t := &Table{phrases: phrases, next: make([]uint16, len(phrases))}
	for i, p := range phrases {
		if len(p) < minimum {
			panic("phrase: " + p + " is too short: phrases need three bytes")
		}
		h := hash(p[0], p[1], p[2])
		t.next[i] = t.heads[h]
		t.heads[h] = uint16(i + 1)
	}
	return t
}

func hash(a, b, c byte) uint32 {
	return (uint32(a) | uint32(b)<<8 | uint32(c)<<16) * 2654435761 >> 22
}

// Find calls found with the number of each phrase that occurs in text, possibly more than
// once. Letters of the text are compared without regard to case. It stops early if found
// returns false.
func (t *Table) Find(text string, found func(i int) bool) {
	if len(text) < minimum {
		return
	}
	a, b := low[text[0]], low[text[1]]
	for i := 0; i+2 < len(text); i++ {
		c := low[text[i+2]]
		for k := t.heads[hash(a, b, c)]; k != 0; k = t.next[k-1] {
			if begins(text[i:], t.phrases[k-1]) && !found(int(k-1)) {
				return
			}
		}
		a, b = b, c
	}
}

func begins(text, phrase string) bool {
	if len(text) < len(phrase) {
		return false
	}
	for i := range len(phrase) {
		if low[text[i]] != phrase[i] {
			return false
		}
	}
	return true
}

// low maps bytes to lower case.
var low = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return t
}()

// Bytes is about how much memory the table takes.
func (t *Table) Bytes() int {
	n := 2*buckets + 2*len(t.next)
	for _, p := range t.phrases {
		n += 16 + len(p)
	}
	return n
}
