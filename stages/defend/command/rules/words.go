package rules

import (
	"strings"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// Numbers of the functions of this file.
const (
	ruleEscape = -100 - iota
	ruleNamed
	ruleStart
	ruleMount
	ruleRelay
	ruleFetched
	ruleTempRun
	ruleUnknownName
)

// inert are programs to which a mention of a shell is only text.
var inert = set(`echo printf cat git grep egrep fgrep rg ag sed ls file which type test [ cp mv ln chsh useradd usermod adduser stat readlink docker podman kubectl ssh head tail less more find mkdir touch whatis apropos tldr logger jq yq diff cmp dscl pw sysadminctl passwd chmod chown update-alternatives alternatives dpkg-divert getent id sudo env nohup time su runuser login dirname basename realpath cd export alias trap : source bash sh zsh dash ksh fish xargs systemd-run install tee let set declare local read gh npm yarn pip go cargo helm terraform aws gcloud az curl wget add-shell chroot busybox timeout watch ssh-keygen ssh-copy-id rsync scp strings wc`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// shellWords are ways in which a program's own language starts a shell.
var shellWords = []string{"!/bin/sh", "!/bin/bash", "! /bin/sh", "!sh", ":!sh", "!bash", "exec /bin/sh", "exec \"/bin/", "exec '/bin/", "exec=/bin/sh", "exec=sh", "exec=bash", "os.execute", "exec \"sh\"", "=/bin/sh", "=/bin/bash", "='/bin/sh", "command /bin/sh", "; sh -i", "/bin/sh -p", "/bin/sh 0<&2", "/bin/sh -i", "/bin/bash -i", "/bin/bash -p", "reset; sh", "reset; exec", "shell /bin/sh", "system(\"/bin", "system('/bin", "spawn /bin/sh", "execute(\"/bin", "#!/bin/sh -p", "sh -c", "bash -c", "exec sh", "exec bash", "/bin/sh;", "/bin/sh\"", "/bin/sh'", "/bin/sh", "/bin/bash"}

// escape judges arguments that give a program a shell to start.
func escape(c *shell.Call, hits []Hit) []Hit {
	if c.Name == "sed" {
		for _, a := range c.Args {
			if sedRuns(a.S) {
				hits = append(hits, hit(c, Block, 70, privilege.Name, "an editor's script runs a command", ruleEscape))
			}
		}
	}
	if c.Name == "" || inert[c.Name] || c.Facts&(code.Spawn|code.Shell) == code.Spawn|code.Shell {
		return hits
	}
	for i, a := range c.Args {
		if a.S == "--" && i+1 < len(c.Args) && shell.Wraps(c.Args[i+1].S) {
			return hits // it runs what follows, which is judged by itself
		}
		if len(a.S) < 3 || strings.HasPrefix(a.S, "#!") || strings.Contains(a.S, "SHELL=") {
			continue
		}
		for _, w := range shellWords {
			i := strings.Index(a.S, w)
			if i < 0 || i > 0 && a.S[i-1] == '#' {
				continue
			}
			score := 72.0
			switch rest := strings.TrimLeft(a.S[i+len(w):], "\"' );&}"); {
			case w == "sh -c" || w == "bash -c":
				return append(hits, hit(c, Review, 45, privilege.Name, "gives a program a shell to run", ruleEscape))
			case w == "/bin/sh" || w == "/bin/bash":
				if rest != "" && rest[0] != '-' && rest[0] != '<' {
					continue
				}
				if strings.HasPrefix(rest, "-c") || strings.HasPrefix(rest, "-l") {
					return append(hits, hit(c, Review, 45, privilege.Name, "gives a program a shell to run", ruleEscape))
				}
				score = 66
			}
			return append(hits, hit(c, Block, score, privilege.Name, "gives a program a shell to run", ruleEscape))
		}
	}
	return hits
}

// sedRuns reports whether a sed script runs a command: 1e id, s/x/id/e.
func sedRuns(script string) bool {
	rest := strings.TrimLeft(script, "0123456789,$ ")
	if rest == "e" || strings.HasPrefix(rest, "e ") {
		return true
	}
	if len(rest) > 4 && rest[0] == 's' && !isLetter(rest[1]) {
		parts := strings.Split(rest, rest[1:2])
		return len(parts) == 4 && len(parts[3]) < 5 && strings.Contains(parts[3], "e")
	}
	return false
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// keyed are programs that use a key or a file of credentials as they should.
var keyed = set(`ssh ssh-keygen ssh-add ssh-copy-id ssh-agent ssh-keyscan ls stat test [ chmod chown mkdir rm rmdir touch cd find file du kubectl helm aws gcloud export openssl mosh sshfs autossh terraform ansible ansible-playbook git dirname basename realpath readlink systemctl wc : man which echo printf firefox google-chrome chromium curl wget scp rsync sftp umask mount umount docker podman keychain pkcs11-tool make go npm alias`)

// named judges programs that are not known to the tables and are given credentials.
func named(c *shell.Call, hits []Hit) []Hit {
	for _, r := range c.Reads {
		if r.Class&(paths.Secret|paths.Memory) != 0 {
			return append(hits, hit(c, Block, 76, secrets.Name, "reads credentials", ruleNamed))
		}
		if r.Class&(paths.Account|paths.History) != 0 {
			hits = append(hits, hit(c, Review, 42, secrets.Name, "reads names of accounts or what was typed", ruleNamed))
		}
	}
	switch {
	case keyed[c.Name]:
	case c.Class&paths.Secret != 0:
		score := 50.0
		if hashes(c) {
			score = 76
			hits = append(hits, hit(c, Block, score, secrets.Name, "gives a program the password hashes or a private key", ruleNamed))
		}
		hits = append(hits, hit(c, Review, 50, secrets.Name, "names a file with credentials", ruleNamed))
	case c.Class&paths.History != 0 && c.Name != "history" && c.Name != "export":
		hits = append(hits, hit(c, Review, 40, secrets.Name, "names what was typed before", ruleNamed))
	case c.Name == "" && c.Class&paths.Account != 0:
		hits = append(hits, hit(c, Review, 42, secrets.Name, "gives a program the names of accounts", ruleUnknownName))
	}
	return hits
}

// hashes reports whether an argument is one of the files that nobody hands to a program.
func hashes(c *shell.Call) bool {
	for _, a := range c.Args {
		for _, name := range [...]string{"/etc/shadow", "/etc/gshadow", "/etc/master.passwd", "/.ssh/id_", "/etc/sudoers"} {
			if strings.Contains(a.S, name) && !strings.HasSuffix(a.S, ".pub") {
				return true
			}
		}
	}
	return false
}

// start judges writes to what runs at login, by what is written.
func start(c *shell.Call, hits []Hit) []Hit {
	if c.OutClass&paths.Startup == 0 {
		return hits
	}
	text, known := written(c)
	switch {
	case known && setup(text):
		return append(hits, hit(c, Review, 30, persistence.Name, "sets variables at login", ruleStart))
	case !known && appended(c) && !fileOf(c, "cron", "systemd", "init", "rc."):
		return append(hits, hit(c, Review, 50, persistence.Name, "writes to what runs at login", ruleStart))
	}
	return append(hits, hit(c, Block, 76, persistence.Name, "writes to what runs at login, at boot or by schedule", ruleStart))
}

func appended(c *shell.Call) bool {
	for _, w := range c.Writes {
		if w.Class&paths.Startup != 0 && !w.Append {
			return false
		}
	}
	return true
}

func fileOf(c *shell.Call, parts ...string) bool {
	for _, w := range c.Writes {
		for _, p := range parts {
			if strings.Contains(w.Path, p) {
				return true
			}
		}
	}
	return false
}

// written is the text that echo, printf or a here-document writes.
func written(c *shell.Call) (string, bool) {
	switch c.Name {
	case "echo", "printf":
		var b strings.Builder
		for _, a := range c.Args {
			if a.S != "" && a.S[0] == '-' && len(a.S) < 4 {
				continue
			}
			b.WriteString(a.S)
			b.WriteByte(' ')
		}
		return b.String(), true
	case "cat", "tee":
		return c.In.S, c.Piped && c.In.S != "" && c.In.S != string(rune(shell.Hole))
	}
	return "", false
}

// setup reports whether each line of a text only sets up a shell.
func setup(text string) bool {
	text = strings.ReplaceAll(text, `\n`, "\n")
	some := false
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.Trim(line, " \t\"'")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		ok := false
		for _, p := range [...]string{"export ", "PATH=", "eval \"$(", "eval $(", "source ", ". ", "[ -", "[[ -", "alias ", "setopt ", "autoload ", "bindkey ", "fpath", "fish_add_path", "set -gx ", "set -x ", "compinit", "%s", "if command", "command -v", "zstyle ", "plugins=", "ZSH_THEME", "set ", "fi", "if [ -"} {
			ok = ok || strings.HasPrefix(line, p)
		}
		if !ok || strings.Contains(line, "/tmp/") || strings.Contains(line, "LD_PRELOAD") || strings.Contains(line, "/dev/tcp") || strings.Contains(line, "curl ") || strings.Contains(line, "PROMPT_COMMAND") || strings.HasPrefix(line, "alias sudo") || strings.HasPrefix(line, "alias su=") || strings.HasPrefix(line, "alias ssh") || strings.Contains(line, "HIST") {
			return false
		}
		some = true
	}
	return some
}

// mounts judges what a container is given of the host.
func mounts(c *shell.Call, hits []Hit) []Hit {
	for i, a := range c.Args {
		s := a.S
		if i > 0 && (c.Args[i-1].S == "-v" || c.Args[i-1].S == "--volume") || strings.HasPrefix(s, "-v/") || strings.HasPrefix(s, "--volume=") || strings.HasPrefix(s, "-v=") {
			s = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(s, "--volume="), "-v"), "=")
			from, _, ok := strings.Cut(s, ":")
			switch {
			case !ok:
			case from == "/" || paths.Of(from)&paths.Root != 0:
				hits = append(hits, hit(c, Block, 84, privilege.Name, "gives a container the host's files", ruleMount))
			case from == "/etc" || from == "/root" || from == "/proc" || from == "/dev" || from == "/boot" || from == "/var" || from == "/home" || from == "/usr":
				hits = append(hits, hit(c, Block, 72, privilege.Name, "gives a container the host's files", ruleMount))
			}
			continue
		}
		for _, p := range [...]string{"source=/,", "src=/,"} {
			if strings.Contains(s, p) {
				hits = append(hits, hit(c, Block, 84, privilege.Name, "gives a container the host's files", ruleMount))
			}
		}
	}
	return hits
}

// together judges what only several commands of a line show.
func together(t *shell.Trace, hits []Hit) []Hit {
	fifo, net, fetched := -1, -1, -1
	for i := range t.Calls {
		c := &t.Calls[i]
		switch c.Name {
		case "mkfifo", "mknod":
			fifo = i
		case "nc", "ncat", "netcat", "socat", "telnet", "openssl", "nc.openbsd":
			if c.Name != "openssl" || c.Sub("s_client") {
				net = i
			}
		case "curl", "wget", "fetch", "nscurl", "scp", "tftp", "ftp":
			for _, a := range c.Args {
				if looksScript(a.S) && strings.Contains(a.S, "/") {
					fetched = i
				}
			}
		case "sh", "bash", "zsh", "dash", "python", "perl", "ruby", "php":
			if fetched >= 0 && c.ScriptTaint&shell.Net == 0 && len(c.Args) > 0 && looksScript(c.Args[0].S) && !c.Stored {
				hits = append(hits, hit(c, Review, 50, download.Name, "downloads a script and runs a script", ruleFetched))
			}
		case "git":
			if c.Sub("clone") {
				fetched = i
			}
		}
		if c.Via&(shell.ViaBox|shell.ViaRemote|shell.ViaFind|shell.ViaXargs) == 0 && paths.Of(c.Given)&paths.Temp != 0 {
			hits = append(hits, hit(c, Review, 38, evasion.Name, "runs a program of a temporary folder", ruleTempRun))
			if c.Via&shell.ViaSched != 0 {
				hits = append(hits, hit(c, Block, 72, persistence.Name, "schedules a program of a temporary folder", ruleTempRun))
			}
		}
		if c.Via&(shell.ViaBox|shell.ViaRemote|shell.ViaFind|shell.ViaXargs) == 0 && !c.Stored && runsScript(c) && temporary(c) {
			hits = append(hits, hit(c, Review, 36, evasion.Name, "runs a script of a temporary folder", ruleTempRun))
		}
		if c.Stored && c.ScriptTaint&shell.Net == 0 && temporary(c) {
			hits = append(hits, hit(c, Review, 38, evasion.Name, "runs what it has put into a temporary folder", ruleTempRun))
		}
	}
	if fifo >= 0 && net > fifo {
		hits = append(hits, hit(&t.Calls[net], Block, 86, reverse.Name, "joins a network connection to a pipe", ruleRelay))
	}
	return hits
}

// runsScript reports whether c is an interpreter that is given a file.
func runsScript(c *shell.Call) bool {
	switch c.Name {
	case "sh", "bash", "zsh", "dash", "ksh", "python", "perl", "ruby", "php", "source":
		return len(c.Args) > 0 && c.Args[0].S != "" && c.Args[0].S[0] != '-'
	}
	return false
}

func looksScript(s string) bool {
	for _, end := range [...]string{".sh", ".py", ".pl", ".rb", ".php"} {
		if strings.HasSuffix(s, end) {
			return true
		}
	}
	return false
}

// temporary reports whether c runs a file of a temporary folder.
func temporary(c *shell.Call) bool {
	if paths.Of(c.Given)&paths.Temp != 0 {
		return true
	}
	for _, a := range c.Args {
		if a.S != "" && a.S[0] != '-' {
			return paths.Of(a.S)&paths.Temp != 0
		}
	}
	return false
}
