package model

// The features of one token are indexes into the weights:
//
//	[0, conceptEnd)       slots of phrases: single concepts, pairs and triples of them
//	[biasAt, wordAt)      lengths of windows and texts
//	[wordAt, Features)    hashed words, pairs and triples of words, shapes, punctuation
const (
	Features = 1 << 18

	concepts   = 48
	oneAt      = 0
	pairAt     = oneAt + concepts*seps
	skipAt     = pairAt + concepts*concepts*4
	tripleAt   = skipAt + concepts*concepts*2
	wordAt     = 1 << 15
	biasAt     = wordAt - 64
	conceptEnd = biasAt
	topics     = 1 << 14
	topicAt    = Features - topics

	// WordAt is where the hashed words begin: they are quantised on a scale of their own.
	WordAt = wordAt
	// TopicAt is where the weights of a text's words, wherever they are, begin.
	TopicAt = topicAt

	// PerToken bounds the features of one token.
	PerToken = 14
)

// Topic is the feature of the whole text that goes with the word feature f.
func Topic(f uint32) uint32 { return topicAt + f%topics }

// salts keep kinds of word features apart.
const (
	saltWord = 0x9E3779B1 * (iota + 1) & 0xFFFFFFFF
	saltPair
	saltSkip
	saltTriple
	saltSep
	saltPunct
	saltShape
	saltMixed
	saltAfter
)

func bucket(h uint32) uint32 {
	h *= 0x2C1B3C6D
	h ^= h >> 15
	h *= 0x297A2D39
	return wordAt + uint32(uint64(h)*(topicAt-wordAt)>>32)
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
	f := &m.feats
	n := 0
	f[n] = bucket(t.hash + saltWord)
	f[n+1] = bucket(mix(m.s1, t.stem) + saltPair)
	f[n+2] = bucket(mix(m.s2, t.stem) + saltSkip)
	f[n+3] = bucket(mix(mix(m.s2, m.s1), t.stem) + saltTriple)
	f[n+4] = bucket(mix(uint32(m.sep), t.stem) + saltSep)
	f[n+5] = bucket(mix(uint32(m.shape1)<<8|uint32(t.shape)<<4|uint32(m.sep), uint32(m.shape2)) + saltShape)
	n += 6
	if m.punct != 0 {
		f[n] = bucket(mix(m.punct, 0) + saltPunct)
		n++
	}
	m.index++
	if c := uint32(t.concept); c != 0 {
		f[n] = oneAt + c*seps + uint32(m.sep)
		n++
		if gap := m.index - m.at1; m.c1 != 0 && gap <= maxGap {
			f[n] = pairAt + (m.c1*concepts+c)*4 + gapOf(gap)
			f[n+1] = bucket(mix(m.c1, t.stem) + saltMixed)
			n += 2
			if gap := m.index - m.at2; m.c2 != 0 && gap <= maxGap {
				f[n] = skipAt + (m.c2*concepts+c)*2 + gapOf(gap)>>1
				h := mix(mix(m.c2, m.c1), c) * 0x9E3779B1
				f[n+1] = tripleAt + uint32(uint64(h)*(conceptEnd-tripleAt)>>32)
				n += 2
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
	m.add(n)
}

// TopicScale weighs the words of the whole text against those of the window: their mean
// weight counts this many times.
const TopicScale = 8

// add closes the token whose n features are in m.feats.
func (m *Machine) add(n int) {
	if m.collect != nil {
		m.collect(m.feats[:n])
		return
	}
	w := m.weights
	a, b := int32(0), int32(0)
	for _, x := range m.feats[:6] {
		b += int32(int8(w[x&(Features-1)]))
	}
	for _, x := range m.feats[6:n] {
		if v := int32(int8(w[x&(Features-1)])); x < wordAt {
			a += v
		} else {
			b += v
		}
	}
	m.topic += int64(int8(w[Topic(m.feats[0])&(Features-1)]))
	m.sum += a*m.scales[0] + b*m.scales[1]
	m.sums = append(m.sums, m.sum)
	m.at = append(m.at, tokenAt{uint32(m.pos), uint32(m.view), m.present})
	m.present = 0
}
