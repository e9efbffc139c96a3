package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/paths"
)

// call evaluates a simple command.
func (m *Machine) call(c *syntax.CallExpr, j *job) Value {
	args := m.words(c.Args)
	if len(args) > 0 && len(c.Args) > 0 {
		j.obscured = obscured(c.Args[0])
	}
	if len(args) == 0 {
		for _, a := range c.Assigns {
			m.assign(a, j)
		}
		m.bare(j)
		return Value{}
	}
	for _, a := range c.Assigns {
		if a.Name == nil {
			continue
		}
		v := m.word(a.Value)
		j.vars, j.env = append(j.vars, a.Name.Value), append(j.env, v)
		if a.Name.Value == "IFS" { // holds for read alone, but bash -c 'IFS=…' is common
			continue
		}
	}
	return m.run(args, *j)
}

// obscured reports whether a command's name is written in a way that only hides it: \rm
// is usual, r\m and r”m are not.
func obscured(w *syntax.Word) bool {
	if len(w.Parts) == 1 {
		lit, ok := w.Parts[0].(*syntax.Lit)
		if !ok {
			return false
		}
		i := strings.LastIndexByte(lit.Value, '\\')
		return i > 0 && i+1 < len(lit.Value) && letters(lit.Value[i+1:i+2])
	}
	quotes := 0
	for _, p := range w.Parts {
		switch p := p.(type) {
		case *syntax.SglQuoted:
			if len(p.Value) <= 2 || p.Dollar {
				quotes++
			}
		case *syntax.DblQuoted:
			if len(p.Parts) == 0 {
				quotes++
			} else if lit, ok := p.Parts[0].(*syntax.Lit); ok && len(p.Parts) == 1 && len(lit.Value) <= 2 {
				quotes++
			}
		}
	}
	return quotes > 0 && len(w.Parts) >= 3 || quotes > 1
}

// bare records redirections without a command: > file empties it.
func (m *Machine) bare(j *job) {
	if len(j.writes) > 0 || len(j.reads) > 0 {
		m.record(&Call{Name: ":", Given: ":"}, j)
	}
}

func (m *Machine) bareRead(j *job) {
	m.record(&Call{Name: "cat", Given: "cat"}, j)
}

// record adds a call to the trace and returns it.
func (m *Machine) record(c *Call, j *job) *Call {
	c.In, c.Piped, c.Via = j.in.val, j.in.piped, c.Via|j.via
	c.Writes, c.Reads, c.Env, c.Vars = j.writes, j.reads, j.env, j.vars
	c.Start, c.End, c.Dir = j.start, j.end, m.cwd
	if m.nested > 0 {
		c.Start, c.End = m.origin[0], m.origin[1]
	}
	for _, w := range c.Writes {
		c.OutClass |= w.Class
	}
	for _, r := range c.Reads {
		c.Class |= r.Class
	}
	c.weigh()
	m.trace.Calls = append(m.trace.Calls, *c)
	return &m.trace.Calls[len(m.trace.Calls)-1]
}

// weigh sets what depends on the arguments.
func (c *Call) weigh() {
	c.ArgTaint, c.Source, c.Dest = 0, 0, 0
	for i, a := range c.Args {
		class := argClass(a.S)
		c.Class |= class
		c.ArgTaint |= a.Taint
		if i == len(c.Args)-1 {
			c.Dest = class
		} else {
			c.Source |= class
		}
	}
}

// argClass is what an argument means: itself, or what follows = or @ in it.
func argClass(s string) paths.Class {
	if len(s) < 2 && s != "/" && s != "~" && s != "." && s != "*" {
		return 0
	}
	if s[0] == '-' {
		i := strings.IndexByte(s, '=')
		if i < 0 {
			if len(s) > 3 && s[1] != '-' && (s[2] == '/' || s[2] == '~' || s[2] == '@') { // -T/etc/shadow, -d@file
				return paths.Of(strings.TrimPrefix(s[2:], "@"))
			}
			return 0
		}
		s = s[i+1:]
	}
	c := paths.Of(s)
	if i := strings.IndexAny(s, "@=,"); i >= 0 && i+1 < len(s) { // file=@/etc/passwd, if=/dev/sda
		c |= paths.Of(strings.TrimLeft(s[i+1:], "@="))
		if k := strings.LastIndexByte(s, '@'); k > i {
			c |= paths.Of(s[k+1:])
		}
	}
	if i := strings.IndexByte(s, ':'); i > 0 && i+1 < len(s) && s[i+1] == '/' { // -v /:/mnt
		c |= paths.Of(s[i+1:]) &^ paths.Temp
	}
	return c
}

// maxWrappers is how many wrappers one command is unwrapped from.
const maxWrappers = 24

// run evaluates a command whose words are known and returns its output.
func (m *Machine) run(args []Value, j job) Value {
	if m.depth >= m.limits.Depth {
		m.trace.Problems |= TooDeep
		return Value{S: hole, Taint: Unknown}
	}
	m.depth++
	defer func() { m.depth-- }()
	for range maxWrappers {
		if len(args) == 0 || m.over() {
			return Value{}
		}
		c := Call{Args: args[1:], Given: args[0].S, Obscured: j.obscured || j.via&ViaHidden != 0}
		c.Name = m.name(args[0], &c)
		j.name = args[0].Taint
		if alias, ok := m.get("alias " + c.Name); ok && alias.S != "" && c.Name != "" {
			m.set("alias "+c.Name, Value{})
			return m.nest(alias.S+" "+joinFields(c.Args, " "), j.in, j.via, &j)
		}
		if fn := m.function(c.Name); fn != nil {
			return m.invoke(fn, args, &j)
		}
		w, ok := wrappers[c.Name]
		if !ok {
			return m.program(&c, &j)
		}
		rec := m.record(&c, &j)
		at := len(m.trace.Calls) - 1
		rest, inner := w.unwrap(m, rec, &j)
		if n := len(rest); n > 0 && n <= len(c.Args) && &rest[0] == &c.Args[len(c.Args)-n] {
			own := &m.trace.Calls[at] // what follows belongs to the inner command
			own.Args = own.Args[:len(c.Args)-n]
			own.Class = 0
			for _, r := range own.Reads {
				own.Class |= r.Class
			}
			own.weigh()
		}
		if inner != nil {
			return inner(m)
		}
		if rest == nil {
			return m.output(&c, &j)
		}
		args = rest
		j.via |= w.via
	}
	m.trace.Problems |= TooDeep
	return Value{S: hole, Taint: Unknown}
}

// function finds a function of the line by name.
func (m *Machine) function(name string) *function {
	if name == "" {
		return nil
	}
	for i := range m.funcs {
		if m.funcs[i].name == name && !m.funcs[i].running {
			return &m.funcs[i]
		}
	}
	return nil
}

// invoke evaluates a call of a function: its body with the arguments.
func (m *Machine) invoke(fn *function, args []Value, j *job) Value {
	params := m.params
	m.params = args
	fn.running = true
	name := fn.name
	m.nested++
	out := m.stmt(fn.body, j.in, j.via|ViaFunc)
	m.nested--
	for i := range m.funcs { // the list may have moved
		if m.funcs[i].name == name {
			m.funcs[i].running = false
		}
	}
	m.params = params
	return out
}

// nest evaluates text that a command hands to a shell.
func (m *Machine) nest(text string, in stream, via Via, j *job) Value {
	if m.nested == 0 {
		m.origin = [2]int{j.start, j.end}
	}
	m.nested++
	out := m.source(text, in, via)
	m.nested--
	return out
}

// name is the base name of the program that v calls, without directory, version and .exe.
func (m *Machine) name(v Value, c *Call) string {
	s := v.Plain()
	if s == "" {
		return ""
	}
	if !v.Known() {
		base := v.S[strings.LastIndexByte(v.S, '/')+1:]
		if strings.ContainsAny(base, "=:") {
			return ""
		}
		if plain := strings.ReplaceAll(base, hole, ""); plain != base {
			switch {
			case plain != "" && (Wraps(plain) || wellKnown[plain]):
				c.Obscured = true
			case !inside(base):
				return ""
			}
		}
	}
	if strings.ContainsAny(s, "*?[") && strings.IndexByte(s, '/') >= 0 || strings.ContainsAny(s, "?") {
		if known := fromGlob(s); known != "" {
			c.Obscured = true
			return known
		}
	}
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		s = s[i+1:]
	}
	if len(s) > 4 && strings.EqualFold(s[len(s)-4:], ".exe") {
		s = s[:len(s)-4]
	}
	for _, base := range versioned {
		if len(s) > len(base) && strings.HasPrefix(s, base) && strings.Trim(s[len(base):], "0123456789.-") == "" {
			return base
		}
	}
	return s
}

// inside reports whether the holes of a name stand between letters: ch${x}mod, which is
// chmod if x is empty.
func inside(name string) bool {
	for i := range len(name) {
		if name[i] == Hole && (i == 0 || i+1 == len(name) || !letters(name[i-1:i]) || !letters(name[i+1:i+2])) {
			return false
		}
	}
	return true
}

var versioned = [...]string{"python", "perl", "ruby", "lua", "php", "pip", "node", "nodejs", "gawk", "tclsh", "pypy", "bash", "ksh", "zsh"}

// fromGlob finds the program that a path with wildcards is aimed at.
func fromGlob(s string) string {
	base := s
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		dir := s[:i]
		base = s[i+1:]
		fits := false
		for _, d := range [...]string{"/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin"} {
			fits = fits || paths.Glob(dir, d)
		}
		if !fits {
			return ""
		}
	}
	for _, name := range globNames {
		if paths.Glob(base, name) {
			return name
		}
	}
	return ""
}

// globNames are tried in order: the first that fits is what an attacker would mean.
var globNames = []string{"sh", "nc", "rm", "dd", "cat", "tac", "bash", "curl", "wget", "ncat", "netcat", "socat", "python", "python3", "perl", "ruby", "php", "node", "base64", "xxd", "chmod", "chown", "find", "mkfs", "shred", "tail", "head", "less", "more", "eval", "sudo", "env", "ssh", "scp", "tar", "mv", "cp", "id", "whoami", "kill", "telnet", "dash", "zsh", "awk", "sed", "tee", "rev", "xargs", "crontab", "useradd", "usermod", "passwd", "mkfifo", "openssl", "busybox", "printf", "echo", "ls"}

var wellKnown = func() map[string]bool {
	set := map[string]bool{}
	for _, n := range globNames {
		if n != "ls" && n != "id" && n != "echo" {
			set[n] = true
		}
	}
	return set
}()

// program records a command that wraps nothing, evaluates what it interprets, and returns
// its output.
func (m *Machine) program(c *Call, j *job) Value {
	if strings.IndexByte(c.Given, Hole) == 0 && j.name != 0 {
		c.ScriptTaint |= j.name // $(curl …) as a command
	}
	rec := m.record(c, j)
	at := len(m.trace.Calls) - 1
	if rec.Name == "" && len(c.Args) == 0 && c.Given == "" {
		return Value{}
	}
	if kind, ok := languages[rec.Name]; ok {
		return m.interpret(kind, c, j, at)
	}
	if fn, ok := builtins[rec.Name]; ok {
		return fn(m, c, j, at)
	}
	m.stdinCode(rec)
	m.runner(c, j)
	m.execFile(c.Given, c, j, at)
	return m.output(c, j)
}

// runner follows arguments of an unknown program that are whole shell command lines, as
// those of a program that starts others are.
func (m *Machine) runner(c *Call, j *job) {
	if _, known := outputs[c.Name]; known || m.depth > maxRounds {
		return
	}
	for _, a := range c.Args {
		for _, start := range [...]string{"/bin/bash -c", "/bin/sh -c", "bash -c", "sh -c", "/bin/bash -lc", "bash -lc"} {
			if strings.HasPrefix(a.S, start) {
				m.nest(a.S, stream{}, j.via|ViaWrapper, j)
				break
			}
		}
	}
}

// execFile follows a command that names a file which the line has written.
func (m *Machine) execFile(path string, c *Call, j *job, at int) {
	v, ok := m.stored(path)
	if !ok || strings.HasPrefix(path, "/dev/") || strings.IndexByte(path, '/') < 0 && m.trace.Calls[at].Name != "source" {
		return
	}
	m.script(v, j, at)
}

// script follows text that is run as a shell script, c being the call that runs it.
func (m *Machine) script(v Value, j *job, at int) Value {
	m.trace.Calls[at].ScriptTaint |= v.Taint
	m.trace.Calls[at].Stored = true
	if strings.Trim(v.S, hole+" \n\t") == "" {
		return Value{S: hole, Taint: FromShell | v.Taint&Net}
	}
	via := j.via | ViaStored
	if v.Taint&Decoded != 0 {
		via |= ViaHidden
	}
	if rest, ok := strings.CutPrefix(v.S, "#!"); ok {
		line, body, _ := strings.Cut(rest, "\n")
		for lang, kind := range languages {
			if kind.shell || !strings.Contains(line, lang) {
				continue
			}
			m.inspect(body, kind, j, at)
			return Value{S: hole, Taint: Unknown}
		}
	}
	out := m.nest(v.S, stream{}, via, j)
	out.Taint |= FromShell
	return out
}

// stdinCode looks at known text that is piped into a program with a command language.
func (m *Machine) stdinCode(c *Call) {
	if c.Piped && len(c.In.S) > 1 && escapes[c.Name] {
		c.Facts |= code.Inspect(c.In.S)
		for word := range strings.FieldsSeq(c.In.S[:min(len(c.In.S), maxBroken)]) {
			c.Class |= argClass(word)
		}
	}
}

// escapes are programs that run commands which their input names.
var escapes = map[string]bool{"ed": true, "ex": true, "vi": true, "vim": true, "gdb": true, "ftp": true, "telnet": true, "cpan": true, "irb": true, "mysql": true, "psql": true, "sqlite3": true, "bc": true, "octave": true, "R": true, "expect": true, "sftp": true}
