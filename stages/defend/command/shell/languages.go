package shell

import (
	"strings"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/paths"
)

// language is an interpreter: which options carry code, and whether it is a shell.
type language struct {
	shell bool
	// options carry code as their value.
	options []string
	// positional says that the first argument is code (awk, sed).
	positional bool
}

var languages = map[string]language{
	"sh": {shell: true}, "bash": {shell: true}, "dash": {shell: true}, "zsh": {shell: true}, "ksh": {shell: true}, "mksh": {shell: true}, "ash": {shell: true}, "csh": {shell: true}, "tcsh": {shell: true}, "fish": {shell: true}, "rbash": {shell: true}, "yash": {shell: true}, "elvish": {shell: true}, "pdksh": {shell: true}, "posh": {shell: true}, "rzsh": {shell: true}, "hush": {shell: true},
	"python": {options: []string{"-c"}}, "pypy": {options: []string{"-c"}}, "ipython": {options: []string{"-c"}}, "jython": {options: []string{"-c"}}, "perl": {options: []string{"-e", "-E", "-M"}}, "ruby": {options: []string{"-e"}}, "jruby": {options: []string{"-e"}}, "irb": {}, "node": {options: []string{"-e", "--eval", "-p", "--print"}}, "nodejs": {options: []string{"-e", "--eval", "-p"}}, "bun": {options: []string{"-e"}}, "deno": {options: []string{"eval"}}, "php": {options: []string{"-r", "-R", "-B"}},
	"lua": {options: []string{"-e"}}, "luajit": {options: []string{"-e"}}, "awk": {positional: true}, "gawk": {positional: true}, "mawk": {positional: true}, "nawk": {positional: true}, "tclsh": {}, "expect": {options: []string{"-c"}}, "osascript": {options: []string{"-e"}}, "swift": {options: []string{"-e"}}, "julia": {options: []string{"-e"}}, "Rscript": {options: []string{"-e"}}, "R": {options: []string{"-e"}}, "groovy": {options: []string{"-e"}}, "jshell": {}, "groovysh": {}, "ghci": {}, "pry": {}, "crystal": {options: []string{"eval"}}, "scala": {options: []string{"-e"}}, "elixir": {options: []string{"-e"}}, "erl": {options: []string{"-eval"}}, "guile": {options: []string{"-c"}}, "racket": {options: []string{"-e"}}, "sbcl": {options: []string{"--eval"}}, "emacs": {options: []string{"--eval", "-eval", "-e"}}, "ghc": {options: []string{"-e"}}, "octave": {options: []string{"--eval", "-eval"}}, "pwsh": {options: []string{"-c", "-Command", "-command"}}, "gdb": {options: []string{"-ex", "-eval-command", "--eval-command"}}, "vim": {options: []string{"-c", "--cmd", "+"}}, "vi": {options: []string{"-c", "--cmd"}}, "nvim": {options: []string{"-c", "--cmd"}}, "rvim": {options: []string{"-c", "--cmd"}}, "ex": {options: []string{"-c"}}, "view": {options: []string{"-c"}}, "rview": {options: []string{"-c"}}, "vimdiff": {options: []string{"-c"}}, "jjs": {}, "jrunscript": {options: []string{"-e"}}, "rpm": {options: []string{"--eval"}}, "bpftrace": {options: []string{"-e"}}, "mysql": {}, "easy_install": {},
}

// interpret follows what an interpreter is given: code in an option, a script, its input.
func (m *Machine) interpret(kind language, c *Call, j *job, at int) Value {
	if kind.shell {
		return m.shellCall(c, j, at)
	}
	found := false
	for _, o := range kind.options {
		for i, a := range c.Args {
			switch {
			case a.S == o && i+1 < len(c.Args), len(o) == 2 && len(a.S) > 2 && len(a.S) < 7 && a.S[0] == '-' && a.S[1] != '-' && a.S[len(a.S)-1] == o[1] && i+1 < len(c.Args):
				m.inspect(c.Args[i+1].S, kind, j, at)
				m.trace.Calls[at].ScriptTaint |= c.Args[i+1].Taint
				found = true
			case len(o) > 2 && strings.HasPrefix(a.S, o+"="), len(o) == 2 && len(a.S) > 3 && strings.HasPrefix(a.S, o) && a.S[1] != '-':
				m.inspect(strings.TrimPrefix(a.S[len(o):], "="), kind, j, at)
				found = true
			case o == "+" && strings.HasPrefix(a.S, "+"):
				m.inspect(a.S[1:], kind, j, at)
			}
		}
	}
	if kind.positional {
		for i := 0; i < len(c.Args); i++ {
			if s := c.Args[i].S; s == "-F" || s == "-v" || s == "-f" {
				i++
			} else if s != "" && s[0] != '-' {
				m.inspect(s, kind, j, at)
				break
			}
		}
		return m.output(c, j)
	}
	if !found {
		m.scripted(c, j, at)
	}
	out := m.output(c, j)
	if m.trace.Calls[at].Facts&(code.Fetch|code.Sock) != 0 {
		out.Taint |= Net
	}
	if m.trace.Calls[at].Facts&code.Decode != 0 {
		out.Taint |= Decoded
	}
	if m.trace.Calls[at].Class&paths.Secret != 0 {
		out.Taint |= Secret
	}
	return out
}

// scripted follows the script file or the input that an interpreter runs.
func (m *Machine) scripted(c *Call, j *job, at int) {
	for _, a := range c.Args {
		if a.S == "-" {
			break
		}
		if len(a.S) > 1 && a.S[:2] == "-m" || a.S == "-n" || a.S == "-p" {
			return // a module, or a filter: its input is data
		}
		if a.S == "" || a.S[0] == '-' {
			continue
		}
		if v, ok := m.stored(a.S); ok {
			m.trace.Calls[at].ScriptTaint |= v.Taint
			m.inspect(v.S, language{}, j, at)
		}
		return
	}
	if j.in.piped {
		m.trace.Calls[at].ScriptTaint |= j.in.val.Taint
		m.inspect(j.in.val.S, language{}, j, at)
	}
}

// inspect notes what code would do, and follows the command lines and file names in it.
func (m *Machine) inspect(text string, kind language, j *job, at int) {
	m.work += len(text) * 4
	if text == "" || m.over() {
		return
	}
	if kind.positional && !strings.ContainsAny(text, "\"`") {
		return
	}
	facts := code.Inspect(text)
	for _, lit := range code.Literals(text) {
		class := paths.Of(strings.TrimLeft(lit.Text, "<>+ ")) // open(F, ">>/etc/passwd")
		if facts&code.Fetch != 0 && class&paths.Temp != 0 {
			m.store(lit.Text, Value{S: hole, Taint: Net | File}, false)
		}
		m.trace.Calls[at].Class |= class &^ (paths.Root | paths.Everything | paths.Relative)
		if facts&code.Delete != 0 {
			m.trace.Calls[at].Class |= class & paths.Root
		}
		if facts&code.Decode != 0 && len(lit.Text) >= 16 {
			if plain, ok := decode64(lit.Text); ok {
				facts |= code.Inspect(plain)
				m.trace.Calls[at].Class |= paths.Of(plain)
				for _, in := range code.Literals(plain) {
					m.trace.Calls[at].Class |= paths.Of(in.Text)
				}
			}
		}
		if lit.Runs && strings.TrimSpace(lit.Text) != "" {
			job := *j
			m.nest(lit.Text, stream{}, j.via|ViaCode, &job)
		}
	}
	if rest, ok := bang(text); ok && !kind.positional {
		job := *j
		m.nest(rest, stream{}, j.via|ViaEscape, &job)
	} else if rest, ok := strings.CutPrefix(text, "!"); ok {
		job := *j
		m.nest(rest, stream{}, j.via|ViaEscape, &job)
	} else if rest, ok := strings.CutPrefix(text, "shell "); ok {
		job := *j
		m.nest(rest, stream{}, j.via|ViaEscape, &job)
	}
	m.trace.Calls[at].Facts |= facts
}

// bang finds the command that an editor's :!, :r ! or :w ! runs.
func bang(text string) (string, bool) {
	for _, s := range [...]string{":!", ":r !", ":r!", ":w !", ":read !", ":silent !", ":silent!"} {
		if _, rest, ok := strings.Cut(text, s); ok {
			return strings.TrimPrefix(rest, "!"), true
		}
	}
	return "", false
}

// shellCall follows sh -c, sh script and code on the input of sh.
func (m *Machine) shellCall(c *Call, j *job, at int) Value {
	args := c.Args
	for i := 0; i < len(args); i++ {
		s := args[i].S
		switch {
		case len(s) > 1 && (s[0] == '-' || s[0] == '+') && s[1] != '-':
			if s[0] == '-' && strings.IndexByte(s, 'c') > 0 && i+1 < len(args) {
				k := i + 1
				for k < len(args)-1 && len(args[k].S) > 1 && (args[k].S[0] == '-' || args[k].S[0] == '+') {
					k++ // bash -c -e 'code'
				}
				return m.evaluate(args[k], args[k+1:], j, at)
			}
			if (s == "-o" || s == "+o" || s == "-O" || s == "+O") && i+1 < len(args) {
				i++
			}
			if strings.IndexByte(s, 's') > 0 && j.in.piped {
				return m.input(args[i+1:], j, at)
			}
		case s == "--rcfile" || s == "--init-file":
			i++
			if i < len(args) {
				if v, ok := m.stored(args[i].S); ok {
					m.script(v, j, at)
				}
			}
		case len(s) > 2 && s[:2] == "--" || s == "--":
		case s == "-" || s == "/dev/stdin":
			return m.input(args[i+1:], j, at)
		default:
			if v, ok := m.stored(s); ok {
				params := m.params
				m.params = args[i:]
				out := m.script(v, j, at)
				m.params = params
				return out
			}
			m.trace.Calls[at].ScriptTaint |= args[i].Taint
			return Value{S: hole, Taint: FromShell}
		}
	}
	if j.in.piped {
		return m.input(nil, j, at)
	}
	return Value{S: hole, Taint: FromShell}
}

// evaluate runs code that stands in an argument, with params as $0, $1 and so on.
func (m *Machine) evaluate(v Value, params []Value, j *job, at int) Value {
	m.trace.Calls[at].ScriptTaint |= decided(v)
	if !v.Known() && strings.TrimSpace(v.Plain()) == "" && v.Taint != Unknown {
		m.trace.Problems |= Dynamic // eval "$(ssh-agent)" is usual, eval "$x" is not
	}
	saved := m.params
	m.params = params
	via := j.via | ViaString
	if v.Taint&Decoded != 0 {
		via |= ViaHidden
	}
	out := m.nest(v.S, j.in, via, j)
	m.params = saved
	return out
}

// decided is where the commands of a text come from: nowhere that matters if their names
// are known and only their arguments are not.
func decided(v Value) Taint {
	if v.Known() {
		return v.Taint & Decoded
	}
	for i := 0; i < len(v.S); i++ {
		if v.S[i] != Hole {
			continue
		}
		before := strings.TrimRight(v.S[:i], " \t")
		if before == "" || strings.IndexByte("\n;|&(`{", before[len(before)-1]) >= 0 {
			return v.Taint
		}
	}
	return v.Taint & Decoded
}

// input runs code that stands on the standard input of a shell.
func (m *Machine) input(params []Value, j *job, at int) Value {
	v := j.in.val
	m.trace.Calls[at].ScriptTaint |= decided(v)
	if !v.Known() && strings.Trim(v.S, hole+" \n") == "" {
		return Value{S: hole, Taint: FromShell | v.Taint&Net}
	}
	saved := m.params
	m.params = append([]Value{{S: "bash"}}, params...)
	via := j.via | ViaInput
	if v.Taint&Decoded != 0 {
		via |= ViaHidden
	}
	out := m.nest(v.S, stream{}, via, j)
	m.params = saved
	out.Taint |= FromShell
	return out
}
