package shell

import (
	"path"
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
	"lua": {options: []string{"-e"}}, "luajit": {options: []string{"-e"}}, "awk": {positional: true}, "gawk": {positional: true}, "mawk": {positional: true}, "nawk": {positional: true}, "tclsh": {}, "expect": {options: []string{"-c"}}, "osascript": {options: []string{"-e"}}, "swift": {options: []string{"-e"}}, "julia": {options: []string{"-e"}}, "Rscript": {options: []string{"-e"}}, "R": {options: []string{"-e"}}, "groovy": {options: []string{"-e"}}, "jshell": {}, "scala": {options: []string{"-e"}}, "elixir": {options: []string{"-e"}}, "erl": {options: []string{"-eval"}}, "guile": {options: []string{"-c"}}, "racket": {options: []string{"-e"}}, "sbcl": {options: []string{"--eval"}}, "emacs": {options: []string{"--eval", "-eval", "-e"}}, "ghc": {options: []string{"-e"}}, "octave": {options: []string{"--eval", "-eval"}}, "pwsh": {options: []string{"-c", "-Command", "-command"}}, "gdb": {options: []string{"-ex", "-eval-command", "--eval-command"}}, "vim": {options: []string{"-c", "--cmd", "+"}}, "vi": {options: []string{"-c", "--cmd"}}, "nvim": {options: []string{"-c", "--cmd"}}, "rvim": {options: []string{"-c", "--cmd"}}, "ex": {options: []string{"-c"}}, "view": {options: []string{"-c"}}, "rview": {options: []string{"-c"}}, "vimdiff": {options: []string{"-c"}}, "jjs": {}, "jrunscript": {options: []string{"-e"}}, "rpm": {options: []string{"--eval"}}, "bpftrace": {options: []string{"-e"}}, "mysql": {}, "easy_install": {},
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
		class := paths.Of(lit.Text)
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
	if i := strings.Index(text, ":!"); i >= 0 && !kind.positional {
		job := *j
		m.nest(text[i+2:], stream{}, j.via|ViaEscape, &job)
	} else if rest, ok := strings.CutPrefix(text, "!"); ok {
		job := *j
		m.nest(rest, stream{}, j.via|ViaEscape, &job)
	} else if rest, ok := strings.CutPrefix(text, "shell "); ok {
		job := *j
		m.nest(rest, stream{}, j.via|ViaEscape, &job)
	}
	m.trace.Calls[at].Facts |= facts
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

// builtins are commands that change the machine's state or hand text to a shell.
var builtins map[string]func(m *Machine, c *Call, j *job, at int) Value

var readyToo = func() bool {
	builtins = map[string]func(*Machine, *Call, *job, int) Value{
		"eval": evalBuiltin, "source": sourceBuiltin, ".": sourceBuiltin, "cd": cdBuiltin, "pushd": cdBuiltin, "alias": aliasBuiltin, "trap": trapBuiltin, "read": readBuiltin, "mapfile": readBuiltin, "readarray": readBuiltin,
		"set": setBuiltin, "export": exportBuiltin, "at": laterBuiltin, "batch": laterBuiltin, "crontab": cronBuiltin, "git": gitBuiltin, "tar": tarBuiltin, "make": makeBuiltin, "printf": printfBuiltin, "setenv": setenvBuiltin, "unset": unsetBuiltin, "tmux": muxBuiltin, "screen": muxBuiltin, "rsync": rshBuiltin, "scp": rshBuiltin, "zip": zipBuiltin, "pbcopy": clipBuiltin,
	}
	return true
}()

func evalBuiltin(m *Machine, c *Call, j *job, at int) Value {
	v := Value{S: joinFields(c.Args, " ")}
	for _, a := range c.Args {
		v.Taint |= a.Taint
	}
	return m.evaluate(v, m.params, j, at)
}

func sourceBuiltin(m *Machine, c *Call, j *job, at int) Value {
	m.trace.Calls[at].Name = "source"
	if len(c.Args) == 0 {
		return Value{}
	}
	if v, ok := m.stored(c.Args[0].S); ok && strings.HasPrefix(c.Args[0].S, "/dev/fd/") && v.Taint&(Net|Decoded|Typed) == 0 && !v.Known() {
		return Value{} // source <(tool completion bash)
	} else if ok {
		return m.script(v, j, at)
	}
	if c.Args[0].S == "/dev/stdin" && j.in.piped {
		return m.input(nil, j, at)
	}
	return Value{}
}

func cdBuiltin(m *Machine, c *Call, _ *job, _ int) Value {
	if len(c.Args) > 0 {
		if dir := c.Args[len(c.Args)-1].S; dir != "-" {
			if m.cwd != "" && dir != "" && dir[0] != '/' && dir[0] != '~' {
				dir = path.Join(m.cwd, dir)
			}
			m.cwd = strings.TrimSuffix(dir, "/")
			if dir == "/" {
				m.cwd = "/"
			}
		}
	} else {
		m.cwd = "~"
	}
	m.set("PWD", Value{S: m.cwd})
	return Value{}
}

func aliasBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	for _, a := range c.Args {
		if name, val, ok := strings.Cut(a.S, "="); ok {
			m.set("alias "+name, Value{val, a.Taint})
			m.nest(val, stream{}, j.via|ViaFunc, j)
		}
	}
	return Value{}
}

func trapBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if len(c.Args) > 1 && c.Args[0].S != "-" {
		m.nest(c.Args[0].S, stream{}, j.via|ViaSched, j)
	}
	return Value{}
}

func readBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	v := Value{S: hole, Taint: Typed}
	if j.in.piped || len(c.Reads) > 0 {
		v = j.in.val
	}
	line, _, _ := strings.Cut(v.S, "\n")
	w := wrapper{values: "adinNptu"}
	names := w.options(c.Args, &job{})
	list := hasAny(c.Args, "-a") || c.Name != "read"
	if v, ok := value(c.Args, "-a"); ok {
		names = []Value{v}
	}
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(m.ifs, r) })
	if list && len(names) > 0 {
		var vals []Value
		for _, w := range words {
			vals = append(vals, Value{w, v.Taint})
		}
		m.setList(names[0].S, vals)
		return Value{}
	}
	for i, n := range names {
		switch {
		case i == len(names)-1 && i < len(words):
			m.set(n.S, Value{strings.Join(words[i:], " "), v.Taint})
		case i < len(words):
			m.set(n.S, Value{words[i], v.Taint})
		default:
			m.set(n.S, Value{hole, v.Taint})
		}
	}
	if len(names) == 0 {
		m.set("REPLY", Value{line, v.Taint})
	}
	return Value{}
}

func setBuiltin(m *Machine, c *Call, _ *job, _ int) Value {
	for i, a := range c.Args {
		if a.S == "--" {
			m.params = append([]Value{{S: "bash"}}, c.Args[i+1:]...)
			return Value{}
		}
	}
	if len(c.Args) > 0 && c.Args[0].S != "" && c.Args[0].S[0] != '-' && c.Args[0].S[0] != '+' {
		m.params = append([]Value{{S: "bash"}}, c.Args...)
	}
	return Value{}
}

func exportBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	for _, a := range c.Args {
		if name, val, ok := strings.Cut(a.S, "="); ok {
			m.assigned(name, Value{val, a.Taint}, j)
		}
	}
	return Value{}
}

func setenvBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if len(c.Args) == 2 {
		m.assigned(c.Args[0].S, c.Args[1], j)
	}
	return Value{}
}

func unsetBuiltin(m *Machine, c *Call, _ *job, _ int) Value {
	for _, a := range c.Args {
		if a.S == "HISTFILE" || a.S == "IFS" {
			continue
		}
		if m.has(a.S) {
			m.set(a.S, Value{})
		}
	}
	return Value{}
}

func laterBuiltin(m *Machine, c *Call, j *job, at int) Value {
	if j.in.piped {
		j.via |= ViaSched
		m.input(nil, j, at)
	}
	return Value{}
}

// cronBuiltin follows the commands of a crontab that is installed from the input.
func cronBuiltin(m *Machine, c *Call, j *job, at int) Value {
	v := j.in.val
	for _, a := range c.Args {
		if s, ok := m.stored(a.S); ok {
			v = s
		}
	}
	m.trace.Calls[at].ScriptTaint |= v.Taint
	for line := range strings.SplitSeq(v.Plain(), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && strings.HasPrefix(f[0], "@"):
			m.nest(strings.Join(f[1:], " "), stream{}, j.via|ViaSched, j)
		case len(f) > 5:
			m.nest(strings.Join(f[5:], " "), stream{}, j.via|ViaSched, j)
		}
		if m.over() {
			break
		}
	}
	return Value{S: hole, Taint: File}
}

// gitBuiltin follows the commands that git runs: -c core.pager, aliases with !, clone.
func gitBuiltin(m *Machine, c *Call, j *job, at int) Value {
	for i, a := range c.Args {
		key, val, ok := strings.Cut(strings.TrimPrefix(a.S, "--config="), "=")
		if !ok && i > 0 && i+1 < len(c.Args) && c.Args[i-1].S == "config" {
			key, val, ok = a.S, c.Args[i+1].S, true
		}
		if ok && runsCommand(key) && val != "" {
			m.trace.Calls[at].Facts |= code.Spawn
			m.nest(strings.TrimPrefix(val, "!"), stream{}, j.via|ViaEscape, j)
		}
	}
	if len(c.Args) >= 2 && c.Args[0].S == "clone" {
		rest := wrapper{values: "bojc", long: "branch depth origin"}.options(c.Args[1:], &job{})
		if len(rest) > 0 {
			dir := strings.TrimSuffix(path.Base(rest[0].S), ".git")
			if len(rest) > 1 {
				dir = rest[1].S
			}
			m.store(strings.TrimSuffix(dir, "/")+"/*", Value{S: hole, Taint: Net | File}, false)
		}
	}
	if v, ok := value(c.Args, "--upload-pack", "--receive-pack", "-u", "--exec", "--tree-filter", "--index-filter", "--msg-filter", "-x"); ok && !c.Sub("push") {
		m.nest(v.S, stream{}, j.via|ViaEscape, j)
	}
	return m.output(c, j)
}

// runsCommand says whether git runs the value of a configuration key.
func runsCommand(key string) bool {
	key = strings.ToLower(key)
	for _, k := range [...]string{"core.pager", "core.editor", "core.sshcommand", "core.fsmonitor", "core.askpass", "sequence.editor", "diff.external", "credential.helper", "gpg.program", "core.gitproxy", "uploadpack.packobjectshook", "interactive.difffilter"} {
		if key == k {
			return true
		}
	}
	return strings.HasPrefix(key, "alias.") || strings.HasPrefix(key, "pager.") || strings.HasSuffix(key, ".textconv") || strings.HasSuffix(key, ".cmd") || strings.HasPrefix(key, "filter.")
}

// tarBuiltin follows --checkpoint-action=exec=… and --to-command.
func tarBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	for _, a := range c.Args {
		for _, key := range [...]string{"--checkpoint-action=exec=", "--to-command=", "--use-compress-program=", "--rsh-command=", "-I", "--info-script=", "--new-volume-script=", "-F"} {
			if v, ok := strings.CutPrefix(a.S, key); ok && v != "" && strings.ContainsAny(v, " /") {
				m.nest(v, stream{}, j.via|ViaEscape, j)
			}
		}
	}
	if v, ok := value(c.Args, "-I", "--use-compress-program", "--to-command"); ok && strings.ContainsAny(v.S, " /") {
		m.nest(v.S, stream{}, j.via|ViaEscape, j)
	}
	return m.output(c, j)
}

func makeBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if v, ok := value(c.Args, "--eval"); ok {
		_, rule, _ := strings.Cut(v.S, ":")
		m.nest(strings.TrimLeft(rule, "\n\t -@"), stream{}, j.via|ViaEscape, j)
	}
	return m.output(c, j)
}

// muxBuiltin follows the command that a terminal multiplexer starts.
func muxBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	for i, a := range c.Args {
		if strings.ContainsAny(a.S, " ") || i == len(c.Args)-1 && i > 0 && strings.HasPrefix(a.S, "/") {
			m.nest(a.S, stream{}, j.via|ViaWrapper, j)
		}
	}
	if c.Name == "screen" && len(c.Args) > 1 && strings.HasPrefix(c.Args[0].S, "-d") {
		if rest := (wrapper{values: "SeTchp"}).options(c.Args, &job{}); len(rest) > 0 {
			m.run(rest, job{via: j.via | ViaWrapper, start: j.start, end: j.end})
		}
	}
	return Value{S: hole, Taint: Unknown}
}

// rshBuiltin follows rsync -e and scp -S, and where copies from another host land.
func rshBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if v, ok := value(c.Args, "-e", "--rsh", "-S", "--rsync-path"); ok && c.Name == "rsync" && !strings.HasPrefix(v.S, "ssh") {
		m.nest(v.S, stream{}, j.via|ViaEscape, j)
	}
	if n := len(c.Args); n >= 2 && paths.Of(c.Args[n-2].S)&paths.Host != 0 {
		m.store(c.Args[n-1].S, Value{S: hole, Taint: Net | File}, false)
	}
	return Value{}
}

func zipBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if v, ok := value(c.Args, "-TT", "--unzip-command"); ok {
		m.nest(v.S, stream{}, j.via|ViaEscape, j)
	}
	return m.output(c, j)
}

func clipBuiltin(m *Machine, _ *Call, j *job, _ int) Value {
	m.store("clipboard", j.in.val, false)
	return Value{}
}

func printfBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if len(c.Args) >= 3 && c.Args[0].S == "-v" {
		m.assigned(c.Args[1].S, formatted(c.Args[2:]), j)
		return Value{}
	}
	return formatted(c.Args)
}
