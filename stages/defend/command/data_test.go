package command

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/frames/framestest"

	json "github.com/go-json-experiment/json"
)

// sample is one row of the labelled data.
type sample struct {
	ID       string `json:"id"`
	Source   string `json:"source"`
	Label    string `json:"label"`
	Category string `json:"category"`
	Text     string `json:"text"`
}

// mustSamples reads the labelled data, which is not part of the module; where it is not
// beside it either, the test is skipped.
func mustSamples(tb testing.TB) []sample {
	tb.Helper()
	f, err := os.Open(filepath.Join(framestest.Shared(tb), "defender", "train_commands.jsonl"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var out []sample
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var s sample
		if err := json.Unmarshal(sc.Bytes(), &s); err != nil {
			tb.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func (s *sample) windows() bool { return strings.HasPrefix(s.Category, "w-") }

// family is the source without the repository: what a rule could have been fitted to.
func (s *sample) family() string { name, _, _ := strings.Cut(s.Source, ":"); return name }

func mustJudge(tb testing.TB) *Judge {
	tb.Helper()
	j, err := New(Default())
	if err != nil {
		tb.Fatal(err)
	}
	return j
}
