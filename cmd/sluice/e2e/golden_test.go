//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// A rule changes text before golden and actual are compared.
type rule struct {
	find    string // regular expression, multi-line mode
	replace string
	both    bool   // also applied to what the target printed, else only to the golden text
	why     string // the reason; a difference without one is a bug
}

// everywhere are the parts that no two runs share.
var everywhere = []rule{
	{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, "<uuid>", true, "random ids"},
	{`requestId: (<uuid>|[0-9a-f-]{8,36})`, "requestId: <uuid>", true, "a close reason is cut at 120 bytes, also inside an id"},
	{`\b1[0-9]{12}\b`, "<ms>", true, "clock"},
	{`\b[0-9a-f]{64}\b`, "<sha256>", true, "device ids are hashes of fresh keys"},
	{`[A-Za-z0-9_-]{43}\b`, "<key>", true, "keys and tokens"},
	{`"(recoveryScope|recoveryMigrationAllowed)":("<key>"|true)`, "", true, "optional hello fields for the Control UI's key recovery, which sluice has not"},
	{`,+([}\]])`, "$1", true, "what the rule above leaves"},
	{`,,+`, ",", true, "what the rule above leaves"},
	{`/[^" ]*/sluice-e2e-\d+/state-\d+`, "<state>", true, "the state folder"},
	{`[ \t]+$`, "", true, "trailing blanks"},
}

// compareGolden checks printed lines against testdata/<name>.golden, which was recorded from the real
// gateway. With -update and the real gateway as target it records instead.
func compareGolden(tb testing.TB, name, got string, rules ...rule) {
	tb.Helper()
	path := filepath.Join(env.pkg, "testdata", name+".golden")
	if *update {
		if !env.real {
			tb.Fatal("golden files come from the real gateway: set E2E_TARGET=openclaw")
		}
		if err := os.WriteFile(path, []byte(apply(got, everywhere, true)), 0o644); err != nil {
			tb.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("no golden file: %v; record it with E2E_TARGET=openclaw ./run.sh -run '%s' -update", err, tb.Name())
	}
	if env.real {
		for i := range rules {
			rules[i].find, rules[i].both = onlyBoth(rules[i])
		}
	}
	want := apply(apply(sortKeys(string(b)), everywhere, true), rules, false)
	got = apply(apply(sortKeys(got), everywhere, true), rules, true)
	if diff := lineDiff(want, got); diff != "" {
		tb.Errorf("%s differs from the real gateway (- real, + here):\n%s", name, diff)
	}
}

// sortKeys rewrites every JSON object or array in the text with its members in order of their names:
// the order of members means nothing, and the two servers choose different ones. Text that was printed
// cut is left as it is.
func sortKeys(s string) string {
	s = strings.ReplaceAll(s, "<ms>", "1000000000000") // a golden file is JSON again
	var out strings.Builder
	for len(s) > 0 {
		i := strings.IndexAny(s, "{[")
		if i < 0 {
			break
		}
		out.WriteString(s[:i])
		s = s[i:]
		line, _, _ := strings.Cut(s, "\n")
		d := jsontext.NewDecoder(strings.NewReader(line), jsontext.AllowDuplicateNames(true))
		v, err := d.ReadValue()
		if err == nil {
			n := int(d.InputOffset())
			if err = v.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err == nil {
				out.Write(v)
				s = s[n:]
				continue
			}
		}
		out.WriteByte(s[0])
		s = s[1:]
	}
	return out.String() + s
}

// onlyBoth disarms the rules for deliberate differences when the target is the real gateway itself.
func onlyBoth(r rule) (string, bool) {
	if r.both {
		return r.find, true
	}
	return `\A\z.`, false // matches nothing
}

func apply(s string, rules []rule, actual bool) string {
	for _, r := range rules {
		if actual && !r.both {
			continue
		}
		s = regexp.MustCompile(`(?m)`+r.find).ReplaceAllString(s, r.replace)
	}
	return s
}

// lineDiff is a small diff by lines: the longest common subsequence, with only what differs shown.
func lineDiff(want, got string) string {
	a, b := strings.Split(strings.TrimSpace(want), "\n"), strings.Split(strings.TrimSpace(got), "\n")
	lcs := make([][]int, len(a)+1)
	for i := range lcs {
		lcs[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				lcs[i][j] = lcs[i+1][j+1] + 1
			} else {
				lcs[i][j] = max(lcs[i+1][j], lcs[i][j+1])
			}
		}
	}
	var out strings.Builder
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || lcs[i+1][j] >= lcs[i][j+1]):
			out.WriteString("- " + a[i] + "\n")
			i++
		default:
			out.WriteString("+ " + b[j] + "\n")
			j++
		}
	}
	return out.String()
}
