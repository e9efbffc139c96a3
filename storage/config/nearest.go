package config

import (
	"fmt"
	"slices"
	"strings"
)

// nearest finds the key that was probably meant by key below f: a sibling with a close
// spelling, else a key anywhere with the same last segment. Empty when nothing is near.
func (s *Schema) nearest(f *Field, key string) string {
	best, bestAt := "", limit(key)+1
	for _, c := range f.fields {
		if d := distance(strings.ToLower(key), strings.ToLower(c.name)); d < bestAt {
			best, bestAt = c.Key, d
		}
	}
	if best != "" {
		return best
	}
	var walk func(f *Field)
	walk = func(f *Field) {
		for _, c := range f.fields {
			if d := distance(strings.ToLower(key), strings.ToLower(c.name)); d < bestAt && d <= 1 {
				best, bestAt = c.Key, d
			}
			walk(c)
		}
	}
	walk(s.root)
	return best
}

// suggest returns "; did you mean …?" for the nearest word, or nothing.
func suggest(word string, words []string) string {
	best, bestAt := "", limit(word)+1
	for _, w := range words {
		if d := distance(strings.ToLower(word), strings.ToLower(w)); d < bestAt {
			best, bestAt = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// limit is how many edits still look like the same word.
func limit(word string) int { return max(1, min(4, len(word)/3)) }

// distance counts the insertions, deletions, replacements and swaps of neighbours
// between two words (optimal string alignment). Words over 64 bytes are not compared:
// the unknown key comes from outside and the cost is quadratic.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var prev2, prev, cur [65]int
	for j := range len(b) + 1 {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, cur
	}
	return prev[len(b)]
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
