package rules

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// pattern is one regular expression with a word that every match contains: a text
// without the word cannot match and is passed over in nanoseconds instead of the tens of
// nanoseconds a byte that a regular expression costs.
type pattern struct {
	re     *regexp.Regexp
	word   []byte // folded; nil = none known
	bit    uint   // place in seen
	reason string
}

// maxPatterns bounds the distinct patterns of one kind of text: bits of seen.
const maxPatterns = 64

// maxPatternBytes bounds one pattern.
const maxPatternBytes = 1024

// maxMarked bounds the texts in which the place of a match is looked for, which takes the
// time of the match again.
const maxMarked = 64 << 10

// match records which of the patterns match text, and marks where. Between patterns it
// looks at ctx: a pattern over a text of megabytes takes long.
func (w *seen) match(ctx context.Context, patterns []*pattern, text, folded []byte, f *defend.Findings) error {
	for _, p := range patterns {
		if w.has(p) || p.word != nil && !bytes.Contains(folded, p.word) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !p.re.Match(text) {
			continue
		}
		*w |= 1 << p.bit
		if len(text) <= maxMarked {
			at := p.re.FindIndex(text)
			f.Mark(at[0], at[1])
		}
	}
	return nil
}

func (w *seen) has(p *pattern) bool { return *w>>p.bit&1 != 0 }

// set is a compiled Config.
type set struct {
	prompts, commands []*pattern
	leakAction        pipeline.Action
}

// compile checks and compiles a configuration.
func compile(cfg Config) (*set, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &set{leakAction: actions[cfg.LeakAction]}
	var err error
	if s.prompts, err = compileAll("defend.rules.promptInjectionPatterns", cfg.PromptInjectionPatterns); err != nil {
		return nil, err
	}
	s.commands, err = compileAll("defend.rules.blockedCommandPatterns", cfg.BlockedCommandPatterns)
	return s, err
}

func compileAll(key string, sources []string) ([]*pattern, error) {
	if len(sources) > maxPatterns {
		return nil, fmt.Errorf("%s: at most %d patterns", key, maxPatterns)
	}
	known := map[string]bool{}
	out := make([]*pattern, len(sources))
	for i, src := range sources {
		if known[src] {
			return nil, fmt.Errorf("%s[%d]: %q is listed twice", key, i, src)
		}
		known[src] = true
		p, err := newPattern(key, i, src)
		if err != nil {
			return nil, err
		}
		p.bit = uint(i)
		out[i] = p
	}
	return out, nil
}

func newPattern(key string, i int, src string) (*pattern, error) {
	expr := "(?i)" + unicodeSpace(src)
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("%s[%d]: %q: %w", key, i, src, err)
	}
	p := &pattern{re: re, reason: "it matches the pattern " + src}
	if tree, err := syntax.Parse(expr, syntax.Perl); err == nil {
		p.word = longestWord(tree)
	}
	return p, nil
}

// unicodeSpace replaces \s, which in Go is ASCII white space, by the white space of
// Unicode, which it was in the first runtime: a no-break space must not evade a rule.
func unicodeSpace(src string) string {
	const space = `\t-\r\x{85}\pZ`
	var b strings.Builder
	class := false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case c == '\\' && i+1 < len(src):
			i++
			switch {
			case src[i] != 's':
				b.WriteString(src[i-1 : i+1])
			case class:
				b.WriteString(space)
			default:
				b.WriteString("[" + space + "]")
			}
			continue
		case c == '[' && !class:
			class = true
			// A "]" right after the opening is a member of the class.
			if strings.HasPrefix(src[i+1:], "^]") || strings.HasPrefix(src[i+1:], "]") {
				n := strings.IndexByte(src[i:], ']') + 1
				b.WriteString(src[i : i+n])
				i += n - 1
				continue
			}
		case c == ']':
			class = false
		}
		b.WriteByte(src[i])
	}
	return b.String()
}

// minWord is the shortest word worth looking for first.
const minWord = 2

// longestWord returns the longest run of ASCII characters that every match of the
// expression contains, folded; nil when none is sure.
func longestWord(re *syntax.Regexp) []byte {
	switch re.Op {
	case syntax.OpLiteral:
		return longestRun(re.Rune)
	case syntax.OpCapture, syntax.OpPlus:
		return longestWord(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return longestWord(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []byte
		for _, sub := range re.Sub {
			if w := longestWord(sub); len(w) > len(best) {
				best = w
			}
		}
		return best
	}
	return nil
}

func longestRun(runes []rune) []byte {
	var best, run []byte
	for _, r := range runes {
		switch {
		case r >= 0x80:
			run = nil
			continue
		case r >= 'A' && r <= 'Z':
			r |= 0x20
		}
		run = append(run, byte(r))
		if len(run) > len(best) {
			best = append([]byte(nil), run...)
		}
	}
	if len(best) < minWord {
		return nil
	}
	return best
}
