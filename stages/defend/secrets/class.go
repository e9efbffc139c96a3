package secrets

import "math/bits"

// class is a set of byte kinds.
type class uint8

const (
	lowerAF class = 1 << iota // a-f
	lowerGZ                   // g-z
	upperC                    // A-Z
	digitC                    // 0-9
	dashC                     // -
	underC                    // _
	plusC                     // + /
	dotC                      // . ~
)

const (
	hexLow   = lowerAF | digitC
	lowerC   = lowerAF | lowerGZ
	lowNum   = lowerC | digitC
	alnum    = lowerC | upperC | digitC
	word     = alnum | underC
	urlSafe  = word | dashC
	base64C  = alnum | plusC
	dotted   = urlSafe | dotC
	valueC   = dotted | plusC
	upperNum = upperC | digitC
)

var classes = func() (t [256]class) {
	for c := 'a'; c <= 'z'; c++ {
		t[c] = lowerGZ
		if c <= 'f' {
			t[c] = lowerAF
		}
		t[c-'a'+'A'] = upperC
	}
	for c := '0'; c <= '9'; c++ {
		t[c] = digitC
	}
	t['-'], t['_'], t['+'], t['/'], t['.'], t['~'] = dashC, underC, plusC, plusC, dotC, dotC
	return t
}()

// run returns the end of the run of c in text from at on, at most limit bytes further.
func run(text []byte, at, limit int, c class) int {
	end := min(len(text), at+limit)
	for at < end && classes[text[at]]&c != 0 {
		at++
	}
	return at
}

// within reports whether all of text is of c.
func within(text []byte, c class) bool { return run(text, 0, len(text), c) == len(text) }

// freshLeft reports whether a secret can begin at text[at]: a prefix in the middle of a
// word is none. An escape before it (\n in quoted text, %3D in a URL) is no word.
func freshLeft(text []byte, at int) bool {
	if at == 0 || classes[text[at-1]]&word == 0 {
		return true
	}
	if at >= 2 && text[at-2] == '\\' {
		return true
	}
	return at >= 3 && text[at-3] == '%'
}

// entropyBytes bounds what entropy looks at.
const entropyBytes = 255

// nlogn[i] is i*log2(i) in 1/1024 bits.
var nlogn = func() (t [entropyBytes + 1]uint32) {
	for i := 2; i <= entropyBytes; i++ {
		t[i] = uint32(i) * log2(uint64(i))
	}
	return t
}()

// log2 returns log2(x) in 1/1024, by squaring: ten binary digits.
func log2(x uint64) uint32 {
	whole := bits.Len64(x) - 1
	v := x << (62 - whole) // 1.0 = 1<<62
	out := uint32(whole)
	for range 10 {
		hi, lo := bits.Mul64(v, v)
		v = hi<<2 | lo>>62 // v*v in 1<<62 units
		out <<= 1
		if v >= 1<<63 {
			v >>= 1
			out |= 1
		}
	}
	return out
}

// entropy returns the Shannon entropy of text in bits a byte, times 1024.
func entropy(text []byte) int {
	text = text[:min(len(text), entropyBytes)]
	if len(text) < 2 {
		return 0
	}
	var count [256]uint8
	for _, c := range text {
		count[c]++
	}
	sum := uint32(0)
	for _, c := range text {
		if n := count[c]; n > 0 {
			sum += nlogn[n]
			count[c] = 0
		}
	}
	return (int(nlogn[len(text)]) - int(sum)) / len(text)
}

// placeholders are texts by which a documented example says that it is one.
var placeholders = []string{"example", "xxxx", "your", "placeholder", "redacted", "changeme", "dummy", "sample",
	"0000000", "1234567", "abcdefg", "insert", "replace", "secret_key_here", "....", "****"}

// placeholder reports whether text is an example, not a secret.
func placeholder(text []byte) bool {
	text = text[:min(len(text), entropyBytes)]
	// Runs like abcdef or 4321: half the neighbours are one apart.
	steps := 0
	for i := 1; i < len(text); i++ {
		if d := int(text[i]) - int(text[i-1]); d == 1 || d == -1 || d == 0 {
			steps++
		}
	}
	if 2*steps >= len(text) {
		return true
	}
	for _, p := range placeholders {
		if containsFold(text, p) {
			return true
		}
	}
	return false
}

// containsFold is strings.Contains without regard to ASCII case; p is lower-case.
func containsFold(text []byte, p string) bool {
	for i := 0; i+len(p) <= len(text); i++ {
		if lower(text[i]) == p[0] && hasPrefixFold(text[i:], p) {
			return true
		}
	}
	return false
}

func hasPrefixFold(text []byte, p string) bool {
	if len(text) < len(p) {
		return false
	}
	for i := range len(p) {
		if lower(text[i]) != p[i] {
			return false
		}
	}
	return true
}
