package shell

import (
	"path"
	"strconv"
	"strings"

	"sluice/stages/defend/command/paths"
)

// output is what a program writes, as far as its name and input tell.
func (m *Machine) output(c *Call, j *job) Value {
	if prints, ok := tokens[c.Name]; ok {
		for _, words := range prints {
			if c.Sub(words...) {
				return Value{S: hole, Taint: Token | Unknown}
			}
		}
	}
	fn, ok := outputs[c.Name]
	if !ok {
		v := Value{S: hole, Taint: Unknown}
		if j.in.piped {
			v.Taint |= j.in.val.Taint &^ Decoded
		}
		for _, a := range c.Args {
			v.Taint |= a.Taint & (Secret | Net | Personal)
		}
		if class := c.Class; class&paths.Secret != 0 && !harmless[c.Name] {
			v.Taint |= Secret | File
		} else if class&(paths.History|paths.Account|paths.Personal|paths.Mail) != 0 {
			v.Taint |= Personal
		}
		return v
	}
	v := fn(m, c, j)
	m.work += len(v.S)
	if len(v.S) > maxValue {
		v.S = v.S[:maxValue]
	}
	return v
}

// tokens are commands that print what lets one in elsewhere.
var tokens = map[string][][]string{
	"gh": {{"auth", "token"}}, "gcloud": {{"print-access-token"}, {"print-identity-token"}, {"secrets", "access"}}, "aws": {{"get-session-token"}, {"export-credentials"}, {"get-secret-value"}, {"assume-role"}, {"get-parameter", "--with-decryption"}},
	"az": {{"get-access-token"}, {"keyvault", "secret", "show"}}, "kubectl": {{"config", "view", "--raw"}, {"get", "secret"}, {"get", "secrets"}, {"create", "token"}}, "vault": {{"token", "lookup"}, {"kv", "get"}, {"read"}}, "terraform": {{"output"}, {"state", "pull"}}, "tofu": {{"output"}, {"state", "pull"}},
	"op": {{"read"}, {"item", "get"}}, "bw": {{"get"}, {"export"}}, "doppler": {{"secrets"}}, "heroku": {{"config"}, {"auth:token"}}, "flyctl": {{"auth", "token"}}, "npm": {{"token"}}, "oc": {{"whoami", "-t"}, {"get", "secret"}},
}

// harmless programs take names of files without showing what is in them.
var harmless = map[string]bool{"ls": true, "stat": true, "test": true, "[": true, "find": true, "file": true, "dirname": true, "basename": true, "realpath": true, "readlink": true, "du": true, "chmod": true, "chown": true, "mkdir": true, "touch": true, "rm": true, "ssh-keygen": true, "ssh-add": true, "ssh": true, "wc": true, "md5sum": true, "sha256sum": true, "which": true, "cd": true, "locate": true, "whereis": true, "getfacl": true, "lsattr": true, "namei": true, "mv": true}

var outputs map[string]func(m *Machine, c *Call, j *job) Value

var readyOutputs = func() bool {
	outputs = map[string]func(*Machine, *Call, *job) Value{
		"echo": echo, "cat": cat, "tac": reverseLines, "rev": reverse, "tr": translate, "cut": cut, "head": head, "tail": head, "tee": tee, "base64": base64Tool, "base32": base32Tool, "gbase64": base64Tool, "b64decode": decodeTool, "b64encode": encodeTool, "openssl": openssl, "xxd": xxd, "od": encodeTool, "hexdump": encodeTool, "uudecode": decodeTool, "uuencode": encodeTool,
		"gzip": zip, "gunzip": zip, "zcat": zip, "bzip2": zip, "bunzip2": zip, "bzcat": zip, "xz": zip, "unxz": zip, "xzcat": zip, "zstd": zip, "sed": sed, "grep": filter, "egrep": filter, "sort": filter, "uniq": filter, "nl": filter, "fold": filter, "awk": awk, "gawk": awk, "mawk": awk, "less": filter, "more": filter, "strings": filter, "pv": filter, "paste": filter, "tput": quiet, "pgrep": process, "pidof": process, "jq": filter, "iconv": filter, "dos2unix": filter, "unix2dos": filter, "expand": filter, "column": filter, "sponge": filter, "buffer": filter, "stdbuf": filter,
		"which": which, "type": which, "basename": base, "dirname": dir, "readlink": same, "realpath": same, "seq": seq, "yes": yes, "true": nothing, "false": nothing, ":": nothing, "mkdir": nothing, "sleep": nothing, "chmod": nothing, "touch": nothing, "rm": nothing, "kill": nothing, "wait": nothing, "test": nothing, "[": nothing,
		"curl": fetch, "wget": fetch, "fetch": fetch, "lwp-request": fetch, "lwp-download": fetch, "GET": fetch, "aria2c": fetch, "axel": fetch, "http": fetch, "https": fetch, "xh": fetch, "lynx": fetch, "links": fetch, "w3m": fetch, "elinks": fetch, "nc": net, "ncat": net, "netcat": net, "nc.openbsd": net, "nc.traditional": net, "socat": net, "telnet": net, "dig": net, "host": net, "nslookup": net, "whois": net, "finger": net, "tftp": fetch, "ftpget": fetch, "ftp": fetch, "scp": fetch, "aws": net, "gsutil": net, "s_client": net, "ssh": net, "nscurl": fetch, "tcpdump": recall, "tshark": recall, "dumpcap": recall, "pbpaste": paste, "xclip": paste, "xsel": paste, "wl-paste": paste,
		"whoami": recon, "id": recon, "hostname": recon, "uname": quiet, "arch": quiet, "nproc": quiet, "tty": terminal, "lsb_release": quiet, "dpkg": quiet, "rpm": quiet, "go": quiet, "npm": quiet, "node": quiet, "ifconfig": recon, "ip": recon, "ps": recon, "w": recon, "who": recon, "last": recon, "netstat": recon, "ss": recon, "lsof": recon, "env": environ, "printenv": environ, "set": environ, "export": environ, "declare": environ, "history": recall, "cp": copyFile, "mv": copyFile, "install": copyFile, "ln": copyFile, "dd": dd, "tar": archive, "zip": archive, "7z": archive, "7za": archive, "gpg": filter, "security": secret, "pass": secret, "secret-tool": secret, "getent": recon, "ls": list, "find": list, "mktemp": temp, "date": quiet, "pwd": here, "shuf": filter, "bc": filter, "expr": filter, "unzip": extract, "git": repository, "python": unknown, "perl": unknown, "ruby": unknown,
	}
	return true
}()

func nothing(*Machine, *Call, *job) Value { return Value{} }

func recon(*Machine, *Call, *job) Value { return Value{S: hole, Taint: Recon} }

func terminal(*Machine, *Call, *job) Value { return Value{S: "/dev/tty"} }

func here(m *Machine, _ *Call, _ *job) Value {
	if m.cwd != "" && (m.cwd[0] == '/' || m.cwd[0] == '~') {
		return Value{S: m.cwd}
	}
	return Value{S: "."}
}

func quiet(*Machine, *Call, *job) Value { return Value{S: hole} }

func process(_ *Machine, c *Call, _ *job) Value { // pidof auditd: the name stays visible
	if args := plainArgs(c); len(args) > 0 && !strings.ContainsAny(args[len(args)-1].S, " \n") {
		return Value{S: hole + args[len(args)-1].S}
	}
	return Value{S: hole}
}

// repository is what git shows: files and their past.
func repository(_ *Machine, c *Call, _ *job) Value {
	if c.Sub("log") || c.Sub("show") || c.Sub("diff") {
		return Value{S: hole, Taint: File}
	}
	return Value{}
}

func environ(_ *Machine, c *Call, _ *job) Value {
	if c.Name == "printenv" && len(plainArgs(c)) > 0 { // one variable, not all
		return Value{S: hole, Taint: Variable}
	}
	return Value{S: hole, Taint: Env}
}

func recall(*Machine, *Call, *job) Value { return Value{S: hole, Taint: Personal} }

func secret(*Machine, *Call, *job) Value { return Value{S: hole, Taint: Secret} }

func temp(*Machine, *Call, *job) Value { return Value{S: "/tmp/tmp." + hole} }

func unknown(_ *Machine, _ *Call, j *job) Value {
	return Value{S: hole, Taint: Unknown | j.in.val.Taint}
}

func list(_ *Machine, c *Call, _ *job) Value {
	v := Value{S: hole, Taint: Unknown}
	for _, a := range c.Args {
		if a.S != "" && a.S[0] != '-' && strings.IndexByte(a.S, '/') >= 0 {
			v.S = a.S + "/" + hole
		}
	}
	return v
}

func paste(m *Machine, c *Call, _ *job) Value {
	if v, ok := m.stored("clipboard"); ok {
		return v
	}
	return Value{S: hole, Taint: Typed}
}

// args returns the arguments that are not options.
func plainArgs(c *Call) []Value {
	out := c.Args[:0:0]
	for _, a := range c.Args {
		if a.S == "" || a.S[0] != '-' || a.S == "-" {
			out = append(out, a)
		}
	}
	return out
}

func which(_ *Machine, c *Call, _ *job) Value {
	args := plainArgs(c)
	if len(args) == 0 {
		return Value{S: hole}
	}
	return Value{args[0].S + "\n", args[0].Taint}
}

func base(_ *Machine, c *Call, _ *job) Value {
	if args := plainArgs(c); len(args) > 0 && args[0].Known() {
		return Value{strings.TrimSuffix(path.Base(args[0].S), at(args, 1).S) + "\n", args[0].Taint}
	}
	return Value{S: hole}
}

func dir(_ *Machine, c *Call, _ *job) Value {
	if args := plainArgs(c); len(args) > 0 && args[0].Known() {
		return Value{path.Dir(args[0].S) + "\n", args[0].Taint}
	}
	return Value{S: hole}
}

func at(args []Value, i int) Value {
	if i < len(args) {
		return args[i]
	}
	return Value{}
}

func same(_ *Machine, c *Call, _ *job) Value {
	if args := plainArgs(c); len(args) > 0 {
		return Value{args[len(args)-1].S + "\n", args[len(args)-1].Taint}
	}
	return Value{S: hole}
}

func seq(_ *Machine, c *Call, _ *job) Value {
	args := plainArgs(c)
	lo, hi := 1, 0
	if len(args) == 1 {
		hi, _ = strconv.Atoi(args[0].S)
	} else if len(args) >= 2 {
		lo, _ = strconv.Atoi(args[0].S)
		hi, _ = strconv.Atoi(args[len(args)-1].S)
	}
	var b []byte
	for n := lo; n <= hi && n < lo+maxSequence; n++ {
		b = append(strconv.AppendInt(b, int64(n), 10), '\n')
	}
	return Value{S: string(b)}
}

func yes(_ *Machine, c *Call, _ *job) Value {
	if len(c.Args) > 0 {
		return Value{c.Args[0].S + "\n", c.Args[0].Taint}
	}
	return Value{S: "y\n"}
}
