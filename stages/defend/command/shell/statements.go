package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

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
