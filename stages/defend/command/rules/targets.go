package rules

import (
	"strings"

	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// Numbers of the functions, for reports: a Hit's Rule.
const (
	ruleRemove = -1 - iota
	ruleDD
	ruleMode
	ruleFind
	ruleSQL
	ruleEnv
	ruleOverwrite
	ruleBomb
	ruleShellshock
	ruleUnread
	ruleDynamic
	ruleSubshell
	ruleFork
)

func hit(c *shell.Call, tier Tier, score float64, family, why string, rule int) Hit {
	if score < Least {
		tier = Allow
	}
	return Hit{Tier: tier, Score: score, Family: family, Why: why, Start: c.Start, End: c.End, Rule: rule}
}

// functions judges what depends on the target of a command.
func functions(t *shell.Trace, i int, isDry bool, hits []Hit) []Hit {
	c := &t.Calls[i]
	if len(c.Vars) > 0 {
		for k, name := range c.Vars {
			hits = environment(name, c.Env[k], c.Name == "sudo" || c.Via&shell.ViaSudo != 0, c.Start, c.End, hits)
		}
	}
	hits = named(c, escape(c, hits))
	hits = options(c, hits)
	if c.OutClass != 0 {
		hits = start(c, hits)
	}
	switch c.Name {
	case "cp", "mv", "ln", "install":
		hits = replace(c, hits)
	case "grep", "egrep", "fgrep", "rg", "ag", "zgrep":
		hits = searching(c, hits)
	case "kubectl", "oc", "k3s":
		hits = manifest(c, hits)
	}
	if isDry {
		return hits
	}
	hits = fed(c, verbs(c, hits))
	if c.Via&(shell.ViaFind|shell.ViaXargs|shell.ViaLoop) != 0 {
		hits = everywhere(c, hits)
	}
	switch c.Name {
	case "docker", "podman", "nerdctl", "ctr":
		hits = mounts(c, hits)
	case "rm", "rmdir", "srm", "unlink", "del", "trash", "rimraf":
		hits = remove(c, hits)
	case "dd", "dcfldd":
		hits = diskCopy(c, hits)
	case "chmod", "chown", "chgrp", "setfacl", "chattr", "chflags":
		hits = mode(c, hits)
	case "find", "gfind", "fd":
		hits = deleting(c, hits)
	case "mysql", "mariadb", "psql", "sqlite3", "sqlite", "sqlcmd", "mysqlsh", "cockroach", "clickhouse-client", "clickhouse", "duckdb", "isql", "usql", "pgcli", "mycli", "mssql-cli", "sqlplus", "bq", "snowsql", "cqlsh":
		hits = statements(c, hits)
	}
	return overwrite(c, hits)
}

// diskCopy judges dd by where it writes.
func diskCopy(c *shell.Call, hits []Hit) []Hit {
	for _, a := range c.Args {
		if s, ok := strings.CutPrefix(a.S, "of="); ok {
			class := paths.Of(s)
			switch {
			case class&paths.Device != 0 && class&paths.MainDisk == 0 && image(c):
				hits = append(hits, hit(c, Review, 60, impact.Name, "writes an image to a disk", ruleDD))
			case class&paths.Device != 0:
				hits = append(hits, hit(c, Block, 90, impact.Name, "overwrites a disk", ruleDD))
			case class&(paths.Kernel|paths.Privilege|paths.Startup|paths.Log|paths.Guard) != 0:
				hits = append(hits, hit(c, Block, 78, impact.Name, "overwrites a file of the system", ruleDD))
			case class&paths.System != 0 && class&paths.Temp == 0:
				hits = append(hits, hit(c, Review, 50, impact.Name, "overwrites a file of the system", ruleDD))
			}
		}
		if s, ok := strings.CutPrefix(a.S, "if="); ok {
			class := paths.Of(s)
			if class&(paths.Device|paths.Kernel|paths.Memory) != 0 {
				hits = append(hits, hit(c, Review, 42, exfiltration.Name, "copies a disk or memory", ruleDD))
			}
		}
	}
	return hits
}

// image reports whether dd reads an image of a disk, as for a USB stick.
func image(c *shell.Call) bool {
	for _, a := range c.Args {
		if s, ok := strings.CutPrefix(a.S, "if="); ok {
			for _, end := range [...]string{".iso", ".img", ".raw", ".bin", ".dmg", ".wic"} {
				if strings.HasSuffix(s, end) {
					return true
				}
			}
		}
	}
	return false
}

// mode judges chmod, chown and their kin by what they change.
func mode(c *shell.Call, hits []Hit) []Hit {
	deep, open, shut, whole := false, false, false, false
	var class paths.Class
	for i, a := range c.Args {
		if option(a.S, "-R") || option(a.S, "--recursive") {
			deep = true
			continue
		}
		switch strings.TrimLeft(a.S, "0") {
		case "777", "666", "a+rwx", "ugo+rwx", "+rwx", "o+w", "a+w", "a=rwx", "ugo=rwx", "o+rwx", "1777", "go+w", "776", "767", "a+rw", "o=rwx", "ugo+w", "o+rw":
			open = open || c.Name == "chmod"
			continue
		case "", "a-rwx", "-rwx", "a=", "a-x", "a-r", "-r", "ugo-rwx", "u-rwx":
			shut = shut || c.Name == "chmod" && a.S != ""
			continue
		}
		if i > 0 {
			one := paths.Of(a.S)
			whole = whole || one&paths.Root != 0 || one&paths.Home != 0 && one&paths.System != 0
			class |= one
		}
	}
	switch {
	case deep && whole:
		hits = append(hits, hit(c, Block, 88, destruction.Name, "changes the rights of the whole system", ruleMode))
	case deep && class&paths.System != 0 && class&paths.Temp == 0 && rootOf(c):
		hits = append(hits, hit(c, Block, 80, destruction.Name, "changes the rights of a folder of the system", ruleMode))
	case class&(paths.Secret|paths.Privilege|paths.Guard|paths.Device) != 0 && open:
		hits = append(hits, hit(c, Block, 82, privilege.Name, "opens protected files to everybody", ruleMode))
	case open && deep:
		hits = append(hits, hit(c, Review, 50, privilege.Name, "opens a folder to everybody", ruleMode))
	case open:
		hits = append(hits, hit(c, Review, 42, privilege.Name, "opens files to everybody", ruleMode))
	case shut:
		hits = append(hits, hit(c, Review, 38, destruction.Name, "closes files to everybody", ruleMode))
	case deep && class&paths.System != 0 && class&paths.Temp == 0 && c.Sub("root:root"):
		hits = append(hits, hit(c, Review, 42, destruction.Name, "gives a folder of the system to root", ruleMode))
	case deep && class&paths.System != 0 && class&paths.Temp == 0:
		score := 32.0
		if has(c, "/etc") || has(c, "/boot") || has(c, "/bin") || has(c, "/lib") || has(c, "/sbin") {
			score = 40
		}
		hits = append(hits, hit(c, Review, score, destruction.Name, "changes the rights of a folder of the system", ruleMode))
	}
	return hits
}

// rootOf reports whether a target is one of the root's own folders.
func rootOf(c *shell.Call) bool {
	for _, a := range c.Args {
		if strings.HasPrefix(a.S, "/") && strings.Count(strings.TrimRight(a.S, "/*"), "/") <= 1 && paths.Of(a.S)&paths.System != 0 {
			switch strings.TrimRight(a.S, "/*") {
			case "/opt", "/srv":
			default:
				return true
			}
		}
	}
	return false
}

// deleting judges find -delete by where it starts.
func deleting(c *shell.Call, hits []Hit) []Hit {
	del, filter := false, false
	start := "."
	for i, a := range c.Args {
		if i == 0 && a.S != "" && a.S[0] != '-' {
			start = a.S
		}
		switch a.S {
		case "-delete":
			del = true
		case "-name", "-iname", "-path", "-mtime", "-empty", "-size", "-regex", "-newer", "-mmin", "-user", "-atime", "-ctime", "-inum", "-perm", "-links", "-lname", "-cmin", "-amin", "-xtype", "-iregex", "-samefile", "-iwholename", "-wholename", "-uid", "-group", "-nouser":
			filter = true
		}
	}
	if c.Muted && (start == "/" || start == "/home" || start == "/etc" || start == "/usr") && weak(c) {
		hits = append(hits, hit(c, Review, 38, discovery.Name, "searches the system for weak places, and hides errors", ruleFind))
	}
	if c.Muted && start == "/" && special(c) {
		hits = append(hits, hit(c, Block, 66, privilege.Name, "searches the whole system for programs with special rights, and hides errors", ruleFind))
	}
	if start == string(rune(shell.Hole)) && special(c) {
		hits = append(hits, hit(c, Review, 44, privilege.Name, "searches for programs with special rights", ruleFind))
	}
	if !del {
		return hits
	}
	class := paths.Of(start)
	switch {
	case class&(paths.Root|paths.Home) != 0 && !filter:
		return append(hits, hit(c, Block, 90, destruction.Name, "deletes the whole system or a home folder", ruleFind))
	case class&paths.Log != 0 && has(c, ".gz"), class&paths.Log != 0 && (c.Sub("-mtime") || c.Sub("-ctime")):
		return append(hits, hit(c, Allow, 30, evasion.Name, "removes old logs", ruleFind))
	case class&paths.Log != 0:
		return append(hits, hit(c, Review, 60, evasion.Name, "removes logs", ruleFind))
	case class&(paths.Root|paths.Home) != 0 || class&paths.System != 0 && class&paths.Temp == 0:
		return append(hits, hit(c, Review, 48, destruction.Name, "deletes files of the system", ruleFind))
	case !filter:
		return append(hits, hit(c, Review, 42, destruction.Name, "deletes everything below a folder", ruleFind))
	}
	return append(hits, hit(c, Allow, 22, destruction.Name, "deletes files", ruleFind))
}

// everywhere judges what is done to each file of the system or of everybody's home.
func everywhere(c *shell.Call, hits []Hit) []Hit {
	far := false
	for _, a := range c.Args {
		far = far || strings.HasPrefix(a.S, "/"+string(rune(shell.Hole))) || strings.HasPrefix(a.S, "~/"+string(rune(shell.Hole))) || strings.HasPrefix(a.S, "/home/"+string(rune(shell.Hole))) || strings.HasPrefix(a.S, "/Users/"+string(rune(shell.Hole)))
	}
	if !far {
		return hits
	}
	switch c.Name {
	case "shred", "srm", "wipe", "gpg", "ccrypt", "7z", "age":
		hits = append(hits, hit(c, Block, 74, impact.Name, "destroys or encrypts everybody's files", ruleFind))
	case "rm", "unlink", "truncate":
		if c.Via&shell.ViaAsked != 0 {
			break
		}
		hits = append(hits, hit(c, Review, 46, destruction.Name, "deletes wherever it is found", ruleFind))
	case "openssl":
		if c.Sub("enc") {
			hits = append(hits, hit(c, Block, 74, impact.Name, "encrypts everybody's files", ruleFind))
		}
	case "cat", "cp", "tar", "head", "curl", "scp", "grep", "strings":
		if c.Class&(paths.Account|paths.Secret|paths.History) != 0 {
			hits = append(hits, hit(c, Block, 68, secrets.Name, "reads credentials wherever they are found", ruleFind))
		}
	}
	return hits
}

// weak reports whether find asks for what others may change or what belongs to nobody.
func weak(c *shell.Call) bool {
	for _, a := range c.Args {
		switch a.S {
		case "-perm", "-writable", "-readable", "-nouser", "-nogroup", "-uid", "-user", "-executable":
			return true
		}
	}
	return false
}

// special reports whether find asks for set-user-id or set-group-id programs.
func special(c *shell.Call) bool {
	for i, a := range c.Args {
		if i > 0 && c.Args[i-1].S == "-perm" && (strings.Contains(a.S, "400") || strings.Contains(a.S, "2000") || strings.Contains(a.S, "=s") || strings.Contains(a.S, "+s")) {
			return true
		}
	}
	return false
}

// overwrite judges redirections onto files of the system.
func overwrite(c *shell.Call, hits []Hit) []Hit {
	for _, w := range c.Writes {
		if strings.HasPrefix(w.Path, "--") && strings.Contains(w.Path, "=exec=") {
			hits = append(hits, hit(c, Block, 72, privilege.Name, "plants a name that a wildcard turns into an option", ruleOverwrite))
		}
		base := w.Path[strings.LastIndexByte(w.Path, '/')+1:]
		switch {
		case base == "wtmp" || base == "utmp" || base == "btmp" || base == "lastlog":
			hits = append(hits, hit(c, Block, 72, evasion.Name, "rewrites the record of logins", ruleOverwrite))
		case trustedPrograms[base] && (w.Class&paths.Temp != 0 || strings.Contains(w.Path, "/bin/")):
			hits = append(hits, hit(c, Block, 70, persistence.Name, "puts a file under the name of a program of the system", ruleOverwrite))
		}
		if w.Class&paths.System == 0 || w.Class&(paths.Temp|paths.Null|paths.Startup|paths.Privilege|paths.Log|paths.Device|paths.Kernel|paths.Guard|paths.Trust|paths.Web|paths.Mail) != 0 {
			if w.Class&paths.Mail != 0 {
				hits = append(hits, hit(c, Review, 60, evasion.Name, "overwrites mail", ruleOverwrite))
			}
			continue
		}
		if settings(w.Path) {
			continue
		}
		if strings.HasPrefix(w.Path, "/etc/") || strings.HasPrefix(w.Path, "/usr/bin") || strings.HasPrefix(w.Path, "/bin") || strings.HasPrefix(w.Path, "/lib") || strings.HasPrefix(w.Path, "/sbin") || strings.HasPrefix(w.Path, "/usr/sbin") {
			score := 50.0
			if strings.HasSuffix(w.Path, "/hosts") || !w.Append {
				score = 55
			}
			hits = append(hits, hit(c, Review, score, impact.Name, "writes to a file of the system", ruleOverwrite))
		}
	}
	return hits
}

// settings reports whether a file of /etc is one that installations write all day and that
// starts nothing.
func settings(path string) bool {
	for _, p := range [...]string{"/etc/apt/sources.list", "/etc/apt/preferences", "/etc/apt/keyrings", "/etc/yum.repos.d", "/etc/apk/", "/etc/timezone", "/etc/localtime", "/etc/default/", "/etc/locale", "/etc/hostname", "/etc/sysctl", "/etc/nginx/", "/etc/apache2/", "/etc/php", "/etc/supervisor", "/etc/haproxy", "/etc/docker/", "/etc/X11/", "/etc/postgresql", "/etc/mysql", "/etc/redis", "/etc/prometheus", "/etc/fonts", "/etc/motd", "/etc/pip.conf", "/etc/npmrc", "/etc/dpkg", "/etc/pacman", "/etc/vim", "/etc/nix", "/etc/debconf", "/etc/machine-id", "/etc/containerd", "/etc/cni", "/etc/buildkit", "/etc/caddy"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// whole judges what concerns the line and not one command.
func whole(t *shell.Trace, hits []Hit) []Hit {
	end := 0
	if n := len(t.Calls); n > 0 {
		end = t.Calls[n-1].End
	}
	add := func(tier Tier, score float64, family, why string, rule int) {
		hits = append(hits, Hit{Tier: tier, Score: score, Family: family, Why: why, End: end, Rule: rule})
	}
	hits = together(t, hits)
	hits = recon(t, hits)
	hits = guides(t, hits)
	hits = handed(t, hits)
	for i := range t.Sets {
		hits = environment(t.Sets[i].Name, t.Sets[i].Value, false, t.Sets[i].Start, t.Sets[i].End, hits)
	}
	if t.Bomb {
		add(Block, 92, impact.Name, "starts itself without end", ruleBomb)
	}
	if t.Shellshock {
		add(Block, 88, reverse.Name, "begins like an attack on old shells", ruleShellshock)
	}
	switch {
	case t.Problems&(shell.TooLong|shell.TooDeep|shell.TooMuch) != 0:
		add(Review, 50, "unread", "is longer or more nested than the limits allow", ruleUnread)
	case t.Problems&shell.Unparsed != 0:
		add(Review, 36, "unread", "is not a command line that can be read", ruleUnread)
	case t.Problems&shell.Dynamic != 0:
		add(Review, 40, "unread", "runs text that cannot be known", ruleDynamic)
	}
	return hits
}
