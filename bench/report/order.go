package report

import (
	"iter"
	"maps"
	"slices"
)

// ordered walks a map by key, so that the same results give the same page.
func ordered(m map[float64]string) iter.Seq2[float64, string] {
	return func(yield func(float64, string) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
