package command

import "testing"

// TestFamilies holds the check-lists of testdata/families: one file a family. "flag" is a
// review or a block; nothing of the everyday lists may be blocked.
func TestFamilies(t *testing.T) {
	j := mustJudge(t)
	var r Result
	lines, met := map[string]int{}, map[string]int{}
	for _, l := range mustFamilies(t) {
		lines[l.file]++
		j.Assess(&r, []byte(l.text))
		switch got := r.Decision; {
		case l.want == "flag" && got != Allow, got.String() == l.want:
			met[l.file]++
		default:
			t.Errorf("%s: %q: %v %.1f, want %s", l.file, l.text, got, r.Score, l.want)
		}
	}
	for file, n := range lines {
		t.Logf("%s: %d of %d", file, met[file], n)
	}
}
