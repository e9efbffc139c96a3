package shell

import (
	"strings"

	"sluice/stages/defend/command/paths"
)

// record adds a call to the trace and returns it.
func (m *Machine) record(c *Call, j *job) *Call {
	c.In, c.Piped, c.Via = j.in.val, j.in.piped, c.Via|j.via
	c.Writes, c.Reads, c.Env, c.Vars = j.writes, j.reads, j.env, j.vars
	c.Start, c.End, c.Dir = j.start, j.end, m.cwd
	c.Muted, c.Swapped = j.muted, j.swapped
	if m.nested > 0 {
		c.Start, c.End = m.origin[0], m.origin[1]
	}
	for _, w := range c.Writes {
		c.OutClass |= w.Class
	}
	for _, r := range c.Reads {
		c.Class |= r.Class
	}
	c.weigh()
	m.trace.Calls = append(m.trace.Calls, *c)
	return &m.trace.Calls[len(m.trace.Calls)-1]
}

// weigh sets what depends on the arguments.
func (c *Call) weigh() {
	c.ArgTaint, c.Source, c.Dest = 0, 0, 0
	for i, a := range c.Args {
		class := argClass(a.S)
		if class&paths.Secret != 0 && i > 0 && c.Args[i-1].S == "-i" && keyOption[c.Name] {
			class = 0 // the key it logs in with
		}
		if c.Dir != "" && len(a.S) > 1 && a.S[0] != '/' && a.S[0] != '~' && a.S[0] != '-' && len(a.S) < 64 {
			class |= paths.Of(c.Dir+"/"+a.S) & guarded // cd /etc; cat shadow
		}
		c.Class |= class
		c.ArgTaint |= a.Taint
		if i == len(c.Args)-1 {
			c.Dest = class
		} else {
			c.Source |= class
		}
	}
}

// keyOption are programs whose -i names the key to log in with.
var keyOption = map[string]bool{"scp": true, "sftp": true, "ssh": true, "ssh-copy-id": true, "sshfs": true, "autossh": true, "rsync": true}

// guarded are the meanings that a name keeps when it is relative to a folder.
const guarded = paths.Secret | paths.Privilege | paths.Startup | paths.KeyGrant | paths.History | paths.Account | paths.Journal | paths.Guard | paths.Sluice

// argClass is what an argument means: itself, or what follows = or @ in it.
func argClass(s string) paths.Class {
	if len(s) < 2 && s != "/" && s != "~" && s != "." && s != "*" {
		return 0
	}
	if s[0] == '-' {
		i := strings.IndexByte(s, '=')
		if i < 0 {
			if len(s) > 3 && s[1] != '-' && (s[2] == '/' || s[2] == '~' || s[2] == '@') { // -T/etc/shadow, -d@file
				return paths.Of(strings.TrimPrefix(s[2:], "@"))
			}
			return 0
		}
		s = s[i+1:]
	}
	c := paths.Of(s)
	if i := strings.IndexAny(s, "@=,"); i >= 0 && i+1 < len(s) { // file=@/etc/passwd, if=/dev/sda
		c |= paths.Of(strings.TrimLeft(s[i+1:], "@="))
		if k := strings.LastIndexByte(s, '@'); k > i {
			c |= paths.Of(s[k+1:])
		}
	}
	if i := strings.IndexByte(s, ':'); i > 0 && i+1 < len(s) && s[i+1] == '/' { // -v /:/mnt
		c |= paths.Of(s[i+1:]) &^ paths.Temp
	}
	return c
}
