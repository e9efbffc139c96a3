package main

import (
	"fmt"
	"strings"
)

// harmlessEvery composed text has a harmless one in its middle.
const harmlessEvery = 4

// composed makes texts of attacks somewhere in harmless ones, from train alone, inside
// what documents carry remarks in: a comment, a list, a field, a quote.
//
// Some are harmless text in harmless text, so that a carrier is no sign of an attack.
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
		text := c.text
		limit := 600 + g.pick(600)
		if i%2 == 1 {
			limit = maxAround
		}
		if len(text) > limit {
			start := cut(text, g.pick(len(text)-limit+1))
			text = text[start:cut(text, start+limit)]
		}
		at := cut(text, g.pick(len(text)+1))
		k := carriers[g.pick(len(carriers))]
		out = append(out, &doc{id: fmt.Sprint("composed", i), source: "composed-here", category: "indirect-long", bad: b.bad, fold: "composed",
			text: text[:at] + strings.Replace(k, "X", b.text, 1) + text[at:]})
	}
	extract(out)
	return out
}

// maxAround bounds the harmless text around, in bytes: what is learnt is one window.
const maxAround = 3000

// cut is where the line, sentence or word ends that text[i] is in.
func cut(text string, i int) int {
	if i >= len(text) {
		return len(text)
	}
	part := text[i:min(len(text), i+300)]
	for _, end := range [...]string{"\n", ". ", " "} {
		if k := strings.Index(part, end); k >= 0 {
			return i + k + len(end)
		}
	}
	for i < len(text) && text[i]&0xC0 == 0x80 {
		i++
	}
	return i
}

// carriers are what foreign text is put into; X is the text.
var carriers = [...]string{
	"X", " X ", "\nX\n", "\nX\n", "\n\nX\n\n", "\n\nX\n\n", "\n<!-- X -->\n", "\n<!-- X -->\n", "\n# X\n", "\n// X\n", "\n/* X */\n", "\n- X\n", "\n* X\n",
	"\n> X\n", "\n\"X\"\n", "\n\"note\": \"X\",\n", "\n\"comment\": \"X\"\n", "\n{\"description\": \"X\"}\n", "\n[X]\n", " (X) ", "\nNote: X\n", "\nTODO: X\n",
	"\n| X |\n", "\n<p>X</p>\n", "\n<span style=\"display:none\">X</span>\n", "\n### X\n", "\n\"\"\"X\"\"\"\n", "\n```\nX\n```\n", "\n[//]: # (X)\n",
	"\n2024-05-11 10:22:07 INFO X\n", "\n<description>X</description>\n", "\nUser comment: X\n", "\n-- X\n", "\n[system] X\n", "\n1. X\n", "\n**X**\n",
}
