package model

import "math/bits"

// Windows are the sizes of windows in tokens; they start at every Stride-th token.
var Windows = [...]int{12, 32}

const (
	// Stride is the distance of windows in tokens.
	Stride = 4
	// maxSentence bounds a sentence that is a window of its own, in tokens: what is longer
	// is cut there.
	maxSentence = 64
)

// longestWindow is the unit in which the length of texts is counted.
const longestWindow = 32

// Bias is what the lengths of a window and of its text are worth.
type Bias[T int32 | float32] struct {
	Short [8]T // by the logarithm of the window's length
	Long  T
}

func shortOf(w int) int { return min(bits.Len(uint(w))-1, 7) }

func (b *Bias[T]) of(w int) T { return b.Short[shortOf(w)] + b.Long }

// biases are the features of a window of w tokens in a text of n.
func biases(w, n int) (uint32, uint32) {
	return uint32(biasAt + shortOf(w)), uint32(biasAt + 16 + min(bits.Len(uint(n/longestWindow)), 8))
}

// Biases are the features of a window of w tokens in a text of n.
func Biases(w, n int) (uint32, uint32) { return biases(w, n) }

// Lowest is below every score.
const Lowest = -1 << 30

// BestFixed returns the window of a fixed size with the largest score. Sums are the
// running sums of the weights of tokens.
func BestFixed[T int32 | float32](sums []T, bias *Bias[T]) (score T, from, to int) {
	n := len(sums)
	score = Lowest
	for _, size := range Windows {
		full := bias.of(size)
		for i := 0; ; i += Stride {
			end, b := i+size, full
			if end > n {
				end, b = n, bias.of(n-i)
			}
			s := sums[end-1] + b
			if i > 0 {
				s -= sums[i-1]
			}
			if s > score {
				score, from, to = s, i, end
			}
			if end == n {
				break
			}
		}
	}
	return
}

// BestSentence returns the sentence with the largest score. An attack in a document is
// often one sentence: as a window of its own it has the same words as when it stands
// alone. Starts are the tokens that begin sentences.
func BestSentence[T int32 | float32](sums []T, starts []int32, bias *Bias[T]) (score T, from, to int) {
	score = Lowest
	for k, x := range starts {
		i, end := int(x), len(sums)
		if k+1 < len(starts) {
			end = int(starts[k+1])
		}
		end = min(end, i+maxSentence)
		s := sums[end-1] + bias.of(end-i)
		if i > 0 {
			s -= sums[i-1]
		}
		if s > score {
			score, from, to = s, i, end
		}
	}
	return
}
