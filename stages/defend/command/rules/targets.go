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
			hits = environment(name, c.Env[k], c.Start, c.End, hits)
		}
	}
	hits = named(c, escape(c, hits))
	if c.OutClass != 0 {
		hits = start(c, hits)
	}
	if isDry {
		return hits
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

// remove judges rm by what it deletes and how.
func remove(c *shell.Call, hits []Hit) []Hit {
	deep, force, end := c.Name == "rimraf", false, false
	for _, a := range c.Args {
		if a.S == "--" {
			end = true
		}
		if end {
			continue
		}
		deep = deep || option(a.S, "-r") || option(a.S, "-R") || option(a.S, "--recursive") || option(a.S, "--no-preserve-root")
		force = force || option(a.S, "-f") || option(a.S, "--force")
	}
	end = false
	targets := 0
	for _, a := range c.Args {
		if a.S == "--" {
			end = true
			continue
		}
		if !end && a.S != "" && a.S[0] == '-' {
			continue
		}
		targets++
		if h, ok := target(c, a, deep, force); ok {
			hits = append(hits, h)
		}
	}
	if deep && force && targets == 0 && c.Name == "rm" {
		hits = append(hits, hit(c, Review, 40, destruction.Name, "deletes recursively what is not named", ruleRemove))
	}
	return hits
}

// target judges one thing that is deleted.
func target(c *shell.Call, a shell.Value, deep, force bool) (Hit, bool) {
	if c.Dir != "" && a.S != "" && a.S[0] != '/' && a.S[0] != '~' && a.S[0] != shell.Hole && !strings.HasPrefix(a.S, "$") {
		a.S = strings.TrimSuffix(c.Dir, "/") + "/" + strings.TrimPrefix(a.S, "./") // cd / && rm -rf *
		if class := paths.Of(a.S); class&(paths.Root|paths.Home) == 0 && !vital(a.S) {
			a.S = "below"
		}
	}
	class := paths.Of(a.S)
	again := hit(c, Block, 95, destruction.Name, "deletes the whole system or a home folder", ruleRemove)
	star := strings.HasSuffix(a.S, "*")
	switch {
	case class&(paths.Root|paths.Home) != 0 && (deep || star):
		return again, true
	case class&paths.Device != 0 || class&paths.Kernel != 0:
		again.Score, again.Why = 85, "deletes what the system starts from"
		return again, true
	case class&(paths.Secret|paths.Privilege|paths.Guard|paths.KeyGrant) != 0:
		again.Tier, again.Score, again.Why = Review, 60, "deletes credentials or rules of access"
		return again, true
	case deep && class&paths.System != 0 && class&paths.Temp == 0 && vital(a.S):
		again.Score, again.Why = 90, "deletes a folder that the system cannot do without"
		return again, true
	case deep && (a.S == "$HOME" || a.S == "/"+string(rune(shell.Hole)) || a.S == string(rune(shell.Hole))+"/" || a.S == string(rune(shell.Hole))+"/*"):
		again.Tier, again.Score, again.Why = Review, 62, "deletes the whole system if a variable is empty"
		return again, true
	case deep && force && a.S == string(rune(shell.Hole)) && c.Via&shell.ViaXargs != 0:
		again.Tier, again.Score, again.Why = Review, 38, "deletes folders that cannot be known"
		return again, true
	case deep && (class&(paths.Everything|paths.Personal) != 0 || a.S == "*" || a.S == "./*" || a.S == "../*"):
		again.Tier, again.Score, again.Why = Review, 60, "deletes everything in a folder"
		return again, true
	case deep && strings.HasPrefix(a.S, "~"):
		again.Tier, again.Score, again.Why = Review, 50, "deletes a folder of the user"
		return again, true
	case deep && class&paths.System != 0 && class&paths.Temp == 0 && !cache(a.S):
		again.Tier, again.Score, again.Why = Review, 55, "deletes a folder of the system"
		return again, true
	case deep && strings.HasPrefix(a.S, "/") && !cache(a.S):
		again.Tier, again.Score, again.Why = Review, 40, "deletes a folder by its absolute name"
		return again, true
	case deep && strings.HasPrefix(a.S, "../"), deep && (a.S == ".git" || strings.HasSuffix(a.S, "/.git")):
		again.Tier, again.Score, again.Why = Review, 42, "deletes outside the current folder"
		return again, true
	case class&paths.System != 0 && class&(paths.Temp|paths.Log) == 0 && strings.HasPrefix(a.S, "/etc/"):
		again.Tier, again.Score, again.Why = Review, 45, "deletes a file of the system"
		return again, true
	case deep && force:
		again.Tier, again.Score, again.Why = Allow, 25, "deletes a folder"
		return again, true
	case deep:
		again.Tier, again.Score, again.Why = Allow, 18, "deletes a folder"
		return again, true
	}
	return again, false
}

// vital reports whether path is a folder of the root or right below one that matters.
func vital(path string) bool {
	path = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(path, "/"), "*"), "/")
	depth := strings.Count(path, "/")
	if depth <= 1 {
		return true
	}
	for _, p := range [...]string{"/usr/bin", "/usr/lib", "/usr/sbin", "/usr/local", "/var/lib", "/etc/ssh", "/etc/ssl", "/usr/share", "/lib/modules", "/boot/grub", "/System/Library", "/var/backups", "/boot/efi"} {
		if path == p {
			return true
		}
	}
	return false
}

// cache reports whether path holds only what can be made again.
func cache(path string) bool {
	for _, p := range [...]string{"/var/lib/apt/lists", "/var/cache/", "/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/root/.cache", "/usr/local/share/.cache", "/var/lib/dpkg/info"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return strings.Contains(path, "/.cache") || strings.Contains(path, "/node_modules") || strings.Contains(path, "/__pycache__")
}

// diskCopy judges dd by where it writes.
func diskCopy(c *shell.Call, hits []Hit) []Hit {
	for _, a := range c.Args {
		if s, ok := strings.CutPrefix(a.S, "of="); ok {
			class := paths.Of(s)
			switch {
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
		hits = append(hits, hit(c, Review, 32, destruction.Name, "changes the rights of a folder of the system", ruleMode))
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
	case class&paths.Log != 0:
		return append(hits, hit(c, Review, 60, evasion.Name, "removes logs", ruleFind))
	case class&(paths.Root|paths.Home) != 0 || class&paths.System != 0 && class&paths.Temp == 0:
		return append(hits, hit(c, Review, 48, destruction.Name, "deletes files of the system", ruleFind))
	case !filter:
		return append(hits, hit(c, Review, 42, destruction.Name, "deletes everything below a folder", ruleFind))
	}
	return append(hits, hit(c, Allow, 22, destruction.Name, "deletes files", ruleFind))
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

// statements judges the SQL that a client is given, in its arguments or on its input.
func statements(c *shell.Call, hits []Hit) []Hit {
	for _, a := range c.Args {
		if score, why := sql(a.S); score > 0 {
			hits = append(hits, hit(c, Review, score, destruction.Name, why, ruleSQL))
		}
	}
	if c.Piped && c.In.Known() {
		if score, why := sql(c.In.S); score > 0 {
			hits = append(hits, hit(c, Review, score, destruction.Name, why, ruleSQL))
		}
	}
	for _, a := range c.Args {
		if containsFold(a.S, "xp_cmdshell") || containsFold(a.S, "from program") || containsFold(a.S, "to program") || containsFold(a.S, "into outfile") || containsFold(a.S, "sys_exec(") || containsFold(a.S, "\\! ") || strings.HasPrefix(a.S, ".shell") || strings.HasPrefix(a.S, ".system") || containsFold(a.S, "load_extension") {
			hits = append(hits, hit(c, Block, 76, privilege.Name, "a database runs a program or writes a file", ruleSQL))
		}
	}
	return hits
}

// sql finds statements that delete. Deleting or changing rows by a condition is daily work.
func sql(text string) (float64, string) {
	if len(text) < 5 {
		return 0, ""
	}
	low := strings.Join(strings.Fields(strings.ToLower(text[:min(len(text), 8192)])), " ")
	if strings.HasPrefix(low, ".drop") || strings.HasPrefix(low, ".restore") {
		return 48, "deletes from a database"
	}
	best, why := 0.0, ""
	for stmt := range strings.SplitSeq(low, ";") {
		stmt = strings.TrimSpace(stmt)
		if i := strings.Index(stmt, "drop "); i >= 0 && (i == 0 || stmt[i-1] == ' ' || stmt[i-1] == '(') && sqlObject(stmt[i+5:]) {
			best, why = 56, "drops part of a database"
		}
		switch {
		case strings.HasPrefix(stmt, "truncate"), strings.Contains(stmt, " truncate "):
			best, why = max(best, 54), "empties a table"
		case strings.Contains(stmt, "delete from") && !strings.Contains(stmt, " where "), strings.HasPrefix(stmt, "delete ") && !strings.Contains(stmt, " where "):
			best, why = max(best, 52), "deletes all rows of a table"
		case strings.HasPrefix(stmt, "update ") && strings.Contains(stmt, " set ") && !strings.Contains(stmt, " where "):
			best, why = max(best, 48), "changes all rows of a table"
		case strings.HasPrefix(stmt, "grant all"), strings.HasPrefix(stmt, "alter user"), strings.HasPrefix(stmt, "alter role"), strings.HasPrefix(stmt, "create user"), strings.HasPrefix(stmt, "alter system"):
			best, why = max(best, 46), "changes who may use a database"
		case strings.HasPrefix(stmt, "shutdown"), strings.HasPrefix(stmt, "flush"), strings.HasPrefix(stmt, "reset master"), strings.HasPrefix(stmt, "vacuum full"), strings.HasPrefix(stmt, "alter table") && strings.Contains(stmt, " drop "):
			best, why = max(best, 46), "changes a database"
		}
	}
	return best, why
}

func sqlObject(rest string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	switch strings.Trim(word, "\"`[];") {
	case "table", "database", "schema", "view", "index", "user", "role", "column", "trigger", "function", "procedure", "sequence", "type", "extension", "keyspace", "collection", "constraint", "tablespace", "owned", "materialized", "policy", "domain", "server", "publication", "subscription", "partition", "warehouse", "stage":
		return true
	}
	return false
}

// environment judges a variable that a command or the rest of the line is given.
func environment(name string, v shell.Value, start, end int, hits []Hit) []Hit {
	add := func(tier Tier, score float64, family, why string) {
		hits = append(hits, Hit{Tier: tier, Score: score, Family: family, Why: why, Start: start, End: end, Rule: ruleEnv})
	}
	class := paths.Of(v.S)
	switch name {
	case "LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "DYLD_LIBRARY_PATH":
		switch {
		case v.S == "" || usualPreload(v.S):
		case v.S[0] == '/' || v.S[0] == '~' || strings.Contains(v.S, "tmp"):
			add(Block, 76, persistence.Name, "loads a library into every program")
		default:
			add(Review, 45, persistence.Name, "loads a library into a program")
		}
	case "HISTFILE":
		if class&paths.Null != 0 || v.S == "" {
			add(Block, 76, evasion.Name, "switches the shell history off")
		}
	case "HISTSIZE", "HISTFILESIZE", "SAVEHIST":
		if v.S == "0" || v.S == "" {
			add(Block, 74, evasion.Name, "switches the shell history off")
		}
	case "HISTCONTROL":
		if strings.Contains(v.S, "ignore") {
			add(Block, 66, evasion.Name, "hides commands from the shell history")
		}
	case "HISTIGNORE":
		add(Block, 68, evasion.Name, "hides commands from the shell history")
	case "PROMPT_COMMAND", "BASH_ENV", "ENV":
		if v.S != "" {
			add(Review, 55, persistence.Name, "runs a command at each prompt or start")
		}
	case "PERL5OPT", "PYTHONSTARTUP", "RUBYOPT", "NODE_OPTIONS", "PERL5LIB", "GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_PAGER", "PERL_MM_USE_DEFAULT", "RUSTC_WRAPPER", "RUSTC", "MANPAGER", "LESSOPEN", "PAGER", "EDITOR", "VISUAL", "BROWSER":
		if suspicious(v.S) {
			add(Block, 70, evasion.Name, "makes a program start another one")
		} else if name == "NODE_OPTIONS" && strings.Contains(v.S, "--require") || name == "PERL5OPT" || name == "RUBYOPT" && strings.Contains(v.S, "-r") {
			add(Review, 45, evasion.Name, "makes a program load code")
		}
	case "LD_LIBRARY_PATH", "PATH", "PYTHONPATH":
		if class&paths.Temp != 0 && (strings.HasPrefix(v.S, "/tmp") || strings.HasPrefix(v.S, "/dev/shm") || strings.HasPrefix(v.S, ".:")) {
			add(Review, 48, evasion.Name, "makes programs load from a temporary folder")
		}
	case "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY":
		if v.Known() && v.S != "" {
			add(Review, 38, evasion.Name, "reroutes traffic")
		}
	case "NODE_TLS_REJECT_UNAUTHORIZED", "GIT_SSL_NO_VERIFY", "PYTHONHTTPSVERIFY":
		add(Review, 38, evasion.Name, "switches off the check of certificates")
	}
	if strings.HasPrefix(v.S, "() {") {
		add(Block, 88, reverse.Name, "a function in a variable: uses a flaw of old shells")
	}
	return hits
}

// usualPreload reports whether a library is one that is preloaded for speed or tests.
func usualPreload(lib string) bool {
	for _, ok := range [...]string{"jemalloc", "tcmalloc", "mimalloc", "libasan", "libtsan", "libfaketime", "libeatmydata", "libc++", "libgomp", "libSegFault", "libfakeroot"} {
		if strings.Contains(lib, ok) {
			return true
		}
	}
	return false
}

// suspicious reports whether a program named in a variable is more than a program.
func suspicious(s string) bool {
	for _, t := range [...]string{"/bin/sh", "/bin/bash", "sh -c", "bash -c", "system(", "exec ", "/tmp/", "/dev/shm", "curl ", "nc "} {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

// overwrite judges redirections onto files of the system.
func overwrite(c *shell.Call, hits []Hit) []Hit {
	for _, w := range c.Writes {
		if w.Class&paths.System == 0 || w.Class&(paths.Temp|paths.Null|paths.Startup|paths.Privilege|paths.Log|paths.Device|paths.Kernel|paths.Guard|paths.Trust|paths.Web|paths.Mail) != 0 {
			if w.Class&paths.Mail != 0 {
				hits = append(hits, hit(c, Review, 60, evasion.Name, "overwrites mail", ruleOverwrite))
			}
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
	for i := range t.Sets {
		hits = environment(t.Sets[i].Name, t.Sets[i].Value, t.Sets[i].Start, t.Sets[i].End, hits)
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
