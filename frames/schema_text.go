package frames

// Lengths are counted as TypeBox counts them (typebox/build/guard/string.mjs): a code
// point with the combining marks and variation selectors after it, a sequence joined by
// U+200D, and a pair of regional indicators are one character each; everything else is
// one a code point, a lone surrogate included.

// atLeast reports whether the string has at least min characters.
func atLeast(q quoted, min int) bool {
	body := q.raw[1 : len(q.raw)-1]
	if min <= 1 {
		return len(body) >= min
	}
	if len(body) < min {
		return false
	}
	return countTo(body, min) >= min
}

// atMost reports whether the string has at most max characters.
func atMost(q quoted, max int) bool {
	body := q.raw[1 : len(q.raw)-1]
	if len(body) <= max {
		return true // a character has at least one byte
	}
	return countTo(body, max+1) <= max
}

// countTo counts the characters of a string's body and stops at limit.
func countTo(body []byte, limit int) int {
	count := 0
	for i := 0; i < len(body) && count < limit; count++ {
		i = clusterEnd(body, i)
	}
	return count
}

// clusterEnd returns the index after the character at i.
func clusterEnd(body []byte, i int) int {
	first, n := nextRune(body, i)
	i = modifiers(body, i+n)
	for i < len(body) {
		r, n := nextRune(body, i)
		if r != 0x200D || i+n >= len(body) {
			break
		}
		_, m := nextRune(body, i+n)
		i = modifiers(body, i+n+m)
	}
	if regional(first) && i < len(body) {
		if r, n := nextRune(body, i); regional(r) {
			i += n
		}
	}
	return i
}

// modifiers returns the index after the combining marks and variation selectors at i.
func modifiers(body []byte, i int) int {
	for i < len(body) {
		if body[i] < 0x80 && body[i] != '\\' {
			return i
		}
		r, n := nextRune(body, i)
		if !modifier(r) {
			return i
		}
		i += n
	}
	return i
}

func modifier(r rune) bool {
	switch {
	case r < 0x0300:
		return false
	case r <= 0x036F, r >= 0x1AB0 && r <= 0x1AFF, r >= 0x1DC0 && r <= 0x1DFF,
		r >= 0xFE00 && r <= 0xFE0F, r >= 0xFE20 && r <= 0xFE2F:
		return true
	}
	return false
}

func regional(r rune) bool { return r >= 0x1F1E6 && r <= 0x1F1FF }
