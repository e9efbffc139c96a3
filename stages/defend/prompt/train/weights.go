package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"sluice/stages/defend/prompt/model"
)

// trainAll trains on all sources and writes weights.bin. Its thresholds are those that
// cross-validation found, on texts that the model in question had not seen.
func trainAll(o options, docs []*doc) error {
	low, high, synthetic, err := validate(o, docs)
	if err != nil {
		return err
	}
	if o.card != "" {
		if err := reportAll(o, docs); err != nil {
			return err
		}
	}
	l := fit(trainingSet(append(append([]*doc(nil), docs...), synthetic...), nil), o.epochs)
	out := pack(l.w, low, high)
	return os.WriteFile(filepath.Join(o.dir, "model", "weights.bin"), out, 0o644)
}

// composedTexts is how many attacks are put into harmless texts for training.
const composedTexts = 6000

// trainingSet is the labelled texts that are not held out, and the grammars' texts.
func trainingSet(docs []*doc, held map[string]bool) []*doc {
	var train []*doc
	for _, d := range docs {
		if !held[d.fold] && !touches(d, held) && !strings.HasPrefix(d.category, "x-") {
			c := *d
			train = append(train, &c)
		}
	}
	train = append(train, composed(train, composedTexts)...)
	balance(train)
	return train
}

// pack quantises the weights: those of phrases to a byte each, those of words to one of
// 16 levels, and adds the levels, the scale and the thresholds.
func pack(w []float32, low, high float64) []byte {
	out, scale := quantise(w[:model.WordAt])
	words := w[model.WordAt:]
	levels := levelsOf(words)
	for i := 0; i < len(words); i += 2 {
		out = append(out, level(levels, words[i])|level(levels, words[i+1])<<4)
	}
	for _, x := range levels {
		out = binary.LittleEndian.AppendUint32(out, uint32(int32(math.RoundToEven(float64(x)/model.Unit))))
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(scale))
	out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(low)))
	out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(high)))
	fmt.Printf("scale %d, levels %.2f, thresholds %.3f %.3f\n", scale, levels, low, high)
	return out
}

// rounded is w as the packed weights give it.
func rounded(w []float32) []float32 {
	bytes, scale := quantise(w[:model.WordAt])
	levels := levelsOf(w[model.WordAt:])
	out := make([]float32, len(w))
	for i, b := range bytes {
		out[i] = float32(int8(b)) * float32(scale) * model.Unit
	}
	for i, x := range w[model.WordAt:] {
		out[model.WordAt+i] = levels[level(levels, x)]
	}
	return out
}

// levelsOf finds the 16 values that serve w best: Lloyd's algorithm over a histogram,
// where a weight counts by its size, since the large ones decide.
func levelsOf(w []float32) (levels [model.Levels]float32) {
	const bins = 4096
	top := float32(1e-6)
	for _, x := range w {
		top = max(top, x, -x)
	}
	var count, sum [bins]float64
	for _, x := range w {
		b := min(int((x/top+1)*bins/2), bins-1)
		v := math.Abs(float64(x))
		count[b] += v
		sum[b] += float64(v * float64(x))
	}
	for i := range levels {
		levels[i] = top * 0.7 * float32(2*i-model.Levels+1) / model.Levels
	}
	for range 50 {
		var n, s [model.Levels]float64
		for b := range bins {
			l := level(levels, (float32(b)+0.5)*2/bins*top-top)
			n[l] += count[b]
			s[l] += sum[b]
		}
		for l := range levels {
			if n[l] > 0 {
				levels[l] = float32(s[l] / n[l])
			}
		}
		levels[zeroLevel] = 0 // most features are never seen
	}
	return levels
}

const zeroLevel = model.Levels / 2

// level is the index of the nearest level.
func level(levels [model.Levels]float32, x float32) byte {
	best, at := float32(math.Inf(1)), 0
	for i, l := range levels {
		d := x - l
		if d < 0 {
			d = -d
		}
		if d < best {
			best, at = d, i
		}
	}
	return byte(at)
}

// quantise returns w in steps of scale*model.Unit.
func quantise(w []float32) ([]byte, int32) {
	top := float32(0)
	for _, x := range w {
		top = max(top, x, -x)
	}
	scale := int32(math.Ceil(float64(top) / 127 / model.Unit))
	scale = max(scale, 1)
	out := make([]byte, len(w))
	for i, x := range w {
		out[i] = byte(int8(math.RoundToEven(float64(x) / (float64(scale) * model.Unit))))
	}
	return out, scale
}
