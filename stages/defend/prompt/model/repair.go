package model

import "sluice/stages/defend/prompt/phrases"

// maxSpelled bounds how many letters of one text are put together to words, or taken
// apart: each of them costs ten times an ordinary one.
const maxSpelled = 4 << 10

// spaced reads "i g n o r e  a l l" and "i.g.n.o.r.e": single letters with the same
// separator between them. It returns where they end, 0 if there are fewer than four.
func (m *Machine) spaced(text []byte, i int) int {
	if m.spelled > maxSpelled || i+6 >= len(text) || class[text[i+1]] == clsLetter || text[i+1] >= 0x80 || class[text[i+1]] == clsDigit {
		return 0
	}
	sep := text[i+1]
	run := m.letters[:0]
	j, gap := i, false
	for j < len(text) && len(run) < maxJoined {
		if class[text[j]] != clsLetter || j+1 < len(text) && (class[text[j+1]] == clsLetter || class[text[j+1]] == clsDigit) {
			break
		}
		if gap {
			run = append(run, ' ')
		}
		run = append(run, lower[text[j]])
		j++
		end := j
		if j >= len(text) || text[j] != sep && !goesOn(text, j, sep) {
			break
		}
		// One separator goes on with the word; more, or another one after it, end the word.
		for j < len(text) && j < end+6 && class[text[j]] != clsLetter && class[text[j]] != clsDigit && text[j] < 0x80 {
			j++
		}
		gap = j > end+1 || text[end] != sep
		if j >= len(text) || class[text[j]] != clsLetter || j+1 < len(text) && class[text[j+1]] == clsLetter {
			j = end
			break
		}
	}
	m.letters = run
	if len(run) < 4 {
		return 0
	}
	m.spelled += len(run)
	from := 0
	for k := 0; k <= len(run); k++ {
		if k == len(run) || run[k] == ' ' {
			m.pieces(run[from:k], i)
			from = k + 1
		}
	}
	return j
}

// goesOn reports whether spelling goes on after the blank at text[j]: "a.l.l r.u.l.e.s".
func goesOn(text []byte, j int, sep byte) bool {
	return class[text[j]] == clsSpace && j+2 < len(text) && class[text[j+1]] == clsLetter && text[j+2] == sep
}

// pieces emits a run of letters as the words it is made of.
func (m *Machine) pieces(run []byte, at int) {
	for len(run) > 0 {
		n, t := longest(run)
		m.pos = at
		m.emit(t)
		run = run[n:]
	}
}

// joined emits text[lo:hi], a long word that nobody knows, as the known words that it is
// made of, if they cover nearly all of it.
func (m *Machine) joined(text []byte, lo, hi int) bool {
	if m.spelled > maxSpelled {
		return false
	}
	run := m.letters[:0]
	for _, c := range text[lo:min(hi, lo+maxJoined)] {
		run = append(run, lower[c])
	}
	m.letters = run
	m.spelled += len(run)
	covered, words := 0, 0
	for k := 0; k < len(run); {
		n, t := longest(run[k:])
		if n > 1 {
			covered += n
			words++
		}
		_ = t
		k += n
	}
	if words < 3 || covered*10 < len(run)*8 || covered < words*4 {
		return false
	}
	m.pieces(run, lo)
	return true
}

// longest finds the longest known word at the start of run, at least one letter.
func longest(run []byte) (int, token) {
	h := phrases.Start
	n, stem := 1, uint32(0)
	var best token
	for k, c := range run[:min(len(run), 16)] {
		h = phrases.Step(h, c)
		if k == 0 {
			best = token{hash: h, stem: h}
		}
		if k == stemBytes-1 {
			stem = h
		}
		if k < 1 || k == 1 && !short(run[0], c) || !phrases.Known(h) {
			continue
		}
		n = k + 1
		best = token{hash: h, stem: h, concept: phrases.Find(h)}
		if stem != 0 {
			best.stem = stem
		}
		if best.concept == 0 {
			best.concept = beginning(run[:n])
		}
	}
	return n, best
}

func beginning(word []byte) (concept phrases.Concept) {
	h := phrases.Start
	for k, c := range word {
		h = phrases.Step(h, c)
		if k+1 >= phrases.MinPrefix && phrases.MaybePrefix(h) {
			if p := phrases.FindPrefix(h); p != 0 {
				concept = p
			}
		}
	}
	return
}

// short reports the words of two letters that are taken in a run without blanks.
func short(a, b byte) bool {
	switch string([]byte{a, b}) {
	case "to", "of", "in", "is", "me", "my", "do", "it", "no", "or", "on", "be", "as", "at", "by", "we", "if", "so", "up", "an", "ai", "go", "am":
		return true
	}
	return false
}

// leetOf gives the letters that digits and marks stand for.
var leetOf = [256]byte{'0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '7': 't', '8': 'b', '9': 'g', '@': 'a', '$': 's', '!': 'i', '|': 'i', '+': 't', '6': 'g', '2': 'z'}

// maxLeet bounds a word in leet.
const maxLeet = 20

// leet reads a word such as 1gn0r3 or p@55w0rd at text[i]: one that is known once its
// digits and marks are read as letters. It returns its length, 0 if there is none.
func (m *Machine) leet(text []byte, i int) int {
	if leetOf[text[i]] == 0 && class[text[i]] != clsLetter {
		return 0
	}
	if i > 0 && class[text[i-1]] == clsLetter {
		return 0
	}
	var word, alt [maxLeet]byte
	n, marks, letters, ones, last := 0, 0, 0, false, 0
	for n < maxLeet && i+n < len(text) {
		c := text[i+n]
		switch {
		case class[c] == clsLetter:
			letters++
			word[n], alt[n] = lower[c], lower[c]
			last = n + 1
		case leetOf[c] != 0:
			marks++
			word[n], alt[n] = leetOf[c], leetOf[c]
			if c == '1' || c == '!' || c == '|' {
				alt[n], ones = 'l', true
			}
			if class[c] == clsDigit || c == '@' || c == '$' {
				last = n + 1
			}
		default:
			goto done
		}
		n++
	}
done:
	if n == maxLeet || marks == 0 || letters == 0 && n < 3 {
		return 0
	}
	for _, k := range [2]int{n, last} { // with and without marks at the end: "n0w!"
		if k < 2 || k == 2 && letters == 0 {
			continue
		}
		if m.leetWord(word[:k], i) || ones && m.leetWord(alt[:k], i) {
			return k
		}
	}
	return 0
}

func (m *Machine) leetWord(word []byte, at int) bool {
	h, stem := phrases.Start, uint32(0)
	for k, c := range word {
		h = phrases.Step(h, c)
		if k == stemBytes-1 {
			stem = h
		}
	}
	if !phrases.Known(h) || len(word) == 2 && !short(word[0], word[1]) {
		return false
	}
	t := token{hash: h, stem: h, concept: phrases.Find(h)}
	if stem != 0 {
		t.stem = stem
	}
	if t.concept == 0 {
		t.concept = beginning(word)
	}
	m.pos = at
	m.emit(t)
	return true
}
