// Package phrases maps the words that carry an attack phrase, in some thirty languages,
// to the concepts they stand for: whatever the language, "disregard the rules above" is
// Ignore, Rules, Prior. Models of phrases are then made of concepts and know every
// language of the lexicon.
//
// The lexicon is lexicon.txt; `go generate` packs it into lexicon.bin, which is read in
// place, without parsing and without allocation.
package phrases

import (
	_ "embed"
	"fmt"
	"strings"
)

// Concept is a slot of an attack phrase; 0 is none.
type Concept uint8

// Names of the concepts, by number, as in lexicon.txt.
var Names = [...]string{"", "IGNORE", "PRIOR", "INSTR", "RULES", "ALL", "YOU", "SYSTEM", "PROMPT", "SECRETADJ",
	"REVEAL", "OUTPUT", "VERBATIM", "CRED", "ROLE", "NOW", "UNRESTR", "WITHOUT", "NOT", "AI", "MODE", "NEW", "SEND",
	"USER", "INFORM", "MUST", "OBEY", "LINK", "HARM", "REFUSE", "TASK", "END", "TEXT", "ACTION", "START", "HACK",
	"ASKQ", "EXPLAIN", "SECTOPIC", "EXAMPLE", "FICTION", "OPERATOR", "HOST", "TIME"}

// Max is the number of concepts that tables have room for.
const Max = 48

// Concepts by name, for those that code speaks of.
const (
	None Concept = iota
	Ignore
	Prior
	Instr
	Rules
	All
	You
	System
	Prompt
	SecretAdj
	Reveal
	Output
	Verbatim
	Cred
	Role
	Now
	Unrestr
	Without
	Not
	AI
	Mode
	New
	Send
	User
	Inform
	Must
	Obey
	Link
	Harm
	Refuse
	Task
)

// The hash of a word is Start, then Step for each byte.
const Start uint32 = 2166136261

// Step adds one byte of a word to its hash.
func Step(h uint32, c byte) uint32 { return (h ^ uint32(c)) * 16777619 }

// Hash is the hash of a whole word.
func Hash(s string) uint32 {
	h := Start
	for i := range len(s) {
		h = Step(h, s[i])
	}
	return h
}

// The packed lexicon: slots of four bytes (24 bits of a word's hash, its concept and
// whether it is a beginning), then the bits of beginnings and of whole words in them, then
// the bits of common words.
const (
	slots      = 1 << 14
	prefixFlag = 0x40
	prefixBits = 1 << 16
	wordBits   = 1 << 17
	prefixAt   = slots * 4
	exactAt    = prefixAt + prefixBits/8
	wordAt     = exactAt + prefixBits/8
	size       = wordAt + wordBits/8
	// MinPrefix is the length in bytes of the shortest beginning.
	MinPrefix = 3
)

//go:embed lexicon.bin
var table string

// Valid reports whether the embedded lexicon has the form that this code reads.
func Valid() bool { return len(table) == size }

func slotOf(h uint32) uint32 { return (h * 0x9E3779B1) >> 18 }

func find(h uint32, flag byte) Concept {
	for s := slotOf(h ^ uint32(flag)); ; s = (s + 1) % slots {
		at := s * 4
		c := table[at+3]
		if c == 0 {
			return None
		}
		if c&prefixFlag == flag && table[at] == byte(h) && table[at+1] == byte(h>>8) && table[at+2] == byte(h>>16) {
			return Concept(c &^ prefixFlag)
		}
	}
}

// Find returns the concept of the word with hash h. Most words have none: a small table
// of bits says so, without a look into the large one.
func Find(h uint32) Concept {
	b := (h ^ h>>15) % prefixBits
	if table[exactAt+b/8]&(1<<(b%8)) == 0 {
		return None
	}
	return find(h, 0)
}

// MaybePrefix reports whether a beginning with hash h may exist; it is one load.
func MaybePrefix(h uint32) bool {
	b := (h ^ h>>15) % prefixBits
	return table[prefixAt+b/8]&(1<<(b%8)) != 0
}

// FindPrefix returns the concept of words that begin with hash h.
func FindPrefix(h uint32) Concept { return find(h, prefixFlag) }

// Known reports whether the word with hash h is a common one: a Bloom filter with about
// two false positives in a thousand.
func Known(h uint32) bool {
	a, b := (h^h>>16)%wordBits, (h*0x85EBCA6B>>12)%wordBits
	return table[wordAt+a/8]&(1<<(a%8)) != 0 && table[wordAt+b/8]&(1<<(b%8)) != 0
}

// Pack makes lexicon.bin from lexicon.txt and the common words; fold is the normaliser.
func Pack(text string, common []string, fold func(string) string) ([]byte, error) {
	out := make([]byte, size)
	used := 0
	for n, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		head, words, ok := strings.Cut(line, ": ")
		name, _, _ := strings.Cut(head, " ")
		c := conceptOf(name)
		if !ok || c == None {
			return nil, fmt.Errorf("lexicon.txt:%d: want CONCEPT language: words", n+1)
		}
		for _, w := range strings.Fields(words) {
			prefix := strings.HasSuffix(w, "*")
			w = fold(strings.TrimSuffix(w, "*"))
			if strings.ContainsAny(w, "- ") || w == "" {
				continue // a word of the text never has these
			}
			used += put(out, Hash(w), c, prefix && len(w) >= MinPrefix)
		}
	}
	if used > slots*4/5 {
		return nil, fmt.Errorf("lexicon.txt: %d words are too many for %d slots", used, slots)
	}
	for _, w := range common {
		h := Hash(w)
		for _, b := range [2]uint32{(h ^ h>>16) % wordBits, (h * 0x85EBCA6B >> 12) % wordBits} {
			out[wordAt+b/8] |= 1 << (b % 8)
		}
	}
	return out, nil
}

// put adds an entry unless its word has a concept already.
func put(out []byte, h uint32, c Concept, prefix bool) int {
	flag, bits := byte(0), uint32(exactAt)
	if prefix {
		flag, bits = prefixFlag, prefixAt
	}
	b := (h ^ h>>15) % prefixBits
	out[bits+b/8] |= 1 << (b % 8)
	for s := slotOf(h ^ uint32(flag)); ; s = (s + 1) % slots {
		at := s * 4
		if out[at+3] == 0 {
			out[at], out[at+1], out[at+2], out[at+3] = byte(h), byte(h>>8), byte(h>>16), byte(c)|flag
			return 1
		}
		if out[at+3]&prefixFlag == flag && out[at] == byte(h) && out[at+1] == byte(h>>8) && out[at+2] == byte(h>>16) {
			return 0
		}
	}
}

func conceptOf(name string) Concept {
	for i, n := range Names {
		if n == name {
			return Concept(i)
		}
	}
	return None
}
