package main

import (
	"math"

	"sluice/stages/defend/prompt/model"
)

// learner is logistic regression by AdaGrad over the best window of each text: of an
// attack the window that looks most like one is learnt, of harmless text the window that
// looks most like an attack.
type learner struct {
	w, g2 []float32
	rng   uint64
	sums  []float32
	// only, if not 0, is the kind of windows that are looked at.
	only int
}

// Kinds of windows.
const (
	fixed = 1 + iota
	sentences
)

// Settings of the training. The values come from cross-validation over all sources
// together; recall is flat around them (docs/models/prompt.md).
const (
	rate  float32 = 0.02
	decay float32 = 0.01
	// Of a million: how often a feature, or all words, are left out of a step.
	dropout  = 200_000
	wordsOut = 550_000
	million  = 1_000_000
	// More windows of a harmless text that are learnt in a step: the worst of some half.
	moreWindows = 2

	badShare  = 0.5  // of the total weight goes to attacks
	sizePower = -0.3 // a source's texts weigh its size to this power
)

func newLearner() *learner {
	return &learner{w: make([]float32, model.Features), g2: make([]float32, model.Features), rng: 0x9E3779B97F4A7C15}
}

func (l *learner) next() uint64 {
	l.rng ^= l.rng << 13
	l.rng ^= l.rng >> 7
	l.rng ^= l.rng << 17
	return l.rng
}

func (l *learner) shuffle(docs []*doc) {
	for i := len(docs) - 1; i > 0; i-- {
		j := int(l.next() % uint64(i+1))
		docs[i], docs[j] = docs[j], docs[i]
	}
}

// tokens is a text or one view of it.
type tokens struct {
	feats  []uint32
	ends   []int32 // of the features of each token
	start  int32   // of the features of the first
	starts []int32 // tokens with which sentences begin
}

// each calls f with the text of d and its views.
func (d *doc) each(f func(tokens)) {
	for i, from := range d.segs {
		to := len(d.ends)
		if i+1 < len(d.segs) {
			to = d.segs[i+1]
		}
		if from == to {
			continue
		}
		t := tokens{feats: d.feats, ends: d.ends[from:to], starts: d.starts[i]}
		if from > 0 {
			t.start = d.ends[from-1]
		}
		f(t)
	}
}

// best returns the score of d's best window, and where it is.
func (l *learner) best(d *doc) (score float32, in tokens, from, to int) {
	score = float32(math.Inf(-1))
	d.each(func(t tokens) {
		if s, a, b := l.window(t); s > score {
			score, in, from, to = s, t, a, b
		}
	})
	return
}

// window returns the window of t with the largest score.
func (l *learner) window(t tokens) (score float32, from, to int) {
	n := len(t.ends)
	l.sums = l.sums[:0]
	sum, at := float32(0), t.start
	for _, end := range t.ends {
		for _, f := range t.feats[at:end] {
			sum += l.w[f]
		}
		at = end
		l.sums = append(l.sums, sum)
	}
	var bias model.Bias[float32]
	for k := range bias.Short {
		a, _ := model.Biases(1<<k, n)
		bias.Short[k] = l.w[a]
	}
	_, long := model.Biases(1, n)
	bias.Long = l.w[long]
	score = model.Lowest
	if l.only != sentences {
		score, from, to = model.BestFixed(l.sums, &bias)
	}
	if l.only != fixed {
		if s, a, b := model.BestSentence(l.sums, t.starts, &bias); s > score {
			score, from, to = s, a, b
		}
	}
	return
}

// either picks the kind of windows for what is learnt next: learning the better of the two
// instead found some three in a hundred fewer of persona jailbreaks, which take more than
// a sentence.
func (l *learner) either() { l.only = fixed + int(l.next()>>20&1) }

// part is the stretch of n tokens of t from a token on.
func (t tokens) part(from, n int) tokens {
	p := tokens{feats: t.feats, ends: t.ends[from : from+n], start: t.start}
	if from > 0 {
		p.start = t.ends[from-1]
	}
	for _, x := range t.starts {
		if int(x) >= from && int(x) < from+n {
			p.starts = append(p.starts, x-int32(from))
		}
	}
	if p.starts == nil {
		p.starts = append(p.starts, 0)
	}
	return p
}

// anywhere is the size of the windows that are learnt as harmless wherever they are.
const anywhere = 32

// step learns from one text.
func (l *learner) step(d *doc) {
	l.either()
	_, t, from, to := l.best(d)
	n := len(t.ends)
	if n == 0 {
		return
	}
	l.learn(d, t, from, to)
	if d.bad || n <= 2*anywhere {
		return
	}
	from = int(l.next() % uint64(n-anywhere)) // and a window anywhere
	l.learn(d, t, from, from+anywhere)
	for range moreWindows {
		half := int(l.next() % uint64(n/2))
		l.either()
		_, from, to := l.window(t.part(half, n/2))
		l.learn(d, t, from+half, to+half)
	}
}

// learn takes one step towards d's label for the window of t, without some features: any
// of them, or all the words so that phrases learn to do without.
func (l *learner) learn(d *doc, t tokens, from, to int) {
	start := t.start
	if from > 0 {
		start = t.ends[from-1]
	}
	feats := t.feats[start:t.ends[to-1]]
	seed := l.next()
	phrasesOnly := l.next()%million < wordsOut
	keep := func(i int) bool {
		x := (seed + uint64(i)*0x9E3779B97F4A7C15)
		x ^= x >> 29
		x *= 0xBF58476D1CE4E5B9
		if x>>11%million < dropout {
			return false
		}
		return !phrasesOnly || feats[i] < model.WordAt
	}
	a, b := model.Biases(to-from, len(t.ends))
	z := float64(l.w[a] + l.w[b])
	for i, f := range feats {
		if keep(i) {
			z += float64(l.w[f])
		}
	}
	p := 1 / (1 + math.Exp(-z))
	if d.bad {
		p--
	}
	g := float32(p) * d.weight
	if g < 1e-4 && g > -1e-4 {
		return
	}
	l.update(a, g)
	l.update(b, g)
	for i, f := range feats {
		if keep(i) {
			l.update(f, g)
		}
	}
}

func (l *learner) update(f uint32, g float32) {
	w := l.w[f]
	g += float32(decay * w) // conversions keep the compiler from fusing: same bits everywhere
	l.g2[f] += float32(g * g)
	l.w[f] = w - float32(rate*g)/(float32(math.Sqrt(float64(l.g2[f])))+0.1)
}

// runs is how many models are trained, in other orders; the mean of their weights is less
// a matter of chance than one of them.
const runs = 5

// fit trains on docs, in orders of its own.
func fit(docs []*doc, epochs int) *learner {
	mean := make([]float32, model.Features)
	from := epochs / 2
	share := 1 / float32(runs*(epochs-from))
	for run := range runs {
		l := newLearner()
		l.rng += uint64(run) * 0xD1B54A32D192ED03
		order := append([]*doc(nil), docs...)
		for e := range epochs {
			l.shuffle(order)
			for _, d := range order {
				l.step(d)
			}
			if e >= from {
				for i, w := range l.w {
					mean[i] += float32(w * share)
				}
			}
		}
	}
	return &learner{w: mean}
}

// A group of texts gets a share of the total weight, whatever its size: the labelled texts,
// those of the grammars, and the composed ones.
type group struct {
	bad  bool
	kind int
}

const (
	labelled = iota
	written
	mixed
)

var shares = map[group]float64{
	{true, labelled}: 0.2, {true, written}: 0.65, {true, mixed}: 0.15,
	{false, labelled}: 0.55, {false, written}: 0.25, {false, mixed}: 0.2,
}

func groupOf(d *doc) group {
	switch d.fold {
	case "grammar":
		return group{d.bad, written}
	case "composed":
		if d.source == "composed-here" {
			return group{d.bad, mixed}
		}
	}
	return group{d.bad, labelled}
}

// balance weighs texts so that a large source or file does not drown the others.
func balance(docs []*doc) {
	size := map[string]float64{}
	for _, d := range docs {
		size[key(d)]++
	}
	total := map[group]float64{}
	for _, d := range docs {
		d.weight = float32(math.Pow(size[key(d)], sizePower))
		total[groupOf(d)] += float64(d.weight)
	}
	for _, d := range docs {
		g := groupOf(d)
		share := 1 - badShare
		if d.bad {
			share = badShare
		}
		d.weight *= float32(share * shares[g] * float64(len(docs)) / total[g])
	}
}

func key(d *doc) string {
	k := d.source
	if d.file != "" {
		k = d.file
	}
	if d.bad {
		return "+" + k
	}
	return "-" + k
}
