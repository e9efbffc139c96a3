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
var composedTexts = xpi("NC", 6000)

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

// pack quantises the weights to a byte each, the concepts and the words on scales of
// their own, and adds the scales and the thresholds.
func pack(w []float32, low, high float64) []byte {
	a, scaleA := quantise(w[:model.WordAt])
	b, scaleB := quantise(w[model.WordAt:])
	out := append(a, b...)
	out = binary.LittleEndian.AppendUint32(out, uint32(scaleA))
	out = binary.LittleEndian.AppendUint32(out, uint32(scaleB))
	out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(low)))
	out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(high)))
	fmt.Printf("scales %d %d, thresholds %.3f %.3f\n", scaleA, scaleB, low, high)
	return out
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
