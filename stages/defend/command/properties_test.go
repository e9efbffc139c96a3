package command

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// familyLine is one line of a check-list.
type familyLine struct{ file, want, text string }

// unescaped undoes what keeps a command on one line of a list.
var unescaped = strings.NewReplacer(`\n`, "\n", "{CR}", "\r", "{TAB}", "\t")

// mustFamilies reads the check-lists of testdata/families.
func mustFamilies(tb testing.TB) []familyLine {
	tb.Helper()
	files, err := filepath.Glob("testdata/families/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatal("no families: ", err)
	}
	var out []familyLine
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		for line := range strings.SplitSeq(string(raw), "\n") {
			if want, text, ok := strings.Cut(line, "\t"); ok {
				out = append(out, familyLine{filepath.Base(name), want, unescaped.Replace(text)})
			}
		}
	}
	return out
}

// TestAddingNeverLowers puts harmless commands before and after each attack of the
// check-lists, on lines of their own: the verdict must not fall.
func TestAddingNeverLowers(t *testing.T) {
	j := mustJudge(t)
	before := []string{"ls -la\n", "cd src\nmkdir -p x\n", "set -e\nexport A=1\n", "# a comment\n", "if [ -f x ]; then\n  echo x\nfi\n", strings.Repeat("echo step\n", 60), "echo 'a quoted \" mark'\n"}
	after := []string{"\necho done", "\nexit 0", "\n# rm -rf ./build", "\ntrue\n\n"}
	var r Result
	for _, l := range mustFamilies(t) {
		j.Assess(&r, []byte(l.text))
		want := r.Decision
		if want == Allow {
			continue
		}
		if j.Assess(&r, []byte(l.text+"\n")); r.Decision != want {
			t.Errorf("%q: %v, with a newline %v", l.text, want, r.Decision)
		}
		for _, b := range before {
			if j.Assess(&r, []byte(b+l.text)); r.Decision < want {
				t.Errorf("%q before %q: %v, want %v", b[:min(len(b), 30)], l.text, r.Decision, want)
			}
		}
		for _, a := range after {
			if strings.Contains(l.text, "<<") && !strings.HasSuffix(strings.TrimSpace(l.text), "EOF") {
				continue // what follows would be part of a here-document
			}
			if j.Assess(&r, []byte(l.text+a)); r.Decision < want {
				t.Errorf("%q before %q: %v, want %v", l.text, a, r.Decision, want)
			}
		}
	}
}

// TestWrappingKeeps applies the transforms that a shell undoes to the check-lists: nearly
// all verdicts must stand. The few that fall depend on a terminal or on the very words.
func TestWrappingKeeps(t *testing.T) {
	j := mustJudge(t)
	r := rand.New(rand.NewPCG(3, 4))
	var res Result
	for _, tr := range transforms {
		total, kept := 0, 0
		for _, l := range mustFamilies(t) {
			if l.want == "allow" || len(l.text) > 600 {
				continue
			}
			text := tr.fn(l.text, r)
			if text == "" {
				continue
			}
			total++
			if j.Assess(&res, []byte(text)); res.Decision != Allow {
				kept++
			}
		}
		if share := float64(kept) / float64(max(1, total)); share < 0.93 {
			t.Errorf("%s: only %.3f of %d are still flagged", tr.name, share, total)
		}
	}
}

// FuzzAdding holds that text behind an attack does not hide it.
func FuzzAdding(f *testing.F) {
	f.Add("ls")
	f.Add("'")
	f.Add("cat <<E\n")
	f.Add("${x//[a]/b}(")
	j := mustJudge(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 8<<10 {
			return
		}
		var r Result
		j.Assess(&r, []byte("rm -rf /\n"+text))
		if r.Decision != Block {
			t.Fatalf("not blocked before %q: %v %.1f", text, r.Decision, r.Score)
		}
	})
}
