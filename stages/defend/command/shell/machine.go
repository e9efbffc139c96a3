package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Machine evaluates lines one after the other and reuses its memory. It must not be used
// by two goroutines at a time.
type Machine struct {
	limits  Limits
	parser  *syntax.Parser
	lenient *syntax.Parser
	reader  strings.Reader

	trace   Trace
	vars    []variable
	files   []file
	funcs   []function
	depth   int
	steps   int
	work    int
	ifs     string
	cwd     string
	fds     int
	origin  [2]int // span that calls in evaluated strings are attributed to
	nested  int
	params  []Value // positional parameters of the innermost string or function
	scratch []*Call // by depth; see fresh
	arena   []Value // the arguments of the trace; see room
	strict  bool    // see RunStrict
}

type variable struct {
	name string
	val  Value
	list []Value
}

type file struct {
	path string
	val  Value
}

type function struct {
	name    string
	body    *syntax.Stmt
	running bool
}

// New returns a Machine with the given limits.
func New(limits Limits) *Machine {
	return &Machine{limits: limits, parser: syntax.NewParser(syntax.Variant(syntax.LangBash)),
		lenient: syntax.NewParser(syntax.Variant(syntax.LangBash), syntax.RecoverErrors(maxRecover))}
}

// Run returns what line would run. The trace is valid until the next Run.
func (m *Machine) Run(line string) *Trace {
	m.reset()
	if len(line) > m.limits.Bytes {
		m.trace.Problems |= TooLong
		return &m.trace
	}
	line = strings.ReplaceAll(line, hole, "") // as bash does; see Hole
	line = lookalikes(line)
	m.source(line, stream{}, 0)
	return &m.trace
}

// RunStrict is Run, but does not try to make sense of what does not parse: the trace is
// then empty and says Unparsed.
func (m *Machine) RunStrict(line string) *Trace {
	m.strict = true
	defer func() { m.strict = false }()
	return m.Run(line)
}

// RunArgs returns what the command with these arguments would run: no shell reads them.
func (m *Machine) RunArgs(args []string) *Trace {
	m.reset()
	total := 0
	words := make([]Value, 0, len(args))
	for _, a := range args {
		total += len(a)
		words = append(words, Value{S: strings.ReplaceAll(a, hole, "")})
	}
	if total > m.limits.Bytes {
		m.trace.Problems |= TooLong
		return &m.trace
	}
	m.origin = [2]int{0, total + len(args)}
	m.nested = 1
	m.run(words, job{})
	return &m.trace
}

func (m *Machine) reset() {
	calls := m.trace.Calls
	if cap(calls) > maxKept {
		calls = nil
	}
	clear(calls)
	m.trace = Trace{Calls: calls[:0], Sets: m.trace.Sets[:0]}
	m.vars, m.files, m.funcs = m.vars[:0], m.files[:0], m.funcs[:0]
	clear(m.arena)
	m.arena = m.arena[:0]
	m.depth, m.steps, m.work, m.fds, m.nested = 0, 0, 0, 0, 0
	m.ifs, m.cwd, m.params = " \t\n", "", nil
}

// room returns an empty slice for n values that lasts as long as the trace.
func (m *Machine) room(n int) []Value {
	if len(m.arena)+n > cap(m.arena) {
		m.arena = make([]Value, 0, max(arenaSize, n))
	}
	at := len(m.arena)
	m.arena = m.arena[:at+n]
	return m.arena[at : at : at+n]
}

// arenaSize is how many values an arena has room for; most lines need fewer.
const arenaSize = 128

// maxKept is how many calls a Machine keeps room for.
const maxKept = 256

// stream is what a command reads: piped says that it is not the caller's.
type stream struct {
	val   Value
	piped bool
}

// source evaluates text as a shell would and returns its output.
func (m *Machine) source(text string, in stream, via Via) Value {
	if m.depth >= m.limits.Depth {
		m.trace.Problems |= TooDeep
		return Value{S: hole, Taint: Unknown}
	}
	m.work += len(text) + 16
	if m.over() {
		return Value{S: hole, Taint: Unknown}
	}
	f, err := m.parse(m.parser, text)
	if err != nil {
		if f = m.unclosed(text); f != nil {
			err = nil
		} else if plain := untemplated(text); plain != "" {
			f, err = m.parse(m.parser, plain)
		}
	}
	if err != nil {
		if m.nested == 0 {
			m.trace.Problems |= Unparsed
			if m.strict {
				return Value{}
			}
			if len(text) <= maxBroken {
				m.nested++
				m.origin = [2]int{0, len(text)}
				m.unquoted(text, in, via)
				m.asCode(text, via)
				m.nested--
			}
		}
		if m.nested > 0 && via&(ViaString|ViaInput|ViaStored) != 0 && via&(ViaCode|ViaEscape|ViaXargs|ViaFind) == 0 {
			m.trace.Problems |= Unparsed // what a shell is given to run
		}
		if strings.HasPrefix(strings.TrimLeft(text, " "), "() {") || strings.HasPrefix(text, "(){") {
			m.trace.Shellshock = true
			if _, after, ok := strings.Cut(text, "};"); ok && m.nested < 3 {
				m.nested++
				m.source(after, in, via|ViaHidden)
				m.nested--
			}
		}
		if f = m.repair(text); f == nil {
			return m.fragments(text, in, via)
		}
	}
	m.depth++
	out := m.stmts(f.Stmts, in, via)
	m.depth--
	return out
}

func (m *Machine) parse(p *syntax.Parser, text string) (*syntax.File, error) {
	m.reader.Reset(text)
	return p.Parse(&m.reader, "")
}

// over reports, and notes, that the work limit is reached.
func (m *Machine) over() bool {
	if m.work > m.limits.Work || len(m.trace.Calls) >= m.limits.Calls || m.steps > 8*m.limits.Calls {
		m.trace.Problems |= TooMuch
		return true
	}
	return false
}

func (m *Machine) stmts(list []*syntax.Stmt, in stream, via Via) Value {
	var out Value
	for _, s := range list {
		v := m.stmt(s, in, via)
		out = m.join(out, v)
		if m.over() {
			break
		}
	}
	return out
}

// join appends b to a, as one output follows another.
func (m *Machine) join(a, b Value) Value {
	if a.S == "" {
		b.Taint |= a.Taint
		return b
	}
	if b.S == "" {
		a.Taint |= b.Taint
		return a
	}
	if len(a.S)+len(b.S) > maxValue {
		return Value{S: a.S, Taint: a.Taint | b.Taint}
	}
	m.work += len(a.S) + len(b.S)
	return Value{S: a.S + b.S, Taint: a.Taint | b.Taint}
}

// maxValue bounds one value.
const maxValue = 64 << 10

func (m *Machine) stmt(s *syntax.Stmt, in stream, via Via) Value {
	if m.steps++; m.over() || m.depth > m.limits.Depth {
		if m.depth > m.limits.Depth {
			m.trace.Problems |= TooDeep
		}
		return Value{S: hole, Taint: Unknown}
	}
	m.depth++
	defer func() { m.depth-- }()
	if s.Background {
		via |= ViaBack
	}
	if s.Negated && m.nested == 0 {
		via |= ViaEscape // ! /bin/sh, typed into a pager
	}
	start, end := m.span(s)
	j := job{in: in, via: via, start: start, end: end}
	for _, r := range s.Redirs {
		m.redirect(r, &j)
	}
	out := m.command(s.Cmd, &j)
	for _, w := range j.writes {
		m.store(w.Path, out, w.Append)
	}
	if j.diverted {
		return Value{Taint: 0}
	}
	return out
}

// span is what part of the line s is attributed to.
func (m *Machine) span(s *syntax.Stmt) (int, int) {
	if m.nested > 0 {
		return m.origin[0], m.origin[1]
	}
	start, end := int(s.Pos().Offset()), int(s.End().Offset())
	m.origin = [2]int{start, end}
	return start, end
}

// job is one command with its surroundings.
type job struct {
	in         stream
	via        Via
	start, end int
	writes     []Write
	reads      []Write
	env        []Value
	vars       []string
	diverted   bool  // its output goes to a file
	muted      bool  // its errors are thrown away
	swapped    bool  // its input is a terminal or one of its outputs
	name       Taint // where the command's name came from
	obscured   bool
}
