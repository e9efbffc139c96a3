package main

import "fmt"

// harmlessEvery composed text has a harmless one in its middle.
const harmlessEvery = 4

// composed makes texts of attacks in the middle of harmless ones, from train alone. The
// features of both are joined; those at the seams are as if a segment began there.
//
// Some are harmless text in harmless text, so that a seam is no sign of an attack.
func composed(train []*doc, n int) []*doc {
	g := &grammar{rng: 0xC0FFEE}
	var bad, good, short []*doc
	for _, d := range train {
		switch {
		case d.parts != nil || len(d.ends) < 4:
		case d.bad && len(d.ends) < 60:
			bad = append(bad, d)
		case !d.bad && len(d.ends) > 30 && !hard[d.category]:
			good = append(good, d)
		}
		if !d.bad && d.parts == nil && len(d.ends) >= 4 && len(d.ends) < 60 {
			short = append(short, d)
		}
	}
	var out []*doc
	for i := range n {
		b, c := bad[g.pick(len(bad))], good[g.pick(len(good))]
		if i%harmlessEvery == 0 {
			b = short[g.pick(len(short))]
		}
		// A quarter of them short: one or two sentences around the attack.
		whole := len(c.ends)
		if i%2 == 0 {
			whole = min(whole, 20+g.pick(60))
		}
		start := g.pick(len(c.ends) - whole + 1)
		at := start + g.pick(whole+1)
		d := &doc{id: fmt.Sprint("composed", i), source: "composed-here", category: "indirect-long", bad: b.bad, fold: "composed"}
		d.add(c, start, at)
		d.add(b, 0, len(b.ends))
		d.add(c, at, start+whole)
		out = append(out, d)
	}
	return out
}

// add appends tokens [from, to) of c to d.
func (d *doc) add(c *doc, from, to int) {
	for i := from; i < to; i++ {
		start := int32(0)
		if i > 0 {
			start = c.ends[i-1]
		}
		d.feats = append(d.feats, c.feats[start:c.ends[i]]...)
		d.ends = append(d.ends, int32(len(d.feats)))
	}
}
