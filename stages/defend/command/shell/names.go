package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sluice/stages/defend/command/paths"
)

// obscured reports whether a command's name is written in a way that only hides it: \rm
// is usual, r\m and r”m are not.
func obscured(w *syntax.Word) bool {
	if len(w.Parts) == 1 {
		lit, ok := w.Parts[0].(*syntax.Lit)
		if !ok {
			return false
		}
		i := strings.LastIndexByte(lit.Value, '\\')
		return i > 0 && i+1 < len(lit.Value) && letters(lit.Value[i+1:i+2])
	}
	quotes := 0
	for _, p := range w.Parts {
		switch p := p.(type) {
		case *syntax.SglQuoted:
			if len(p.Value) <= 2 || p.Dollar {
				quotes++
			}
		case *syntax.DblQuoted:
			if len(p.Parts) == 0 {
				quotes++
			} else if lit, ok := p.Parts[0].(*syntax.Lit); ok && len(p.Parts) == 1 && len(lit.Value) <= 2 {
				quotes++
			}
		}
	}
	return quotes > 0 && len(w.Parts) >= 3 || quotes > 1
}

// name is the base name of the program that v calls, without directory, version and .exe.
func (m *Machine) name(v Value, c *Call) string {
	s := v.Plain()
	if s == "" {
		return ""
	}
	if !v.Known() {
		base := v.S[strings.LastIndexByte(v.S, '/')+1:]
		if strings.ContainsAny(base, "=:") {
			return ""
		}
		if plain := strings.ReplaceAll(base, hole, ""); plain != base {
			switch {
			case plain != "" && (Wraps(plain) || wellKnown[plain]):
				c.Obscured = true
			case !inside(base):
				return ""
			}
		}
	}
	if strings.ContainsAny(s, "*?[") && strings.IndexByte(s, '/') >= 0 || strings.ContainsAny(s, "?") {
		if known := fromGlob(s); known != "" {
			c.Obscured = true
			return known
		}
	}
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		s = s[i+1:]
	}
	if len(s) > 4 && strings.EqualFold(s[len(s)-4:], ".exe") {
		s = s[:len(s)-4]
	}
	if low := shouted(s); low != "" {
		c.Obscured = true
		return low
	}
	for _, base := range versioned {
		if len(s) > len(base) && strings.HasPrefix(s, base) && strings.Trim(s[len(base):], "0123456789.-") == "" {
			return base
		}
	}
	return s
}

// shouted is the program that a name in capitals means where file names have no case, as on
// macOS; "" if it means none that matters.
func shouted(s string) string {
	if len(s) < 2 || len(s) > 9 || s[0] < 'A' || s[0] > 'Z' {
		return ""
	}
	low := strings.ToLower(s)
	if wellKnown[low] || low == "git" || low == "docker" || low == "kubectl" || low == "terraform" || low == "aws" {
		return low
	}
	return ""
}

// inside reports whether the holes of a name stand between letters: ch${x}mod, which is
// chmod if x is empty.
func inside(name string) bool {
	for i := range len(name) {
		if name[i] == Hole && (i == 0 || i+1 == len(name) || !letters(name[i-1:i]) || !letters(name[i+1:i+2])) {
			return false
		}
	}
	return true
}

var versioned = [...]string{"python", "perl", "ruby", "lua", "php", "pip", "node", "nodejs", "gawk", "tclsh", "pypy", "bash", "ksh", "zsh"}

// fromGlob finds the program that a path with wildcards is aimed at.
func fromGlob(s string) string {
	base := s
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		dir := s[:i]
		base = s[i+1:]
		fits := false
		for _, d := range [...]string{"/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin"} {
			fits = fits || paths.Glob(dir, d)
		}
		if !fits {
			return ""
		}
	}
	for _, name := range globNames {
		if paths.Glob(base, name) {
			return name
		}
	}
	return ""
}

// globNames are tried in order: the first that fits is what an attacker would mean.
var globNames = []string{"sh", "nc", "rm", "dd", "cat", "tac", "bash", "curl", "wget", "ncat", "netcat", "socat", "python", "python3", "perl", "ruby", "php", "node", "base64", "xxd", "chmod", "chown", "find", "mkfs", "shred", "tail", "head", "less", "more", "eval", "sudo", "env", "ssh", "scp", "tar", "mv", "cp", "id", "whoami", "kill", "telnet", "dash", "zsh", "awk", "sed", "tee", "rev", "xargs", "crontab", "useradd", "usermod", "passwd", "mkfifo", "openssl", "busybox", "printf", "echo", "ls"}

var wellKnown = func() map[string]bool {
	set := map[string]bool{}
	for _, n := range globNames {
		if n != "ls" && n != "id" && n != "echo" {
			set[n] = true
		}
	}
	return set
}()
