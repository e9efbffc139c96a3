package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sluice/stages/defend/command/code"
)

// call evaluates a simple command.
func (m *Machine) call(c *syntax.CallExpr, j *job) Value {
	args := m.words(c.Args)
	if len(args) > 0 && len(c.Args) > 0 {
		j.obscured = obscured(c.Args[0])
		if n := scheduled(args); n > 0 {
			args = args[n:]
			j.via |= ViaSched
		}
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

// bare records redirections without a command: > file empties it.
func (m *Machine) bare(j *job) {
	if len(j.writes) > 0 || len(j.reads) > 0 {
		m.record(&Call{Name: ":", Given: ":"}, j)
	}
}

func (m *Machine) bareRead(j *job) {
	m.record(&Call{Name: "cat", Given: "cat"}, j)
}

// maxWrappers is how many wrappers one command is unwrapped from.
const maxWrappers = 24

// fresh returns a Call to work with at this depth; it is used again at the same depth.
func (m *Machine) fresh() *Call {
	for len(m.scratch) <= m.depth {
		m.scratch = append(m.scratch, new(Call))
	}
	return m.scratch[m.depth]
}

// run evaluates a command whose words are known and returns its output.
func (m *Machine) run(args []Value, j job) Value {
	if m.depth >= m.limits.Depth {
		m.trace.Problems |= TooDeep
		return Value{S: hole, Taint: Unknown}
	}
	m.depth++
	defer func() { m.depth-- }()
	c := m.fresh()
	for range maxWrappers {
		if len(args) == 0 || m.over() {
			return Value{}
		}
		if rest, ok := banged(args[0].S); ok {
			j.via |= ViaEscape
			args = append(append(m.room(len(args)), Value{rest, args[0].Taint}), args[1:]...)
		}
		*c = Call{Args: args[1:], Given: args[0].S, Obscured: j.obscured || j.via&ViaHidden != 0}
		c.Name = m.name(args[0], c)
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
			return m.program(c, &j)
		}
		rec := m.record(c, &j)
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
			return m.output(c, &j)
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
	m.carried(c, j)
	m.smuggled(c, j)
	if senders[c.Name] {
		m.sent(c, at)
	}
	if compilers[c.Name] {
		m.compile(c, j, at)
	}
	if kind, ok := languages[c.Name]; ok {
		return m.interpret(kind, c, j, at)
	}
	if fn, ok := builtins[c.Name]; ok {
		return fn(m, c, j, at)
	}
	m.stdinCode(&m.trace.Calls[at])
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
	for i, a := range c.Args {
		if a.S == "--" && i+1 < len(c.Args) && Wraps(c.Args[i+1].S) {
			m.run(c.Args[i+1:], job{in: j.in, via: j.via | ViaWrapper, start: j.start, end: j.end})
			return
		}
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
	if !ok || strings.HasPrefix(path, "/dev/fd/") || strings.IndexByte(path, '/') < 0 && m.trace.Calls[at].Name != "source" {
		return
	}
	m.script(v, j, at)
}

// script follows text that is run as a shell script, c being the call that runs it.
func (m *Machine) script(v Value, j *job, at int) Value {
	m.trace.Calls[at].ScriptTaint |= v.Taint
	m.trace.Calls[at].Stored = true
	if strings.HasPrefix(v.S, "\x7fELF") {
		m.trace.Calls[at].ScriptTaint |= Decoded // a program put together from text
	}
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
