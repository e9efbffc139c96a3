package shell

import (
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sluice/stages/defend/command/paths"
)

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
	m.work += len(s) + min(len(s), maxTrim)*min(len(s), maxTrim)/64 // each place is tried
	if m.over() {
		return Value{S: hole, Taint: v.Taint}
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
