package rules

import (
	"strings"

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
	ruleOptions
	ruleReplace
	ruleSearch
	ruleManifest
	ruleRecon
	ruleGuides
	ruleHanded
	ruleShady
	ruleProducts
	ruleVerbs
)

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
	case (c.Name == "cp" || c.Name == "mv") && beside(c) && c.Class&paths.Temp == 0: // a copy for safety
	case keyed[c.Name]:
		if c.Class&paths.Secret != 0 && !lists[c.Name] && passwords(c) {
			hits = append(hits, hit(c, Block, 76, secrets.Name, "gives a program the password hashes", ruleNamed))
		}
	case (c.Name == "smbclient" || c.Name == "lftp" || c.Name == "psftp") && sends(c):
		hits = append(hits, hit(c, Block, 78, exfiltration.Name, "sends credentials away", ruleNamed))
	case (c.Name == "cpio" || c.Name == "pax" || c.Name == "tar") && c.Piped && namesSecret(c.In.S):
		hits = append(hits, hit(c, Block, 76, secrets.Name, "packs credentials", ruleNamed))
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

// lists are programs that name files and do not read them.
var lists = set(`ls stat test [ chmod chown mkdir rm rmdir touch cd find du dirname basename realpath readlink wc : which man echo printf umask mount umount alias export systemctl`)

// passwords reports whether an argument is the file of password hashes.
func passwords(c *shell.Call) bool {
	for _, a := range c.Args {
		if strings.Contains(a.S, "/etc/shadow") || strings.Contains(a.S, "/etc/gshadow") || strings.Contains(a.S, "/etc/master.passwd") {
			return true
		}
	}
	return false
}

// sends reports whether a command among the arguments names a file with credentials.
func sends(c *shell.Call) bool {
	for _, a := range c.Args {
		if strings.IndexByte(a.S, ' ') > 0 && namesSecret(a.S) {
			return true
		}
	}
	return false
}

// namesSecret reports whether a short text on the input names a file with credentials.
func namesSecret(text string) bool {
	if len(text) > 4096 {
		return false
	}
	for word := range strings.FieldsSeq(text) {
		if paths.Of(word)&paths.Secret != 0 {
			return true
		}
	}
	return false
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
			from, to, ok := strings.Cut(s, ":")
			switch class := paths.Of(from); {
			case !ok:
			case class&paths.Sluice != 0:
				hits = append(hits, hit(c, Block, 88, tampering.Name, "gives a container the gateway that guards this machine", ruleMount))
			case class&paths.Secret != 0 && !strings.HasSuffix(to, ":ro"):
				hits = append(hits, hit(c, Review, 45, secrets.Name, "gives a container credentials", ruleMount))
			case strings.HasSuffix(to, ":ro") || strings.Contains(to, ":ro,"):
				if paths.Of(from)&paths.Root != 0 {
					hits = append(hits, hit(c, Review, 58, privilege.Name, "shows a container the host's files", ruleMount))
				}
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
