// Package paths says what a file name, device or address means for the safety of a
// machine: whether it holds credentials, starts programs at login, records what
// happened, is a disk. It looks at names only and touches nothing.
package paths

import "strings"

// Class is a set of meanings. A name can have several.
type Class uint64

// The meanings.
const (
	Root       Class = 1 << iota // the root of the file system, or all of it
	Home                         // a whole home folder, or all homes
	System                       // a folder the system cannot do without, or something in it
	Temp                         // a folder for temporary files, or something in it
	Secret                       // credentials: private keys, tokens, password hashes
	Account                      // names or settings that help to find credentials
	History                      // what a shell remembers
	Log                          // what the system remembers
	Startup                      // read or run at login, at boot or by schedule
	KeyGrant                     // says which keys may log in
	Privilege                    // says who may do what: sudoers, pam, preloaded libraries
	Guard                        // configuration of a firewall, audit or security tool
	Trust                        // certificates the system trusts
	Device                       // a disk or its partition
	Kernel                       // the kernel's controls, memory or modules
	Null                         // swallows what is written
	Socket                       // a network connection of the shell: /dev/tcp
	URL                          // an address on the network
	Metadata                     // the credentials service of a cloud
	DropSite                     // a public place to leave or fetch data anonymously
	Engine                       // the control socket of a container engine
	Hook                         // run by a development tool without being asked
	Sluice                       // this gateway's own state or configuration
	Relative                     // a relative name
	Wild                         // has a wildcard
	Mail                         // somebody's mail
	Web                          // served by a web server
	Everything                   // the current folder as a whole
	Hidden                       // a name chosen to be overlooked
	Personal                     // a user's own documents and pictures as a whole
	Host                         // a remote host and path: host:/path
	Memory                       // the memory of another process
	Journal                      // a log that records who did what
	Foe                          // a host that is named like an attacker's
	MainDisk                     // the disk that a machine most likely starts from
)

// Hole stands for an unknown part of a name.
const Hole = '\x00'

// Of returns the meanings of name. Unknown parts of it are Holes.
func Of(name string) Class {
	if name == "" || len(name) > maxName {
		return 0
	}
	if strings.Contains(name, "://") {
		return ofURL(name)
	}
	if strings.IndexByte(name, '\\') >= 0 {
		return 0
	}
	if strings.HasPrefix(name, "/dev/tcp/") || strings.HasPrefix(name, "/dev/udp/") {
		return Socket
	}
	c := ofHost(name)
	if strings.IndexByte(name, Hole) > 0 {
		// An unset variable in the middle of a name is nothing: /etc/pas${x}swd.
		if plain := strings.ReplaceAll(name, string(rune(Hole)), ""); plain != "" {
			c |= ofPath(plain) &^ (Root | Home | Everything | System)
		}
	}
	return c | ofPath(name)
}

// maxName is more than any file name the table could match; longer ones are data.
const maxName = 4096

func ofHost(name string) Class {
	i := strings.IndexByte(name, ':')
	if strings.HasPrefix(name, "git@") {
		return Host
	}
	if i <= 1 || i+1 >= len(name) || strings.IndexByte(name[:i], '/') >= 0 {
		return hostClass(name)
	}
	return Host | hostClass(name[:i])
}

// ofURL judges an address by its host and path.
func ofURL(s string) Class {
	i := strings.Index(s, "://")
	scheme := s[max(0, lastNonWord(s[:i])):i]
	rest := s[i+3:]
	if strings.EqualFold(scheme, "file") {
		return ofPath(rest)
	}
	host, path := rest, ""
	if j := strings.IndexAny(rest, "/?#"); j >= 0 {
		host, path = rest[:j], rest[j:]
	}
	if j := strings.LastIndexByte(host, '@'); j >= 0 {
		host = host[j+1:]
	}
	c := URL | hostClass(host)
	if strings.Contains(path, "/api/webhooks/") || strings.Contains(path, "/bot") && strings.Contains(host, "telegram") ||
		strings.Contains(host, "hooks.slack.") {
		c |= DropSite
	}
	return c
}

// mounted are folders where another system's root lies.
var mounted = map[string]bool{"mnt": true, "host": true, "hostfs": true, "rootfs": true, "media": true}

func lastNonWord(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if b := s[i] | 0x20; b < 'a' || b > 'z' {
			return i + 1
		}
	}
	return 0
}

// fits reports whether what follows a word in the name of a host ends it, and is no ending
// of a file.
func fits(rest string) bool {
	if rest == "" || rest[0] != '.' && rest[0] != '-' && rest[0] != 's' {
		return false
	}
	for _, end := range [...]string{".sh", ".py", ".so", ".service", ".c", ".zip", ".jar", ".deb", ".rpm", ".txt", ".js", ".ko", ".plist", ".pkg", ".crt", ".conf", ".gz", ".tar", ".mobileconfig", ".kext", ".dll", ".php", ".pub", ".md", ".json", ".yaml", ".yml", ".go", ".log", ".csv"} {
		if strings.HasSuffix(rest, end) {
			return false
		}
	}
	return true
}

// hostClass knows the hosts that mean something.
func hostClass(h string) Class {
	if len(h) > 255 {
		return 0
	}
	if strings.IndexByte(h, '.') < 0 {
		if len(h) > 9 && (h[0] == '[' || h[0] >= '0' && h[0] <= '9' || h[0] == 'i') {
			return hosts[strings.ToLower(h)]
		}
		return 0
	}
	h = strings.TrimRight(h, string(rune(Hole)))
	if i := strings.IndexAny(h, ":/"); i > 0 {
		h = h[:i]
	}
	h = strings.TrimSuffix(strings.ToLower(h), ".")
	if i := strings.LastIndexByte(h, '@'); i >= 0 {
		h = h[i+1:]
	}
	for _, name := range [...]string{"attacker", "evil", "malicious", "hacker", "exfil", "badguy"} {
		if i := strings.Index(h, name); i >= 0 && (i == 0 || h[i-1] == '.' || h[i-1] == '-') && !strings.HasSuffix(h, "."+name) && strings.IndexByte(h[i:], '.') > 0 && fits(h[i+len(name):]) {
			return Foe
		}
	}
	if c, ok := hosts[h]; ok {
		return c
	}
	for rest := h; ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			return 0
		}
		if c, ok := hosts["*."+after]; ok {
			return c
		}
		rest = after
	}
}

// ofPath judges a file name.
func ofPath(p string) Class {
	var c Class
	if strings.ContainsAny(p, "*?[") {
		c |= Wild
	}
	if strings.Contains(p, "//") || strings.Contains(p, "/.") {
		p = clean(p)
	}
	if p == "" {
		return c
	}
	switch p[0] {
	case '/', '~':
	default:
		c |= Relative
	}
	var buf [24]string
	comps, abs := split(p, buf[:0])
	c |= whole(p, comps, abs)
	if abs && len(comps) > 3 && comps[0] == "proc" && comps[2] == "root" {
		c |= ofPath("/" + strings.Join(comps[3:], "/")) // another process's view of the same files
	}
	if abs && len(comps) > 2 && mounted[comps[0]] {
		for i := 1; i+1 < len(comps) && i < 4; i++ { // another system's files: /mnt/x/etc/shadow
			if comps[i] == "etc" || comps[i] == "root" || comps[i] == "var" || comps[i] == "home" {
				c |= ofPath("/"+strings.Join(comps[i:], "/")) & (Secret | Startup | KeyGrant | Privilege)
			}
		}
	}
	if c&Wild != 0 && strings.Contains(p, "/") && len(comps) > 0 {
		c |= byGlob(comps, abs)
		if last := comps[len(comps)-1]; !strings.ContainsAny(last, "*?[") {
			c |= byShape(last, comps)
		}
		return c
	}
	for i, name := range comps {
		for _, id := range byFirst[name] {
			if ent := &entries[id]; ent.matches(comps[i:], abs && i == 0) {
				c |= ent.class
			}
		}
		for _, id := range byFirst[looseKey] {
			if ent := &entries[id]; (ent.name[0] == name[0] || ent.name[0] == '*') && ent.matches(comps[i:], false) {
				c |= ent.class
			}
		}
		if i == len(comps)-1 {
			c |= byShape(name, comps)
		}
	}
	return c
}

// clean resolves . and .. and doubled slashes without looking at a file system.
func clean(p string) string {
	abs := p[0] == '/'
	trail := strings.HasSuffix(p, "/")
	out := make([]string, 0, 16)
	for part := range strings.SplitSeq(p, "/") {
		switch {
		case part == "" || part == ".":
		case part == ".." && len(out) > 0 && out[len(out)-1] != "..":
			out = out[:len(out)-1]
		case part == ".." && abs:
		default:
			out = append(out, part)
		}
	}
	s := strings.Join(out, "/")
	switch {
	case abs:
		s = "/" + s
	case s == "":
		return "."
	}
	if trail && s != "/" {
		s += "/"
	}
	return s
}

func split(p string, buf []string) ([]string, bool) {
	abs := p[0] == '/'
	for len(p) > 0 && len(buf) < cap(buf) {
		i := strings.IndexByte(p, '/')
		if i < 0 {
			return append(buf, p), abs
		}
		if i > 0 {
			buf = append(buf, p[:i])
		}
		p = p[i+1:]
	}
	return buf, abs
}

// whole recognises names that stand for very much.
func whole(p string, comps []string, abs bool) Class {
	n := len(comps)
	last := ""
	if n > 0 {
		last = comps[n-1]
	}
	all := last == "*" || last == ".*" || last == "{*,.*}"
	if all {
		n--
	}
	switch {
	case abs && n == 0:
		return Root
	case n == 0 && all, n == 1 && !abs && (comps[0] == "." || comps[0] == ".."):
		return Everything
	case n == 1 && !abs && comps[0] == "~", n == 1 && !abs && strings.HasPrefix(comps[0], "~") && all:
		return Home
	case abs && n == 1 && (comps[0] == "home" || comps[0] == "root" || comps[0] == "Users"):
		return Home | System
	case abs && n == 2 && (comps[0] == "home" || comps[0] == "Users"):
		return Home
	case n == 1 && strings.HasPrefix(comps[0], "~") && strings.IndexByte(comps[0], '.') < 0:
		return Home
	case n == 2 && comps[0] == "~" && personal[comps[1]]:
		return Personal
	}
	if abs && n >= 1 && systemTop[comps[0]] {
		return System
	}
	return 0
}

// byShape recognises a last component by how it looks.
func byShape(name string, comps []string) Class {
	var c Class
	switch {
	case strings.HasPrefix(name, "id_") && !strings.HasSuffix(name, ".pub") && keyNames[strings.TrimRight(name, "*")]:
		c |= Secret
	case strings.HasSuffix(name, ".pub"):
	case strings.HasSuffix(name, "_history") && name[0] == '.', strings.HasSuffix(name, "histfile"):
		c |= History
	case strings.HasSuffix(name, ".kdbx"), strings.HasSuffix(name, ".keychain"), strings.HasSuffix(name, ".keychain-db"),
		strings.HasSuffix(name, ".ppk"), strings.HasSuffix(name, ".p12"), strings.HasSuffix(name, ".pfx"):
		c |= Secret
	case name == ".env", strings.HasPrefix(name, ".env.") && !strings.Contains(name, "example") && !strings.Contains(name, "sample"):
		c |= Account
	case name == "...", strings.HasPrefix(name, "... "), strings.HasSuffix(name, " ") && len(name) > 1:
		c |= Hidden
	}
	if len(comps) >= 2 && name[0] == '.' && len(name) > 2 && name[1] > ' ' && name[1] != '*' && name[1] != '$' && (comps[len(comps)-2] == "tmp" || comps[len(comps)-2] == "shm") {
		c |= Hidden
	}
	if journals[strings.TrimRight(name, "*")] || name == "*" && len(comps) == 3 {
		c |= Journal
	}
	if len(comps) >= 3 && comps[0] == "proc" && (name == "environ" || name == "mem" || name == "maps") {
		c |= Memory
	}
	return c
}
