package shell

import (
	"path"
	"strings"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/paths"
)

// builtins are commands that change the machine's state or hand text to a shell.
var builtins map[string]func(m *Machine, c *Call, j *job, at int) Value

var readyToo = func() bool {
	builtins = map[string]func(*Machine, *Call, *job, int) Value{
		"eval": evalBuiltin, "source": sourceBuiltin, ".": sourceBuiltin, "cd": cdBuiltin, "pushd": cdBuiltin, "alias": aliasBuiltin, "trap": trapBuiltin, "read": readBuiltin, "mapfile": readBuiltin, "readarray": readBuiltin,
		"set": setBuiltin, "export": exportBuiltin, "at": laterBuiltin, "batch": laterBuiltin, "crontab": cronBuiltin, "git": gitBuiltin, "tar": tarBuiltin, "make": makeBuiltin, "printf": printfBuiltin, "setenv": setenvBuiltin, "unset": unsetBuiltin, "tmux": muxBuiltin, "screen": muxBuiltin, "rsync": rshBuiltin, "scp": rshBuiltin, "zip": zipBuiltin, "pbcopy": clipBuiltin,
	}
	return true
}()

func evalBuiltin(m *Machine, c *Call, j *job, at int) Value {
	v := Value{S: joinFields(c.Args, " ")}
	for _, a := range c.Args {
		v.Taint |= a.Taint
	}
	return m.evaluate(v, m.params, j, at)
}

func sourceBuiltin(m *Machine, c *Call, j *job, at int) Value {
	m.trace.Calls[at].Name = "source"
	if len(c.Args) == 0 {
		return Value{}
	}
	if v, ok := m.stored(c.Args[0].S); ok && strings.HasPrefix(c.Args[0].S, "/dev/fd/") && v.Taint&(Net|Decoded|Typed) == 0 && !v.Known() {
		return Value{} // source <(tool completion bash)
	} else if ok {
		return m.script(v, j, at)
	}
	if c.Args[0].S == "/dev/stdin" && j.in.piped {
		return m.input(nil, j, at)
	}
	return Value{}
}

func cdBuiltin(m *Machine, c *Call, _ *job, _ int) Value {
	if len(c.Args) > 0 {
		if dir := c.Args[len(c.Args)-1].S; dir != "-" {
			if m.cwd != "" && dir != "" && dir[0] != '/' && dir[0] != '~' {
				dir = path.Join(m.cwd, dir)
			}
			m.cwd = strings.TrimSuffix(dir, "/")
			if dir == "/" {
				m.cwd = "/"
			}
		}
	} else {
		m.cwd = "~"
	}
	m.set("PWD", Value{S: m.cwd})
	return Value{}
}

func aliasBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	for _, a := range c.Args {
		if name, val, ok := strings.Cut(a.S, "="); ok {
			m.set("alias "+name, Value{val, a.Taint})
			m.nest(val, stream{}, j.via|ViaFunc, j)
		}
	}
	return Value{}
}

func trapBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if len(c.Args) > 1 && c.Args[0].S != "-" {
		m.nest(c.Args[0].S, stream{}, j.via|ViaSched, j)
	}
	return Value{}
}

func readBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	v := Value{S: hole, Taint: Typed}
	if j.in.piped || len(c.Reads) > 0 {
		v = j.in.val
	}
	line, _, _ := strings.Cut(v.S, "\n")
	w := wrapper{values: "adinNptu"}
	names := w.options(c.Args, &job{})
	list := hasAny(c.Args, "-a") || c.Name != "read"
	if v, ok := value(c.Args, "-a"); ok {
		names = []Value{v}
	}
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(m.ifs, r) })
	if list && len(names) > 0 {
		var vals []Value
		for _, w := range words {
			vals = append(vals, Value{w, v.Taint})
		}
		m.setList(names[0].S, vals)
		return Value{}
	}
	for i, n := range names {
		switch {
		case i == len(names)-1 && i < len(words):
			m.set(n.S, Value{strings.Join(words[i:], " "), v.Taint})
		case i < len(words):
			m.set(n.S, Value{words[i], v.Taint})
		default:
			m.set(n.S, Value{hole, v.Taint})
		}
	}
	if len(names) == 0 {
		m.set("REPLY", Value{line, v.Taint})
	}
	return Value{}
}

func setBuiltin(m *Machine, c *Call, _ *job, _ int) Value {
	if len(c.Args) == 0 {
		return Value{S: hole, Taint: Env}
	}
	for i, a := range c.Args {
		if a.S == "--" {
			m.params = append([]Value{{S: "bash"}}, c.Args[i+1:]...)
			return Value{}
		}
	}
	if len(c.Args) > 0 && c.Args[0].S != "" && c.Args[0].S[0] != '-' && c.Args[0].S[0] != '+' {
		m.params = append([]Value{{S: "bash"}}, c.Args...)
	}
	return Value{}
}

func exportBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	for _, a := range c.Args {
		if name, val, ok := strings.Cut(a.S, "="); ok {
			m.assigned(name, Value{val, a.Taint}, j)
		}
	}
	return Value{}
}

func setenvBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if len(c.Args) == 2 {
		m.assigned(c.Args[0].S, c.Args[1], j)
	}
	return Value{}
}

func unsetBuiltin(m *Machine, c *Call, _ *job, _ int) Value {
	for _, a := range c.Args {
		if a.S == "HISTFILE" || a.S == "IFS" {
			continue
		}
		if m.has(a.S) {
			m.set(a.S, Value{})
		}
	}
	return Value{}
}

func laterBuiltin(m *Machine, c *Call, j *job, at int) Value {
	if j.in.piped {
		j.via |= ViaSched
		m.input(nil, j, at)
	}
	return Value{}
}

// cronBuiltin follows the commands of a crontab that is installed from the input.
func cronBuiltin(m *Machine, c *Call, j *job, at int) Value {
	v := j.in.val
	for _, a := range c.Args {
		if s, ok := m.stored(a.S); ok {
			v = s
		}
	}
	m.trace.Calls[at].ScriptTaint |= v.Taint
	for line := range strings.SplitSeq(v.Plain(), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && strings.HasPrefix(f[0], "@"):
			m.nest(strings.Join(f[1:], " "), stream{}, j.via|ViaSched, j)
		case len(f) > 5:
			m.nest(strings.Join(f[5:], " "), stream{}, j.via|ViaSched, j)
		}
		if m.over() {
			break
		}
	}
	return Value{S: hole, Taint: File}
}

// gitBuiltin follows the commands that git runs: -c core.pager, aliases with !, clone.
func gitBuiltin(m *Machine, c *Call, j *job, at int) Value {
	for i, a := range c.Args {
		key, val, ok := strings.Cut(strings.TrimPrefix(a.S, "--config="), "=")
		if !ok && i > 0 && i+1 < len(c.Args) && runsCommand(a.S) && c.Sub("config") {
			key, val, ok = a.S, c.Args[i+1].S, true
		}
		if ok && val != "" && val[0] != '!' && strings.HasPrefix(key, "alias.") {
			m.nest("git "+val, stream{}, j.via|ViaFunc, j)
			continue
		}
		if ok && runsCommand(key) && val != "" {
			if val[0] == '!' || strings.Contains(val, "sh -c") || strings.Contains(val, "/bin/sh") || strings.Contains(val, "/bin/bash") || strings.Contains(val, "/tmp/") || val == "sh" || val == "bash" {
				m.trace.Calls[at].Facts |= code.Spawn
			}
			m.nest(strings.TrimPrefix(val, "!"), stream{}, j.via|ViaEscape, j)
		}
	}
	if len(c.Args) >= 2 && c.Args[0].S == "clone" {
		rest := wrapper{values: "bojc", long: "branch depth origin"}.options(c.Args[1:], &job{})
		if len(rest) > 0 {
			dir := strings.TrimSuffix(path.Base(rest[0].S), ".git")
			if len(rest) > 1 {
				dir = rest[1].S
			}
			m.store(strings.TrimSuffix(dir, "/")+"/*", Value{S: hole, Taint: File}, false)
		}
	}
	for i, a := range c.Args {
		if (a.S == "foreach" || a.S == "run") && i > 0 && i+1 < len(c.Args) && (c.Args[i-1].S == "submodule" || c.Args[i-1].S == "bisect" || c.Args[i-1].S == "--recursive") {
			if a.S == "run" {
				m.run(c.Args[i+1:], job{via: j.via | ViaWrapper, start: j.start, end: j.end})
			} else {
				m.nest(joinFields(c.Args[i+1:], " "), stream{}, j.via|ViaWrapper, j)
			}
			break
		}
	}
	if v, ok := value(c.Args, "--upload-pack", "--receive-pack", "-u", "--exec", "--tree-filter", "--index-filter", "--msg-filter", "-x"); ok && !c.Sub("push") {
		m.nest(v.S, stream{}, j.via|ViaEscape, j)
	}
	return m.output(c, j)
}

// runsCommand says whether git runs the value of a configuration key.
func runsCommand(key string) bool {
	key = strings.ToLower(key)
	for _, k := range [...]string{"core.pager", "core.editor", "core.sshcommand", "core.fsmonitor", "core.askpass", "sequence.editor", "diff.external", "credential.helper", "gpg.program", "core.gitproxy", "uploadpack.packobjectshook", "interactive.difffilter"} {
		if key == k {
			return true
		}
	}
	return strings.HasPrefix(key, "alias.") || strings.HasPrefix(key, "pager.") || strings.HasSuffix(key, ".textconv") || strings.HasSuffix(key, ".cmd") || strings.HasPrefix(key, "filter.")
}

// tarBuiltin follows --checkpoint-action=exec=… and --to-command.
func tarBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	for _, a := range c.Args {
		for _, key := range [...]string{"--checkpoint-action=exec=", "--to-command=", "--use-compress-program=", "--rsh-command=", "-I", "--info-script=", "--new-volume-script=", "-F"} {
			if v, ok := strings.CutPrefix(a.S, key); ok && v != "" && strings.ContainsAny(v, " /") {
				m.nest(v, stream{}, j.via|ViaEscape, j)
			}
		}
	}
	if v, ok := value(c.Args, "-I", "--use-compress-program", "--to-command"); ok && strings.ContainsAny(v.S, " /") {
		m.nest(v.S, stream{}, j.via|ViaEscape, j)
	}
	return m.output(c, j)
}

func makeBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if v, ok := value(c.Args, "--eval"); ok {
		_, rule, _ := strings.Cut(v.S, ":")
		m.nest(strings.TrimLeft(rule, "\n\t -@"), stream{}, j.via|ViaEscape, j)
	}
	file := "Makefile"
	if v, ok := value(c.Args, "-f", "--file"); ok {
		file = v.S
	}
	v, ok := m.stored(file)
	if file == "-" {
		v, ok = j.in.val, j.in.piped
	}
	if ok {
		for line := range strings.SplitSeq(v.S, "\n") {
			if rest, ok := strings.CutPrefix(line, "\t"); ok && !m.over() {
				m.nest(strings.TrimLeft(rest, "@-"), stream{}, j.via|ViaStored, j)
			}
		}
	}
	return m.output(c, j)
}

// muxBuiltin follows the command that a terminal multiplexer starts.
func muxBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	for i, a := range c.Args {
		switch a.S {
		case "display-message", "display", "rename-window", "rename-session", "set-option", "set", "set-environment", "list-keys", "renamew", "rename":
			return Value{S: hole, Taint: Unknown}
		}
		if strings.ContainsAny(a.S, " ") || i == len(c.Args)-1 && i > 0 && strings.HasPrefix(a.S, "/") {
			m.nest(a.S, stream{}, j.via|ViaWrapper, j)
		}
	}
	if c.Name == "screen" && len(c.Args) > 1 && strings.HasPrefix(c.Args[0].S, "-d") {
		if rest := (wrapper{values: "SeTchp"}).options(c.Args, &job{}); len(rest) > 0 {
			m.run(rest, job{via: j.via | ViaWrapper, start: j.start, end: j.end})
		}
	}
	return Value{S: hole, Taint: Unknown}
}

// rshBuiltin follows rsync -e and scp -S, and where copies from another host land.
func rshBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if v, ok := value(c.Args, "-e", "--rsh", "-S", "--rsync-path"); ok && c.Name == "rsync" && !strings.HasPrefix(v.S, "ssh") {
		m.nest(v.S, stream{}, j.via|ViaEscape, j)
	}
	if n := len(c.Args); n >= 2 && paths.Of(c.Args[n-2].S)&paths.Host != 0 {
		to := strings.TrimSuffix(c.Args[n-1].S, "/")
		m.store(to, Value{S: hole, Taint: Net | File}, false)
		m.store(to+"/*", Value{S: hole, Taint: Net | File}, false)
	}
	return Value{}
}

func zipBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if v, ok := value(c.Args, "-TT", "--unzip-command"); ok {
		m.nest(v.S, stream{}, j.via|ViaEscape, j)
	}
	return m.output(c, j)
}

func clipBuiltin(m *Machine, _ *Call, j *job, _ int) Value {
	m.store("clipboard", j.in.val, false)
	return Value{}
}

func printfBuiltin(m *Machine, c *Call, j *job, _ int) Value {
	if len(c.Args) >= 3 && c.Args[0].S == "-v" {
		m.assigned(c.Args[1].S, formatted(c.Args[2:]), j)
		return Value{}
	}
	return formatted(c.Args)
}
