package main

import (
	"embed"
	"fmt"
	"strings"
)

// The grammars: forms of attack and of harmless text, in the repository's own words.
//
//go:embed grammar/*.txt
var grammarFiles embed.FS

// grammar expands templates; the syntax is described in grammar/attacks.txt.
type grammar struct {
	slots map[string][]string
	rng   uint64
}

func (g *grammar) pick(n int) int {
	g.rng ^= g.rng << 13
	g.rng ^= g.rng >> 7
	g.rng ^= g.rng << 17
	return int(g.rng >> 11 % uint64(n))
}

// alternatives splits s at | outside of brackets.
func alternatives(s string) []string {
	var out []string
	depth, from := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '|':
			if depth == 0 {
				out = append(out, strings.Trim(s[from:i], " "))
				from = i + 1
			}
		}
	}
	return append(out, strings.Trim(s[from:], " "))
}

// matching is the index of the bracket that closes s[0].
func matching(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

const maxDepth = 12

func (g *grammar) expand(s, x string, depth int) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		end := -1
		if c == '[' || c == '{' {
			end = matching(s[i:])
		}
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 'd':
				b.WriteByte(byte('0' + g.pick(10)))
			case 'w':
				b.WriteByte(byte('a' + g.pick(26)))
			default:
				b.WriteByte(s[i])
			}
		case c == '[' && end > 0 && depth < maxDepth:
			alt := alternatives(s[i+1 : i+end])
			b.WriteString(g.expand(alt[g.pick(len(alt))], x, depth+1))
			i += end
		case c == '{' && end > 0 && depth < maxDepth:
			name, arg, called := strings.Cut(s[i+1:i+end], ":")
			list, ok := g.slots[name]
			switch {
			case name == "X" && !called:
				b.WriteString(x)
			case ok:
				inner := x
				if called {
					inner = g.expand(arg, x, depth+1)
				}
				b.WriteString(g.expand(list[g.pick(len(list))], inner, depth+1))
			default:
				b.WriteByte(c)
				continue
			}
			i += end
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// perLine multiplies the number of texts that a grammar asks for.
const perLine = 3

var tidy = strings.NewReplacer("  ", " ", " .", ".", " ,", ",", " ?", "?", " !", "!", "..", ".", ",.", ".", "?.", "?", ".,", ",", " :", ":")

// grammarDocs makes the texts of all grammars, the same ones every time.
func grammarDocs() []*doc {
	var docs []*doc
	entries, err := grammarFiles.ReadDir("grammar")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		raw, err := grammarFiles.ReadFile("grammar/" + e.Name())
		if err != nil {
			panic(err)
		}
		bad := !strings.HasPrefix(e.Name(), "benign")
		docs = append(docs, grammarFile(strings.TrimSuffix(e.Name(), ".txt"), string(raw), bad)...)
	}
	return docs
}

func grammarFile(name, raw string, bad bool) []*doc {
	g := &grammar{slots: map[string][]string{}, rng: 0x1234567}
	lines := strings.Split(raw, "\n")
	category, n := "", 0
	for _, line := range lines {
		if k, v, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "= ") && !strings.ContainsAny(k, " [{") {
			g.slots[k] = alternatives(v)
		}
	}
	var docs []*doc
	for _, line := range lines {
		k, _, ok := strings.Cut(line, " = ")
		switch {
		case strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "##") || line == "":
		case strings.HasPrefix(line, "= "):
			fmt.Sscanf(line, "= %s %d", &category, &n)
		case ok && g.slots[k] != nil:
		default:
			for i := range n * perLine {
				text := g.expand(line, "", 0)
				for range 2 {
					text = tidy.Replace(text)
				}
				docs = append(docs, &doc{id: fmt.Sprint(name, i), source: "grammar-" + name + "-" + category, category: category,
					text: g.style(strings.Trim(text, " ")), bad: bad, fold: "grammar", file: name})
			}
		}
	}
	return docs
}

// style varies case, as people do.
func (g *grammar) style(s string) string {
	switch g.pick(12) {
	case 0:
		return strings.ToUpper(s)
	case 1, 2, 3:
		return strings.ToLower(s)
	case 4, 5, 6, 7, 8:
		if s != "" && s[0] >= 'a' && s[0] <= 'z' {
			return strings.ToUpper(s[:1]) + s[1:]
		}
	}
	return s
}
