package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// A document is judged in pieces, so that a verdict names its place. They overlap, so that
// nothing is hidden by where they end.
const (
	pieceMin     = 1 << 9
	pieceMax     = 1 << 11
	pieceOverlap = 256
	// maxCommandPiece is what the command defender reads of one text by default.
	maxCommandPiece = 64 << 10
)

// document judges a text as prompts, and its shell blocks as commands.
func (s *scanner) document(ctx context.Context, name string, text []byte) error {
	origin := s.opt.defaultOrigin
	if s.opt.origin == "" {
		origin = defend.OriginWeb
	}
	where := newPlaces(name, text)
	last, fresh := pipeline.Allow, 0 // the last piece's decision, and where what it did not hold begins
	for start := 0; start < len(text); {
		end := start + pieceEnd(text[start:])
		t := &scanText{kind: kindPrompt, text: text[start:end], origin: origin}
		v, err := s.judge.assess(ctx, t)
		if err != nil {
			return err
		}
		if again := fresh - start; again > 0 && len(v.marks) > 0 && v.marks[0].End <= again && v.action <= last {
			// What counted is the last piece's end, which was reported with that one.
			start, t.text = fresh, text[fresh:end]
			if v, err = s.judge.assess(ctx, t); err != nil {
				return err
			}
		}
		t.id = where.id(where.lineOf(start), t.text, v.marks, "")
		if err := s.report(t, &v); err != nil {
			return err
		}
		last, fresh = v.action, end
		if end == len(text) {
			break
		}
		start = overlapStart(text, start, end)
	}
	for _, b := range shellBlocks(text) {
		if err := s.shellBlock(ctx, where, b); err != nil {
			return err
		}
	}
	return nil
}

// pieceEnd is where the first piece of text ends: behind an empty line, else behind a line,
// else behind a character.
func pieceEnd(text []byte) int {
	if len(text) <= pieceMax {
		return len(text)
	}
	if i := bytes.Index(text[pieceMin:pieceMax], []byte("\n\n")); i >= 0 {
		return pieceMin + i + 2
	}
	if i := bytes.LastIndexByte(text[:pieceMax], '\n'); i >= pieceMin {
		return i + 1
	}
	end := pieceMax
	for end > pieceMin && !utf8.RuneStart(text[end]) {
		end--
	}
	return end
}

// overlapStart is where the piece behind [start, end) begins: at a line of the last bytes,
// or at a word.
func overlapStart(text []byte, start, end int) int {
	from := max(start+1, end-pieceOverlap)
	if i := bytes.IndexByte(text[from:end], '\n'); i >= 0 && from+i+1 < end {
		return from + i + 1
	}
	if i := bytes.IndexByte(text[from:end], ' '); i >= 0 {
		return from + i + 1
	}
	for from < end && !utf8.RuneStart(text[from]) {
		from++
	}
	return from
}

// places turns offsets of a text into FILE:LINE. They may go back by small steps.
type places struct {
	name string
	text []byte
	last int
	line int
}

func newPlaces(name string, text []byte) *places { return &places{name: name, text: text, line: 1} }

// lineOf is the line that the offset is in, from 1.
func (p *places) lineOf(offset int) int {
	if offset < p.last {
		p.line -= bytes.Count(p.text[offset:p.last], []byte("\n"))
	} else {
		p.line += bytes.Count(p.text[p.last:offset], []byte("\n"))
	}
	p.last = offset
	return p.line
}

// id names the place of the first mark in a text that begins at the line, or that line.
func (p *places) id(line int, text []byte, marks []defend.Mark, suffix string) []byte {
	if len(marks) > 0 {
		line += bytes.Count(text[:min(marks[0].Start, len(text))], []byte("\n"))
	}
	return quoteJSON(p.name + ":" + strconv.Itoa(line) + suffix)
}

// commands judges commands that begin at a line of the file: all at once, because what one
// does depends on those before it, or in pieces where they are more than can be judged.
// With onlyBlocked, other verdicts are not reported.
func (s *scanner) commands(ctx context.Context, where *places, line int, b block, onlyBlocked bool) error {
	suffix := ""
	if b.language != "" {
		suffix = "#" + b.language // a document's line may be judged as a prompt, too
	}
	for text := b.text; len(text) > 0; {
		end := len(text)
		if end > maxCommandPiece {
			if end = bytes.LastIndexByte(text[:maxCommandPiece], '\n') + 1; end == 0 {
				end = len(text) // one line: the defender says that it is too long
			}
		}
		t := &scanText{kind: kindCommand, text: text[:end], origin: s.opt.defaultOrigin}
		v, err := s.judge.assess(ctx, t)
		if err != nil {
			return err
		}
		if v.action == pipeline.Block || !onlyBlocked {
			t.id = where.id(line, t.text, v.marks, suffix)
			if err := s.report(t, &v); err != nil {
				return err
			}
		}
		line += bytes.Count(text[:end], []byte("\n"))
		text = text[end:]
	}
	return nil
}

// script judges a script's file as commands.
func (s *scanner) script(ctx context.Context, name string, text []byte) error {
	where := newPlaces(name, text)
	blocks := []block{{text: text}}
	if makefile(name) {
		blocks = recipes(text)
	}
	for _, b := range blocks {
		if err := s.commands(ctx, where, where.lineOf(b.start), b, false); err != nil {
			return err
		}
	}
	return nil
}

// shellBlock judges a code block. In a session, what was typed are the lines behind a
// prompt; the others are output, unless they are an attack.
func (s *scanner) shellBlock(ctx context.Context, where *places, b block) error {
	line := where.lineOf(b.start)
	input, output := session(b.text)
	if output == nil {
		return s.commands(ctx, where, line, b, false)
	}
	b.text = input
	if err := s.commands(ctx, where, line, b, false); err != nil {
		return err
	}
	b.text = output
	return s.commands(ctx, where, line, b, true)
}

// block is a part of a file that is commands. Its text begins at start of the file and has
// as many lines as there.
type block struct {
	start    int
	text     []byte
	language string
}

var shellLanguages = []string{"sh", "bash", "zsh", "ksh", "fish", "shell", "console", "shell-session", "shellsession", "sh-session", "terminal",
	"powershell", "pwsh", "ps1", "cmd", "bat", "batch", "dos"}

// shellBlocks are the fenced code blocks that are marked as a shell's. One whose end is
// missing goes to the end of the text, as Markdown has it.
func shellBlocks(text []byte) (list []block) {
	fence, open := "", block{}
	for start := 0; start < len(text); {
		line, next := lineAt(text, start)
		mark, info := fenceOf(line)
		switch {
		case fence == "" && mark != "":
			fence, open = mark, block{start: next, language: info}
		case fence != "" && info == "" && mark != "" && mark[0] == fence[0] && len(mark) >= len(fence):
			list, fence = keepBlock(list, open, text[open.start:start]), ""
		}
		start = next
	}
	if fence != "" && open.start < len(text) {
		list = keepBlock(list, open, text[open.start:])
	}
	return list
}

func keepBlock(list []block, b block, text []byte) []block {
	if !slices.Contains(shellLanguages, b.language) || len(bytes.TrimSpace(text)) == 0 {
		return list
	}
	b.text = text
	return append(list, b)
}

func lineAt(text []byte, start int) (line []byte, next int) {
	if i := bytes.IndexByte(text[start:], '\n'); i >= 0 {
		return text[start : start+i], start + i + 1
	}
	return text[start:], len(text)
}

// fenceOf is the fence that a line begins or ends a code block with, and the language.
func fenceOf(line []byte) (mark, language string) {
	text := strings.TrimSpace(string(line[:min(len(line), 200)]))
	rest := strings.TrimLeft(text, "`")
	if rest == text {
		rest = strings.TrimLeft(text, "~")
	}
	if mark = text[:len(text)-len(rest)]; len(mark) < 3 || strings.Contains(rest, "`") {
		return "", ""
	}
	word := strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '{' || r == '}' || r == ',' })
	if len(word) == 0 {
		return mark, ""
	}
	return mark, strings.ToLower(strings.TrimPrefix(word[0], "."))
}

var shellPrompt = regexp.MustCompile(`^\s*(?:[\w.@~:/-]*[$%] |PS [^>\n]*> |[A-Za-z]:\\[^>\n]*>)`)

// session takes what was typed and what was printed in a shell session apart: typed is
// what stands behind a prompt, with the lines that a backslash continues. Both keep the
// number of lines. Without any prompt there is no output.
func session(text []byte) (input, output []byte) {
	lines := bytes.SplitAfter(text, []byte("\n"))
	if !slices.ContainsFunc(lines, shellPrompt.Match) {
		return text, nil
	}
	goesOn := false
	for _, line := range lines {
		at := shellPrompt.FindIndex(line)
		if at == nil && !goesOn {
			input, output = append(input, '\n'), append(output, line...)
			continue
		}
		if at != nil {
			line = line[at[1]:]
		}
		goesOn = bytes.HasSuffix(bytes.TrimRight(line, "\r\n"), []byte(`\`))
		input, output = append(input, line...), append(output, '\n')
	}
	return input, output
}

var makeVariable = regexp.MustCompile(`\$[({](\w+)[)}]`)

// recipes are the commands of a Makefile, target by target, as make hands them to the
// shell: its own variables become the shell's, which are as unknown.
func recipes(text []byte) (list []block) {
	inside := false
	for start := 0; start < len(text); {
		line, next := lineAt(text, start)
		if len(line) == 0 || line[0] != '\t' {
			if inside = inside && len(bytes.TrimSpace(line)) == 0; inside {
				b := &list[len(list)-1]
				b.text = append(b.text, '\n')
			}
			start = next
			continue
		}
		if !inside {
			list, inside = append(list, block{start: start}), true
		}
		line = bytes.TrimLeft(line, "\t@+-")
		line = makeVariable.ReplaceAll(line, []byte("$${$1}"))
		b := &list[len(list)-1]
		b.text = append(append(b.text, bytes.ReplaceAll(line, []byte("$$"), []byte("$"))...), '\n')
		start = next
	}
	return list
}
