package shell

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"io"
	"path"
	"strconv"
	"strings"

	"sluice/stages/defend/command/paths"
)

// output is what a program writes, as far as its name and input tell.
func (m *Machine) output(c *Call, j *job) Value {
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

// harmless programs take names of files without showing what is in them.
var harmless = map[string]bool{"ls": true, "stat": true, "test": true, "[": true, "find": true, "file": true, "dirname": true, "basename": true, "realpath": true, "readlink": true, "du": true, "chmod": true, "chown": true, "mkdir": true, "touch": true, "rm": true, "ssh-keygen": true, "ssh-add": true, "ssh": true, "wc": true, "md5sum": true, "sha256sum": true, "which": true, "cd": true, "locate": true, "whereis": true, "getfacl": true, "lsattr": true, "namei": true, "mv": true}

var outputs map[string]func(m *Machine, c *Call, j *job) Value

var readyOutputs = func() bool {
	outputs = map[string]func(*Machine, *Call, *job) Value{
		"echo": echo, "cat": cat, "tac": reverseLines, "rev": reverse, "tr": translate, "cut": cut, "head": head, "tail": head, "tee": tee, "base64": base64Tool, "base32": base32Tool, "gbase64": base64Tool, "b64decode": decodeTool, "b64encode": encodeTool, "openssl": openssl, "xxd": xxd, "od": encodeTool, "hexdump": encodeTool, "uudecode": decodeTool, "uuencode": encodeTool,
		"gzip": zip, "gunzip": zip, "zcat": zip, "bzip2": zip, "bunzip2": zip, "bzcat": zip, "xz": zip, "unxz": zip, "xzcat": zip, "zstd": zip, "sed": sed, "grep": filter, "egrep": filter, "sort": filter, "uniq": filter, "nl": filter, "fold": filter, "awk": awk, "gawk": awk, "mawk": awk, "less": filter, "more": filter, "strings": filter, "pv": filter, "paste": filter, "tput": quiet, "pgrep": process, "pidof": process, "jq": filter, "iconv": filter, "dos2unix": filter, "unix2dos": filter, "expand": filter, "column": filter, "sponge": filter, "buffer": filter, "stdbuf": filter,
		"which": which, "type": which, "basename": base, "dirname": dir, "readlink": same, "realpath": same, "seq": seq, "yes": yes, "true": nothing, "false": nothing, ":": nothing, "mkdir": nothing, "sleep": nothing, "chmod": nothing, "touch": nothing, "rm": nothing, "kill": nothing, "wait": nothing, "test": nothing, "[": nothing,
		"curl": fetch, "wget": fetch, "fetch": fetch, "lwp-request": fetch, "lwp-download": fetch, "GET": fetch, "aria2c": fetch, "axel": fetch, "http": fetch, "https": fetch, "xh": fetch, "lynx": fetch, "links": fetch, "w3m": fetch, "elinks": fetch, "nc": net, "ncat": net, "netcat": net, "nc.openbsd": net, "nc.traditional": net, "socat": net, "telnet": net, "dig": net, "host": net, "nslookup": net, "whois": net, "finger": net, "tftp": fetch, "ftp": fetch, "scp": fetch, "aws": net, "gsutil": net, "s_client": net, "ssh": net, "nscurl": fetch, "pbpaste": paste, "xclip": paste, "xsel": paste, "wl-paste": paste,
		"whoami": recon, "id": recon, "hostname": recon, "uname": quiet, "arch": quiet, "nproc": quiet, "tty": quiet, "lsb_release": quiet, "dpkg": quiet, "rpm": quiet, "go": quiet, "npm": quiet, "node": quiet, "ifconfig": recon, "ip": recon, "ps": recon, "w": recon, "who": recon, "last": recon, "netstat": recon, "ss": recon, "lsof": recon, "env": environ, "printenv": environ, "set": environ, "export": environ, "declare": environ, "history": recall, "cp": copyFile, "mv": copyFile, "install": copyFile, "ln": copyFile, "dd": dd, "tar": archive, "zip": archive, "7z": archive, "7za": archive, "gpg": filter, "security": secret, "pass": secret, "secret-tool": secret, "getent": recon, "ls": list, "find": list, "mktemp": temp, "date": quiet, "pwd": quiet, "shuf": filter, "bc": filter, "expr": filter, "unzip": extract, "git": nothing, "python": unknown, "perl": unknown, "ruby": unknown,
	}
	return true
}()

func nothing(*Machine, *Call, *job) Value { return Value{} }
func recon(*Machine, *Call, *job) Value   { return Value{S: hole, Taint: Recon} }
func quiet(*Machine, *Call, *job) Value   { return Value{S: hole} }
func process(_ *Machine, c *Call, _ *job) Value { // pidof auditd: the name stays visible
	if args := plainArgs(c); len(args) > 0 && !strings.ContainsAny(args[len(args)-1].S, " \n") {
		return Value{S: hole + args[len(args)-1].S}
	}
	return Value{S: hole}
}
func environ(*Machine, *Call, *job) Value { return Value{S: hole, Taint: Env} }
func recall(*Machine, *Call, *job) Value  { return Value{S: hole, Taint: Personal} }
func secret(*Machine, *Call, *job) Value  { return Value{S: hole, Taint: Secret} }
func temp(*Machine, *Call, *job) Value    { return Value{S: "/tmp/tmp." + hole} }
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

func echo(_ *Machine, c *Call, _ *job) Value {
	args, escapes, newline := c.Args, false, "\n"
	for len(args) > 0 && len(args[0].S) > 1 && args[0].S[0] == '-' && strings.Trim(args[0].S[1:], "neE") == "" {
		escapes = escapes || strings.IndexByte(args[0].S, 'e') > 0
		if strings.IndexByte(args[0].S, 'n') > 0 {
			newline = ""
		}
		args = args[1:]
	}
	v := Value{S: joinFields(args, " ")}
	for _, a := range args {
		v.Taint |= a.Taint
	}
	if escapes || strings.Contains(v.S, `\x`) || strings.Contains(v.S, `\0`) || strings.Contains(v.S, `\n`) {
		v.S = string(appendANSI(nil, v.S))
	}
	v.S += newline
	return v
}

// formatted is what printf writes.
func formatted(args []Value) Value {
	if len(args) == 0 {
		return Value{}
	}
	if args[0].S == "--" {
		args = args[1:]
		if len(args) == 0 {
			return Value{}
		}
	}
	var b []byte
	v := Value{Taint: args[0].Taint}
	format, rest := string(appendANSI(nil, args[0].S)), args[1:]
	for range maxFields {
		used := false
		for i := 0; i < len(format); i++ {
			if format[i] != '%' || i+1 >= len(format) {
				b = append(b, format[i])
				continue
			}
			i++
			for i < len(format)-1 && strings.IndexByte("-+ #0123456789.", format[i]) >= 0 {
				i++
			}
			if format[i] == '%' {
				b = append(b, '%')
				continue
			}
			used = true
			if len(rest) == 0 {
				continue
			}
			arg := rest[0]
			rest, v.Taint = rest[1:], v.Taint|arg.Taint
			switch format[i] {
			case 'b':
				b = appendANSI(b, arg.S)
			case 'c':
				b = append(b, arg.S[:min(1, len(arg.S))]...)
			case 'x', 'o', 'X':
				n, _ := strconv.ParseInt(arg.S, 0, 32)
				b = strconv.AppendInt(b, n, map[byte]int{'x': 16, 'X': 16, 'o': 8}[format[i]])
			default:
				b = append(b, arg.S...)
			}
		}
		if len(rest) == 0 || !used || len(b) > maxValue {
			break
		}
	}
	v.S = string(b)
	return v
}

// read is what a filter reads: the files named, or its input.
func (m *Machine) read(c *Call, j *job, files []Value) Value {
	var v Value
	any := false
	for _, f := range files {
		if f.S == "-" {
			v = m.join(v, j.in.val)
		} else {
			part := m.contents(f.S, paths.Of(f.S))
			part.Taint |= f.Taint & Net
			v = m.join(v, part)
		}
		any = true
	}
	if any {
		return v
	}
	if j.in.piped {
		return j.in.val
	}
	return Value{S: hole, Taint: Typed}
}

func cat(m *Machine, c *Call, j *job) Value { return m.read(c, j, plainArgs(c)) }

func tee(m *Machine, c *Call, j *job) Value {
	for _, a := range plainArgs(c) {
		m.store(a.S, j.in.val, hasAny(c.Args, "-a", "--append"))
	}
	return j.in.val
}

// filter passes on an unknown part of its input.
func filter(m *Machine, c *Call, j *job) Value {
	if j.in.piped {
		return j.in.val
	}
	args := plainArgs(c)
	if len(args) > 1 && (strings.HasSuffix(c.Name, "grep") || c.Name == "jq") {
		args = args[1:]
	}
	v := m.read(c, j, args)
	return v
}

func head(m *Machine, c *Call, j *job) Value {
	args := plainArgs(c)
	if len(args) > 0 && len(c.Args) > 1 && (c.Args[0].S == "-n" || c.Args[0].S == "-c") {
		args = args[1:]
	}
	v := m.read(c, j, args)
	n, okN := 0, false
	if val, ok := value(c.Args, "-c", "--bytes"); ok && v.Known() {
		n, err := strconv.Atoi(strings.TrimPrefix(val.S, "+"))
		if err == nil {
			v.S = bytesOf(v.S, n, c.Name == "tail", strings.HasPrefix(val.S, "+"))
		}
		return v
	}
	if val, ok := value(c.Args, "-n", "--lines"); ok {
		x, err := strconv.Atoi(val.S)
		n, okN = x, err == nil && val.S[0] != '+'
	}
	if okN && n > 0 && v.Known() {
		lines := strings.SplitAfter(strings.TrimSuffix(v.S, "\n"), "\n")
		if c.Name == "tail" {
			lines = lines[max(0, len(lines)-n):]
		} else {
			lines = lines[:min(n, len(lines))]
		}
		v.S = strings.Join(lines, "")
	}
	return v
}

func bytesOf(s string, n int, tail, from bool) string {
	switch {
	case tail && from:
		return s[min(max(0, n-1), len(s)):]
	case tail:
		return s[max(0, len(s)-max(0, n)):]
	case n < 0:
		return s[:max(0, len(s)+n)]
	}
	return s[:min(n, len(s))]
}

func reverse(m *Machine, c *Call, j *job) Value {
	v := m.read(c, j, plainArgs(c))
	lines := strings.Split(v.S, "\n")
	for i, l := range lines {
		b := []rune(l)
		for a, z := 0, len(b)-1; a < z; a, z = a+1, z-1 {
			b[a], b[z] = b[z], b[a]
		}
		lines[i] = string(b)
	}
	return Value{strings.Join(lines, "\n"), v.Taint | Decoded}
}

func reverseLines(m *Machine, c *Call, j *job) Value {
	v := m.read(c, j, plainArgs(c))
	lines := strings.Split(strings.TrimSuffix(v.S, "\n"), "\n")
	for a, z := 0, len(lines)-1; a < z; a, z = a+1, z-1 {
		lines[a], lines[z] = lines[z], lines[a]
	}
	return Value{strings.Join(lines, "\n") + "\n", v.Taint}
}

func translate(_ *Machine, c *Call, j *job) Value {
	v := j.in.val
	args := plainArgs(c)
	drop := hasAny(c.Args, "-d", "--delete")
	if !j.in.piped || len(args) == 0 {
		return v
	}
	from := trSet(args[0].S)
	if hasAny(c.Args, "-c", "-C", "-cd", "-dc", "--complement", "-cs", "-sc") {
		return v
	}
	to := ""
	if len(args) > 1 {
		to = trSet(args[1].S)
	}
	if !drop && to == "" {
		return v
	}
	b := make([]byte, 0, len(v.S))
	for i := range len(v.S) {
		at := strings.LastIndexByte(from, v.S[i])
		switch {
		case at < 0 || v.S[i] == Hole:
			b = append(b, v.S[i])
		case drop:
		default:
			b = append(b, to[min(at, len(to)-1)])
		}
	}
	taint := v.Taint
	if len(from) > 3 && !drop {
		taint |= Decoded
	}
	return Value{string(b), taint}
}

// trSet expands the set of tr.
func trSet(s string) string {
	s = string(appendANSI(nil, s))
	for class, set := range map[string]string{"[:upper:]": "A-Z", "[:lower:]": "a-z", "[:digit:]": "0-9", "[:alpha:]": "A-Za-z", "[:space:]": " \t\n\r", "[:blank:]": " \t"} {
		s = strings.ReplaceAll(s, class, set)
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' && strings.IndexByte(s, '-') > 0 {
		s = s[1 : len(s)-1]
	}
	var b []byte
	for i := 0; i < len(s) && len(b) < 512; i++ {
		if i+2 < len(s) && s[i+1] == '-' && s[i+2] >= s[i] {
			for ch := int(s[i]); ch <= int(s[i+2]); ch++ {
				b = append(b, byte(ch))
			}
			i += 2
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func cut(m *Machine, c *Call, j *job) Value {
	v := j.in.val
	if !v.Known() || len(v.S) > maxTrim*8 {
		return v
	}
	spec, chars := value(c.Args, "-c", "-b", "--characters")
	field, fields := value(c.Args, "-f", "--fields")
	delim := "\t"
	if d, ok := value(c.Args, "-d", "--delimiter"); ok && d.S != "" {
		delim = d.S
	}
	var out strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(v.S, "\n"), "\n") {
		switch {
		case chars:
			for i := range len(line) {
				if within(spec.S, i+1) {
					out.WriteByte(line[i])
				}
			}
		case fields:
			first := true
			for i, part := range strings.Split(line, delim) {
				if within(field.S, i+1) {
					if !first {
						out.WriteString(delim)
					}
					out.WriteString(part)
					first = false
				}
			}
		default:
			return v
		}
		out.WriteByte('\n')
	}
	return Value{out.String(), v.Taint}
}

// within reports whether n is in a list such as 1,3-5,7-.
func within(list string, n int) bool {
	if len(list) > 256 {
		return false
	}
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		a, _ := strconv.Atoi(lo)
		b := a
		if isRange {
			b = 1 << 30
			if hi != "" {
				b, _ = strconv.Atoi(hi)
			}
		}
		if a <= n && n <= b {
			return true
		}
	}
	return false
}

func base64Tool(m *Machine, c *Call, j *job) Value {
	for _, a := range c.Args {
		if a.S == "-d" || a.S == "-D" || strings.HasPrefix(a.S, "--d") || len(a.S) > 1 && a.S[0] == '-' && a.S[1] != '-' && strings.ContainsAny(a.S, "dD") {
			return decodeTool(m, c, j)
		}
	}
	return encodeTool(m, c, j)
}

func base32Tool(m *Machine, c *Call, j *job) Value {
	if !hasAny(c.Args, "-d", "--decode", "-D") {
		return encodeTool(m, c, j)
	}
	v := m.read(c, j, plainArgs(c))
	if b, err := base32.StdEncoding.DecodeString(strings.Join(strings.Fields(v.Plain()), "")); err == nil && len(b) > 0 && v.Known() {
		return Value{strings.ReplaceAll(string(b), hole, ""), v.Taint | Decoded}
	}
	return Value{hole, v.Taint | Decoded}
}

func decodeTool(m *Machine, c *Call, j *job) Value {
	v := m.read(c, j, plainArgs(c))
	if s, ok := decode64(v.S); ok {
		return Value{s, v.Taint | Decoded}
	}
	return Value{hole, v.Taint | Decoded}
}

func decode64(s string) (string, bool) {
	if strings.IndexByte(s, Hole) >= 0 {
		return "", false
	}
	s = strings.TrimRight(strings.Join(strings.Fields(s), ""), "=")
	if len(s) < 2 {
		return "", false
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(s)
	if err != nil && len(b) < len(s)/2 {
		return "", false
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		return string(b), true
	}
	return strings.ReplaceAll(string(b), hole, ""), true
}

func encodeTool(m *Machine, c *Call, j *job) Value {
	v := m.read(c, j, plainArgs(c))
	if strings.Contains(c.Name, "64") && v.Known() {
		return Value{base64.StdEncoding.EncodeToString([]byte(v.S)) + "\n", v.Taint | Encoded}
	}
	return Value{hole, v.Taint | Encoded}
}

func openssl(m *Machine, c *Call, j *job) Value {
	switch {
	case c.Sub("s_client"):
		return Value{hole, Net}
	case hasAny(c.Args, "-d") && (c.Sub("base64") || hasAny(c.Args, "-base64", "-a")):
		in := Call{Name: "base64", Args: nil}
		if v, ok := value(c.Args, "-in"); ok {
			in.Args = []Value{v}
		}
		return decodeTool(m, &in, j)
	case hasAny(c.Args, "-d", "-decrypt"):
		return Value{hole, j.in.val.Taint | Decoded}
	}
	v := j.in.val
	if in, ok := value(c.Args, "-in"); ok {
		v = m.contents(in.S, paths.Of(in.S))
	}
	return Value{hole, v.Taint | Encoded}
}

func xxd(m *Machine, c *Call, j *job) Value {
	back := false
	for _, a := range c.Args {
		back = back || len(a.S) > 1 && a.S[0] == '-' && strings.IndexByte(a.S, 'r') > 0
	}
	v := m.read(c, j, nil)
	if args := plainArgs(c); len(args) > 0 && !j.in.piped {
		v = m.read(c, j, args[:1])
	}
	if !back {
		if v.Known() && hasAny(c.Args, "-p", "-ps", "-plain") {
			return Value{hex.EncodeToString([]byte(v.S)) + "\n", v.Taint | Encoded}
		}
		return Value{hole, v.Taint | Encoded}
	}
	clean := strings.NewReplacer("\\x", "", "0x", "", " ", "", "\n", "", ":", "").Replace(v.S)
	if b, err := hex.DecodeString(clean); err == nil && v.Known() {
		return Value{strings.ReplaceAll(string(b), hole, ""), v.Taint | Decoded}
	}
	return Value{hole, v.Taint | Decoded}
}

func zip(m *Machine, c *Call, j *job) Value {
	unpack := strings.HasPrefix(c.Name, "un") || strings.HasPrefix(c.Name, "gun") || strings.HasPrefix(c.Name, "bun") || strings.HasSuffix(c.Name, "cat")
	for _, a := range c.Args {
		unpack = unpack || len(a.S) > 1 && a.S[0] == '-' && strings.IndexByte(a.S, 'd') > 0
	}
	v := m.read(c, j, plainArgs(c))
	if !unpack {
		return Value{hole, v.Taint}
	}
	var r io.Reader
	switch {
	case strings.HasPrefix(v.S, "\x1f\x8b"):
		gz, err := gzip.NewReader(strings.NewReader(v.S))
		if err != nil {
			break
		}
		r = gz
	case strings.HasPrefix(v.S, "BZh"):
		r = bzip2.NewReader(strings.NewReader(v.S))
	}
	if r != nil {
		if b, _ := io.ReadAll(io.LimitReader(r, maxValue)); len(b) > 0 {
			return Value{strings.ReplaceAll(string(b), hole, ""), v.Taint | Decoded}
		}
	}
	return Value{hole, v.Taint | Decoded&v.Taint}
}

// sed evaluates s/plain/plain/ and passes everything else on.
func sed(m *Machine, c *Call, j *job) Value {
	args := plainArgs(c)
	if len(args) == 0 {
		return j.in.val
	}
	script, files := args[0].S, args[1:]
	v := m.read(c, j, files)
	if !v.Known() || len(script) < 4 || script[0] != 's' {
		return v
	}
	parts := strings.Split(script[2:], script[1:2])
	if len(parts) != 3 || parts[0] == "" {
		return v
	}
	from, to := parts[0], strings.ReplaceAll(parts[1], `\n`, "\n")
	if strings.ContainsAny(from, `.*[]^$\`) {
		if from == "^." || from == "." || len(v.S) > maxTrim {
			return v
		}
		return Value{v.S, v.Taint}
	}
	n := 1
	if strings.Contains(parts[2], "g") {
		n = -1
	}
	if strings.Count(v.S, from)*len(to) > maxValue {
		return v
	}
	var out strings.Builder
	for line := range strings.SplitAfterSeq(v.S, "\n") {
		out.WriteString(strings.Replace(line, from, to, n))
	}
	return Value{out.String(), v.Taint}
}

// awk evaluates {print $n} and passes the rest on as unknown.
func awk(m *Machine, c *Call, j *job) Value {
	args := plainArgs(c)
	v := m.read(c, j, args[min(1, len(args)):])
	if len(args) == 0 {
		return v
	}
	prog := strings.TrimSpace(args[0].S)
	if strings.HasPrefix(prog, "BEGIN") {
		if lits := printed(prog); lits != "" {
			return Value{S: lits}
		}
		return Value{S: hole, Taint: Unknown}
	}
	num, ok := strings.CutPrefix(strings.Trim(prog, "{} ;"), "print $")
	if !ok || !v.Known() {
		return Value{hole, v.Taint}
	}
	sep := " "
	if f, ok := value(c.Args, "-F"); ok {
		sep = f.S
	}
	n, err := strconv.Atoi(num)
	if err != nil || n < 1 || sep == "" {
		return Value{hole, v.Taint}
	}
	var out strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(v.S, "\n"), "\n") {
		f := strings.Fields(line)
		if sep != " " {
			f = strings.Split(line, sep)
		}
		if n <= len(f) {
			out.WriteString(f[n-1])
		}
		out.WriteByte('\n')
	}
	return Value{out.String(), v.Taint}
}

// printed is the text of print "…" in an AWK program that does nothing else.
func printed(prog string) string {
	i := strings.IndexByte(prog, '"')
	k := strings.LastIndexByte(prog, '"')
	if i < 0 || k <= i || !strings.Contains(prog[:i], "print") || strings.ContainsAny(prog[i+1:k], `"`) {
		return ""
	}
	return string(appendANSI(nil, prog[i+1:k])) + "\n"
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

// fetch is what comes from the network; a file it is saved to is remembered.
func fetch(m *Machine, c *Call, j *job) Value {
	v := Value{S: hole, Taint: Net}
	name := ""
	if o, ok := value(c.Args, "-o", "--output", "--out"); ok && c.Name != "wget" {
		name = o.S
	}
	if o, ok := value(c.Args, "-O", "--output-document"); ok && c.Name == "wget" {
		name = o.S
	}
	args := plainArgs(c)
	last := ""
	for _, a := range args {
		if strings.Contains(a.S, "/") {
			last = a.S
		}
	}
	if last == "" && len(args) > 0 {
		last = args[len(args)-1].S
	}
	saves := name != "" && name != "-"
	if !saves && name == "" {
		remote := c.Name == "wget" || c.Name == "aria2c" || c.Name == "axel" || c.Name == "lwp-download" || c.Name == "fetch"
		for _, a := range c.Args {
			if c.Name == "curl" && len(a.S) > 1 && a.S[0] == '-' && (a.S[1] != '-' && strings.IndexByte(a.S, 'O') > 0 || a.S == "--remote-name") {
				remote = true
			}
		}
		if remote && last != "" {
			name, _, _ = strings.Cut(path.Base(last), "?")
			saves = true
		}
		if dir, ok := value(c.Args, "-P", "--directory-prefix", "-d", "--dir", "--output-dir"); ok && saves && c.Name != "curl" {
			name = path.Join(dir.S, name)
		}
	}
	if c.Name == "scp" || c.Name == "tftp" || c.Name == "ftp" {
		if n := len(args); n >= 2 {
			m.store(args[n-1].S, v, false)
		}
		return v
	}
	if saves {
		m.store(name, Value{S: hole, Taint: Net | File}, false)
		return Value{Taint: Net}
	}
	return v
}

func net(_ *Machine, _ *Call, _ *job) Value { return Value{S: hole, Taint: Net} }

// copyFile carries what is known of a file to its new name.
func copyFile(m *Machine, c *Call, _ *job) Value {
	args := plainArgs(c)
	if len(args) < 2 {
		return Value{}
	}
	dst := args[len(args)-1].S
	for _, a := range args[:len(args)-1] {
		v, ok := m.stored(a.S)
		if !ok {
			v = m.contents(a.S, paths.Of(a.S))
		}
		m.store(dst, v, false)
		if strings.HasSuffix(dst, "/") || dst == "." {
			m.store(path.Join(dst, path.Base(a.S)), v, false)
		}
	}
	return Value{}
}

func dd(m *Machine, c *Call, j *job) Value {
	v := j.in.val
	var out string
	for _, a := range c.Args {
		if s, ok := strings.CutPrefix(a.S, "if="); ok {
			v = m.contents(s, paths.Of(s))
		}
		if s, ok := strings.CutPrefix(a.S, "of="); ok {
			out = s
		}
	}
	if out != "" {
		m.store(out, v, false)
		return Value{}
	}
	return v
}

// archive carries the taint of what is packed.
func archive(m *Machine, c *Call, j *job) Value {
	v := Value{S: hole, Taint: File}
	if j.in.piped {
		v.Taint |= j.in.val.Taint
	}
	if c.Class&paths.Secret != 0 {
		v.Taint |= Secret
	}
	if c.Class&(paths.Home|paths.Personal|paths.Account|paths.History|paths.Mail|paths.Root) != 0 {
		v.Taint |= Personal
	}
	for _, a := range plainArgs(c) {
		if have, ok := m.stored(a.S); ok {
			v.Taint |= have.Taint
		}
	}
	for _, a := range c.Args {
		if strings.Contains(a.S, ".tar") || strings.Contains(a.S, ".tgz") || strings.HasSuffix(a.S, ".zip") || strings.HasSuffix(a.S, ".7z") || strings.HasSuffix(a.S, ".gz") {
			m.store(a.S, v, false)
			break
		}
	}
	return v
}

func extract(m *Machine, c *Call, j *job) Value {
	return Value{S: hole, Taint: j.in.val.Taint | Unknown}
}
