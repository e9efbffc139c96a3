package shell

import (
	"slices"
	"strings"
)

func envSplit(_ *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	if v, ok := value(c.Args, "-S", "--split-string"); ok {
		return nil, text(v, j, ViaWrapper)
	}
	return nil, nil
}

// lookup is command -v, which runs nothing.
func lookup(_ *Machine, c *Call, _ *job) ([]Value, func(*Machine) Value) {
	if len(c.Args) > 1 && (c.Args[0].S == "-v" || c.Args[0].S == "-V") {
		v := c.Args[1]
		return nil, func(*Machine) Value { return Value{v.S + "\n", v.Taint} }
	}
	return nil, nil
}

// sudoShell is sudo -s and -i, which run a shell when no command is given, and sudo -e.
func sudoShell(_ *Machine, c *Call, _ *job) ([]Value, func(*Machine) Value) {
	if len(c.Args) > 0 && (c.Args[0].S == "-e" || c.Args[0].S == "-l" || c.Args[0].S == "-v" || c.Args[0].S == "-k") {
		return nil, func(*Machine) Value { return Value{} }
	}
	return nil, nil
}

func suCode(_ *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	if v, ok := value(c.Args, "-c", "--command"); ok {
		return nil, text(v, j, ViaSudo)
	}
	if c.Name == "su" {
		return nil, func(m *Machine) Value {
			if j.in.piped && j.in.val.Known() && j.in.val.S != "" {
				return m.nest(j.in.val.S, stream{}, j.via|ViaInput, j)
			}
			return Value{S: hole, Taint: Unknown}
		}
	}
	return nil, nil
}

func onlyCode(_ *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	if v, ok := value(c.Args, "-c", "--command"); ok {
		return nil, text(v, j, ViaWrapper)
	}
	return nil, func(*Machine) Value { return Value{S: hole, Taint: Unknown} }
}

func afterDashes(_ *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	for i, a := range c.Args {
		switch a.S {
		case "--":
			if i+1 < len(c.Args) {
				if c.Name == "capsh" {
					if v, ok := value(c.Args[i+1:], "-c"); ok {
						return nil, text(v, j, ViaWrapper)
					}
					return []Value{{S: "/bin/bash"}}, nil
				}
				return c.Args[i+1:], nil
			}
			if c.Name == "capsh" {
				return []Value{{S: "/bin/bash"}}, nil
			}
		case "-x", "--exec", "--startas", "-a":
			if c.Name == "start-stop-daemon" && i+1 < len(c.Args) {
				return c.Args[i+1 : i+2], nil
			}
		}
	}
	return nil, nil
}

// afterVerb finds the command behind exec, run or shell: bundle exec rake, adb shell rm.
func afterVerb(m *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	for i, a := range c.Args {
		switch a.S {
		case "exec", "run", "shell", "record", "stat", "trace":
			w := wrapper{values: "npesotF", long: "name env package extra with python group directory"}
			rest := w.options(c.Args[i+1:], &job{})
			if c.Name == "aws-vault" && len(rest) > 2 {
				rest = rest[1:]
			}
			if len(rest) > 0 && rest[0].S == "--" {
				rest = rest[1:]
			}
			if len(rest) > 0 {
				return rest, nil
			}
			return nil, func(m *Machine) Value { return m.output(c, j) }
		}
		if a.S != "" && a.S[0] != '-' {
			break
		}
	}
	return nil, func(m *Machine) Value { return m.output(c, j) }
}

// called is npx -c and flock -c, whose value is a command line.
func called(_ *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	if v, ok := value(c.Args, "-c", "--call", "--command"); ok {
		return nil, text(v, j, ViaWrapper)
	}
	return nil, nil
}

// netns is ip netns exec.
func netns(m *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	for i, a := range c.Args {
		if a.S == "exec" && i > 0 && (c.Args[i-1].S == "netns" || c.Args[i-1].S == "vrf") && i+2 < len(c.Args) {
			return c.Args[i+2:], nil
		}
	}
	return nil, func(m *Machine) Value { return m.output(c, j) }
}

// sshProxy is ssh -o ProxyCommand=… and LocalCommand, which run on this machine.
func sshProxy(m *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	for _, a := range c.Args {
		for _, key := range [...]string{"ProxyCommand=", "ProxyCommand ", "LocalCommand=", "KnownHostsCommand="} {
			if i := strings.Index(a.S, key); i >= 0 {
				job := *j
				cmd := strings.TrimLeft(a.S[i+len(key):], ";")
				m.nest(cmd, stream{}, j.via|ViaEscape, &job)
			}
		}
	}
	return nil, nil
}

// xargs gives the words of its input to the command.
func xargs(m *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	w := wrappers["xargs"]
	replace := ""
	if v, ok := value(c.Args, "-I", "--replace"); ok {
		replace = v.S
	} else if hasAny(c.Args, "-i") {
		replace = "{}"
	}
	rest := w.options(c.Args, j)
	if len(rest) == 0 {
		rest = []Value{{S: "echo"}}
	}
	in := j.in.val
	if i := slices.IndexFunc(rest, func(v Value) bool { return v.S == ":::" }); i >= 0 && c.Name == "parallel" {
		parts := []Value{{joinFields(rest[:i], " ") + " " + joinFields(rest[i+1:], " "), 0}}
		if i == 0 {
			parts = rest[1:]
		}
		return nil, text(Value{S: joinFields(parts, "\n")}, j, ViaXargs)
	}
	if !j.in.piped {
		if v, ok := value(c.Args, "-a", "--arg-file"); !ok || v.S == "/dev/null" {
			return rest, nil
		}
		in = Value{S: hole, Taint: Unknown}
	}
	var words []Value
	if !in.Known() || in.S == "" {
		words = []Value{{hole, in.Taint}}
		if s := strings.TrimSpace(in.Plain()); s != "" && len(s) < 256 && !strings.Contains(s, "\n") {
			words[0].S = strings.TrimSpace(in.S)
		}
	} else {
		for f := range strings.FieldsFuncSeq(in.S, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' }) {
			if words = append(words, Value{strings.Trim(f, "'\""), in.Taint}); len(words) == maxXargs {
				break
			}
		}
	}
	out := make([]Value, 0, len(rest)+len(words))
	if replace != "" {
		whole := Value{strings.TrimRight(in.S, "\n"), in.Taint}
		for _, a := range rest {
			if strings.Contains(a.S, replace) && len(whole.S) < maxValue/16 {
				a = Value{strings.ReplaceAll(a.S, replace, whole.S), a.Taint | whole.Taint}
			}
			out = append(out, a)
		}
	} else {
		out = append(append(out, rest...), words...)
	}
	j.in = stream{Value{}, false}
	if c.Name == "parallel" {
		return nil, text(Value{joinFields(out, " "), in.Taint}, j, ViaXargs)
	}
	return out, nil
}

// maxXargs is how many words of known input xargs passes on.
const maxXargs = 128

func hasAny(args []Value, names ...string) bool {
	for _, a := range args {
		for _, n := range names {
			if a.S == n {
				return true
			}
		}
	}
	return false
}

// find evaluates the commands of -exec and -ok with a name below its start.
func find(_ *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	args := c.Args
	start := Value{S: "."}
	if len(args) > 0 && args[0].S != "" && args[0].S[0] != '-' && args[0].S != "(" && args[0].S != "!" {
		start = args[0]
	}
	found := Value{start.S, start.Taint}
	if found.S != "/" {
		found.S = strings.TrimSuffix(found.S, "/")
	} else {
		found.S = ""
	}
	found.S += "/" + hole
	if v, ok := value(args, "-name", "-iname"); ok && v.Known() {
		found.S += "/" + strings.ReplaceAll(v.S, "*", hole)
	}
	if v, ok := value(args, "-path", "-wholename"); ok && v.Known() {
		found.S += "/" + strings.ReplaceAll(v.S, "*", hole)
	}
	var runs [][]Value
	asks := false
	for i := 0; i < len(args); i++ {
		switch args[i].S {
		case "-ok", "-okdir":
			asks = true
			fallthrough
		case "-exec", "-execdir", "-x", "--exec", "-X":
			if c.Name != "fd" && args[i].S[0] == '-' && len(args[i].S) < 3 {
				continue
			}
			end := i + 1
			for end < len(args) && args[end].S != ";" && args[end].S != "+" && args[end].S != `\;` {
				end++
			}
			cmd := make([]Value, 0, end-i)
			for _, a := range args[i+1 : end] {
				if strings.Contains(a.S, "{}") && len(a.S) < maxValue/16 {
					a.S = strings.ReplaceAll(a.S, "{}", found.S)
				}
				cmd = append(cmd, a)
			}
			if len(cmd) > 0 && len(runs) < maxRounds {
				runs = append(runs, cmd)
			}
			i = end
		}
	}
	job := *j
	if job.via |= ViaFind; asks {
		job.via |= ViaAsked
	}
	return nil, func(m *Machine) Value {
		for _, cmd := range runs {
			m.run(cmd, job)
		}
		return Value{found.S + "\n", start.Taint | Unknown}
	}
}

// container finds the command that docker run, docker exec, kubectl exec and their kin
// run in a container.
func container(_ *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	verb := -1
	for i, a := range c.Args {
		if a.S == "exec" || a.S == "run" || a.S == "debug" {
			verb = i
			break
		}
		if a.S == "" || a.S[0] != '-' && i > 3 {
			break
		}
	}
	whole := *c
	none := func(m *Machine) Value { return m.output(&whole, j) }
	if verb < 0 {
		return nil, none
	}
	args := c.Args[verb+1:]
	for i, a := range args {
		if a.S == "--" {
			if i+1 < len(args) {
				return args[i+1:], nil
			}
			return nil, none
		}
	}
	w := wrapper{skip: 1, values: "vepuwhlmcan", long: "name env volume user workdir publish network entrypoint mount hostname cpus memory label env-file platform cap-add cap-drop security-opt device pid ipc restart ulimit add-host link index image overrides tmpfs volumes-from gpus dns context namespace userns shm-size log-driver log-opt cgroupns pull container"}
	if rest := w.options(args, &job{}); len(rest) > 0 {
		return rest, nil
	}
	return nil, none
}
