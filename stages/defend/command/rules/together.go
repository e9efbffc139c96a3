package rules

import (
	"strings"

	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// together judges what only several commands of a line show.
func together(t *shell.Trace, hits []Hit) []Hit {
	fifo, net, fetched, odd, bare := -1, -1, -1, -1, false
	for i := range t.Calls {
		c := &t.Calls[i]
		if fetcher(c) && odd < 0 && shady(c) || c.Name == "nc" && len(c.Writes) > 0 {
			odd = i
			for _, a := range c.Args {
				bare = bare || bareAddress(a.S)
			}
		}
		if odd >= 0 && i > odd && c.Via&(shell.ViaBox|shell.ViaRemote) == 0 && (unknownRun(c) || bare && makesRunnable(c)) {
			hits = append(hits, hit(c, Block, 70, download.Name, "fetches from an unchecked address and runs a file that was not there before", ruleShady))
			odd = len(t.Calls)
		}
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
		hits = lurking(c, hits)
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

// lurking judges programs by where they lie and what they are called.
func lurking(c *shell.Call, hits []Hit) []Hit {
	base := c.Given[strings.LastIndexByte(c.Given, '/')+1:]
	switch {
	case len(base) > 3 && base[0] == '[' && len(base) < len(c.Given) && strings.HasSuffix(base, "]"):
		hits = append(hits, hit(c, Block, 72, evasion.Name, "starts a program that looks like a part of the kernel", ruleTempRun))
	case count(base, []string{"mimipenguin", "linpeas", "lazagne", "linenum", "winpeas", "keylogger", "revshell", "reverse_shell", "backdoor"}) > 0:
		hits = append(hits, hit(c, Block, 72, reverse.Name, "starts an attack tool", ruleTempRun))
	case strings.HasPrefix(c.Given, "./") || strings.HasPrefix(c.Given, "/"):
		if count(base, []string{"cve-20", "cve_20", "dirtyc", "dirtypipe", "dirty_", "pwnkit", "exploit", "rootkit"}) > 0 {
			hits = append(hits, hit(c, Block, 70, privilege.Name, "starts a program that is named like an attack", ruleTempRun))
		}
	}
	if strings.Contains(c.Given, "://") {
		tier, score := Review, 58.0
		if strings.HasPrefix(c.Given, "http://") {
			tier, score = Block, 72
		}
		hits = append(hits, hit(c, tier, score, download.Name, "runs a program by its address", ruleTempRun))
	}
	if len(c.Args) == 1 && c.Args[0].S == "-p" && paths.Of(c.Given)&(paths.Temp|paths.Hidden) != 0 {
		hits = append(hits, hit(c, Block, 68, privilege.Name, "starts a copy of a shell that keeps its rights", ruleTempRun))
	}
	if strings.Contains(c.Given, "/.") && paths.Of(c.Given)&paths.Temp != 0 && !strings.Contains(c.Given, "/./") {
		hits = append(hits, hit(c, Block, 70, evasion.Name, "starts a program that hides in a temporary folder", ruleTempRun))
	}
	if runsScript(c) && count(c.Args[0].S[strings.LastIndexByte(c.Args[0].S, '/')+1:], []string{"exploit", "cve-20", "cve_20", "revshell", "reverse_shell", "backdoor", "keylog", "lazagne", "linpeas"}) > 0 {
		hits = append(hits, hit(c, Block, 68, reverse.Name, "runs a script that is named like an attack", ruleTempRun))
	}
	if c.Via&shell.ViaSched != 0 && runsScript(c) && (strings.Contains(c.Args[0].S, "/.config/") || strings.Contains(c.Args[0].S, "/.cache/") || paths.Of(c.Args[0].S)&paths.Temp != 0) {
		hits = append(hits, hit(c, Block, 70, persistence.Name, "schedules a script that lies in a hidden or temporary place", ruleTempRun))
	}
	hidden := strings.Contains(c.Given, "/.cache/") || strings.Contains(c.Given, "/.config/") || len(base) > 1 && base[0] == '.' && c.Given != base && base != ".."
	if hidden && c.Via&(shell.ViaSched|shell.ViaBack) != 0 {
		hits = append(hits, hit(c, Block, 70, persistence.Name, "keeps a program running that lies in a hidden place", ruleTempRun))
	}
	return hits
}

// unknownRun reports whether c runs a file of a temporary or hidden place, or makes a file
// of the current folder executable for everybody.
func unknownRun(c *shell.Call) bool {
	class := paths.Of(c.Given)
	if class&(paths.Temp|paths.Hidden) != 0 {
		return true
	}
	return c.Name == "chmod" && (c.Sub("777") || c.Sub("0777") || c.Sub("+x") && c.Class&(paths.Temp|paths.Hidden) != 0)
}

// makesRunnable reports whether c makes a file executable.
func makesRunnable(c *shell.Call) bool {
	return c.Name == "chmod" && (c.Sub("+x") || c.Sub("u+x") || c.Sub("a+x") || c.Sub("755") || c.Sub("700") || c.Sub("0755"))
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
