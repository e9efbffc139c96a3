package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFamilies holds the check-lists of testdata/families: one file a family. "flag" is a
// review or a block; nothing of everyday.txt may be blocked.
func TestFamilies(t *testing.T) {
	files, err := filepath.Glob("testdata/families/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no families: ", err)
	}
	j := mustJudge(t)
	var r Result
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines, met := 0, 0
		for line := range strings.SplitSeq(string(raw), "\n") {
			want, text, ok := strings.Cut(line, "\t")
			if !ok {
				continue
			}
			lines++
			j.Assess(&r, []byte(strings.ReplaceAll(text, `\n`, "\n")))
			switch got := r.Decision; {
			case want == "flag" && got != Allow, got.String() == want:
				met++
			default:
				t.Errorf("%s: %q: %v %.1f, want %s", filepath.Base(name), text, got, r.Score, want)
			}
		}
		t.Logf("%s: %d of %d", filepath.Base(name), met, lines)
	}
}
