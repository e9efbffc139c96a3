// Package command is the defender that judges shell commands: what they would run, with
// which data, on which targets. A line is evaluated without being run (package shell); the
// trace is held against tables (package rules); Windows has tables of its own (package
// windows), because neither its shells nor its attacks are those of Unix.
//
// Lifecycle: New compiles the tables; the Judge is safe for concurrent use and keeps no
// state between texts.
package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sluice/stages/defend/command/rules"
	"sluice/stages/defend/command/shell"
	"sluice/stages/defend/command/windows"
)

// Decision is what should happen to a command.
type Decision uint8

// The decisions, in rising order.
const (
	Allow Decision = iota
	Review
	Block
)

// String returns the decision's name on the wire.
func (d Decision) String() string { return [...]string{"allow", "review", "block"}[d] }

// Span is a part of the text, in bytes.
type Span struct{ Start, End int }

// Finding is one reason.
type Finding struct {
	Decision Decision
	Score    float64
	// Tag is the family of the rule, Reason its sentence; neither repeats the text.
	Tag, Reason string
	Span        Span
	// Rule numbers the rule, for reports.
	Rule int
}

// Result is the judgement of one text. Its memory is reused by the next Assess into it.
type Result struct {
	// Score is 0 to 100, with decimals; from 35 it means review, from 65 block.
	Score    float64
	Decision Decision
	Findings []Finding
	// Windows says that the text was judged by the rules for cmd and PowerShell.
	Windows bool

	hits []rules.Hit
}

// Config are the settings of the defender.
type Config struct {
	// ReviewFrom and BlockFrom are the scores from which a command is reviewed and blocked;
	// in a gateway they are defend.reviewThreshold and blockThreshold.
	ReviewFrom float64 `json:"-"`
	BlockFrom  float64 `json:"-"`

	Limits     shell.Limits `json:"limits" doc:"bounds of the evaluation of one command; what is beyond is reviewed"`
	Installers []string     `json:"installers" doc:"hosts whose install scripts are reviewed and not blocked when they are piped into a shell over HTTPS; an empty list means none" max:"1024" reload:"hot"`
	Allowed    []string     `json:"allowed" doc:"beginnings of simple commands, word by word, that are not reviewed. They are compared after parsing, with each simple command of a line; what blocks, blocks all the same. Shells, interpreters and wrappers are refused" max:"1024" reload:"hot"`
	QuickBytes int          `json:"quickBytes" doc:"size up to which a command is judged on the stage's worker" unit:"bytes" min:"1024" max:"65536" reload:"restart"`
}

// Default returns the settings that the published figures were measured with.
func Default() Config {
	return Config{ReviewFrom: 35, BlockFrom: 65, Limits: shell.DefaultLimits(), QuickBytes: 16 << 10,
		Installers: []string{"sh.rustup.rs", "static.rust-lang.org", "get.docker.com", "deb.nodesource.com", "rpm.nodesource.com", "astral.sh", "mise.run", "mise.jdx.dev", "get.pnpm.io", "bun.sh", "deno.land",
			"get.sdkman.io", "install.python-poetry.org", "get.helm.sh", "cli.github.com", "starship.rs", "get.k3s.io", "sh.brew.sh", "nixos.org", "install.determinate.systems", "golangci-lint.run", "taskfile.dev", "just.systems", "get.volta.sh", "fnm.vercel.app", "cli.codecov.io", "uploader.codecov.io", "codecov.io", "tailscale.com", "ollama.com", "claude.ai", "openclaw.ai", "bootstrap.pypa.io", "getcomposer.org", "foundry.paradigm.xyz", "cli.doppler.com", "sdk.cloud.google.com", "aka.ms", "dot.net"}}
}

// Validate names the setting that is wrong.
func (c Config) Validate() error {
	switch {
	case c.ReviewFrom == 0 && c.BlockFrom == 0: // a section of a file, which does not have them
	case c.ReviewFrom <= 0 || c.ReviewFrom >= c.BlockFrom || c.BlockFrom > 100:
		return fmt.Errorf("command: reviewFrom (%g) must be above 0 and below blockFrom (%g), which must not be above 100", c.ReviewFrom, c.BlockFrom)
	case c.Limits.Bytes < 1 || c.Limits.Bytes > 1<<20:
		return errors.New("command: limits.bytes must be between 1 and 1048576")
	case c.Limits.Depth < 1 || c.Limits.Depth > 64:
		return errors.New("command: limits.depth must be between 1 and 64")
	case c.Limits.Calls < 1 || c.Limits.Work < 1:
		return errors.New("command: limits.calls and limits.work must be above 0")
	case c.QuickBytes < 0:
		return errors.New("command: quickBytes must not be negative")
	}
	for _, a := range c.Allowed {
		words := strings.Fields(a)
		if len(words) == 0 {
			return errors.New("command: allowed has an empty entry; remove it")
		}
		if shell.Wraps(words...) {
			return fmt.Errorf("command: allowed must not name %q, which runs other commands; name those", words[0])
		}
	}
	return nil
}

// Judge judges commands.
type Judge struct {
	cfg      Config
	set      *rules.Set
	allowed  [][]string
	machines sync.Pool
}

// New returns a Judge. The error names the setting or rule that is wrong.
func New(cfg Config) (*Judge, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.BlockFrom == 0 {
		cfg.ReviewFrom, cfg.BlockFrom = Default().ReviewFrom, Default().BlockFrom
	}
	set, err := rules.Compile()
	if err != nil {
		return nil, err
	}
	j := &Judge{cfg: cfg, set: set}
	for _, a := range cfg.Allowed {
		j.allowed = append(j.allowed, strings.Fields(a))
	}
	j.machines.New = func() any { return shell.New(cfg.Limits) }
	return j, nil
}

// Rules returns the compiled tables, for reports.
func (j *Judge) Rules() *rules.Set { return j.set }

// Assess judges one command line into dst. It keeps neither.
func (j *Judge) Assess(dst *Result, line []byte) {
	j.assess(dst, string(line))
}

// AssessArgs judges one command that is run without a shell, by its arguments.
func (j *Judge) AssessArgs(dst *Result, args []string) {
	dst.reset()
	m := j.machines.Get().(*shell.Machine)
	defer j.machines.Put(m)
	j.conclude(dst, m.RunArgs(args))
	if len(args) > 0 && windows.Program(args[0]) {
		j.windows(dst, strings.Join(args, " "))
	}
}

func (j *Judge) assess(dst *Result, line string) {
	dst.reset()
	m := j.machines.Get().(*shell.Machine)
	defer j.machines.Put(m)
	if len(line) <= j.cfg.Limits.Bytes && windows.Looks(line) {
		j.windows(dst, line)
		t := m.RunStrict(line)
		if t.Problems&shell.Unparsed == 0 {
			j.conclude(dst, t)
		}
		dst.clamp(len(line))
		return
	}
	j.conclude(dst, m.Run(line))
	if dst.Decision == Allow {
		dst.Score = max(dst.Score, hinted(line))
	}
	dst.clamp(len(line))
}

func (r *Result) reset() {
	r.Score, r.Decision, r.Findings, r.hits, r.Windows = 0, Allow, r.Findings[:0], r.hits[:0], false
}

// conclude holds a trace against the tables.
func (j *Judge) conclude(dst *Result, t *shell.Trace) {
	dst.hits = j.set.Assess(t, dst.hits[:0])
	trusted := slices.ContainsFunc(dst.hits, func(h rules.Hit) bool { return h.Family == rules.DownloadName }) && j.installer(t)
	for i := range dst.hits {
		h := &dst.hits[i]
		if trusted && h.Family == rules.DownloadName {
			h.Tier, h.Score = rules.Review, min(h.Score, 55)
		}
		if h.Tier == rules.Review && len(j.allowed) > 0 && j.allows(t, h) {
			continue
		}
		dst.add(Finding{Decision(h.Tier), h.Score, h.Family, h.Why, Span{h.Start, h.End}, h.Rule})
	}
	dst.close(j.cfg)
}

func (j *Judge) windows(dst *Result, line string) {
	dst.Windows = true
	for _, h := range windows.Assess(line) {
		d := Review
		if h.Score >= j.cfg.BlockFrom {
			d = Block
		}
		dst.add(Finding{d, h.Score, h.Family, h.Why, Span{0, len(line)}, h.Rule})
	}
	dst.close(j.cfg)
}

func (r *Result) add(f Finding) { r.Findings = append(r.Findings, f) }

// clamp keeps spans within a text of n bytes: the parser's repairs can end behind it.
func (r *Result) clamp(n int) {
	for i := range r.Findings {
		s := &r.Findings[i].Span
		s.Start = min(max(s.Start, 0), n)
		s.End = max(s.Start, min(s.End, n))
	}
}

// more is what each further finding adds to the highest, and mostMore what they add in all:
// enough to order texts, never enough to change a tier.
const (
	more     = 0.4
	mostMore = 2.9
)

// close makes the score and the decision from the findings.
func (r *Result) close(cfg Config) {
	best, tier := 0.0, Allow
	for _, f := range r.Findings {
		best, tier = max(best, f.Score), max(tier, f.Decision)
	}
	if best == 0 {
		return
	}
	score := best + min(mostMore, more*float64(len(r.Findings)-1))
	switch tier {
	case Block:
		score = max(score, cfg.BlockFrom)
	case Review:
		score = min(max(score, cfg.ReviewFrom), cfg.BlockFrom-0.1)
	default:
		score = min(score, cfg.ReviewFrom-0.1)
	}
	r.Score, r.Decision = min(score, 100), tier
}

// installer reports whether everything that is downloaded comes over HTTPS from a host on
// the list, and nothing else of the line reads from the network.
func (j *Judge) installer(t *shell.Trace) bool {
	if len(j.cfg.Installers) == 0 || t.Problems != 0 {
		return false
	}
	seen := false
	for i := range t.Calls {
		switch c := &t.Calls[i]; c.Name {
		case "curl", "wget":
			if !j.trusted(c) {
				return false
			}
			seen = true
		case "python":
			if len(c.Args) > 0 && c.Args[0].S != "-" {
				return false
			}
		case "nc", "ncat", "netcat", "socat", "telnet", "openssl", "ssh", "scp", "sftp", "ftp", "tftp", "rsync", "aws", "gsutil", "dig", "host", "nslookup", "fetch", "aria2c", "axel", "lynx", "w3m", "GET", "http", "https", "xh", "perl", "ruby", "php", "node", "busybox", "git", "base64":
			return false
		}
	}
	return seen
}

// trusted reports whether c fetches only from hosts on the list, and checks whom it
// talks to.
func (j *Judge) trusted(c *shell.Call) bool {
	found := false
	for i, a := range c.Args {
		if i > 0 && a.Known() && namesFile(c.Name, c.Args[i-1].S) {
			continue // get-docker.sh is a file and no host
		}
		switch a.S {
		case "-k", "--insecure", "--no-check-certificate", "-x", "--proxy", "--resolve", "--connect-to", "-K", "--config", "-i", "--input-file":
			return false
		}
		if a.S == "" || a.S[0] == '-' {
			if strings.Contains(a.S, "://") {
				return false
			}
			continue
		}
		rest, https := strings.CutPrefix(a.S, "https://")
		host, _, _ := strings.Cut(rest, "/")
		switch {
		case j.listed(host) && (https || c.Name == "curl"):
			found = true
		case strings.Contains(host, ".") || strings.Contains(rest, "://") || !a.Known():
			return false
		}
	}
	return found
}

// namesFile reports whether the argument behind option is where a download is kept.
func namesFile(program, option string) bool {
	switch option {
	case "--output", "--output-document":
		return true
	}
	last := "o" // also of bundled ones: -fsSLo
	if program == "wget" {
		last = "O"
	}
	return len(option) > 1 && option[0] == '-' && option[1] != '-' && strings.HasSuffix(option, last)
}

func (j *Judge) listed(host string) bool {
	for _, h := range j.cfg.Installers {
		if host == h {
			return true
		}
	}
	return false
}

// allows reports whether each simple command in the span of h begins as the operator
// allows.
func (j *Judge) allows(t *shell.Trace, h *rules.Hit) bool {
	if t.Problems != 0 {
		return false
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		if c.Start < h.End && h.Start < c.End && !j.permitted(c) {
			return false
		}
	}
	return true
}

func (j *Judge) permitted(c *shell.Call) bool {
	if c.Obscured || len(c.Writes) > 0 || len(c.Vars) > 0 {
		return false
	}
	for _, words := range j.allowed {
		if words[0] != c.Given || len(words)-1 > len(c.Args) {
			continue
		}
		same := true
		for k, w := range words[1:] {
			same = same && c.Args[k].S == w
		}
		if same {
			return true
		}
	}
	return false
}
