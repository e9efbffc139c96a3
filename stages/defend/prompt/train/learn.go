package main

import (
	"math"
	"os"
	"strconv"

	"sluice/stages/defend/prompt/model"
)

// learner is logistic regression by AdaGrad over the best window of each text: of an
// attack the window that looks most like one is learnt, of harmless text the window that
// looks most like an attack.
type learner struct {
	w, g2 []float32
	rng   uint64
	sums  []float32
}

// Settings of the training. The values come from cross-validation over all sources
// together; recall is flat around them (docs/models/prompt.md).
var (
	rate      float32 = xpf("RATE", 0.02)
	decay     float32 = xpf("DECAY", 0.01)
	dropout           = uint64(xpi("DROP", 200_000))
	badShare          = float64(xpf("BAD", 0.5)) // of the total weight goes to attacks
	sizePower         = float64(xpf("SP", -0.3)) // a source's texts weigh its size to this power
	MORE              = xpi("MORE", 1)
	WO                = uint64(xpi("WO", wordsOut))
	WOM               = uint64(xpi("WOM", wordsOut))
)

const (
	// Of a million: how often a feature, all words, or the topic is left out of a step.
	wordsOut = 400_000
	million  = 1_000_000
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
	feats []uint32
	ends  []int32 // of the features of each token
	start int32   // of the features of the first
}

// each calls f with the text of d and its views.
func (d *doc) each(f func(tokens)) {
	segs := d.segs
	if segs == nil {
		segs = []int{0}
	}
	for i, from := range segs {
		to := len(d.ends)
		if i+1 < len(segs) {
			to = segs[i+1]
		}
		if from == to {
			continue
		}
		t := tokens{feats: d.feats, ends: d.ends[from:to]}
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
	score = float32(math.Inf(-1))
	for _, size := range model.Windows {
		for i := 0; ; i += model.Stride {
			before := float32(0)
			if i > 0 {
				before = l.sums[i-1]
			}
			end := min(i+size, n)
			a, b := model.Biases(end-i, n)
			if s := l.sums[end-1] - before + l.w[a] + l.w[b]; s > score {
				score, from, to = s, i, end
			}
			if end == n {
				break
			}
		}
	}
	return score, from, to
}

// anywhere is the size of the windows that are learnt as harmless wherever they are.
const anywhere = 32

// step learns from one text.
func (l *learner) step(d *doc) {
	_, t, from, to := l.best(d)
	n := len(t.ends)
	if n == 0 {
		return
	}
	l.learn(d, t, from, to)
	if !d.bad && n > 2*anywhere { // and a window anywhere
		from := int(l.next() % uint64(n-anywhere))
		l.learn(d, t, from, from+anywhere)
		for k := range MORE {
			_ = k
			half := int(l.next() % uint64(n/2))
			t2 := t
			t2.ends = t.ends[half : half+n/2]
			if half > 0 {
				t2.start = t.ends[half-1]
			}
			_, from, to := l.window(t2)
			l.learn(d, t, from+half, to+half)
		}
	}
}

// learn takes one step towards d's label for the window of t, without some features:
// any of them, all the words so that phrases learn to do without, or the topic.
func (l *learner) learn(d *doc, t tokens, from, to int) {
	start := t.start
	if from > 0 {
		start = t.ends[from-1]
	}
	feats := t.feats[start:t.ends[to-1]]
	seed := l.next()
	level := l.next() % million
	wo := WO
	if d.category == "multilingual" || d.category == "multilingual-benign" {
		wo = WOM
	}
	keep := func(i int) bool {
		x := (seed + uint64(i)*0x9E3779B97F4A7C15)
		x ^= x >> 29
		x *= 0xBF58476D1CE4E5B9
		if x>>11%million < dropout {
			return false
		}
		return feats[i] < model.WordAt || level >= wo
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

// fit trains on docs, in an order of its own.
func fit(docs []*doc, epochs int) *learner {
	l := newLearner()
	order := append([]*doc(nil), docs...)
	mean := make([]float32, len(l.w))
	from := epochs / 2
	for e := range epochs {
		l.shuffle(order)
		for _, d := range order {
			l.step(d)
		}
		if e >= from {
			for i, w := range l.w {
				mean[i] += float32(w / float32(epochs-from))
			}
		}
	}
	l.w = mean
	return l
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
	{true, labelled}: 1 - float64(xpf("GMA", 0.5)) - float64(xpf("CMA", 0.3)), {true, written}: float64(xpf("GMA", 0.5)), {true, mixed}: float64(xpf("CMA", 0.3)),
	{false, labelled}: 1 - float64(xpf("GMB", 0.4)) - float64(xpf("CMB", 0.1)), {false, written}: float64(xpf("GMB", 0.4)), {false, mixed}: float64(xpf("CMB", 0.1)),
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

func xpi(name string, def int) int {
	if s := os.Getenv(name); s != "" {
		n, _ := strconv.Atoi(s)
		return n
	}
	return def
}
func xpf(name string, def float32) float32 {
	if s := os.Getenv(name); s != "" {
		n, _ := strconv.ParseFloat(s, 32)
		return float32(n)
	}
	return def
}
