package rules

import (
	"strings"

	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// recon counts what a line asks about the machine. One question is daily work, five in a
// row are the first minute of an intruder.
func recon(t *shell.Trace, hits []Hit) []Hit {
	var seen uint32
	deep := false
	for i := range t.Calls {
		bit, about := asks(&t.Calls[i])
		deep = deep || about
		if bit >= 0 {
			seen |= 1 << bit
		}
	}
	kinds := 0
	for ; seen != 0; seen &= seen - 1 {
		kinds++
	}
	at := len(t.Calls) - 1
	switch {
	case kinds >= 5 && deep:
		hits = append(hits, hit(&t.Calls[at], Block, 67, discovery.Name, "asks all about the machine and its accounts", ruleRecon))
	case kinds >= 6, kinds >= 4 && deep:
		hits = append(hits, hit(&t.Calls[at], Review, 45, discovery.Name, "asks much about the machine and its accounts", ruleRecon))
	}
	return hits
}

// asks numbers the kind of question that c asks about the machine, -1 for none; deep is one
// about accounts, rights or schedules.
func asks(c *shell.Call) (bit int, deep bool) {
	bit = -1
	switch c.Name {
	case "id", "whoami", "groups":
		bit = 0
	case "uname", "arch", "lsb_release", "hostnamectl":
		bit = 1
	case "hostname":
		bit = 2
	case "ps", "top":
		bit = 3
	case "netstat", "ss", "lsof":
		bit = 4
	case "ifconfig", "ip", "arp", "route":
		bit = 5
	case "w", "who", "last", "lastlog", "users":
		bit = 6
	case "env", "printenv":
		bit = 7
	case "sudo":
		if len(c.Args) > 0 && c.Args[0].S == "-l" {
			bit, deep = 8, true
		}
	case "cat", "head", "more", "less", "getent":
		switch {
		case c.Class&(paths.Account|paths.Secret) != 0 || c.Sub("passwd"):
			bit, deep = 9, true
		case has(c, "/etc/issue") || has(c, "/proc/version") || has(c, "-release"):
			bit = 1
		case c.Class&paths.Startup != 0 || has(c, "cron"):
			bit, deep = 10, true
		}
	case "crontab":
		if c.Sub("-l") {
			bit = 10
		}
	case "find", "getcap":
		if special(c) || c.Name == "getcap" {
			bit, deep = 11, true
		}
	case "mount", "lsblk", "df":
		bit = 12
	case "dpkg", "rpm", "lsmod":
		bit = 13
	}
	return bit, deep
}

func has(c *shell.Call, part string) bool {
	for _, a := range c.Args {
		if strings.Contains(a.S, part) {
			return true
		}
	}
	return false
}

// guides notes the names that attack guides and tools give to the other side: a line that
// was copied from one keeps them. Alone they say little; with a connection or a file of
// the system they say enough.
func guides(t *shell.Trace, hits []Hit) []Hit {
	marks, file := 0, false
	start, end := 0, 0
	for i := range t.Sets {
		switch t.Sets[i].Name {
		case "RHOST", "LHOST", "RPORT", "LPORT", "ATTACKER", "ATTACKER_IP", "ATTACKER_PORT":
			marks++
		case "LFILE":
			file = true
		default:
			continue
		}
		start, end = t.Sets[i].Start, max(end, t.Sets[i].End)
	}
	if marks == 0 && !file {
		return hits
	}
	net := false
	for i := range t.Calls {
		c := &t.Calls[i]
		net = net || peers[c.Name] || c.Facts != 0 || c.OutClass&paths.Socket != 0
		end = max(end, c.End)
	}
	h := Hit{Tier: Review, Score: 45, Family: reverse.Name, Why: "names its values as attack guides do", Start: start, End: end, Rule: ruleGuides}
	if marks >= 2 || marks == 1 && net || file && len(t.Calls) > 0 {
		h.Tier, h.Score = Block, 66
	}
	return append(hits, h)
}

var peers = set(`nc ncat netcat socat telnet curl wget ssh scp sftp ftp tftp openssl bash sh python perl ruby php lua node awk gawk gdb vim rvim rview julia jrunscript jjs ksh whois finger dig restic rsync smbclient lwp-download aria2c fetch`)

// starts are what a script says that begins a shell or a connection of its own.
var starts = []string{"/bin/sh", "/bin/bash", "exec sh", "exec bash", "sh -i", "bash -i", "sh 0<&", "sh <&", "os.system", "os.exec", "/dev/tcp/", "nc -e", "u+s "}

// keeps are programs that handle a script and do not run it.
var keeps = set(`cat echo printf ls chmod chown rm mv cp git grep less head tail tee wc file stat test [ mkdir touch diff sed vim vi nano scp rsync curl shellcheck cd ln install tar zip docker kubectl : trap export`)

// handed judges scripts that a line writes and then hands to a program which has a
// language of its own: a configuration that starts a shell, a plugin, a hook.
func handed(t *shell.Trace, hits []Hit) []Hit {
	for i := range t.Calls {
		w := &t.Calls[i]
		if len(w.Writes) == 0 || (w.Name != "echo" && w.Name != "printf" && w.Name != "cat" && w.Name != "tee") {
			continue
		}
		text, known := written(w)
		if !known || !begins(text) && !fetchesAndRuns(text) {
			continue
		}
		path := w.Writes[0].Path
		if builds(path) && fetchesAndRuns(text) {
			return append(hits, hit(w, Block, 70, persistence.Name, "plants a download in what a build runs", ruleHanded))
		}
		for k := i + 1; k < len(t.Calls); k++ {
			if c := &t.Calls[k]; !keeps[c.Name] && !c.Stored && c.Via&(shell.ViaBox|shell.ViaRemote) == 0 && given(c, path) {
				return append(hits, hit(c, Block, 70, privilege.Name, "gives a program a file that starts a shell", ruleHanded))
			}
		}
	}
	return hits
}

// builds reports whether a build or an installation runs what a file says.
func builds(path string) bool {
	base := path[strings.LastIndexByte(path, '/')+1:]
	switch base {
	case "package.json", "Makefile", "makefile", "GNUmakefile", "setup.py", "conftest.py", ".gitlab-ci.yml", "Jenkinsfile", "build.gradle", "Rakefile", "postinst", "preinst", "binding.gyp", "build.rs", "justfile", "Taskfile.yml", "tasks.json", ".envrc", ".pre-commit-config.yaml", "mcp.json", ".mcp.json", "claude_desktop_config.json", "settings.json", "launch.json", "devcontainer.json", "pre-commit", "post-checkout", "post-merge", "pre-push":
		return true
	}
	return strings.Contains(path, ".github/workflows/") || strings.Contains(path, ".vscode/")
}

// fetchesAndRuns reports whether a text pipes a download into a shell.
func fetchesAndRuns(text string) bool {
	if len(text) > 8192 || !strings.Contains(text, "curl ") && !strings.Contains(text, "wget ") {
		return false
	}
	for _, s := range [...]string{"|sh", "| sh", "|bash", "| bash", "$(curl", "$(wget"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func begins(text string) bool {
	if len(text) > 8192 {
		return false
	}
	if strings.HasPrefix(text, "#!") {
		if _, rest, ok := strings.Cut(text, "\n"); ok {
			text = rest
		}
	}
	for _, s := range starts {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// given reports whether c is told of the file, or of a temporary folder that it is in.
func given(c *shell.Call, path string) bool {
	if len(path) < 2 {
		return false
	}
	dir := ""
	if i := strings.LastIndexByte(path, '/'); i > 4 && paths.Of(path)&paths.Temp != 0 {
		dir = path[:i]
	}
	match := func(s string) bool {
		return strings.Contains(s, path) || dir != "" && dir != "/tmp" && strings.Contains(s, dir)
	}
	for _, a := range c.Args {
		if match(a.S) {
			return true
		}
	}
	for _, v := range c.Env {
		if match(v.S) {
			return true
		}
	}
	return false
}
