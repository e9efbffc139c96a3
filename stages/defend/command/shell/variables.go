package shell

import (
	"strconv"

	"mvdan.cc/sh/v3/syntax"
)

func (m *Machine) set(name string, v Value) {
	for i := range m.vars {
		if m.vars[i].name == name {
			m.vars[i].val, m.vars[i].list = v, nil
			return
		}
	}
	if len(m.vars) < maxVars {
		m.vars = append(m.vars, variable{name: name, val: v})
	}
}

// maxVars is how many variables of a line are remembered.
const maxVars = 256

func (m *Machine) setList(name string, list []Value) {
	var first Value
	if len(list) > 0 {
		first = list[0]
	}
	m.set(name, first)
	for i := range m.vars {
		if m.vars[i].name == name {
			m.vars[i].list = list
		}
	}
}

func (m *Machine) setIndex(name string, index syntax.ArithmExpr, v Value) {
	n, ok := m.number(index, 0)
	if !ok || n < 0 || n > maxFields {
		return
	}
	for i := range m.vars {
		if m.vars[i].name == name {
			for len(m.vars[i].list) <= n {
				m.vars[i].list = append(m.vars[i].list, Value{})
			}
			m.vars[i].list[n] = v
			return
		}
	}
	list := make([]Value, n+1)
	list[n] = v
	m.setList(name, list)
}

// get returns a variable that the line has set.
func (m *Machine) get(name string) (Value, bool) {
	for i := range m.vars {
		if m.vars[i].name == name {
			return m.vars[i].val, true
		}
	}
	return Value{}, false
}

func (m *Machine) getList(name string) []Value {
	for i := range m.vars {
		if m.vars[i].name == name {
			return m.vars[i].list
		}
	}
	return nil
}

// builtin variables have values that matter to what a line does. Home folders are written
// ~, as the rules know them.
var builtin = map[string]Value{
	"HOME": {S: "~"}, "IFS": {S: " \t\n"}, "SHELL": {S: "/bin/bash"}, "BASH": {S: "/bin/bash"}, "PWD": {S: "."}, "TMPDIR": {S: "/tmp"}, "TEMP": {S: "/tmp"},
	"HISTFILE": {S: "~/.bash_history"}, "PATH": {S: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, "OSTYPE": {S: "linux-gnu"}, "EUID": {S: hole}, "UID": {S: hole},
	"XDG_CONFIG_HOME": {S: "~/.config"}, "PS4": {S: "+ "}, "PS2": {S: "> "}, "LS_COLORS": {S: hole}, "OLDPWD": {S: hole}, "OPTIND": {S: "1"}, "SHLVL": {S: "1"}, "BASH_VERSION": {S: "5.2.15(1)-release"},
}

// spelled is what a builtin variable really holds, for slicing letters out of it.
var spelled = map[string]string{"HOME": "/home/user", "PWD": "/home/user", "OLDPWD": "/home/user"}

// lookup returns the value of a parameter and whether it is set, as far as is known.
func (m *Machine) lookup(name string) (Value, bool) {
	if v, ok := m.get(name); ok {
		return v, true
	}
	if v, ok := builtin[name]; ok {
		return v, true
	}
	switch name {
	case "@", "*":
		return Value{S: joinFields(m.rest(), " ")}, len(m.params) > 0
	case "#":
		return Value{S: strconv.Itoa(len(m.rest()))}, true
	case "?":
		return Value{S: "0"}, true
	case "$", "!", "PPID", "RANDOM", "SECONDS", "LINENO", "BASHPID":
		return Value{S: hole}, true
	case "-":
		return Value{S: "himBHs"}, true
	case "0":
		if len(m.params) > 0 {
			return m.params[0], true
		}
		return Value{S: "bash"}, true
	case "_":
		return Value{S: hole}, true
	}
	if n, err := strconv.Atoi(name); err == nil {
		if n > 0 && n < len(m.params) {
			return m.params[n], true
		}
		return Value{S: ""}, false
	}
	return Value{S: hole, Taint: Variable}, false
}

func (m *Machine) rest() []Value {
	if len(m.params) < 2 {
		return nil
	}
	return m.params[1:]
}

func (m *Machine) has(name string) bool { _, ok := m.get(name); return ok }
