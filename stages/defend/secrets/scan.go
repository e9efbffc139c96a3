// Package secrets finds secrets in text by their shape: the documented formats of some
// sixty kinds of keys and tokens, and values with the entropy of one behind a name that
// says so.
//
// One pass of an automaton over the text finds words that each kind contains ("ghp_",
// "-----BEGIN", "password"); only where one stands is the kind looked at, by code that
// reads a bounded part of the text. Find allocates nothing and its time is linear.
//
// Lifecycle: New, then Find, Redact and Assess from any goroutine; SetLiterals and
// Reload at any time.
package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
)

// Match is one secret in a text: text[Start:End].
type Match struct {
	Start, End int
	// Sure is false for what is a secret by name and entropy only, or whose checksum does
	// not fit.
	Sure bool
	kind uint16
}

// ID is the kind's short name, for tags and metrics.
func (m Match) ID() string {
	switch {
	case int(m.kind) < len(shapes):
		return shapes[m.kind].id
	case m.kind == kindUnreadable:
		return "unreadable"
	}
	return "known_value"
}

// Name is the kind's name for people, with its article.
func (m Match) Name() string {
	switch {
	case int(m.kind) < len(shapes):
		return shapes[m.kind].name
	case m.kind == kindUnreadable:
		return "more beginnings of secrets than can be looked at"
	}
	return "one of the gateway's own secrets"
}

// Kinds beyond the shapes.
var (
	kindLiteral    = uint16(len(shapes))
	kindUnreadable = uint16(len(shapes) + 1)
)

// Scanner finds secrets. It does not change once made.
type Scanner struct {
	auto     *automaton
	words    []keyword
	literals [][]byte
}

// keyword is one word of the automaton.
type keyword struct {
	shape  uint16 // len(shapes) = literals[literal]
	exact  string // the word in its letter case; empty = any case
	length int
	lit    int
}

// Bounds of literals.
const (
	MaxLiterals     = 256
	MinLiteralBytes = 8
	MaxLiteralBytes = 4096
	literalWord     = 16 // bytes of a literal that the automaton looks for
)

// ErrLiteral says that a literal is too short, too long or one too many.
var ErrLiteral = errors.New("secrets: 256 values of 8 to 4096 bytes at most can be looked for")

// NewScanner makes a scanner that also finds the given values: the gateway's own
// secrets, which may have no shape.
func NewScanner(literals ...[]byte) (*Scanner, error) {
	s := &Scanner{}
	var words [][]byte
	for i := range shapes {
		for _, w := range shapes[i].words {
			k := keyword{shape: uint16(i), length: len(w)}
			if shapes[i].find == nil {
				k.exact = w
			}
			s.words, words = append(s.words, k), append(words, []byte(w))
		}
	}
	if len(literals) > MaxLiterals {
		return nil, fmt.Errorf("%w: %d values", ErrLiteral, len(literals))
	}
	for i, lit := range literals {
		if len(lit) < MinLiteralBytes || len(lit) > MaxLiteralBytes {
			return nil, fmt.Errorf("%w: value %d has %d bytes", ErrLiteral, i, len(lit))
		}
		n := min(len(lit), literalWord)
		s.words = append(s.words, keyword{shape: kindLiteral, length: n, lit: i})
		words = append(words, lit[:n])
		s.literals = append(s.literals, bytes.Clone(lit))
	}
	s.auto = build(words)
	return s, nil
}

// probe is one pass over a text. It counts the bytes that are looked at beside the
// automaton's: a text can be built in which a secret might begin at every fourth byte.
type probe struct {
	text []byte
	work int
	hits [lanes][]hit
}

var probes = sync.Pool{New: func() any { return new(probe) }}

func (p *probe) run(at, limit int, c class) int {
	end := run(p.text, at, limit, c)
	p.work += end - at
	return end
}

func (p *probe) entropy(v []byte) int {
	p.work += min(len(v), entropyBytes)
	return entropy(v)
}

func (p *probe) placeholder(v []byte) bool {
	p.work += 8 * min(len(v), entropyBytes)
	return placeholder(v)
}

// The work that a text may cause: workPerByte a byte of it, and workFree. Texts of the
// benign corpus need less than one a byte.
const (
	workPerByte = 16
	workFree    = 32 << 10
)

// Find appends the secrets in text to dst, in order and without overlap. It allocates
// only if dst has no room. The rest of a text that was built to make it slow is reported
// as one secret (ID "unreadable", not sure): what cannot be looked at does not pass.
func (s *Scanner) Find(dst []Match, text []byte) []Match {
	p := probes.Get().(*probe)
	p.text, p.work = text, 0
	s.auto.scan(&p.hits, text)
	dst = s.weigh(dst, p)
	p.free()
	return dst
}

// weigh looks at every place where a keyword ends.
func (s *Scanner) weigh(dst []Match, p *probe) []Match {
	first, past := len(dst), 0
	most := workFree + workPerByte*len(p.text)
	for _, lane := range p.hits {
		for _, h := range lane {
			i := int(h.at)
			if i < past {
				continue
			}
			for _, w := range s.auto.outs[h.out] {
				if m, ok := s.look(p, i+1, &s.words[w]); ok {
					dst = merge(dst, first, m)
					if last := dst[len(dst)-1]; last.Sure {
						past = last.End // a word inside a secret says nothing more
					}
				}
			}
			if p.work <= most {
				continue
			}
			if len(dst) > first {
				past = max(past, dst[len(dst)-1].End)
			}
			if rest := max(i, past); rest < len(p.text) {
				dst = append(dst, Match{Start: rest, End: len(p.text), kind: kindUnreadable})
			}
			return dst
		}
	}
	return dst
}

// maxPooledHits bounds what a pooled probe keeps of a hostile text.
const maxPooledHits = 4096

func (p *probe) free() {
	p.text = nil
	for i, lane := range p.hits {
		if cap(lane) > maxPooledHits {
			p.hits[i] = nil
		}
	}
	probes.Put(p)
}

// merge adds m; where it overlaps what was found before, the longer one stays, and a
// sure one before one that is not.
func merge(dst []Match, first int, m Match) []Match {
	for len(dst) > first {
		last := dst[len(dst)-1]
		if m.Start >= last.End {
			break
		}
		if last.Sure && !m.Sure || last.Sure == m.Sure && last.End-last.Start >= m.End-m.Start {
			return dst
		}
		dst = dst[:len(dst)-1]
	}
	return append(dst, m)
}

// look tells whether the word that ends at text[end] belongs to a secret.
func (s *Scanner) look(p *probe, end int, k *keyword) (Match, bool) {
	text := p.text
	p.work += 2
	at := end - k.length
	if k.shape == kindLiteral {
		lit := s.literals[k.lit]
		return Match{Start: at, End: at + len(lit), Sure: true, kind: k.shape}, bytes.HasPrefix(text[at:], lit)
	}
	sh := &shapes[k.shape]
	if sh.find != nil {
		m, ok := sh.find(p, at, end)
		m.kind = k.shape
		return m, ok
	}
	if string(text[at:end]) != k.exact || !freshLeft(text, at) {
		return Match{}, false
	}
	m, ok := p.plain(sh, at, end)
	m.kind = k.shape
	return m, ok
}

// plain finds a secret that is a prefix, text[at:end], and a run.
func (p *probe) plain(sh *shape, at, end int) (Match, bool) {
	most := sh.max
	if most == 0 {
		most = maxBody
	}
	stop := p.run(end, most+1, sh.body)
	if stop-end > most && sh.max != 0 {
		return Match{}, false
	}
	for stop > end && classes[p.text[stop-1]]&dotC != 0 {
		stop-- // the sentence's full stop
	}
	if stop-end < sh.min {
		return Match{}, false
	}
	body := p.text[end:stop]
	if p.entropy(body) < defaultEntropy || p.placeholder(body) || sh.need != nil && !sh.need(body) {
		return Match{}, false
	}
	if len(body) > maxBody {
		stop = p.run(end, len(p.text), sh.body) // however long: all of it is redacted
	}
	return Match{Start: at, End: stop, Sure: sh.sure == nil || sh.sure(body)}, true
}

// Redacted stands where a secret was (first-runtime.md 6.7).
const Redacted = "[REDACTED_SECRET]"

// Redact appends text to dst with every secret replaced.
func (s *Scanner) Redact(dst, text []byte) []byte {
	var buf [16]Match
	at := 0
	for _, m := range s.Find(buf[:0], text) {
		dst = append(dst, text[at:m.Start]...)
		dst = append(dst, Redacted...)
		at = m.End
	}
	return append(dst, text[at:]...)
}
