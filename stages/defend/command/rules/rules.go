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
//	=bare          has no arguments; =piped reads a pipe; =obscured hides its name;
//	               =tty is a shell for a person; =swapped is that on a borrowed terminal;
//	               =stored runs a file of the line; =muted throws its errors away;
//	               =search is grep or its kin, whose arguments are patterns;
//	               =beside names two files of one folder at the end;
//	               =shady names an address without encryption or a bare IP address, =ip the latter
//	!condition     the condition does not hold
package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
	return []*Family{reverse, download, secrets, exfiltration, persistence, privilege, evasion, programs, macos, cloud, destruction, losses, discovery, tampering, impact}
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
	byName map[string]run
	ids    []uint16 // rules by program, program after program
	any    []uint16
}

// run is a part of Set.ids.
type run struct{ first, count uint16 }

// Compile returns the tables ready for use. The error names the first rule that is not
// well formed.
func Compile() (*Set, error) {
	s := &Set{byName: map[string]run{}}
	lists := map[string][]uint16{}
	for _, f := range Families() {
		for i := range f.Rules {
			if err := s.add(f, &f.Rules[i], lists); err != nil {
				return nil, err
			}
		}
	}
	s.rules, s.conds = slices.Clip(slices.Clone(s.rules)), slices.Clip(slices.Clone(s.conds))
	total := 0
	for _, list := range lists {
		total += len(list)
	}
	s.ids = make([]uint16, 0, total)
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		s.byName[name] = run{uint16(len(s.ids)), uint16(len(lists[name]))}
		s.ids = append(s.ids, lists[name]...)
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

func (s *Set) add(f *Family, r *Rule, lists map[string][]uint16) error {
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
			lists[one] = append(lists[one], id)
		}
	}
	return nil
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

// DownloadName is the family whose hits an operator's list of installers softens.
const DownloadName = "download-and-run"
