// Package model scores text by a linear model over hashed words and phrase slots, in
// sliding windows: the most suspicious stretch of a text makes its score, however much
// harmless text is around it.
//
// The weights are weights.bin, made by ../train and read in place. A Machine holds the
// buffers of one scoring; it is reused, and is for one goroutine.
package model

import (
	_ "embed"
	"errors"
	"math"

	"sluice/stages/defend/prompt/decode"
	"sluice/stages/defend/prompt/normalize"
	"sluice/stages/defend/prompt/phrases"
)

//go:embed weights.bin
var embedded string

// weights.bin: a byte for each feature of phrases; half a byte for each of words, the
// even ones low, as an index of 16 levels; the levels and the scale of the phrases, in
// Units; two thresholds.
const (
	// Levels is how many values the weight of a word feature can have.
	Levels      = 16
	levelsAt    = wordAt + hashed/2
	weightsSize = levelsAt + (Levels+3)*4
)

// Machine is ready after New or NewCollector.
type Machine struct {
	phrases   string
	nibbles   string
	levels    [Levels]int32
	scale     int32 // of phrases, in Units
	low, high float64
	collect   func([]uint32, bool)

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
	spelled        int
	wordFeats      [maxWordFeats]uint32
	phraseFeats    [maxPhraseFeats]uint32
	both           []uint32

	// What the tokens came to.
	sum    int32
	best   Best
	blank  []byte
	sums   []int32
	starts []int32 // tokens of this view with which sentences begin
	zero   int     // the first token of this view
	first  bool    // whether the token at hand begins one
	at     []tokenAt
}

// tokenAt is where a token was read: its offset in the normalised text or, for a view,
// in the source; and the concept it stands for, as a bit.
type tokenAt struct {
	pos, view uint32
	present   uint64
}

// New returns a Machine with the embedded weights.
func New() (*Machine, error) { return NewWith(embedded) }

// NewWith returns a Machine with weights in the form of weights.bin.
func NewWith(weights string) (*Machine, error) {
	if len(weights) != weightsSize || !phrases.Valid() {
		return nil, errors.New("model: weights.bin or lexicon.bin has another form than this code reads: run go generate ./stages/defend/prompt")
	}
	m := &Machine{phrases: weights[:wordAt], nibbles: weights[wordAt:levelsAt]}
	word := func(i int) uint32 {
		s := weights[levelsAt+4*i:]
		return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
	}
	for i := range m.levels {
		m.levels[i] = int32(word(i))
	}
	m.scale = int32(word(Levels))
	m.low, m.high = float64(math.Float32frombits(word(Levels+1))), float64(math.Float32frombits(word(Levels+2)))
	return m, nil
}

// Thresholds are the logits that 1 % and 0.1 % of everyday texts reached in
// cross-validation.
func (m *Machine) Thresholds() (low, high float64) { return m.low, m.high }

// NewCollector returns a Machine that computes no scores but gives the features of each
// token to collect, and whether it begins a sentence; nil before each text or view. It is
// for training; the slice is reused.
func NewCollector(collect func([]uint32, bool)) *Machine { return &Machine{collect: collect} }

func (m *Machine) reset() {
	m.sep, m.line, m.punct = sepPara, false, 0
	m.s1, m.s2, m.shape1, m.shape2 = 0, 0, 0, 0
	m.c1, m.c2 = 0, 0
	m.sum = 0
	m.starts, m.zero = m.starts[:0], len(m.sums)
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

// Read reads text and all its views into tokens and keeps the best window of them.
func (m *Machine) Read(text []byte) {
	m.sums, m.at, m.index = m.sums[:0], m.at[:0], 0
	m.best = Best{Logit: math.Inf(-1)}
	m.spelled = 0
	m.view = viewText
	m.views.reset()
	plain := m.norm[0].Run(text)
	found := m.finder[0].Find(text)
	if found && m.norm[0].Plain() {
		plain = m.blanked(text)
	}
	m.scan(plain)
	budget := maxViewBytes
	m.turned(plain, &budget)
	if found {
		m.decoded(0, viewDecoded, &budget)
	}
}

// blanked returns text with blanks for what is encoded in it: that is read as views.
func (m *Machine) blanked(text []byte) []byte {
	m.blank = append(m.blank[:0], text...)
	for _, r := range m.finder[0].Runs {
		for i := r.Start; i < r.End; i++ {
			m.blank[i] = ' '
		}
	}
	return m.blank
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

// Best is the most suspicious window: its score in logits, and its tokens.
type Best struct {
	Logit    float64
	From, To int
	Concepts uint64
	// Views are the kinds of views the window was read in, as bits.
	Views uint8
}

// Unit is the logit that fixed-point sums count in.
const Unit = 1.0 / 4096

// Score returns the best window of what Read read: the one window, in the text or in one
// of its views, that looks most like an attack.
func (m *Machine) Score() Best { return m.best }

// finish looks for the best window in the tokens from start on: those of one view.
func (m *Machine) finish(start int) {
	n := len(m.sums) - start
	if n == 0 {
		return
	}
	var bias Bias[int32]
	for k := range bias.Short {
		bias.Short[k] = int32(int8(m.phrases[biasAt+k])) * m.scale
	}
	_, long := biases(1, n)
	bias.Long = int32(int8(m.phrases[long])) * m.scale
	best, from, to := BestFixed(m.sums[start:], &bias)
	if s, a, b := BestSentence(m.sums[start:], m.starts, &bias); s > best {
		best, from, to = s, a, b
	}
	logit := float64(best) * Unit
	if logit <= m.best.Logit {
		return
	}
	r := Best{Logit: logit, From: start + from, To: start + to}
	for _, t := range m.at[r.From:r.To] {
		r.Concepts |= t.present
		r.Views |= 1 << (t.view & 7)
	}
	m.best = r
}

// Span returns where in the source window b is, in bytes; ok is false for text that was
// read in a view of it: then the span is where that view begins.
func (m *Machine) Span(b Best) (start, end int, ok bool) {
	if b.To <= b.From {
		return 0, 0, false
	}
	first, last := m.at[b.From], m.at[b.To-1]
	if first.view != viewText || last.view != viewText {
		v := max(first.view, last.view)
		start = int(v >> 3)
		return start, start, false
	}
	return m.norm[0].Source(int(first.pos)), m.norm[0].Source(int(last.pos)), true
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

// Groups of view kinds in Best.Views.
const (
	ViewsDecoded = 1<<viewDecoded | 1<<viewTwice
	ViewsTurned  = 1<<viewShifted | 1<<viewReversed
)

// Tokens is how many words Read found.
func (m *Machine) Tokens() int { return len(m.sums) }

// Size is the memory that m keeps for its next text, in bytes.
func (m *Machine) Size() int {
	return (cap(m.sums)+cap(m.starts))*4 + cap(m.at)*16 + m.norm[0].Cap() + m.norm[1].Cap() + cap(m.blank)
}
