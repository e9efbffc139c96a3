// Package model scores text by a linear model over hashed words and phrase slots, in
// sliding windows: the most suspicious stretch of a text makes its score, however much
// harmless text is around it.
//
// The weights are weights.bin, made by ../train and read in place. A Machine holds the
// buffers of one scoring; it is reused, and is for one goroutine.
package model

import (
	_ "embed"
	"math"

	"sluice/stages/defend/prompt/decode"
	"sluice/stages/defend/prompt/normalize"
	"sluice/stages/defend/prompt/phrases"
)

// Window sizes in tokens. Windows start at every Stride-th token.
const (
	Window = 40
	Stride = 4
)

// Machine is ready after New or NewCollector.
type Machine struct {
	weights        string
	scaleA, scaleB int32
	collect        func([]uint32)

	norm   [2]normalize.Buffer
	finder [2]decode.Finder
	views  viewer

	// State of scan.
	sep            uint8
	line           bool
	punct          uint32
	s1, s2         uint32
	shape1, shape2 uint8
	index          int
	c1, c2         uint32
	at1, at2       int
	present        uint64
	pos, view      int
	letters        []byte
	feats          [PerToken]uint32

	// What the tokens came to.
	sum  int32
	sums []int32
	at   []tokenAt
}

// tokenAt is where a token was read: its offset in the normalised text or, for a view,
// in the source; and the concept it stands for, as a bit.
type tokenAt struct {
	pos, view uint32
	present   uint64
}

// NewCollector returns a Machine that computes no scores but gives the features of each
// token to collect. It is for training; the slice is reused.
func NewCollector(collect func([]uint32)) *Machine { return &Machine{collect: collect} }

func (m *Machine) reset() {
	m.sep, m.line, m.punct = sepPara, false, 0
	m.s1, m.s2, m.shape1, m.shape2 = 0, 0, 0, 0
	m.c1, m.c2 = 0, 0
}

// Kinds of views, for tags.
const (
	viewText = iota
	viewDecoded
	viewShifted
	viewReversed
	viewTwice // decoded twice
)

// maxViewBytes bounds what is read besides the text itself, so that no input costs more
// than some three times its length.
const maxViewBytes = 24 << 10

// Read reads text and all its views into tokens.
func (m *Machine) Read(text []byte) {
	m.sum, m.sums, m.at, m.index = 0, m.sums[:0], m.at[:0], 0
	m.view = viewText
	m.views.reset()
	plain := m.norm[0].Run(text)
	m.scan(plain)
	budget := maxViewBytes
	m.turned(plain, &budget)
	if m.finder[0].Find(text) {
		m.decoded(0, viewDecoded, &budget)
	}
}

// decoded reads the runs of finder d as views, and what is encoded in them once more.
func (m *Machine) decoded(d, kind int, budget *int) {
	f := &m.finder[d]
	for _, r := range f.Runs {
		text := f.Text[r.From:r.To]
		if len(text) > *budget {
			return
		}
		*budget -= len(text)
		m.view = kind | r.Start<<3
		m.views.reset()
		plain := m.norm[1].Run(text)
		m.scan(plain)
		m.turned(plain, budget)
		if d == 0 && m.finder[1].Find(text) {
			m.decoded(1, viewTwice, budget)
		}
	}
}

// Biases of a text of n tokens whose best window has w.
func biases(w, n int) (uint32, uint32) {
	short := 0
	for k := w; k > 1 && short < 7; k >>= 1 {
		short++
	}
	long := 0
	for k := n / Window; k > 0 && long < 8; k >>= 1 {
		long++
	}
	return uint32(biasAt + short), uint32(biasAt + 16 + long)
}

// Biases are the features of a window of w tokens in a text of n.
func Biases(w, n int) (uint32, uint32) { return biases(w, n) }

// Best is the most suspicious window: its score in logits, and its tokens.
type Best struct {
	Logit    float64
	From, To int
	Concepts uint64
}

// Unit is the logit that fixed-point sums count in.
const Unit = 1.0 / 4096

// Score returns the best window of the tokens that Read made.
func (m *Machine) Score() Best {
	n := len(m.sums)
	if n == 0 {
		return Best{Logit: math.Inf(-1)}
	}
	best, from := int32(math.MinInt32), 0
	for i := 0; ; i += Stride {
		before := int32(0)
		if i > 0 {
			before = m.sums[i-1]
		}
		end := min(i+Window, n)
		if s := m.sums[end-1] - before; s > best {
			best, from = s, i
		}
		if end == n {
			break
		}
	}
	to := min(from+Window, n)
	a, b := biases(to-from, n)
	best += int32(int8(m.weights[a]))*m.scaleA + int32(int8(m.weights[b]))*m.scaleA
	r := Best{Logit: float64(best) * Unit, From: from, To: to}
	for _, t := range m.at[from:to] {
		r.Concepts |= t.present
	}
	return r
}

// Has reports whether b holds all of the given concepts.
func (b Best) Has(cs ...phrases.Concept) bool {
	for _, c := range cs {
		if b.Concepts&(1<<c) == 0 {
			return false
		}
	}
	return true
}
