package main

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sluice/pipeline"
	"sluice/stages/defend"
)

const (
	// Texts up to explainWhole bytes are shown whole; of longer ones the marked parts with
	// explainAround bytes on each side, or the beginning.
	explainWhole  = 600
	explainAround = 120
)

// explainer prints verdicts for people.
type explainer struct {
	out         *bufio.Writer
	open, close string // around what counted
	colour      bool
}

func newExplainer(out *bufio.Writer, colour bool) *explainer {
	e := &explainer{out: out, open: "[[", close: "]]", colour: colour}
	if colour {
		e.open, e.close = "\x1b[7m", "\x1b[27m"
	}
	return e
}

var actionColours = map[pipeline.Action]string{pipeline.Review: "\x1b[33m", pipeline.Block: "\x1b[31m"}

// write prints one verdict: a line, and for what is not plainly harmless the reasons and
// the text.
func (e *explainer) write(t *scanText, v *scanVerdict) error {
	word := fmt.Sprintf("%-6s", v.action)
	if c := actionColours[v.action]; e.colour && c != "" {
		word = c + word + "\x1b[0m"
	}
	_, err := fmt.Fprintf(e.out, "%s  %7.3f  %s  (%s, origin %s)\n", word, v.score, visible(string(t.id)), t.kind, t.origin)
	if v.action == pipeline.Allow && len(v.tags) == 0 {
		return err
	}
	for i, tag := range v.tags {
		fmt.Fprintf(e.out, "    %s: %s\n", tag, v.reasons[i])
	}
	for _, line := range strings.Split(e.excerpt(string(t.text), v.marks), "\n") {
		fmt.Fprintf(e.out, "    | %s\n", line)
	}
	return err
}

// excerpt is the text with the marks in it.
func (e *explainer) excerpt(text string, marks []defend.Mark) string {
	marks = mergeMarks(marks, len(text))
	around := explainAround
	if len(text) <= explainWhole {
		around = explainWhole
	} else if len(marks) == 0 {
		return visible(text[:runeStart(text, explainWhole)]) + " …"
	}
	var b strings.Builder
	at := 0
	for i, m := range marks {
		if from := runeStart(text, m.Start-around); from > at {
			b.WriteString(visible(text[at:at]) + "… ")
			at = from
		}
		b.WriteString(visible(text[at:m.Start]) + e.open + visible(text[m.Start:m.End]) + e.close)
		next := len(text)
		if i+1 < len(marks) {
			next = marks[i+1].Start
		}
		at = min(runeStart(text, m.End+around), next)
		b.WriteString(visible(text[m.End:at]))
		if at < next && i+1 < len(marks) {
			b.WriteByte(' ')
		}
	}
	switch {
	case len(marks) == 0:
		b.WriteString(visible(text))
	case at < len(text):
		b.WriteString(" …")
	}
	return strings.TrimRight(b.String(), "\n")
}

// runeStart is the beginning of the character at i, within the text.
func runeStart(text string, i int) int {
	i = max(0, min(i, len(text)))
	for i > 0 && i < len(text) && !utf8.RuneStart(text[i]) {
		i--
	}
	return i
}

// mergeMarks sorts marks and joins those that touch.
func mergeMarks(marks []defend.Mark, size int) []defend.Mark {
	list := slices.Clone(marks)
	slices.SortFunc(list, func(a, b defend.Mark) int { return a.Start - b.Start })
	out := list[:0]
	for _, m := range list {
		m.Start, m.End = max(m.Start, 0), min(m.End, size)
		switch last := len(out) - 1; {
		case m.Start >= m.End:
		case last >= 0 && m.Start <= out[last].End:
			out[last].End = max(out[last].End, m.End)
		default:
			out = append(out, m)
		}
	}
	return out
}

// visible shows every character that would not show itself, or would do something to a
// terminal: the texts are an attacker's.
func visible(text string) string {
	plain := func(r rune) bool { return r != utf8.RuneError && (r == '\n' || r == '\t' || strconv.IsPrint(r)) }
	if !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if plain(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
