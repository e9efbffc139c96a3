package command

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/rules"
	"sluice/stages/defend/command/windows"
)

// update rewrites docs/models/commands.md from the labelled data.
var update = flag.Bool("update", false, "rewrite docs/models/commands.md")

const reportFile = "../../../docs/models/commands.md"

// judged is a sample with what was decided on it.
type judged struct {
	*sample
	decision Decision
	score    float64
	micros   float64
	findings []Finding
}

// repeats is how often each text is timed; the least counts, as the machine is shared.
const repeats = 5

func judgeAll(j *Judge, rows []sample) []judged {
	out := make([]judged, len(rows))
	var r Result
	for i := range rows {
		text := []byte(rows[i].Text)
		least := time.Hour
		for range repeats {
			begin := time.Now()
			j.Assess(&r, text)
			least = min(least, time.Since(begin))
		}
		out[i] = judged{&rows[i], r.Decision, r.Score, float64(least.Nanoseconds()) / 1000, slices.Clone(r.Findings)}
	}
	return out
}

// confirmed returns the decision on row by the rules that also fire on a malicious row of
// another source: what a rule that was written for one source alone would have missed.
func confirmed(row *judged, firedIn map[int]map[string]bool) Decision {
	d := Allow
	for _, f := range row.findings {
		elsewhere := len(firedIn[f.Rule])
		if firedIn[f.Rule][row.family()] {
			elsewhere--
		}
		if elsewhere > 0 {
			d = max(d, f.Decision)
		}
	}
	return d
}

// sources maps each rule to the sources on whose malicious rows it fired.
func sources(rows []judged) map[int]map[string]bool {
	firedIn := map[int]map[string]bool{}
	for i := range rows {
		if rows[i].Label != "malicious" {
			continue
		}
		for _, f := range rows[i].findings {
			if firedIn[f.Rule] == nil {
				firedIn[f.Rule] = map[string]bool{}
			}
			firedIn[f.Rule][rows[i].family()] = true
		}
	}
	return firedIn
}

type tally struct{ n, flag, block, flagOut, blockOut int }

func (t *tally) add(row *judged, out Decision) {
	t.n++
	t.flag += btoi(row.decision >= Review)
	t.block += btoi(row.decision >= Block)
	t.flagOut += btoi(out >= Review)
	t.blockOut += btoi(out >= Block)
}

// tallies counts by source and by kind, and collects the times.
func tallies(rows []judged, firedIn map[int]map[string]bool) (bySource, byKind map[string]*tally, micros []float64) {
	bySource, byKind = map[string]*tally{}, map[string]*tally{}
	for i := range rows {
		row := &rows[i]
		out := confirmed(row, firedIn)
		key := row.family() + " | " + row.Category
		if bySource[key] == nil {
			bySource[key] = &tally{}
		}
		bySource[key].add(row, out)
		kind := "everyday"
		switch {
		case row.windows():
			kind = row.Category
		case row.Label == "malicious":
			kind = row.Category
		}
		if byKind[kind] == nil {
			byKind[kind] = &tally{}
		}
		byKind[kind].add(row, out)
		micros = append(micros, row.micros)
	}
	return bySource, byKind, micros
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func pct(n, of int) float64 { return 100 * float64(n) / float64(max(1, of)) }

func bar(ok bool) string {
	if ok {
		return "met"
	}
	return "**missed**"
}

// TestReport measures the labelled data, holds what may not get worse, and with -update
// writes the page.
func TestReport(t *testing.T) {
	j := mustJudge(t)
	rows := judgeAll(j, mustSamples(t))
	firedIn := sources(rows)
	bySource, byKind, unix := tallies(rows, firedIn)
	sort.Float64s(unix)
	p50, p99 := unix[len(unix)/2], unix[len(unix)*99/100]
	mean, worst, worstName, lines := transformed(j, rows)
	heap := min(tableBytes(t), tableBytes(t), tableBytes(t)) // other tests' garbage can only add
	at, de, ev := byKind["attack-unix"], byKind["destructive"], byKind["everyday"]

	var b strings.Builder
	fmt.Fprintf(&b, head, j.set.Len())
	line := func(what string, got float64, op string, want float64, unit string) {
		ok := op == ">=" && got >= want || op == "<=" && got <= want
		fmt.Fprintf(&b, "| %s | %.2f%s | %s %g%s | %s |\n", what, got, unit, op, want, unit, bar(ok))
	}
	line("attacks flagged", pct(at.flag, at.n), ">=", 98, " %")
	line("attacks blocked", pct(at.block, at.n), ">=", 90, " %")
	line("destructive flagged", pct(de.flag, de.n), ">=", 97, " %")
	line("everyday flagged", pct(ev.flag, ev.n), "<=", 2, " %")
	line("everyday blocked", pct(ev.block, ev.n), "<=", 0.1, " %")
	line("obfuscated, mean flagged", 100*mean, ">=", 97, " %")
	line("obfuscated, worst transform ("+worstName+")", 100*worst, ">=", 93, " %")
	line("AUC", auc(rows), ">=", 0.985, "")
	line("time of a command, p50", p50, "<=", 8, " us")
	line("time of a command, p99", p99, "<=", 80, " us")
	line("tables", float64(heap)/1024, "<=", 320, " KiB")
	fmt.Fprintf(&b, "\n## By source\n\n%s\n| source and category | texts | flagged | blocked | flagged without it | blocked without it |\n|---|---|---|---|---|---|\n", outNote)
	for _, key := range slices.Sorted(mapKeys(bySource)) {
		x := bySource[key]
		fmt.Fprintf(&b, "| %s | %d | %.1f %% | %.1f %% | %.1f %% | %.1f %% |\n", strings.Replace(key, " | ", ", ", 1), x.n, pct(x.flag, x.n), pct(x.block, x.n), pct(x.flagOut, x.n), pct(x.blockOut, x.n))
	}
	fmt.Fprintf(&b, "\n## Obfuscation\n\n%s\n| transform | texts | still flagged |\n|---|---|---|\n%s", obfNote, lines)
	b.WriteString(lists)
	b.WriteString(tail)
	if *update {
		if err := os.MkdirAll("../../../docs/models", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(reportFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("\n" + b.String())
	for what, bad := range map[string]bool{"attacks flagged": pct(at.flag, at.n) < 90, "attacks blocked": pct(at.block, at.n) < 62, "destructive flagged": pct(de.flag, de.n) < 97,
		"everyday flagged": pct(ev.flag, ev.n) > 2, "everyday blocked": pct(ev.block, ev.n) > 0.1, "obfuscated mean": mean < 0.97, "obfuscated worst": worst < 0.93, "tables": heap > 320<<10 && !raceEnabled} {
		if bad {
			t.Errorf("%s got worse; see the table", what)
		}
	}
}

func mapKeys(m map[string]*tally) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// transformed measures how many of the flagged Unix attacks stay flagged.
func transformed(j *Judge, rows []judged) (mean, worst float64, name, table string) {
	r := rand.New(rand.NewPCG(1, 2))
	var res Result
	var b strings.Builder
	worst = 1
	for _, tr := range transforms {
		total, kept := 0, 0
		for i := range rows {
			s := &rows[i]
			if s.Label != "malicious" || s.windows() || len(s.Text) > 600 || s.decision == Allow {
				continue
			}
			text := tr.fn(s.Text, r)
			if text == "" {
				continue
			}
			total++
			if j.Assess(&res, []byte(text)); res.Decision != Allow {
				kept++
			}
		}
		share := float64(kept) / float64(max(1, total))
		mean += share / float64(len(transforms))
		if share < worst {
			worst, name = share, tr.name
		}
		fmt.Fprintf(&b, "| %s | %d | %.1f %% |\n", tr.name, total, 100*share)
	}
	return mean, worst, name, b.String()
}

// auc is the chance that a malicious text scores above a benign one, Windows apart.
func auc(rows []judged) float64 {
	var bad, good []float64
	for i := range rows {
		switch {
		case rows[i].windows():
		case rows[i].Label == "malicious":
			bad = append(bad, rows[i].score)
		default:
			good = append(good, rows[i].score)
		}
	}
	sort.Float64s(good)
	sum := 0.0
	for _, s := range bad {
		lo, hi := sort.SearchFloat64s(good, s), sort.SearchFloat64s(good, s+1e-9)
		sum += float64(lo) + float64(hi-lo)/2
	}
	return sum / float64(len(bad)) / float64(len(good))
}

// sizeRule is the memory of a rules.Rule without its text.
const sizeRule = 48

// tableBytes is the memory of the compiled tables and the text they were made from.
func tableBytes(t *testing.T) int {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	set, err := rules.Compile()
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	size := int(after.HeapAlloc) - int(before.HeapAlloc)
	for _, f := range rules.Families() {
		for i := range f.Rules {
			size += sizeRule + len(f.Rules[i].When) + len(f.Rules[i].Why)
		}
	}
	runtime.KeepAlive(set)
	t.Logf("rules %d, names of files %d, code %d, Windows %d bytes", size, paths.Bytes(), code.Bytes(), windows.Bytes())
	return size + paths.Bytes() + code.Bytes() + windows.Bytes()
}

const head = `# The command defender: what it reaches

Made by ` + "`go test ./stages/defend/command -run TestReport -args -update`" + ` from ../shared/defender/train_commands.jsonl. %d rules in tables, and functions for what depends on a target or on several commands.

**Read these figures with care.** There is no training: the rules were written by hand by people who could see every source, so the figures of this table are those of the data they were written beside, not of unseen sources. By eye some 5 %% of the malicious rows are not attacks (` + "`uname -srm`" + `, ` + "`echo $0`" + `), and a large part of slp-malicious and some of atomic-red-team is reconnaissance or a harmless stand-in for an attack (` + "`chmod 755 /tmp/x`" + `, ` + "`shutdown -h now`" + `), which this defender reviews at most: blocking it would break everyday work. Few rules were written for rows of this table, and some that blocked what honest people do as well (tunnels, captures, kernel modules, deleting one rule of a firewall) now review it, which cost attacks here. For a guess at unseen text see the check-lists below.

| figure | here | bar | |
|---|---|---|---|
`

// lists are the check-lists with what their first run gave. They are a record: the lists
// have been met since.
const lists = `
## Check-lists: the guess at unseen text

testdata/families holds lines that were written from knowledge of attack technique and of daily work, family by family, each list before it was run; none is taken from a collection. The rates are those of the first run, with the expectations as first written; then the mechanism behind each miss was mended, or the expectation was found wrong and changed (about one in ten, mostly from block to flag: attack tools that people also use for their work, and grants that tutorials contain). A list is in-sample from its second run on, so only these rates say something about unseen text. They were all written by the same person as the rules, which flatters them.

| list, in the order of writing | lines | flagged at first run | blocked at first run |
|---|---|---|---|
| programs, shells, download, secrets, persist, evade (should block) | 968 | 76 % | 66 % |
| destroy (should be flagged) | 294 | 82 % | |
| second: injection, intrusions (should block) | 199 | 88 % | 78 % |
| third: programs with rights, transfers (should block) | 118 | 89 % | 86 % |
| losses: services, clouds, ways around (should be flagged) | 244 | 79 % | |
| bypass: what destroys, in every wrapping (should be flagged) | 204 | 88 % | |
| fourth: libraries, transfers by languages, names in disguise (should block; hard on purpose) | 103 | 73 % | 68 % |
| fifth: carriers of commands, variables, spread to other machines (should block; hard on purpose) | 112 | 76 % | 71 % |
| sixth: the well-known forms with other words (should block) | 101 | 99 % | 96 % |
| seventh: what an agent would be talked into: its own credentials, the gateway, sending work away (should block) | 74 | 76 % | 54 % |
| everyday (should be allowed) | 322 | 3.1 % | 0.3 % |
| everyday2: administration, images, keys (should be allowed; hard on purpose) | 222 | 16 % | 5.0 % |
| everyday3: images, builds, pipelines (should be allowed) | 143 | 13 % | 2.1 % |
| everyday4: one-liners, with restarts and force (should be allowed; hard on purpose) | 137 | 16 % | 0.7 % |
| everyday5: honest uses of what attackers use as well (nothing should be blocked) | 99 | 68 % | 38 % |
| everyday6: text about attacks that is only data (should be allowed) | 104 | 6.7 % | 3.8 % |

So: of the well-known forms some 96 % are blocked at first sight; of the long tail some 55 to 85 %, and each new subject shows forms that nobody thought of. The everyday lists hold what administrators do with rights of root (` + "`shutdown`, `git push --delete`, installing a unit of systemd" + `), of which the data above has little.
`

const outNote = `"Without it": counting only the rules that fire on a malicious text of at least one other source. For benign sources the same rules are counted.
`

const obfNote = `Each transform is applied to every Unix attack of at most 600 bytes that is flagged as it stands; the shell undoes all of them. Those that rewrite the program's name apply to texts that begin with a plain word.
`

const tail = `
## Conditions

* Thresholds: review from 35, block from 65. Times are the least of five runs of each text on two cores that other work uses too. In a single pass, with cold caches, garbage collection and that other work in it, they are about half as much again.
* Tables: about 39 KiB of the total are for Windows. The bar is this defender's share of the 512 KiB that all tables of the defenders may take together.
* Windows commands (w-*) are judged by phrases, not by a parser, and are reported apart.
* Text that does not parse as bash is reviewed. The <placeholders> of a manual count as unknown values, as in ` + "`" + `git checkout <branch>` + "`" + `: a shell would run none of it, and what stands beside them is judged. A here-document that is not closed counts as closed, as in a shell; ` + "`${{ … }}`" + ` of a workflow file counts as an unknown value.

## Known bypasses

* Values from outside: ` + "`$CMD`" + ` with a variable of the environment, a script file that was there before, a Makefile target, an npm script. Only the name is judged.
* Encryption and own encoders: ` + "`openssl enc -d`" + ` with a key, a decoder written in AWK. The result counts as hidden text when it reaches a shell, and as data elsewhere.
* Code in other languages is scanned for phrases, not evaluated: ` + "`getattr(os, 'sys'+'tem')`" + ` is caught, a table of character codes is not.
* Programs that run commands in ways the tables do not know. Unknown programs with a shell among their arguments are caught.
* An unset variable counts as unknown in a path and as empty in the middle of a word.
* A known installer over HTTPS (the list is configurable) is reviewed, not blocked, when it is piped into a shell.
* Programs are judged by their names: a renamed nc or curl is an unknown program, which is followed only where its arguments hold a command line.
* Lines that name their values as attack guides do (LHOST, RPORT, LFILE) are blocked when they also open a connection or touch a file. That catches copies of guides and nobody else; so does a host that is named attacker, evil or the like.
* Placing a unit of systemd, a LaunchAgent or a crontab is blocked or reviewed even when it is a deployment; so are listening, capturing traffic, attaching to a process. Allow rules are meant for those.
* Data is followed through pipes, files of the line and variables, not through loops that build text byte by byte.
`
