package rules

import (
	"strings"

	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// holds reports whether the condition holds for c; from is where positional words are
// looked for, and is moved behind the one found.
func (k *condition) holds(c *shell.Call, from *int) bool {
	switch k.kind {
	case '@':
		return uint64(c.Class)&k.mask != 0
	case '>':
		return uint64(c.OutClass)&k.mask != 0
	case '{':
		return uint64(c.Source)&k.mask != 0
	case '}':
		return uint64(c.Dest)&k.mask != 0
	case '+':
		return uint64(c.ArgTaint)&k.mask != 0
	case '<':
		return c.Piped && uint64(c.In.Taint)&k.mask != 0
	case '$':
		return uint64(c.ScriptTaint)&k.mask != 0
	case '%':
		return uint64(c.Facts)&k.mask != 0
	case '^':
		return uint64(c.Via)&k.mask != 0
	case '~':
		return k.contains(c.Args)
	case '=':
		return k.state(c)
	case '-':
		for _, a := range c.Args {
			if len(a.S) < 2 || a.S[0] != '-' {
				continue
			}
			for one, rest := next(k.list); one != ""; one, rest = next(rest) {
				if option(a.S, one) {
					return true
				}
			}
		}
		return false
	}
	for i := *from; i < len(c.Args); i++ {
		s := c.Args[i].S
		if s == "" || s[0] == '-' {
			continue
		}
		for want, rest := next(k.list); want != ""; want, rest = next(rest) {
			if word(want, s) {
				*from = i + 1
				return true
			}
		}
	}
	return false
}

func (k *condition) contains(args []shell.Value) bool {
	for _, a := range args {
		for t, rest := next(k.list); t != ""; t, rest = next(rest) {
			if len(a.S) >= len(t) && containsFold(a.S, t) {
				return true
			}
		}
	}
	return false
}

// containsFold is strings.Contains for a lower-case t, without regard to case; _ in t is
// a blank or itself.
func containsFold(s, t string) bool {
	if t == "" {
		return true
	}
	first := t[0]
next:
	for i := 0; i+len(t) <= len(s); i++ {
		if b := s[i]; b != first && (b|0x20 != first || b < 'A' || b > 'Z') && (first != '_' || b != ' ') {
			continue
		}
		for k := range len(t) {
			b := s[i+k]
			if b >= 'A' && b <= 'Z' {
				b |= 0x20
			}
			if b != t[k] && !(t[k] == '_' && b == ' ') {
				continue next
			}
		}
		return true
	}
	return false
}

func (k *condition) state(c *shell.Call) bool {
	for a, rest := next(k.list); a != ""; a, rest = next(rest) {
		switch a {
		case "bare":
			if len(c.Args) == 0 {
				return true
			}
		case "piped":
			if c.Piped {
				return true
			}
		case "obscured":
			if c.Obscured {
				return true
			}
		case "tty":
			if interactive(c) {
				return true
			}
		case "stored":
			if c.Stored {
				return true
			}
		case "muted":
			if c.Muted {
				return true
			}
		case "swapped":
			if c.Swapped && bare(c) {
				return true
			}
		case "ip":
			for _, a := range c.Args {
				if bareAddress(a.S) {
					return true
				}
			}
		case "search":
			switch c.Name {
			case "grep", "egrep", "fgrep", "rg", "ag", "sed", "awk", "zgrep", "ack":
				return true
			}
		case "beside":
			if beside(c) {
				return true
			}
		case "shady":
			if shady(c) {
				return true
			}
		}
	}
	return false
}

// beside reports whether the last two names lie in one folder: a copy for safety.
func beside(c *shell.Call) bool {
	n := len(c.Args)
	if n < 2 {
		return false
	}
	from, to := c.Args[n-2].S, c.Args[n-1].S
	i, k := strings.LastIndexByte(from, '/'), strings.LastIndexByte(to, '/')
	return i > 0 && k == i && from[:i] == to[:i]
}

// interactive reports whether a shell is started with nothing to run but what is typed.
func interactive(c *shell.Call) bool { return bare(c) && !c.Piped }

// bare reports whether a shell has no arguments but options for a person's convenience.
func bare(c *shell.Call) bool {
	for _, a := range c.Args {
		switch {
		case a.S == "-i" || a.S == "-p" || a.S == "-l" || a.S == "-li" || a.S == "-il" || a.S == "-ip" || a.S == "--login" || a.S == "-" || a.S == "-f" || a.S == "--noprofile" || a.S == "-s" || a.S == "&":
		default:
			return false
		}
	}
	return true
}

// word matches an argument against a pattern with * at either end.
func word(want, s string) bool {
	if strings.IndexByte(want, '*') < 0 {
		return want == s
	}
	return want != "*" && paths.Match(want, s) || want == "*" && s != ""
}

// option matches an argument against an option: -x also within a cluster, --long also
// with a value and abbreviated.
func option(s, o string) bool {
	switch {
	case len(s) < 2 || s[0] != '-':
		return false
	case s == o:
		return true
	case strings.HasPrefix(o, "--"):
		name, _, _ := strings.Cut(s, "=")
		if strings.IndexByte(o, '=') > 0 {
			return false // --replicas=0 is not --replicas=3
		}
		return name == o || len(name) >= 5 && len(name) < len(o) && strings.HasPrefix(o, name)
	case len(o) == 2 && s[1] != '-':
		if len(s) > maxCluster {
			return false
		}
		found := false
		for i := 1; i < len(s); i++ {
			if b := s[i] | 0x20; b < 'a' || b > 'z' {
				return found && i >= 2 // -n5
			}
			found = found || s[i] == o[1]
		}
		return found
	}
	if rest, ok := strings.CutSuffix(o, "*"); ok {
		return strings.HasPrefix(s, rest)
	}
	return len(s) > len(o) && s[len(o)] == '=' && s[:len(o)] == o
}

// maxCluster is the longest word that is taken for several options of one letter.
const maxCluster = 7

var dryRun = []string{"--dry-run", "--dry-run=client", "--dry-run=server", "--help", "--version", "--check", "--simulate", "--dryrun", "--no-act", "--just-print", "--what-if", "-WhatIf"}

// dry reports whether c only says what it would do.
func dry(c *shell.Call) bool {
	for _, a := range c.Args {
		if len(a.S) > 5 && a.S[0] == '-' {
			for _, d := range dryRun {
				if a.S == d {
					return true
				}
			}
		}
	}
	return len(c.Args) > 0 && c.Args[0].S == "help"
}

// Assess appends to hits what the tables and functions find in t.
func (s *Set) Assess(t *shell.Trace, hits []Hit) []Hit {
	for i := range t.Calls {
		c := &t.Calls[i]
		isDry := dry(c)
		if c.Name != "" {
			own := s.byName[c.Name]
			hits = s.match(s.ids[own.first:own.first+own.count], c, isDry, hits)
		}
		hits = s.match(s.any, c, false, hits)
		hits = functions(t, i, isDry, hits)
	}
	return whole(t, hits)
}

func (s *Set) match(list []uint16, c *shell.Call, isDry bool, hits []Hit) []Hit {
rules:
	for _, id := range list {
		r := &s.rules[id]
		if isDry && r.family.Dry && c.Name != "echo" && c.Name != "printf" {
			continue
		}
		from := 0
		for k := range s.conds[r.first : int(r.first)+int(r.count)] {
			cond := &s.conds[int(r.first)+k]
			if cond.holds(c, &from) == cond.not {
				continue rules
			}
		}
		hits = append(hits, Hit{Tier: r.tier, Score: r.Score, Family: r.family.Name, Why: r.Why, Start: c.Start, End: c.End, Rule: int(id)})
	}
	return hits
}
