package approval

import (
	"path"
	"slices"
	"strings"
	"unicode"
)

// runs reports whether showing command tells what running argv does: it is argv quoted
// for a shell, argv as the real gateway joins it, or the script of a plain shell.
func runs(command string, argv []string) bool {
	if words, ok := words(command); ok && slices.Equal(words, argv) {
		return true
	}
	return command == join(argv) || len(argv) == 3 && argv[2] == command && isScriptFlag(argv[1]) && isShell(argv[0])
}

// join writes argv as the real gateway's formatExecCommand does.
func join(argv []string) string {
	out := make([]string, len(argv))
	for i, arg := range argv {
		switch {
		case arg == "":
			out[i] = `""`
		case strings.ContainsFunc(arg, func(r rune) bool { return r == '"' || unicode.IsSpace(r) || r == '\uFEFF' }):
			out[i] = `"` + strings.ReplaceAll(arg, `"`, `\"`) + `"`
		default:
			out[i] = arg
		}
	}
	return strings.Join(out, " ")
}

// isShell accepts a shell by its name or in the system's own folders: a bash of /tmp is
// another program than the one that its script is shown for.
func isShell(program string) bool {
	switch path.Dir(program) {
	case "/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin":
	default:
		if strings.ContainsAny(program, `/\`) {
			return false
		}
	}
	switch path.Base(program) {
	case "sh", "bash", "dash", "zsh", "ksh", "ash":
		return true
	}
	return false
}

// isScriptFlag accepts -c, also with others: -lc, -ec.
func isScriptFlag(flag string) bool {
	if len(flag) < 2 || flag[0] != '-' || flag[len(flag)-1] != 'c' {
		return false
	}
	return !strings.ContainsFunc(flag[1:], func(r rune) bool { return r < 'a' || r > 'z' })
}

// words splits a command into the words that a POSIX shell would run it with. It reports
// false where the shell would do anything else than run these words.
func words(command string) (out []string, ok bool) {
	l := lexer{in: command}
	for l.i < len(l.in) {
		if c := l.in[l.i]; c == ' ' || c == '\t' {
			l.end(&out)
			l.i++
			continue
		}
		if !l.next(len(out)) {
			return nil, false
		}
	}
	l.end(&out)
	return out, len(out) > 0
}

// lexer reads one word after the other.
type lexer struct {
	in   string
	i    int
	word []byte
	open bool // a word has begun, perhaps an empty quoted one
}

func (l *lexer) end(out *[]string) {
	if l.open {
		*out = append(*out, string(l.word))
		l.word, l.open = l.word[:0], false
	}
}

// next reads one part of a word.
func (l *lexer) next(place int) bool {
	c := l.in[l.i]
	switch c {
	case '\'':
		return l.single()
	case '"':
		return l.double()
	case '\\':
		if l.i+1 >= len(l.in) || l.in[l.i+1] == '\n' {
			return false
		}
		l.add(l.in[l.i+1], 2)
		return true
	case '~', '#':
		if !l.open {
			return false
		}
	case '=':
		if place == 0 {
			return false // an assignment
		}
	}
	if strings.IndexByte(";&|<>()$`*?[]{}!\n\r", c) >= 0 {
		return false
	}
	l.add(c, 1)
	return true
}

func (l *lexer) add(c byte, n int) {
	l.word, l.open, l.i = append(l.word, c), true, l.i+n
}

func (l *lexer) single() bool {
	end := strings.IndexByte(l.in[l.i+1:], '\'')
	if end < 0 {
		return false
	}
	l.word, l.open = append(l.word, l.in[l.i+1:l.i+1+end]...), true
	l.i += end + 2
	return true
}

func (l *lexer) double() bool {
	l.open = true
	for l.i++; l.i < len(l.in); {
		switch c := l.in[l.i]; c {
		case '"':
			l.i++
			return true
		case '$', '`', '!':
			return false
		case '\\':
			if l.i+1 < len(l.in) && strings.IndexByte("$`\"\\", l.in[l.i+1]) >= 0 {
				l.add(l.in[l.i+1], 2)
			} else {
				l.add(c, 1)
			}
		default:
			l.add(c, 1)
		}
	}
	return false
}
