package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sluice/stages/defend/command/paths"
)

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
		j.swapped = j.swapped || name.S == "/dev/tty" || name.S == "@stdin" || strings.HasPrefix(name.S, "/dev/pts/")
		if fd == "" || fd == "0" {
			j.in = stream{m.contents(name.S, class), true}
		}
		if r.Op == syntax.RdrInOut {
			j.writes = append(j.writes, Write{Path: name.S, Class: class})
		}
	case syntax.DplIn:
		from := m.word(r.Word).S
		if v, ok := m.stored("/dev/fd/" + from); ok {
			j.in = stream{v, true}
		}
		j.swapped = j.swapped || from == "1" || from == "2"
	case syntax.DplOut:
		name := m.word(r.Word)
		if strings.Trim(name.S, "0123456789-") != "" { // >& file
			m.divert(name, false, fd, j)
		}
		j.swapped = j.swapped || name.S == "0"
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
		j.muted = j.muted || fd == "2" && class&paths.Null != 0
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
	if m.cwd != "" && path != "" && path[0] != '/' && path[0] != '~' {
		if v, ok := m.held(strings.TrimSuffix(m.cwd, "/") + "/" + path); ok {
			return v, true
		}
	}
	if v, ok := m.held(path); ok {
		return v, true
	}
	if i := strings.LastIndexByte(path, '/'); i >= 0 && m.cwd != "" && strings.HasSuffix(m.cwd, path[:i]) {
		return m.held(path[i+1:])
	}
	return Value{}, false
}

// held finds a file by the name under which it was written.
func (m *Machine) held(path string) (Value, bool) {
	for i := len(m.files) - 1; i >= 0; i-- {
		have := strings.TrimPrefix(m.files[i].path, "./")
		if have == path || strings.HasSuffix(have, "/*") && strings.HasPrefix(path, have[:len(have)-1]) {
			return m.files[i].val, true
		}
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
