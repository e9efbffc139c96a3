// Package rules holds what the command defender objects to: tables that read like prose,
// one file a family, and a few functions for what a table cannot say.
//
// A rule's When is a list of conditions on one simple command, all of which must hold:
//
//	name|name      the program (first word; * is any)
//	word|word      an argument that is no option, in this order; pre* and *end match parts
//	-x|--long      an option, also in a cluster (-rf) and abbreviated (--recur)
//	~text|text     any argument contains the text, in any case; _ is a blank or _
//	@class         an argument or input file of that class (package paths)
//	>@class        output goes to a file of that class
//	<<@class       an argument before the last, what is copied, is of that class
//	>>@class       the last argument, where a copy goes, is of that class
//	+origin        an argument holds data from there
//	<origin        the standard input comes from there (shell.Taint)
//	$origin        the script that is run comes from there
//	%fact          code in the arguments does that (package code)
//	^via           it runs that way (shell.Via)
//	=bare          has no arguments; =piped reads a pipe; =obscured hides its name
//	!condition     the condition does not hold
package rules

import (
	"fmt"
	"slices"
	"strings"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// Tier is what a rule asks for.
type Tier uint8

// The tiers.
const (
	Allow Tier = iota
	Review
	Block
)

// Rule is one line of a table.
type Rule struct {
	Tier  Tier
	Score float64
	When  string
	Why   string
}

// Family is a table.
type Family struct {
	// Name is the tag of its hits.
	Name  string
	Rules []Rule
	// Dry says that --dry-run, --help and their kin make its rules harmless.
	Dry bool
}

// Hit is one rule that matched one command.
type Hit struct {
	Tier       Tier
	Score      float64
	Family     string
	Why        string
	Start, End int
	// Rule numbers the rule over all families; for functions it is negative.
	Rule int
}

// Families lists all tables in the order of their harm.
func Families() []*Family {
	return []*Family{reverse, download, secrets, exfiltration, persistence, privilege, evasion, destruction, discovery, tampering, impact}
}

// condition is one compiled word of a When.
type condition struct {
	list string // the alternatives, parted by |: a part of the When, so it costs nothing
	mask uint64 // the bits, where the alternatives name bits
	kind byte
	not  bool
}

// next takes the first alternative off a list.
func next(list string) (one, rest string) {
	i := strings.IndexByte(list, '|')
	if i < 0 {
		return list, ""
	}
	return list[:i], list[i+1:]
}

// Least is the score below which a rule only adds to the score of its command.
const Least = 35

type rule struct {
	*Rule
	family *Family
	first  uint16 // of its conditions
	count  uint8
	tier   Tier
}

// Set is the compiled tables. It is read-only and safe for concurrent use.
type Set struct {
	rules  []rule
	conds  []condition
	byName map[string][]uint16
	any    []uint16
}

// Compile returns the tables ready for use. The error names the first rule that is not
// well formed.
func Compile() (*Set, error) {
	s := &Set{byName: map[string][]uint16{}}
	for _, f := range Families() {
		for i := range f.Rules {
			if err := s.add(f, &f.Rules[i]); err != nil {
				return nil, err
			}
		}
	}
	s.rules, s.conds = slices.Clip(slices.Clone(s.rules)), slices.Clip(slices.Clone(s.conds))
	for name, list := range s.byName {
		s.byName[name] = slices.Clip(slices.Clone(list))
	}
	return s, nil
}

// Len is the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// Describe names rule id: its family and condition.
func (s *Set) Describe(id int) string {
	if id < 0 || id >= len(s.rules) {
		return fmt.Sprintf("function %d", -id)
	}
	return s.rules[id].family.Name + ": " + s.rules[id].When
}

func (s *Set) add(f *Family, r *Rule) error {
	words := strings.Fields(r.When)
	if len(words) == 0 {
		return fmt.Errorf("rules: %s has a rule without a condition (%s): write the program first", f.Name, r.Why)
	}
	id := uint16(len(s.rules))
	c := rule{Rule: r, family: f, tier: r.Tier, first: uint16(len(s.conds)), count: uint8(len(words) - 1)}
	if r.Score < Least {
		c.tier = Allow
	}
	for _, w := range words[1:] {
		cond, err := parse(w)
		if err != nil {
			return fmt.Errorf("rules: %s: %q: %w", f.Name, r.When, err)
		}
		s.conds = append(s.conds, cond)
	}
	s.rules = append(s.rules, c)
	for name := range strings.SplitSeq(words[0], "|") {
		if name == "*" {
			s.any = append(s.any, id)
			continue
		}
		for _, one := range group(name) {
			s.byName[one] = append(s.byName[one], id)
		}
	}
	return nil
}

// group expands the names of groups of programs.
func group(name string) []string {
	if list, ok := groups[name]; ok {
		return strings.Fields(list)
	}
	return []string{name}
}

var groups = map[string]string{
	"SHELL":   "sh bash dash zsh ksh mksh ash csh tcsh fish rbash yash pdksh posh hush source",
	"SCRIPT":  "python pypy perl ruby node nodejs php lua luajit awk gawk mawk nawk tclsh expect osascript swift julia Rscript R groovy scala elixir erl guile racket sbcl emacs ghc octave pwsh gdb vim vi nvim rvim ex view rview vimdiff jjs jrunscript rpm deno bun ipython irb jruby bpftrace",
	"NETCAT":  "nc ncat netcat nc.openbsd nc.traditional socat telnet cryptcat pwncat sbd",
	"UPLOAD":  "curl wget http https xh nc ncat netcat socat telnet scp sftp ftp tftp rsync ssh aws gsutil gcloud az rclone s3cmd mc dig nslookup host ping mail mailx sendmail mutt croc wormhole ftpput lftp aria2c openssl whois finger logger nc.openbsd nc.traditional restic",
	"FETCH":   "curl wget fetch aria2c axel lwp-download lwp-request GET http nscurl lynx",
	"READ":    "cat tac head tail less more nl od xxd hexdump strings base64 base32 tar zip gzip 7z dd cut sort uniq rev awk gawk mawk sed grep egrep fgrep rg ag vi vim nano emacs ed view bat batcat tee openssl gpg unzip bzip2 xz sqlite3 cpio ar diff cmp comm paste fold fmt join expand split csplit iconv jq yq dd pr look file2 ul basenc column zgrep zcat unshadow john hashcat",
	"COPY":    "cp mv scp rsync ln install gcp ditto",
	"WRITE":   "tee cp mv install ln sed dd touch vi vim nano ed emacs rsync scp wget curl cat printf truncate unzip perl ditto patch awk gawk python",
	"DELETE":  "rm unlink shred srm wipe truncate rmdir",
	"SQL":     "mysql mariadb psql sqlite3 sqlite sqlcmd mysqlsh cockroach clickhouse-client clickhouse duckdb isql usql pgcli mycli mssql-cli sqlplus bq snowsql cqlsh",
	"MONGO":   "mongo mongosh mongos",
	"KUBE":    "kubectl oc k3s microk8s",
	"PKG":     "pip npm gem cargo go yarn pnpm easy_install uv pipx bundle luarocks cpan cpanm",
	"ADDUSER": "useradd adduser usermod pw sysadminctl dscl newusers",
	"SERVICE": "systemctl service launchctl rc-service chkconfig update-rc.d sysrc initctl rc-update sv",
}

// parse compiles one condition.
func parse(w string) (condition, error) {
	var c condition
	if w[0] == '!' && len(w) > 1 {
		c.not, w = true, w[1:]
	}
	kind, rest := byte('w'), w
	switch {
	case strings.HasPrefix(w, "<<@"):
		kind, rest = '{', w[3:]
	case strings.HasPrefix(w, ">>@"):
		kind, rest = '}', w[3:]
	case strings.HasPrefix(w, ">@"):
		kind, rest = '>', w[2:]
	case strings.IndexByte("@<$%^~=-+", w[0]) >= 0 && len(w) > 1:
		kind = w[0]
		if kind != '-' {
			rest = w[1:]
		}
	}
	c.kind, c.list = kind, rest
	var table map[string]uint64
	switch kind {
	case '@', '>', '}', '{':
		table = classNames
	case '<', '$', '+':
		table = taintNames
	case '%':
		table = factNames
	case '^':
		table = viaNames
	case '~':
		c.list = strings.ToLower(rest)
		return c, nil
	default:
		return c, nil
	}
	for a := range strings.SplitSeq(rest, "|") {
		bit, ok := table[a]
		if !ok && kind == '+' { // the word +x
			return condition{kind: 'w', not: c.not, list: w}, nil
		}
		if !ok {
			return c, fmt.Errorf("%q is not known", a)
		}
		c.mask |= bit
	}
	return c, nil
}

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
next:
	for i := 0; i+len(t) <= len(s); i++ {
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
		}
	}
	return false
}

// interactive reports whether a shell is started with nothing to run but what is typed.
func interactive(c *shell.Call) bool {
	for _, a := range c.Args {
		switch {
		case a.S == "-i" || a.S == "-p" || a.S == "-l" || a.S == "-li" || a.S == "-il" || a.S == "-ip" || a.S == "--login" || a.S == "-" || a.S == "-f" || a.S == "--noprofile" || a.S == "-s" || a.S == "&":
		default:
			return false
		}
	}
	return !c.Piped
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
			hits = s.match(s.byName[c.Name], c, isDry, hits)
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

var classNames = names(map[string]paths.Class{"root": paths.Root, "home": paths.Home, "system": paths.System, "temp": paths.Temp, "secret": paths.Secret, "account": paths.Account, "history": paths.History, "log": paths.Log, "startup": paths.Startup, "keygrant": paths.KeyGrant, "privilege": paths.Privilege, "guard": paths.Guard, "trust": paths.Trust, "device": paths.Device, "kernel": paths.Kernel, "null": paths.Null, "socket": paths.Socket, "url": paths.URL, "metadata": paths.Metadata, "dropsite": paths.DropSite, "engine": paths.Engine, "hook": paths.Hook, "sluice": paths.Sluice, "relative": paths.Relative, "wild": paths.Wild, "mail": paths.Mail, "web": paths.Web, "everything": paths.Everything, "hidden": paths.Hidden, "personal": paths.Personal, "host": paths.Host, "memory": paths.Memory, "journal": paths.Journal})

var taintNames = names(map[string]shell.Taint{"net": shell.Net, "secret": shell.Secret, "file": shell.File, "env": shell.Env, "recon": shell.Recon, "decoded": shell.Decoded, "unknown": shell.Unknown, "shell": shell.FromShell, "random": shell.Random, "personal": shell.Personal, "typed": shell.Typed, "encoded": shell.Encoded, "system": shell.System})

var viaNames = names(map[string]shell.Via{"sudo": shell.ViaSudo, "remote": shell.ViaRemote, "box": shell.ViaBox, "find": shell.ViaFind, "xargs": shell.ViaXargs, "code": shell.ViaCode, "wrapper": shell.ViaWrapper, "string": shell.ViaString, "sched": shell.ViaSched, "back": shell.ViaBack, "subst": shell.ViaSubst, "hidden": shell.ViaHidden, "func": shell.ViaFunc, "input": shell.ViaInput, "stored": shell.ViaStored, "loop": shell.ViaLoop, "escape": shell.ViaEscape})

var factNames = names(map[string]code.Facts{"sock": code.Sock, "spawn": code.Spawn, "shell": code.Shell, "dup": code.Dup, "pty": code.Pty, "fetch": code.Fetch, "eval": code.Eval, "decode": code.Decode, "setuid": code.Setuid, "delete": code.Delete, "environ": code.Environ, "send": code.Send, "write": code.WriteF, "listen": code.Listen, "inject": code.Inject, "keylog": code.Keylog, "prompt": code.Prompt, "bomb": code.Bomb, "serve": code.Serve, "archive": code.Archive, "read": code.ReadF, "privileged": code.Privileged})

// names widens a table of sets to one type.
func names[T ~uint16 | ~uint32 | ~uint64](in map[string]T) map[string]uint64 {
	out := make(map[string]uint64, len(in))
	for name, bit := range in {
		out[name] = uint64(bit)
	}
	return out
}

// DownloadName is the family whose hits an operator's list of installers softens.
const DownloadName = "download-and-run"
