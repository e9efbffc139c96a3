package rules

import (
	"strings"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/shell"
)

// inert are programs to which a mention of a shell is only text.
var inert = set(`echo printf cat rm unlink git grep egrep fgrep rg ag sed ls file which type test [ cp mv ln chsh useradd usermod adduser stat readlink docker podman kubectl ssh head tail less more find mkdir touch whatis apropos tldr logger jq yq diff cmp dscl pw sysadminctl passwd chmod chown update-alternatives alternatives dpkg-divert getent id sudo env nohup time su runuser login dirname basename realpath cd export alias trap : source bash sh zsh dash ksh fish xargs systemd-run install tee let set declare local read gh npm yarn pip go cargo helm terraform aws gcloud az curl wget add-shell chroot busybox timeout watch ssh-keygen ssh-copy-id rsync scp strings wc`)

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
		if len(a.S) < 3 || !strings.Contains(a.S, "sh") && !strings.Contains(a.S, "exec") || strings.HasPrefix(a.S, "#!") || strings.Contains(a.S, "SHELL=") {
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
				if !shellTail(rest) {
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

// shellTail reports whether what follows the name of a shell fits a shell that is started:
// nothing, options, redirections, the end of a list.
func shellTail(rest string) bool {
	if rest == "" || strings.IndexByte("-<>,|&#\"'", rest[0]) >= 0 {
		return true
	}
	return len(rest) > 1 && rest[0] >= '0' && rest[0] <= '9' && (rest[1] == '<' || rest[1] == '>')
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
