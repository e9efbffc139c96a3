package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"strings"
	"sync"
)

// crossValidate scores each source by a model that has not seen it, nor any text that
// was made of it.
func crossValidate(o options, docs []*doc) error {
	if _, _, _, err := validate(o, docs); err != nil {
		return err
	}
	return reportAll(o, docs)
}

// reportAll writes the figures of a cross-validation to where o asks for.
func reportAll(o options, docs []*doc) error {
	var table bytes.Buffer
	report(&table, docs)
	reportMasks(&table, docs)
	os.Stdout.Write(table.Bytes())
	if o.card != "" {
		if err := intoCard(o.card, table.Bytes()); err != nil {
			return err
		}
	}
	if o.out != "" {
		return writeScores(o.out, docs)
	}
	return nil
}

// validate gives every text the score of a model that has not seen its source, and
// returns the thresholds of 1 % and 0.1 % false positives on everyday texts.
func validate(o options, docs []*doc) (low, high float64, synth []*doc, err error) {
	synth = grammarDocs()
	all := append(append([]*doc(nil), docs...), synth...)
	extract(all)
	masks := hidden(docs)
	for _, d := range docs {
		extract(masks[d])
	}
	groups := foldGroups(docs)
	var wg sync.WaitGroup
	slots := make(chan struct{}, o.workers)
	for _, g := range groups {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			held := map[string]bool{}
			for _, f := range g {
				held[f] = true
			}
			train := trainingSet(all, held)
			l := fit(train, o.epochs)
			l.w = rounded(l.w)
			for _, d := range docs {
				if held[d.fold] {
					s, _, _, _ := l.best(d)
					d.score = float64(s)
					for _, x := range masks[d] {
						s, _, _, _ := l.best(x)
						x.score = float64(s)
						d.masked = append(d.masked, x)
					}
				}
			}
		}()
	}
	wg.Wait()
	low, high = thresholds(docs)
	return low, high, synth, nil
}

func thresholds(docs []*doc) (low, high float64) {
	var everyday []float64
	for _, d := range docs {
		if !d.bad && !hard[d.category] {
			everyday = append(everyday, d.score)
		}
	}
	return threshold(everyday, .01), threshold(everyday, .001)
}

func touches(d *doc, held map[string]bool) bool {
	for p := range d.parts {
		if held[p] {
			return true
		}
	}
	return false
}

// benignFolds is into how many folds the sources without attacks are spread.
const benignFolds = 3

// foldGroups returns the sources to hold out together: each source of attacks alone with
// some of the harmless ones.
func foldGroups(docs []*doc) [][]string {
	bad, all := map[string]int{}, map[string]int{}
	for _, d := range docs {
		all[d.fold]++
		if d.bad {
			bad[d.fold]++
		}
	}
	var groups [][]string
	for _, f := range sorted(bad) {
		groups = append(groups, []string{f})
	}
	for i, f := range benignOnly(all, bad) {
		g := i % len(groups)
		groups[g] = append(groups[g], f)
	}
	return groups
}

func benignOnly(all, bad map[string]int) (out []string) {
	for _, f := range sorted(all) {
		if bad[f] == 0 {
			out = append(out, f)
		}
	}
	return
}

var hard = map[string]bool{"notinject": true, "hard-benign": true, "hard-benign-wildguard": true, "security-benign": true,
	"security-article": true, "security-article-multilingual": true}

// threshold is the smallest score that at most share of the sorted scores reach.
func threshold(scores []float64, share float64) float64 {
	sort.Sort(sort.Reverse(sort.Float64Slice(scores)))
	k := int(share * float64(len(scores)))
	if k >= len(scores) {
		return math.Inf(-1)
	}
	return math.Nextafter(scores[k], math.Inf(1))
}

func report(out io.Writer, docs []*doc) {
	t1, t01 := thresholds(docs)
	type row struct{ n, a, b int }
	rows := map[string]*row{}
	add := func(k string, d *doc) {
		r := rows[k]
		if r == nil {
			r = &row{}
			rows[k] = r
		}
		r.n++
		if d.score >= t1 {
			r.a++
		}
		if d.score >= t01 {
			r.b++
		}
	}
	for _, d := range docs {
		switch {
		case d.bad && strings.HasPrefix(d.category, "x-"):
			add("C x  "+d.source, d)
		case d.bad:
			add("A recall all", d)
			add("A recall "+d.category, d)
			add("B recall "+d.source+" "+d.category, d)
			if d.parts != nil {
				add("B recall composed of "+d.fold, d)
			}
		case hard[d.category]:
			add("A fpr hard", d)
			add("C fpr "+d.source+" "+d.category, d)
		default:
			add("A fpr everyday", d)
			add("C fpr "+d.source+" "+d.category, d)
		}
	}
	var names []string
	for k := range rows {
		names = append(names, k)
	}
	sort.Strings(names)
	fmt.Fprintln(out, summary(docs))
	fmt.Fprintf(out, "logits at 1 %% and 0.1 %% of everyday texts: %.3f and %.3f\n", t1, t01)
	fmt.Fprintf(out, "%-60s %5s %7s %7s\n", "", "texts", "at 1 %", "at 0.1%")
	for _, k := range names {
		r := rows[k]
		if strings.HasPrefix(k, "C fpr") && r.a == 0 {
			continue
		}
		fmt.Fprintf(out, "%-60s %5d %7.2f %7.2f\n", k[2:], r.n, 100*float64(r.a)/float64(r.n), 100*float64(r.b)/float64(r.n))
	}
}

func writeScores(path string, docs []*doc) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, d := range docs {
		fmt.Fprintf(f, "{\"id\":%q,\"score\":%g}\n", d.id, d.score)
	}
	return f.Close()
}

const cardStart, cardEnd = "<!-- cv -->\n", "<!-- /cv -->"

// intoCard replaces what is between the marks of a model card by table.
func intoCard(path string, table []byte) error {
	card, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(card, []byte(cardStart))
	_, tail, ok2 := bytes.Cut(rest, []byte(cardEnd))
	if !ok || !ok2 {
		return fmt.Errorf("%s: the marks %q and %q are missing", path, cardStart, cardEnd)
	}
	out := bytes.Join([][]byte{head, []byte(cardStart + "```\n"), table, []byte("```\n" + cardEnd), tail}, nil)
	return os.WriteFile(path, out, 0o644)
}

// reportMasks writes how many of the disguised attacks are found at the thresholds of
// the plain texts.
func reportMasks(out io.Writer, docs []*doc) {
	t1, t01 := thresholds(docs)
	var a, b [64]int
	n := 0
	for _, d := range docs {
		if d.masked == nil {
			continue
		}
		n++
		for i, x := range d.masked {
			if x.score >= t1 {
				a[i]++
			}
			if x.score >= t01 {
				b[i]++
			}
		}
	}
	for i, t := range transforms() {
		fmt.Fprintf(out, "obf %-30s %5d %7.2f %7.2f\n", t.name, n, 100*float64(a[i])/float64(n), 100*float64(b[i])/float64(n))
	}
}

// summary is the area under the curve, and recall where 1 % of all harmless texts, the
// hard ones too, are flagged.
func summary(docs []*doc) string {
	var everyday, all, bad []float64
	for _, d := range docs {
		switch {
		case d.bad && strings.HasPrefix(d.category, "x-"):
		case d.bad:
			bad = append(bad, d.score)
		default:
			all = append(all, d.score)
			if !hard[d.category] {
				everyday = append(everyday, d.score)
			}
		}
	}
	sort.Float64s(everyday)
	t := threshold(all, .01)
	below, found := 0, 0
	for _, s := range bad {
		below += sort.SearchFloat64s(everyday, s)
		if s >= t {
			found++
		}
	}
	n := float64(len(bad))
	return fmt.Sprintf("area under the curve (everyday) %.4f; recall at 1 %% of all harmless texts %.2f", float64(below)/n/float64(len(everyday)), 100*float64(found)/n)
}
