package shell

import (
	"strings"
)

// wrapper describes a program that runs another one named by its arguments.
type wrapper struct {
	// values are the short options that take a value, long the long ones written without =.
	values string
	long   string
	// skip is how many arguments stand before the command.
	skip int
	// assigns says that NAME=value may stand before the command.
	assigns bool
	// code names the options whose value is a shell command line.
	code string
	// joined says that the rest is a command line for a shell, not a list of words.
	joined bool
	via    Via
	// special handles what the fields above cannot say; it returns the rest, or an
	// evaluation to be made instead.
	special func(m *Machine, c *Call, j *job) (rest []Value, inner func(*Machine) Value)
}

// wrappers by name.
var wrappers map[string]wrapper

func wrapperTable() map[string]wrapper {
	plain := wrapper{via: ViaWrapper}
	return map[string]wrapper{
		"env": {values: "uCSa", long: "unset chdir split-string argv0", assigns: true, via: ViaWrapper, special: envSplit}, "nohup": plain, "setsid": plain, "builtin": plain, "unbuffer": plain, "rlwrap": plain, "ltrace": {values: "eosp", via: ViaWrapper}, "strace": {values: "eospPIE", via: ViaWrapper},
		"command": {via: ViaWrapper, special: lookup}, "exec": {values: "a", via: ViaWrapper}, "time": {values: "fo", via: ViaWrapper},
		"nice": {values: "n", long: "adjustment", via: ViaWrapper}, "ionice": {values: "cnp", via: ViaWrapper}, "chrt": {skip: 1, values: "TPD", via: ViaWrapper}, "taskset": {skip: 1, via: ViaWrapper},
		"timeout": {values: "sk", long: "signal kill-after", skip: 1, via: ViaWrapper}, "gtimeout": {values: "sk", skip: 1, via: ViaWrapper}, "stdbuf": {values: "ioe", long: "input output error", via: ViaWrapper},
		"sudo": {values: "ugUhpCTRDrtg", long: "user group host prompt chdir other-user role type close-from chroot command-timeout", assigns: true, via: ViaSudo, special: sudoShell}, "doas": {values: "uC", via: ViaSudo, special: sudoShell}, "pkexec": {long: "user", via: ViaSudo | ViaWrapper}, "gosu": {skip: 1, via: ViaSudo}, "su-exec": {skip: 1, via: ViaSudo}, "setpriv": {long: "reuid regid", via: ViaWrapper}, "capsh": {via: ViaWrapper, special: afterDashes},
		"su": {values: "sgGwc", long: "shell command group", code: "c", via: ViaSudo, special: suCode}, "runuser": {values: "ugGs", long: "shell", code: "c", via: ViaSudo, special: suCode},
		"xargs": {values: "IPLnsdaE", long: "max-args max-procs replace arg-file delimiter max-lines", via: ViaXargs, special: xargs}, "parallel": {values: "jNaSI", via: ViaXargs, joined: true, special: xargs}, "find": {via: ViaFind, special: find}, "fd": {via: ViaFind, special: find}, "gfind": {via: ViaFind, special: find},
		"watch": {values: "nq", long: "interval", joined: true, via: ViaWrapper}, "script": {values: "cOITEm", code: "c", via: ViaWrapper, special: onlyCode}, "flock": {values: "wEc", code: "c", skip: 1, via: ViaWrapper, special: called},
		"chroot": {long: "userspec groups", skip: 1, via: ViaBox}, "unshare": {values: "SGw", via: ViaBox | ViaSpace}, "nsenter": {values: "tSGrw", long: "target", via: ViaBox | ViaSpace}, "firejail": plain, "bwrap": {special: afterDashes, via: ViaBox}, "proot": {values: "rbw", via: ViaBox}, "fakeroot": plain, "fakechroot": plain, "systemd-nspawn": {values: "DM", via: ViaBox},
		"busybox": {via: ViaWrapper}, "toybox": {via: ViaWrapper}, "ssh": {values: "bcDEeFIiJLlmOopQRSWw", skip: 1, joined: true, via: ViaRemote, special: sshProxy}, "sshpass": {values: "pfd", via: ViaWrapper}, "mosh": {skip: 1, via: ViaRemote}, "rsh": {skip: 1, values: "l", joined: true, via: ViaRemote},
		"systemd-run": {values: "upEMH", long: "unit property description slice on-active on-calendar uid gid setenv", via: ViaWrapper}, "caffeinate": {values: "tw", via: ViaWrapper}, "arch": plain, "setarch": {skip: 1, via: ViaWrapper}, "linux64": plain, "linux32": plain, "proxychains": {values: "f", via: ViaWrapper}, "proxychains4": {values: "f", via: ViaWrapper}, "torsocks": plain, "torify": plain, "dbus-run-session": {special: afterDashes, via: ViaWrapper}, "xvfb-run": {values: "nse", via: ViaWrapper}, "cgexec": {values: "g", via: ViaWrapper}, "numactl": plain, "prlimit": plain, "choom": {values: "np", via: ViaWrapper}, "cpulimit": {values: "lpe", via: ViaWrapper}, "logsave": {skip: 1, via: ViaWrapper}, "aa-exec": {values: "p", via: ViaWrapper}, "catchsegv": plain, "eatmydata": plain, "start-stop-daemon": {special: afterDashes, via: ViaWrapper}, "direnv": {skip: 2, via: ViaWrapper}, "entr": plain, "hyperfine": {joined: true, values: "wrmM", via: ViaWrapper}, "multitime": {values: "n", via: ViaWrapper}, "valgrind": plain, "softlimit": {values: "msdlpfc", via: ViaWrapper}, "chpst": {values: "uUnmdlpfctb/e", via: ViaWrapper}, "setlock": {skip: 1, via: ViaWrapper}, "dotenv": plain, "winpty": plain, "wsl": {special: afterDashes, via: ViaBox},
		"docker": {special: container, via: ViaBox}, "crictl": {special: container, via: ViaBox}, "ctr": {special: container, via: ViaBox}, "podman": {special: container, via: ViaBox}, "nerdctl": {special: container, via: ViaBox}, "kubectl": {special: container, via: ViaBox}, "oc": {special: container, via: ViaBox}, "lxc": {special: container, via: ViaBox}, "docker-compose": {special: container, via: ViaBox},
		"ip": {special: netns, via: ViaWrapper}, "ssh-agent": {values: "atEPO", via: ViaWrapper}, "grc": plain, "openvt": {special: afterDashes, via: ViaWrapper}, "pdsh": {values: "wxlR", joined: true, via: ViaRemote}, "pssh": {values: "hHlptoe", joined: true, via: ViaRemote}, "parallel-ssh": {values: "hHlptoe", joined: true, via: ViaRemote}, "clush": {values: "wgl", joined: true, via: ViaRemote}, "autossh": {values: "bcDEeFIiJLlmMOopQRSWw", skip: 1, joined: true, via: ViaRemote, special: sshProxy}, "adb": {special: afterVerb, via: ViaBox}, "npx": {values: "pc", long: "package", via: ViaWrapper, special: called}, "bunx": plain, "pexec": plain, "tini": {special: afterDashes, via: ViaWrapper}, "dumb-init": plain, "s6-setuidgid": {skip: 1, via: ViaSudo}, "envdir": {skip: 1, via: ViaWrapper}, "tsp": plain, "perf": {special: afterVerb, via: ViaWrapper}, "dbus-launch": plain,
		"bundle": {special: afterVerb, via: ViaWrapper}, "poetry": {special: afterVerb, via: ViaWrapper}, "pipenv": {special: afterVerb, via: ViaWrapper}, "uv": {special: afterVerb, via: ViaWrapper}, "hatch": {special: afterVerb, via: ViaWrapper}, "mise": {special: afterVerb, via: ViaWrapper}, "rbenv": {special: afterVerb, via: ViaWrapper}, "op": {special: afterVerb, via: ViaWrapper}, "doppler": {special: afterVerb, via: ViaWrapper}, "aws-vault": {special: afterVerb, via: ViaWrapper}, "conda": {special: afterVerb, via: ViaWrapper}, "toolbox": {special: afterVerb, via: ViaBox}, "distrobox": {special: afterVerb, via: ViaBox},
		"if": plain, "then": plain, "do": plain, "else": plain, "!": plain, "and": plain, "or": plain, "not": plain, "coproc": plain, "noglob": plain, "nocorrect": plain, "winetricks": plain,
	}
}

// filled fills, once at start, the table whose functions refer to it.
var filled = func() bool { wrappers = wrapperTable(); return true }()

// unwrap returns the command that c runs, or nil if it runs none.
func (w wrapper) unwrap(m *Machine, c *Call, j *job) ([]Value, func(*Machine) Value) {
	if w.special != nil {
		if rest, inner := w.special(m, c, j); rest != nil || inner != nil {
			return rest, inner
		}
		if w.via&(ViaFind|ViaBox) != 0 && w.skip == 0 && w.values == "" {
			return nil, nil
		}
	}
	rest := w.options(c.Args, j)
	if len(rest) == 0 {
		return nil, nil
	}
	if w.joined {
		text, in, via := joinFields(rest, " "), j.in, j.via|w.via|ViaString
		job := *j
		return nil, func(m *Machine) Value {
			out := m.nest(text, in, via, &job)
			if via&ViaRemote != 0 {
				out.Taint |= Net
			}
			return out
		}
	}
	return rest, nil
}

// options skips the wrapper's own options and arguments.
func (w wrapper) options(args []Value, j *job) []Value {
	skip := w.skip
	for i := 0; i < len(args); i++ {
		s := args[i].S
		switch {
		case s == "--":
			if skip > 0 {
				continue
			}
			return args[i+1:]
		case len(s) > 2 && s[0] == '-' && s[1] == '-':
			if strings.IndexByte(s, '=') < 0 && hasWord(w.long, s[2:]) {
				i++
			}
		case len(s) > 1 && s[0] == '-':
			if k := strings.IndexAny(s[1:], w.values); k >= 0 && w.values != "" && k+2 == len(s) {
				i++
			}
		case w.assigns && isAssign(s):
			name, val, _ := strings.Cut(s, "=")
			j.vars, j.env = append(j.vars, name), append(j.env, Value{val, args[i].Taint})
		case skip > 0:
			skip--
		default:
			return args[i:]
		}
	}
	return nil
}

func hasWord(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if w == word {
			return true
		}
	}
	return false
}

func isAssign(s string) bool {
	i := strings.IndexByte(s, '=')
	if i <= 0 {
		return false
	}
	for k := range i {
		if c := s[k]; c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// value returns what follows one of the options, or stands in the same word.
func value(args []Value, options ...string) (Value, bool) {
	for i, a := range args {
		for _, o := range options {
			switch {
			case a.S == o && i+1 < len(args):
				return args[i+1], true
			case len(o) > 2 && len(a.S) > len(o) && a.S[len(o)] == '=' && a.S[:len(o)] == o:
				return Value{a.S[len(o)+1:], a.Taint}, true
			case len(o) == 2 && len(a.S) > 2 && a.S[0] == '-' && a.S[1] != '-' && strings.HasPrefix(a.S, o):
				return Value{a.S[2:], a.Taint}, true
			case len(o) == 2 && len(a.S) > 2 && a.S[0] == '-' && a.S[1] != '-' && a.S[len(a.S)-1] == o[1] && i+1 < len(args) && letters(a.S[1:]):
				return args[i+1], true
			}
		}
	}
	return Value{}, false
}

func letters(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return len(s) > 0
}

// text makes an evaluation of a command line.
func text(v Value, j *job, via Via) func(*Machine) Value {
	job := *j
	if v.Taint&Decoded != 0 {
		via |= ViaHidden
	}
	return func(m *Machine) Value { return m.nest(v.S, job.in, job.via|via|ViaString, &job) }
}

// Wraps reports whether a command that begins with these words runs others, so that its
// beginning says nothing: env, sudo, sh, docker exec, but not docker ps.
func Wraps(words ...string) bool {
	name := words[0]
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	w, wraps := wrappers[name]
	if wraps && w.via == ViaBox && len(words) > 1 && words[1] != "exec" && words[1] != "run" && words[1] != "debug" && words[1][0] != '-' {
		return false
	}
	_, interprets := languages[name]
	return wraps || interprets || name == "eval" || name == "source" || name == "."
}
