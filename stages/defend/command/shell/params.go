package shell

import (
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sluice/stages/defend/command/paths"
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
	return Value{S: hole, Taint: Env}, false
}

func (m *Machine) rest() []Value {
	if len(m.params) < 2 {
		return nil
	}
	return m.params[1:]
}

// param adds the value of $name or ${…}.
func (m *Machine) param(p *syntax.ParamExp, quoted bool, f *fields) {
	if p.Param == nil {
		f.cur = append(f.cur, Hole)
		return
	}
	name := p.Param.Value
	if (name == "@" || name == "*") && p.Exp == nil && p.Slice == nil && p.Repl == nil && !p.Length {
		m.addAll(m.rest(), quoted && name == "*", f)
		return
	}
	if p.Index != nil && !p.Length {
		if all, ok := p.Index.(*syntax.Word); ok && (all.Lit() == "@" || all.Lit() == "*") {
			list := m.getList(name)
			if list == nil {
				if v, ok := m.get(name); ok {
					list = []Value{v}
				}
			}
			m.addAll(list, false, f)
			return
		}
	}
	m.add(m.value(p, name), quoted, f)
}

// addAll adds each value as a field of its own.
func (m *Machine) addAll(list []Value, joined bool, f *fields) {
	if joined {
		m.add(Value{S: joinFields(list, " ")}, true, f)
		return
	}
	for i, v := range list {
		if i > 0 {
			f.flush()
		}
		f.open = true
		m.add(v, true, f)
	}
	if len(list) == 0 {
		return
	}
}

// value evaluates the operators of ${…}.
func (m *Machine) value(p *syntax.ParamExp, name string) Value {
	v, isSet := m.lookup(name)
	if p.Index != nil {
		if n, ok := m.number(p.Index, 0); ok {
			if list := m.getList(name); n >= 0 && n < len(list) {
				v, isSet = list[n], true
			}
		}
	}
	if p.Excl && p.Names == 0 { // ${!name}
		if v.Known() {
			v, isSet = m.lookup(v.S)
		}
	}
	switch {
	case p.Length:
		if !isSet || !v.Known() {
			return Value{S: hole}
		}
		return Value{S: strconv.Itoa(len(v.S))}
	case p.Slice != nil:
		return m.slice(p.Slice, name, v)
	case p.Repl != nil:
		return m.replace(p.Repl, v)
	case p.Exp != nil:
		return m.expansion(p.Exp, name, v, isSet)
	}
	if !isSet && p.Names != 0 {
		return Value{S: hole}
	}
	return v
}

func (m *Machine) slice(s *syntax.Slice, name string, v Value) Value {
	if real, ok := spelled[name]; ok && !m.has(name) {
		v.S = real
	}
	from, ok1 := 0, true
	if s.Offset != nil {
		from, ok1 = m.number(s.Offset, 0)
	}
	if from < 0 {
		from = max(0, len(v.S)+from)
	}
	if name == "@" || name == "*" {
		rest := m.params
		if !ok1 || from > len(rest) {
			return Value{S: hole}
		}
		rest = rest[from:]
		if s.Length != nil {
			if n, ok := m.number(s.Length, 0); ok && n >= 0 && n < len(rest) {
				rest = rest[:n]
			}
		}
		return Value{S: joinFields(rest, " ")}
	}
	if !ok1 || !v.Known() {
		return Value{S: hole, Taint: v.Taint}
	}
	from = min(from, len(v.S))
	to := len(v.S)
	if s.Length != nil {
		n, ok := m.number(s.Length, 0)
		if !ok {
			return Value{S: hole, Taint: v.Taint}
		}
		if n < 0 {
			to = max(from, len(v.S)+n)
		} else {
			to = min(len(v.S), from+n)
		}
	}
	return Value{v.S[from:to], v.Taint}
}

func (m *Machine) has(name string) bool { _, ok := m.get(name); return ok }

func (m *Machine) replace(r *syntax.Replace, v Value) Value {
	if !v.Known() || r.Orig == nil {
		return v
	}
	from, to := m.word(r.Orig), m.word(r.With)
	if from.S == "" {
		return v
	}
	anchor := byte(0)
	if from.S[0] == '#' || from.S[0] == '%' {
		anchor, from.S = from.S[0], from.S[1:]
	}
	if strings.ContainsAny(from.S, "*?[") {
		if from.S == "*" {
			return Value{to.S, v.Taint | to.Taint}
		}
		if len(from.S) >= 3 && from.S[0] == '[' && strings.IndexByte(from.S, ']') == len(from.S)-1 {
			return Value{m.replaceSet(v.S, from.S, to.S, r.All), v.Taint | to.Taint}
		}
		return Value{v.S + hole, v.Taint | to.Taint}
	}
	m.work += len(v.S)
	if len(v.S)*max(1, len(to.S)) > maxValue*4 {
		return Value{S: hole, Taint: v.Taint}
	}
	switch {
	case anchor == '#' && strings.HasPrefix(v.S, from.S):
		return Value{to.S + v.S[len(from.S):], v.Taint | to.Taint}
	case anchor == '%' && strings.HasSuffix(v.S, from.S):
		return Value{v.S[:len(v.S)-len(from.S)] + to.S, v.Taint | to.Taint}
	case anchor != 0:
		return v
	}
	n := 1
	if r.All {
		n = -1
	}
	return Value{strings.Replace(v.S, from.S, to.S, n), v.Taint | to.Taint}
}

// replaceSet replaces the characters of a [set].
func (m *Machine) replaceSet(s, set, to string, all bool) string {
	var b strings.Builder
	done := false
	for i := range len(s) {
		if (all || !done) && paths.Glob(set, s[i:i+1]) {
			b.WriteString(to)
			done = true
		} else {
			b.WriteByte(s[i])
		}
		if b.Len() > maxValue {
			break
		}
	}
	return b.String()
}

// expansion evaluates ${a:-b}, ${a#b}, ${a^^} and their kin.
func (m *Machine) expansion(e *syntax.Expansion, name string, v Value, isSet bool) Value {
	arg := m.word(e.Word)
	switch e.Op {
	case syntax.DefaultUnset, syntax.DefaultUnsetOrNull, syntax.AssignUnset, syntax.AssignUnsetOrNull:
		if isSet && v.S != "" {
			return v
		}
		if e.Op == syntax.AssignUnset || e.Op == syntax.AssignUnsetOrNull {
			m.set(name, arg)
		}
		return arg
	case syntax.AlternateUnset, syntax.AlternateUnsetOrNull:
		if isSet || len(m.params) == 0 && v.S == hole {
			return arg
		}
		return Value{}
	case syntax.ErrorUnset, syntax.ErrorUnsetOrNull:
		if !isSet { // the shell stops here if it is empty
			return Value{S: "?" + hole, Taint: v.Taint}
		}
		return v
	}
	if !v.Known() {
		return v
	}
	s := v.S
	if real, ok := spelled[name]; ok && !m.has(name) {
		s = real
	}
	switch e.Op {
	case syntax.RemSmallPrefix, syntax.RemLargePrefix:
		s = trimGlob(s, arg.S, e.Op == syntax.RemLargePrefix, true)
	case syntax.RemSmallSuffix, syntax.RemLargeSuffix:
		s = trimGlob(s, arg.S, e.Op == syntax.RemLargeSuffix, false)
	case syntax.UpperAll:
		s = strings.ToUpper(s)
	case syntax.LowerAll:
		s = strings.ToLower(s)
	case syntax.UpperFirst:
		s = strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):]
	case syntax.LowerFirst:
		s = strings.ToLower(s[:min(1, len(s))]) + s[min(1, len(s)):]
	case syntax.OtherParamOps:
		switch arg.S {
		case "E":
			s = string(appendANSI(nil, s))
		case "U":
			s = strings.ToUpper(s)
		case "L":
			s = strings.ToLower(s)
		case "P":
			return Value{s, v.Taint}
		}
	}
	return Value{s, v.Taint}
}

// maxTrim bounds the texts on which patterns are tried at each place.
const maxTrim = 1024

func trimGlob(s, pattern string, longest, prefix bool) string {
	if !strings.ContainsAny(pattern, "*?[") {
		if prefix {
			return strings.TrimPrefix(s, pattern)
		}
		return strings.TrimSuffix(s, pattern)
	}
	if len(s) > maxTrim || len(pattern) > 64 {
		return hole
	}
	for k := 0; k <= len(s); k++ {
		n := k
		if longest {
			n = len(s) - k
		}
		if prefix && paths.Glob(pattern, s[:n]) {
			return s[n:]
		}
		if !prefix && paths.Glob(pattern, s[len(s)-n:]) {
			return s[:len(s)-n]
		}
	}
	return s
}
