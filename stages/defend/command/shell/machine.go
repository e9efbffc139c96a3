package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sluice/stages/defend/command/paths"
)

// Machine evaluates lines one after the other and reuses its memory. It must not be used
// by two goroutines at a time.
type Machine struct {
	limits  Limits
	parser  *syntax.Parser
	lenient *syntax.Parser
	reader  strings.Reader

	trace  Trace
	vars   []variable
	files  []file
	funcs  []function
	depth  int
	steps  int
	work   int
	ifs    string
	cwd    string
	fds    int
	origin [2]int // span that calls in evaluated strings are attributed to
	nested int
	params []Value // positional parameters of the innermost string or function
	strict bool    // see RunStrict
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

// maxRecover is how many missing quotes and brackets the second attempt supplies.
const maxRecover = 6

// Run returns what line would run. The trace is valid until the next Run.
func (m *Machine) Run(line string) *Trace {
	m.reset()
	if len(line) > m.limits.Bytes {
		m.trace.Problems |= TooLong
		return &m.trace
	}
	line = strings.ReplaceAll(line, hole, "") // as bash does; see Hole
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
	m.depth, m.steps, m.work, m.fds, m.nested = 0, 0, 0, 0, 0
	m.ifs, m.cwd, m.params = " \t\n", "", nil
}

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

// repair parses text as if the quotes and brackets that it lacks were there; nil if that
// does not help.
func (m *Machine) repair(text string) *syntax.File {
	if f, err := m.parse(m.lenient, text); err == nil && len(f.Stmts) > 0 {
		return f
	}
	for _, end := range [...]string{"\"", "'", "`", ")", "\n}", "\nfi", "\ndone"} {
		if f, err := m.parse(m.parser, text+end); err == nil {
			return f
		}
	}
	return nil
}

// unclosed parses a text whose here-document is not closed. Shells accept that: the end
// of the text closes it.
func (m *Machine) unclosed(text string) *syntax.File {
	i := strings.LastIndex(text, "<<")
	if i < 0 {
		return nil
	}
	word := strings.TrimLeft(text[i+2:], "- \t")
	end := strings.IndexAny(word, " \t\n;|&><)")
	if end < 0 {
		end = len(word)
	}
	word = strings.Trim(word[:end], `"'\`)
	if word == "" || len(word) > 64 {
		return nil
	}
	f, err := m.parse(m.parser, text+"\n"+word+"\n")
	if err != nil {
		return nil
	}
	return f
}

// untemplated returns text with the ${{ … }} of a workflow file made a variable whose value
// is not known; "" if there are none.
func untemplated(text string) string {
	if !strings.Contains(text, "${{") {
		return ""
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "${{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		_, text, ok = strings.Cut(rest, "}}")
		if !ok {
			return ""
		}
		b.WriteString("$__template")
	}
}

// unquoted evaluates a text that does not parse as if it had no quotes: a stray quote
// must not hide what follows it.
func (m *Machine) unquoted(text string, in stream, via Via) {
	plain := strings.NewReplacer("\"", "", "'", "", "`", "", "\u2018", "'", "\u2019", "'", "\u201c", "'", "\u201d", "'").Replace(text)
	if f, err := m.parse(m.parser, plain); err == nil {
		m.stmts(f.Stmts, in, via)
	}
}

// maxFragments bounds how many pieces of a text that is no command line are looked at.
const maxFragments = 48

// fragments evaluates the pieces of a text that does not parse, each for itself.
func (m *Machine) fragments(text string, in stream, via Via) Value {
	if m.depth >= 3 || len(text) > maxBroken {
		return Value{S: hole, Taint: Unknown}
	}
	m.depth++
	defer func() { m.depth-- }()
	count := 0
	for piece := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == ';' || r == '|' || r == '&' }) {
		if count++; count > maxFragments {
			m.trace.Problems |= TooMuch
			break
		}
		piece = strings.Trim(piece, " \t`()")
		f, err := m.parse(m.parser, piece)
		if err != nil {
			if f = m.repair(piece); f == nil {
				continue
			}
		}
		m.stmts(f.Stmts, in, via)
	}
	return Value{S: hole, Taint: Unknown}
}

// maxBroken bounds the text that is tried piece by piece.
const maxBroken = 16 << 10

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
	name       Taint // where the command's name came from
	obscured   bool
}

// command evaluates one command and returns what it writes to its output.
func (m *Machine) command(c syntax.Command, j *job) Value {
	switch c := c.(type) {
	case nil:
		m.bare(j)
		return Value{}
	case *syntax.CallExpr:
		return m.call(c, j)
	case *syntax.BinaryCmd:
		return m.binary(c, j)
	case *syntax.Block:
		if len(c.Stmts) == 1 && blockText(c) == ":" {
			m.trace.Shellshock = true
		}
		return m.group(c.Stmts, j)
	case *syntax.Subshell:
		cwd := m.cwd
		out := m.group(c.Stmts, j)
		m.cwd = cwd
		return out
	case *syntax.IfClause:
		return m.ifs0(c, j)
	case *syntax.WhileClause:
		m.group(c.Cond, j)
		j.via |= ViaLoop
		return m.group(c.Do, j)
	case *syntax.ForClause:
		return m.loop(c, j)
	case *syntax.CaseClause:
		return m.choose(c, j)
	case *syntax.FuncDecl:
		m.define(c, j)
	case *syntax.DeclClause:
		m.declare(c, j)
	case *syntax.TimeClause:
		if c.Stmt != nil {
			return m.stmt(c.Stmt, j.in, j.via)
		}
	case *syntax.CoprocClause:
		return m.stmt(c.Stmt, j.in, j.via|ViaBack)
	case *syntax.TestClause:
		m.test(c.X)
	case *syntax.TestDecl:
		return m.stmt(c.Body, j.in, j.via)
	}
	return Value{}
}

func blockText(b *syntax.Block) string {
	if len(b.Stmts) == 0 {
		return ""
	}
	if call, ok := b.Stmts[0].Cmd.(*syntax.CallExpr); ok && len(call.Args) == 1 {
		return call.Args[0].Lit()
	}
	return ""
}

// group evaluates commands that share redirections.
func (m *Machine) group(list []*syntax.Stmt, j *job) Value {
	from := len(m.trace.Calls)
	out := m.stmts(list, j.in, j.via)
	m.inherit(from, j)
	return out
}

// inherit gives the redirections of a group to the calls in it.
func (m *Machine) inherit(from int, j *job) {
	if len(j.writes) == 0 && len(j.reads) == 0 {
		return
	}
	for i := from; i < len(m.trace.Calls); i++ {
		c := &m.trace.Calls[i]
		for _, w := range j.writes {
			c.OutClass |= w.Class
			c.Writes = append(c.Writes, w)
		}
		for _, r := range j.reads {
			c.Class |= r.Class
			c.Reads = append(c.Reads, r)
		}
	}
}

func (m *Machine) ifs0(c *syntax.IfClause, j *job) Value {
	var out Value
	for ; c != nil; c = c.Else {
		m.group(c.Cond, j)
		out = m.join(out, m.group(c.Then, j))
	}
	return out
}

func (m *Machine) choose(c *syntax.CaseClause, j *job) Value {
	m.word(c.Word)
	var out Value
	for _, item := range c.Items {
		out = m.join(out, m.group(item.Stmts, j))
	}
	return out
}

// maxRounds is how many times the body of a for loop is evaluated.
const maxRounds = 6

func (m *Machine) loop(c *syntax.ForClause, j *job) Value {
	j.via |= ViaLoop
	iter, ok := c.Loop.(*syntax.WordIter)
	if !ok {
		return m.group(c.Do, j)
	}
	items := m.words(iter.Items)
	var out Value
	for i, item := range items {
		if i == maxRounds {
			break
		}
		m.set(iter.Name.Value, item)
		out = m.join(out, m.group(c.Do, j))
	}
	if len(items) == 0 {
		m.set(iter.Name.Value, Value{S: hole})
		return m.group(c.Do, j)
	}
	return out
}

// binary evaluates a && b, a || b and pipes.
func (m *Machine) binary(c *syntax.BinaryCmd, j *job) Value {
	switch c.Op {
	case syntax.Pipe, syntax.PipeAll:
		from := len(m.trace.Calls)
		left := m.stmt(c.X, j.in, j.via)
		out := m.stmt(c.Y, stream{left, true}, j.via)
		m.inherit(from, j)
		return out
	case syntax.OrStmt:
		from := len(m.trace.Calls)
		left := m.stmt(c.X, j.in, j.via)
		right := m.stmt(c.Y, j.in, j.via)
		m.inherit(from, j)
		if left.S != "" && left.Known() {
			return left
		}
		return m.join(left, right)
	}
	from := len(m.trace.Calls)
	out := m.join(m.stmt(c.X, j.in, j.via), m.stmt(c.Y, j.in, j.via))
	m.inherit(from, j)
	return out
}

// define evaluates a function's body where it is declared, and notes fork bombs: a body
// that runs the function itself in a pipe or the background.
func (m *Machine) define(c *syntax.FuncDecl, j *job) {
	if c.Name == nil || c.Body == nil {
		return
	}
	name := c.Name.Value
	m.funcs = append(m.funcs, function{name: name, body: c.Body})
	uses, spreads := 0, false
	syntax.Walk(c.Body, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			if len(n.Args) > 0 && n.Args[0].Lit() == name {
				uses++
			}
		case *syntax.Stmt:
			spreads = spreads || n.Background
		case *syntax.BinaryCmd:
			spreads = spreads || n.Op == syntax.Pipe
		}
		return true
	})
	if uses >= 2 || uses == 1 && spreads {
		m.trace.Bomb = true
		return
	}
	params := m.params
	m.params = nil
	m.stmt(c.Body, stream{}, j.via|ViaFunc)
	m.params = params
}

func (m *Machine) test(x syntax.TestExpr) {
	switch x := x.(type) {
	case *syntax.BinaryTest:
		m.test(x.X)
		m.test(x.Y)
	case *syntax.UnaryTest:
		m.test(x.X)
	case *syntax.ParenTest:
		m.test(x.X)
	case *syntax.Word:
		m.word(x)
	}
}

// declare evaluates export, declare, local and readonly.
func (m *Machine) declare(c *syntax.DeclClause, j *job) {
	for _, a := range c.Args {
		if a.Name == nil {
			if a.Value != nil {
				v := m.word(a.Value)
				if name, val, ok := strings.Cut(v.S, "="); ok {
					m.assigned(name, Value{val, v.Taint}, j)
				}
			}
			continue
		}
		if !a.Naked {
			m.assign(a, j)
		}
	}
}

// assign evaluates one assignment that outlives the command.
func (m *Machine) assign(a *syntax.Assign, j *job) Value {
	if a.Name == nil {
		return Value{}
	}
	if a.Array != nil {
		var list []Value
		for _, el := range a.Array.Elems {
			if el.Value != nil {
				list = append(list, m.words([]*syntax.Word{el.Value})...)
			}
		}
		m.setList(a.Name.Value, list)
		return Value{}
	}
	var v Value
	if a.Value != nil {
		v = m.word(a.Value)
	}
	if a.Append {
		old, _ := m.get(a.Name.Value)
		v = m.join(old, v)
	}
	if a.Index != nil {
		m.setIndex(a.Name.Value, a.Index, v)
		return v
	}
	m.assigned(a.Name.Value, v, j)
	return v
}

func (m *Machine) assigned(name string, v Value, j *job) {
	m.set(name, v)
	m.trace.Sets = append(m.trace.Sets, Set{name, v, j.start, j.end})
	if name == "IFS" {
		m.ifs = v.Plain()
	}
}

// redirect evaluates one redirection into j.
func (m *Machine) redirect(r *syntax.Redirect, j *job) {
	fd := ""
	if r.N != nil {
		fd = r.N.Value
	}
	switch r.Op {
	case syntax.Hdoc, syntax.DashHdoc:
		j.in = stream{m.word(r.Hdoc), true}
	case syntax.WordHdoc:
		v := m.word(r.Word)
		v.S += "\n"
		j.in = stream{v, true}
	case syntax.RdrIn, syntax.RdrInOut:
		name := m.word(r.Word)
		class := paths.Of(name.S)
		j.reads = append(j.reads, Write{Path: name.S, Class: class})
		if fd == "" || fd == "0" {
			j.in = stream{m.contents(name.S, class), true}
		}
		if r.Op == syntax.RdrInOut {
			j.writes = append(j.writes, Write{Path: name.S, Class: class})
		}
	case syntax.DplIn:
		if v, ok := m.stored("/dev/fd/" + m.word(r.Word).S); ok {
			j.in = stream{v, true}
		}
	case syntax.DplOut:
		name := m.word(r.Word)
		if strings.Trim(name.S, "0123456789-") != "" { // >& file
			m.divert(name, false, fd, j)
		}
	case syntax.RdrOut, syntax.RdrClob, syntax.RdrAll, syntax.RdrAllClob:
		m.divert(m.word(r.Word), false, fd, j)
	case syntax.AppOut, syntax.AppAll, syntax.AppClob, syntax.AppAllClob:
		m.divert(m.word(r.Word), true, fd, j)
	}
}

func (m *Machine) divert(name Value, more bool, fd string, j *job) {
	class := paths.Of(name.S)
	if class&paths.Null != 0 || fd == "2" && class&paths.Socket == 0 {
		if fd != "2" && class&paths.Null != 0 {
			j.diverted = true
		}
		return
	}
	j.writes = append(j.writes, Write{Path: name.S, Class: class, Append: more})
	j.diverted = true
}

// store notes what a file now holds.
func (m *Machine) store(path string, v Value, more bool) {
	if path == "" || path == hole {
		return
	}
	for i := range m.files {
		if m.files[i].path == path {
			if more {
				v = m.join(m.files[i].val, v)
			}
			m.files[i].val = v
			return
		}
	}
	if len(m.files) < maxFiles {
		m.files = append(m.files, file{path, v})
	}
}

// maxFiles is how many files of one line are remembered.
const maxFiles = 64

// stored finds what the line itself has put into a file.
func (m *Machine) stored(path string) (Value, bool) {
	path = strings.TrimPrefix(path, "./")
	for i := len(m.files) - 1; i >= 0; i-- {
		have := strings.TrimPrefix(m.files[i].path, "./")
		if have == path || strings.HasSuffix(have, "/*") && strings.HasPrefix(path, have[:len(have)-1]) {
			return m.files[i].val, true
		}
	}
	if i := strings.LastIndexByte(path, '/'); i >= 0 && m.cwd != "" && strings.HasSuffix(m.cwd, path[:i]) {
		return m.stored(path[i+1:])
	}
	return Value{}, false
}

// contents is what reading a file gives.
func (m *Machine) contents(path string, class paths.Class) Value {
	if v, ok := m.stored(path); ok {
		return v
	}
	if class&paths.Null != 0 {
		return Value{}
	}
	v := Value{S: hole, Taint: File}
	switch {
	case class&paths.Socket != 0:
		v.Taint = Net
	case class&paths.Secret != 0:
		v.Taint |= Secret
	case class&(paths.History|paths.Mail|paths.Account|paths.Personal) != 0:
		v.Taint |= Personal
	case class&paths.Memory != 0:
		v.Taint |= Secret
	case class&paths.Device != 0:
		v.Taint |= System
	case path == "/dev/zero" || path == "/dev/urandom" || path == "/dev/random":
		v.Taint = Random
	case strings.HasPrefix(path, "/dev/fd/") || path == "/dev/stdin":
		v.Taint = Unknown
	case class&paths.System != 0:
		v.Taint |= System
	}
	return v
}
