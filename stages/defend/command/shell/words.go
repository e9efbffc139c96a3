package shell

import (
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// fields collects what one or several words expand to.
type fields struct {
	out   []Value
	cur   []byte
	taint Taint
	open  bool // cur is a field even if empty
}

func (f *fields) flush() {
	if f.open || len(f.cur) > 0 {
		f.out = append(f.out, Value{string(f.cur), f.taint})
	}
	f.cur, f.taint, f.open = f.cur[:0], 0, false
}

// words expands each word into its fields, as for the arguments of a command.
func (m *Machine) words(list []*syntax.Word) []Value {
	f := fields{out: m.room(len(list) + 1)}
	for _, w := range list {
		m.expand(w, &f)
		if len(f.out) > maxFields {
			m.trace.Problems |= TooMuch
			break
		}
	}
	return f.out
}

// maxFields is how many words one command may expand to.
const maxFields = 1024

// expand adds the fields of one word.
func (m *Machine) expand(w *syntax.Word, f *fields) {
	if len(w.Parts) == 1 {
		if lit, ok := w.Parts[0].(*syntax.Lit); ok && strings.IndexByte(lit.Value, '\\') < 0 && strings.IndexByte(lit.Value, '{') < 0 {
			f.out = append(f.out, Value{S: lit.Value})
			return
		}
	}
	if hasBrace(w) {
		copied := *w
		copied.Parts = append([]syntax.WordPart(nil), w.Parts...)
		if syntax.SplitBraces(&copied) {
			for _, alt := range m.braces(&copied, 0) {
				m.parts(alt, f)
				f.flush()
			}
			return
		}
	}
	m.parts(w.Parts, f)
	f.flush()
}

func hasBrace(w *syntax.Word) bool {
	for _, p := range w.Parts {
		if lit, ok := p.(*syntax.Lit); ok && strings.IndexByte(lit.Value, '{') >= 0 {
			return true
		}
	}
	return false
}

// maxBraces is how many words braces may expand to, and maxBraceDepth how deep they nest.
const (
	maxBraces     = 128
	maxBraceDepth = 8
)

// braces returns the words that w expands to, each as its parts.
func (m *Machine) braces(w *syntax.Word, depth int) [][]syntax.WordPart {
	alts := [][]syntax.WordPart{nil}
	for _, part := range w.Parts {
		be, ok := part.(*syntax.BraceExp)
		if !ok || depth > maxBraceDepth {
			for i := range alts {
				alts[i] = append(alts[i], part)
			}
			continue
		}
		var choices [][]syntax.WordPart
		if be.Sequence {
			choices = sequence(be)
		} else {
			for _, el := range be.Elems {
				choices = append(choices, m.braces(el, depth+1)...)
			}
		}
		var next [][]syntax.WordPart
		for _, a := range alts {
			for _, c := range choices {
				if len(next) >= maxBraces {
					m.trace.Problems |= TooMuch
					return next
				}
				next = append(next, append(append([]syntax.WordPart(nil), a...), c...))
			}
		}
		alts = next
	}
	return alts
}

// maxSequence bounds {a..b}; of a longer one only the first elements are made.
const maxSequence = 32

func sequence(be *syntax.BraceExp) [][]syntax.WordPart {
	lo, hi := be.Elems[0].Lit(), be.Elems[1].Lit()
	var out [][]syntax.WordPart
	add := func(s string) { out = append(out, []syntax.WordPart{&syntax.Lit{Value: s}}) }
	a, err1 := strconv.Atoi(lo)
	b, err2 := strconv.Atoi(hi)
	switch {
	case err1 == nil && err2 == nil:
		step := 1
		if a > b {
			step = -1
		}
		for n := a; len(out) < maxSequence; n += step {
			add(strconv.Itoa(n))
			if n == b {
				break
			}
		}
	case len(lo) == 1 && len(hi) == 1:
		for c := lo[0]; len(out) < maxSequence && c <= hi[0]; c++ {
			add(string(c))
		}
	}
	if len(out) == 0 {
		add(hole)
	}
	return out
}

// word expands w without splitting, as for an assignment or a redirection.
func (m *Machine) word(w *syntax.Word) Value {
	if w == nil {
		return Value{}
	}
	if len(w.Parts) == 1 {
		if lit, ok := w.Parts[0].(*syntax.Lit); ok && strings.IndexByte(lit.Value, '\\') < 0 {
			return Value{S: lit.Value}
		}
	}
	f := fields{cur: make([]byte, 0, 64)}
	for _, p := range w.Parts {
		m.part(p, true, &f)
	}
	for len(f.out) > 0 { // an array in an assignment is joined
		return Value{joinFields(f.out, " ") + string(f.cur), f.taint}
	}
	return Value{string(f.cur), f.taint}
}

func joinFields(list []Value, sep string) string {
	var b strings.Builder
	for i, v := range list {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(v.S)
		if b.Len() > maxValue {
			break
		}
	}
	return b.String()
}

func (m *Machine) parts(list []syntax.WordPart, f *fields) {
	if f.cur == nil {
		f.cur = make([]byte, 0, 64)
	}
	for _, p := range list {
		m.part(p, false, f)
	}
}

// part adds one part of a word; quoted says that its value is not split.
func (m *Machine) part(p syntax.WordPart, quoted bool, f *fields) {
	if m.steps++; m.depth > m.limits.Depth || m.over() {
		if m.depth > m.limits.Depth {
			m.trace.Problems |= TooDeep
		}
		f.cur = append(f.cur, Hole)
		return
	}
	switch p := p.(type) {
	case *syntax.Lit:
		f.cur = appendLit(f.cur, p.Value)
		f.open = true
	case *syntax.SglQuoted:
		if p.Dollar {
			f.cur = appendANSI(f.cur, p.Value)
		} else {
			f.cur = append(f.cur, p.Value...)
		}
		f.open = true
	case *syntax.DblQuoted:
		f.open = true
		for _, in := range p.Parts {
			if lit, ok := in.(*syntax.Lit); ok {
				f.cur = appendQuotedLit(f.cur, lit.Value)
				continue
			}
			m.depth++
			m.part(in, true, f)
			m.depth--
		}
	case *syntax.ParamExp:
		m.param(p, quoted, f)
	case *syntax.CmdSubst:
		m.add(m.substitute(p.Stmts), quoted, f)
	case *syntax.ProcSubst:
		m.add(m.process(p), true, f)
	case *syntax.ArithmExp:
		m.add(m.arithm(p.X), quoted, f)
	case *syntax.ExtGlob:
		f.cur = append(f.cur, '*')
	case *syntax.BraceExp:
		f.cur = append(f.cur, Hole)
	}
}

// add appends the value of an expansion, split at IFS unless quoted.
func (m *Machine) add(v Value, quoted bool, f *fields) {
	m.work += len(v.S)
	if len(f.cur)+len(v.S) > maxValue || m.over() {
		f.cur = append(f.cur, Hole)
		f.taint |= v.Taint
		return
	}
	f.taint |= v.Taint
	if quoted {
		f.cur = append(f.cur, v.S...)
		return
	}
	s := v.S
	for {
		i := strings.IndexAny(s, m.ifs)
		if i < 0 || m.ifs == "" {
			f.cur = append(f.cur, s...)
			return
		}
		f.cur = append(f.cur, s[:i]...)
		taint := f.taint
		f.flush()
		if len(f.out) > maxFields {
			return
		}
		f.taint = taint
		s = s[i+1:]
	}
}

// substitute evaluates $(…) and returns its output without the newlines at its end.
func (m *Machine) substitute(list []*syntax.Stmt) Value {
	if m.depth >= m.limits.Depth {
		m.trace.Problems |= TooDeep
		return Value{S: hole, Taint: Unknown}
	}
	if len(list) == 1 && len(list[0].Redirs) == 1 && list[0].Cmd == nil && list[0].Redirs[0].Op == syntax.RdrIn { // $(< file)
		j := job{}
		m.redirect(list[0].Redirs[0], &j)
		m.bareRead(&j)
		return j.in.val
	}
	origin := m.origin
	m.depth++
	cwd := m.cwd
	out := m.stmts(list, stream{}, ViaSubst)
	m.cwd = cwd
	m.depth--
	if m.nested == 0 {
		m.origin = origin
	}
	out.S = strings.TrimRight(out.S, "\n")
	return out
}

// process evaluates <(…) and >(…) and returns the name that stands for it.
func (m *Machine) process(p *syntax.ProcSubst) Value {
	if m.depth >= m.limits.Depth {
		m.trace.Problems |= TooDeep
		return Value{S: hole, Taint: Unknown}
	}
	m.fds++
	name := "/dev/fd/" + strconv.Itoa(64-m.fds%50)
	m.depth++
	if p.Op == syntax.CmdOut {
		m.stmts(p.Stmts, stream{Value{S: hole, Taint: Unknown}, true}, ViaSubst)
	} else {
		m.store(name, m.stmts(p.Stmts, stream{}, ViaSubst), false)
	}
	m.depth--
	return Value{S: name}
}

// arithm evaluates what needs no variables beyond the known.
func (m *Machine) arithm(x syntax.ArithmExpr) Value {
	n, ok := m.number(x, 0)
	if !ok {
		return Value{S: hole}
	}
	return Value{S: strconv.Itoa(n)}
}

const maxArithm = 32

func (m *Machine) number(x syntax.ArithmExpr, depth int) (int, bool) {
	if depth > maxArithm {
		return 0, false
	}
	switch x := x.(type) {
	case *syntax.Word:
		v := m.word(x)
		if n, err := strconv.ParseInt(v.S, 0, 32); err == nil {
			return int(n), true
		}
		if base, digits, ok := strings.Cut(v.S, "#"); ok {
			if b, err := strconv.Atoi(base); err == nil && b >= 2 && b <= 36 {
				n, err := strconv.ParseInt(digits, b, 32)
				return int(n), err == nil
			}
		}
		if val, ok := m.get(v.S); ok {
			n, err := strconv.ParseInt(val.S, 0, 32)
			return int(n), err == nil
		}
	case *syntax.ParenArithm:
		return m.number(x.X, depth+1)
	case *syntax.UnaryArithm:
		n, ok := m.number(x.X, depth+1)
		if ok && x.Op == syntax.Minus {
			n = -n
		}
		return n, ok && (x.Op == syntax.Minus || x.Op == syntax.Plus)
	case *syntax.BinaryArithm:
		a, ok1 := m.number(x.X, depth+1)
		b, ok2 := m.number(x.Y, depth+1)
		return calculate(x.Op, a, b, ok1 && ok2)
	}
	return 0, false
}

func calculate(op syntax.BinAritOperator, a, b int, ok bool) (int, bool) {
	if !ok {
		return 0, false
	}
	switch op {
	case syntax.Add:
		return a + b, true
	case syntax.Sub:
		return a - b, true
	case syntax.Mul:
		return a * b, true
	case syntax.Quo, syntax.Rem:
		if b == 0 {
			return 0, false
		}
		if op == syntax.Quo {
			return a / b, true
		}
		return a % b, true
	case syntax.Xor:
		return a ^ b, true
	case syntax.Or:
		return a | b, true
	case syntax.And:
		return a & b, true
	}
	return 0, false
}
