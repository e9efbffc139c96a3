package model

// The features of one token are indexes into the weights:
//
//	[0, conceptEnd)       slots of phrases: single concepts, pairs and triples of them
//	[biasAt, wordAt)      lengths of windows and texts
//	[wordAt, Features)    hashed words, pairs and triples of words, shapes, punctuation
const (
	Features = wordAt + hashed

	concepts   = 48
	oneAt      = 0
	pairAt     = oneAt + concepts*seps
	skipAt     = pairAt + concepts*concepts*4
	tripleAt   = skipAt + concepts*concepts*2
	wordAt     = 1 << 15
	biasAt     = wordAt - 64
	conceptEnd = biasAt
	hashed     = 6 << 16

	// WordAt is where the hashed words begin: they are quantised on a scale of their own.
	WordAt = wordAt

	// At most so many features of words and of phrases has one token.
	maxWordFeats   = 9
	maxPhraseFeats = 4
)

// salts keep kinds of word features apart.
const (
	saltWord = 0x9E3779B1 * (iota + 1) & 0xFFFFFFFF
	saltPair
	saltTriple
	saltSep
	saltPunct
	saltShape
	saltMixed
	saltAfter
	saltSkip
)

func bucket(h uint32) uint32 {
	return wordAt + uint32(uint64(h)*0x9E3779B97F4A7C15>>32*hashed>>32)
}

func mix(a, b uint32) uint32 { return (a<<7 | a>>25) ^ b*0x85EBCA6B }

// gapOf puts the words between two concepts into four classes.
func gapOf(n int) uint32 {
	switch {
	case n <= 1:
		return 0
	case n <= 3:
		return 1
	case n <= 7:
		return 2
	}
	return 3
}

// maxGap is how far back a concept still combines with the next one, in tokens.
const maxGap = 14

// emit computes the features of t and adds their weights to the running sum.
func (m *Machine) emit(t token) {
	f := &m.wordFeats
	m.first = m.sep >= sepEnd
	if m.first {
		m.starts = append(m.starts, int32(len(m.sums)-m.zero))
		if m.sep == sepLine {
			m.sep = sepPara // a line of its own is no less a start than a text of its own
		}
	}
	f[0] = bucket(t.hash + saltWord)
	f[1] = bucket(mix(m.s1, t.stem) + saltPair)
	f[2] = bucket(mix(mix(m.s2, m.s1), t.stem) + saltTriple)
	f[3] = bucket(mix(uint32(m.sep), t.stem) + saltSep)
	f[4] = bucket(mix(uint32(m.shape1)<<8|uint32(t.shape)<<4|uint32(m.sep), uint32(m.shape2)) + saltShape)
	f[5] = bucket(mix(m.s2, t.stem) + saltSkip)
	n, k := everyToken, 0
	if m.punct != 0 {
		f[n] = bucket(mix(m.punct, 0) + saltPunct)
		n++
	}
	m.index++
	if c := uint32(t.concept); c != 0 {
		p := &m.phraseFeats
		p[0] = oneAt + c*seps + uint32(m.sep)
		k = 1
		if gap := m.index - m.at1; m.c1 != 0 && gap <= maxGap {
			p[1] = pairAt + (m.c1*concepts+c)*4 + gapOf(gap)
			k = 2
			f[n] = bucket(mix(m.c1, t.stem) + saltMixed)
			n++
			if gap := m.index - m.at2; m.c2 != 0 && gap <= maxGap {
				p[2] = skipAt + (m.c2*concepts+c)*2 + gapOf(gap)>>1
				h := mix(mix(m.c2, m.c1), c) * 0x9E3779B1
				p[3] = tripleAt + uint32(uint64(h)*(conceptEnd-tripleAt)>>32)
				k = 4
			}
		}
		m.c2, m.at2 = m.c1, m.at1
		m.c1, m.at1 = c, m.index
		m.present |= 1 << c
	} else if m.c1 != 0 && m.index-m.at1 <= 2 {
		f[n] = bucket(mix(m.c1, t.stem) + saltAfter)
		n++
	}
	m.s2, m.s1 = m.s1, t.stem
	m.shape2, m.shape1 = m.shape1, t.shape
	m.sep, m.punct = sepSpace, 0
	m.add(n, k)
}

// everyToken is how many word features each token has.
const everyToken = 6

// add closes the token with n features of words and k of phrases.
func (m *Machine) add(n, k int) {
	if m.collect != nil {
		all := append(m.both[:0], m.wordFeats[:n]...)
		m.both = append(all, m.phraseFeats[:k]...)
		m.collect(m.both, m.first)
		return
	}
	w, f, levels := m.nibbles, &m.wordFeats, &m.levels
	for _, x := range f[:everyToken] {
		m.sum += levels[w[(x-wordAt)>>1]>>(x&1*4)&15]
	}
	for _, x := range f[everyToken:n] {
		m.sum += levels[w[(x-wordAt)>>1]>>(x&1*4)&15]
	}
	if k > 0 {
		a := int32(0)
		for _, x := range m.phraseFeats[:k] {
			a += int32(int8(m.phrases[x]))
		}
		m.sum += a * m.scale
	}
	m.sums = append(m.sums, m.sum)
	m.at = append(m.at, tokenAt{uint32(m.pos), uint32(m.view), m.present})
	m.present = 0
}
