package secrets

// automaton finds all keywords in one pass over the text (Aho-Corasick as a dense table
// over byte classes; ASCII letter case is ignored). It is read-only once built.
type automaton struct {
	class    [256]uint8
	next     []uint16 // state<<classBits | class -> state
	firstOut uint16   // states from here on end a keyword
	outs     [][]uint16
}

// classBits makes room for 64 byte classes. Bytes beyond share the last one: that only
// makes hits that the look at the text refuses.
const (
	classBits  = 6
	maxClasses = 1 << classBits
)

// build makes the automaton; a hit on words[i] is reported as i.
func build(words [][]byte) *automaton {
	a := &automaton{}
	classes := 1 // 0 = in no keyword
	for _, w := range words {
		for _, c := range w {
			c = lower(c)
			if a.class[c] != 0 {
				continue
			}
			k := uint8(min(classes, maxClasses-1))
			a.class[c] = k
			if c >= 'a' && c <= 'z' {
				a.class[c-'a'+'A'] = k
			}
			classes = int(k) + 1
		}
	}
	t := newTrie(words, &a.class, classes)
	t.link(classes)
	a.number(t, classes)
	return a
}

// trie is the automaton while it is built.
type trie struct {
	child [][]int32 // state, class -> state; -1 = none
	outs  [][]uint16
}

func newTrie(words [][]byte, class *[256]uint8, classes int) *trie {
	t := &trie{}
	t.add(classes)
	for i, w := range words {
		s := int32(0)
		for _, c := range w {
			k := class[lower(c)]
			if t.child[s][k] < 0 {
				t.child[s][k] = t.add(classes)
			}
			s = t.child[s][k]
		}
		t.outs[s] = append(t.outs[s], uint16(i))
	}
	return t
}

func (t *trie) add(classes int) int32 {
	row := make([]int32, classes)
	for i := range row {
		row[i] = -1
	}
	t.child, t.outs = append(t.child, row), append(t.outs, nil)
	return int32(len(t.child) - 1)
}

// link turns the trie into an automaton: every missing child becomes that of the longest
// suffix that has one, and keywords that are suffixes of others end with them.
func (t *trie) link(classes int) {
	fail := make([]int32, len(t.child))
	var queue []int32
	for k := range classes {
		if c := t.child[0][k]; c > 0 {
			queue = append(queue, c)
		} else {
			t.child[0][k] = 0
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		t.outs[s] = append(t.outs[s], t.outs[fail[s]]...)
		for k := range classes {
			c := t.child[s][k]
			if c < 0 {
				t.child[s][k] = t.child[fail[s]][k]
				continue
			}
			fail[c] = t.child[fail[s]][k]
			queue = append(queue, c)
		}
	}
}

// number gives states that end keywords the highest numbers, so that the loop over the
// text needs one comparison.
func (a *automaton) number(t *trie, classes int) {
	to := make([]uint16, len(t.child))
	n := uint16(0)
	for pass := range 2 {
		for s := range t.child {
			if (len(t.outs[s]) > 0) == (pass == 1) {
				to[s] = n
				n++
				if pass == 1 {
					a.outs = append(a.outs, t.outs[s])
				}
			}
		}
		if pass == 0 {
			a.firstOut = n
		}
	}
	a.next = make([]uint16, len(t.child)<<classBits)
	for s, row := range t.child {
		for k := range classes {
			a.next[int(to[s])<<classBits|k] = to[row[k]]
		}
	}
}

// hit is one place where keywords end: outs[out] at the byte at.
type hit struct{ at, out uint32 }

// lanes are the parts of a text that are read side by side: each step of the automaton
// waits for a load that depends on the one before, and four such waits fit into one.
const lanes = 4

// minLanes is the shortest text that is worth it; longest bounds keywords, whose
// beginning may lie in the lane before.
const (
	minLanes = 256
	longest  = 32
)

// scan notes where keywords end, in order: lane after lane, and in each by place.
func (a *automaton) scan(hits *[lanes][]hit, text []byte) {
	for i := range hits {
		hits[i] = hits[i][:0]
	}
	if len(text) < minLanes {
		hits[0] = a.run(hits[0], text, 0, 0)
		return
	}
	n := len(text) / lanes
	var state [lanes]uint
	for l := 1; l < lanes; l++ { // as if the lane before had been read
		state[l] = a.state(text[max(0, l*n-longest) : l*n])
	}
	s0, s1, s2, s3 := state[0], state[1], state[2], state[3]
	t0, t1, t2, t3 := text[:n], text[n:][:n], text[2*n:][:n], text[3*n:][:n]
	next, class, out := a.next, &a.class, uint(a.firstOut)
	for i := range n {
		s0 = uint(next[s0<<classBits|uint(class[t0[i]])])
		s1 = uint(next[s1<<classBits|uint(class[t1[i]])])
		s2 = uint(next[s2<<classBits|uint(class[t2[i]])])
		s3 = uint(next[s3<<classBits|uint(class[t3[i]])])
		if max(s0, s1, s2, s3) < out {
			continue
		}
		for l, s := range [lanes]uint{s0, s1, s2, s3} {
			if s >= out {
				hits[l] = append(hits[l], hit{uint32(l*n + i), uint32(s - out)})
			}
		}
	}
	hits[lanes-1] = a.run(hits[lanes-1], text[lanes*n:], lanes*n, s3)
}

// run appends the hits in text, which begins at the byte base, from a state on.
func (a *automaton) run(hits []hit, text []byte, base int, state uint) []hit {
	next, class, out := a.next, &a.class, uint(a.firstOut)
	for i, c := range text {
		if state = uint(next[state<<classBits|uint(class[c])]); state >= out {
			hits = append(hits, hit{uint32(base + i), uint32(state - out)})
		}
	}
	return hits
}

// state is where the automaton is after text.
func (a *automaton) state(text []byte) (state uint) {
	for _, c := range text {
		state = uint(a.next[state<<classBits|uint(a.class[c])])
	}
	return state
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
