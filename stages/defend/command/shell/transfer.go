package shell

import (
	"path"
	"strings"

	"sluice/stages/defend/command/paths"
)

// fetch is what comes from the network; a file it is saved to is remembered.
func fetch(m *Machine, c *Call, j *job) Value {
	v := Value{S: hole, Taint: Net}
	name := ""
	if o, ok := value(c.Args, "-o", "--output", "--out"); ok && c.Name != "wget" {
		name = o.S
	}
	if c.Name == "wget" {
		name = documentOf(c.Args)
	}
	args := plainArgs(c)
	last := ""
	for _, a := range args {
		if strings.Contains(a.S, "/") && !strings.Contains(last, "://") {
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
	if m.ftp(c, args, v) {
		return v
	}
	if saves {
		m.store(name, Value{S: hole, Taint: Net | File}, false)
		return Value{Taint: Net}
	}
	return v
}

// ftp notes where scp, ftp and their kin put what they fetch; false if c is none of them.
func (m *Machine) ftp(c *Call, args []Value, v Value) bool {
	fetched := Value{S: hole, Taint: Net | File}
	switch c.Name {
	case "ftpget":
		for _, a := range args[min(1, len(args)):] {
			m.store(a.S, fetched, false)
		}
		return true
	case "tftp": // tftp -g -r x host, tftp host -c get x
		if name, ok := value(c.Args, "-r", "-l"); ok {
			m.store(name.S, fetched, false)
		}
		for i, a := range args {
			if a.S == "get" && i+1 < len(args) {
				m.store(args[i+1].S, fetched, false)
			}
		}
	case "scp", "ftp":
	default:
		return false
	}
	if n := len(args); n >= 2 {
		m.store(args[n-1].S, v, false)
	}
	return true
}

// documentOf is where wget writes: -O file, -O- or -qO-.
func documentOf(args []Value) string {
	for i, a := range args {
		if rest, ok := strings.CutPrefix(a.S, "--output-document="); ok {
			return rest
		}
		if a.S == "--output-document" && i+1 < len(args) {
			return args[i+1].S
		}
		at := strings.IndexByte(a.S, 'O')
		if at < 1 || a.S[0] != '-' || a.S[1] == '-' || !letters(a.S[1:at+1]) {
			continue
		}
		if rest := a.S[at+1:]; rest != "" {
			return rest
		}
		if i+1 < len(args) {
			return args[i+1].S
		}
	}
	return ""
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
	if c.Class&(paths.Home|paths.Personal|paths.Account|paths.History|paths.Mail|paths.Root) != 0 || hasAny(c.Args, "/etc", "/etc/", "/root", "/var/lib/mysql", "/var/mail") {
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

// senders take the names of files that they send away.
var senders = map[string]bool{"curl": true, "wget": true, "nc": true, "ncat": true, "scp": true, "rsync": true, "mail": true, "mutt": true, "aws": true, "gsutil": true, "rclone": true, "sftp": true, "ftp": true, "http": true, "smbclient": true}

// sent notes where the contents of the files come from that c is told to send, if the line
// itself has written them.
func (m *Machine) sent(c *Call, at int) {
	if len(m.files) == 0 {
		return
	}
	for _, a := range c.Args {
		name := a.S
		if i := strings.LastIndexByte(name, '@'); i >= 0 && strings.IndexByte(name, ':') < 0 {
			name = name[i+1:]
		}
		if len(name) < 2 || name[0] == '-' {
			continue
		}
		if v, ok := m.stored(name); ok {
			m.trace.Calls[at].ArgTaint |= v.Taint & (Secret | Personal | Env | Token)
		}
	}
}
