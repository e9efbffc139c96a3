package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"sluice/stages/defend/prompt/normalize"
	"sluice/stages/defend/prompt/phrases"
)

// commonWords is how many words of the training texts count as known.
const commonWords = 4000

func makeTables(o options) error {
	fold := foldBytes()
	path := filepath.Join(o.dir, "normalize", "fold.bin")
	old, _ := os.ReadFile(path)
	if err := os.WriteFile(path, fold, 0o644); err != nil {
		return err
	}
	if string(old) != string(fold) {
		fmt.Println("fold.bin changed: run -tables again, now with the new one built in")
		return nil
	}
	text, err := lexicon(o.dir)
	if err != nil {
		return err
	}
	docs, err := load(o.data)
	if err != nil {
		return err
	}
	packed, err := phrases.Pack(text, common(docs, text), normalize.Word)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.dir, "phrases", "lexicon.bin"), packed, 0o644)
}

// lexicon is lexicon.txt and what other files add to it: the first line with a word wins.
func lexicon(dir string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "phrases", "lexicon-*.txt"))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, path := range append([]string{filepath.Join(dir, "phrases", "lexicon.txt")}, paths...) {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		out.Write(text)
		out.WriteByte('\n')
	}
	return out.String(), nil
}

// common are the words that occur in most documents, the English words of the lexicon,
// and the first characters of its words in scripts without blanks.
func common(docs []*doc, lexicon string) []string {
	in := map[string]int{}
	for _, d := range docs {
		seen := map[string]bool{}
		for _, w := range strings.FieldsFunc(strings.ToLower(d.text), func(r rune) bool { return r < 'a' || r > 'z' }) {
			if len(w) > 1 && !seen[w] {
				seen[w] = true
				in[w]++
			}
		}
	}
	var words []string
	for w := range in {
		words = append(words, w)
	}
	sort.Slice(words, func(i, j int) bool {
		if in[words[i]] != in[words[j]] {
			return in[words[i]] > in[words[j]]
		}
		return words[i] < words[j]
	})
	words = words[:min(len(words), commonWords)]
	for _, line := range strings.Split(lexicon, "\n") {
		head, list, ok := strings.Cut(line, ": ")
		if !ok || line[0] == '#' {
			continue
		}
		for _, w := range strings.Fields(list) {
			w = normalize.Word(strings.TrimSuffix(w, "*"))
			if strings.HasSuffix(head, " en") {
				words = append(words, w)
			}
			if r := []rune(w); len(r) > 0 && r[0] >= 0xE00 {
				words = append(words, string(r[0]))
			}
		}
	}
	return words
}
