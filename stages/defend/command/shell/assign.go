package shell

import (
	"mvdan.cc/sh/v3/syntax"
)

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
