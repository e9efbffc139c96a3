package frames

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// ecmaRegexp lets the reference validator run the protocol's JavaScript patterns
// (libraries.md section 4). It backtracks, so it has a time limit; tests only.
type ecmaRegexp struct{ *regexp2.Regexp }

func (r ecmaRegexp) MatchString(s string) bool {
	ok, err := r.Regexp.MatchString(s)
	return ok && err == nil
}

func compileECMA(source string) (jsonschema.Regexp, error) {
	re, err := regexp2.Compile(source, regexp2.ECMAScript|regexp2.Unicode)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = time.Second
	return ecmaRegexp{re}, nil
}

// TestSchemaAgreesWithReference compares the verdict, not the words, with an
// independent implementation of JSON Schema for generated params of every schema. The
// two are known to differ on what JavaScript adds to the specification, which
// beyondTheStandard leaves out: how characters are counted, and numbers out of range.
func TestSchemaAgreesWithReference(t *testing.T) {
	t.Cleanup(regexp2.StopTimeoutClock)
	compiler := jsonschema.NewCompiler()
	compiler.UseRegexpEngine(compileECMA)
	compiler.AssertFormat()
	g := &generator{rnd: rand.New(rand.NewPCG(5, 6))}
	compared, valid := 0, 0
	for i := range schemaTable {
		s := &schemaTable[i]
		text, _ := schemaText(s.name)
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		url := fmt.Sprintf("mem:///%s.json", s.name)
		if err := compiler.AddResource(url, doc); err != nil {
			t.Fatal(err)
		}
		reference, err := compiler.Compile(url)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for k := range 24 {
			g.faults = []float64{0, 0.01, 0.04, 0.1}[k%4]
			params := g.value(s.compiled())
			if beyondTheStandard(params) {
				continue
			}
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(params))
			if err != nil {
				t.Fatalf("%s: %v", params, err)
			}
			want := reference.Validate(value)
			got := s.refuse([]byte(params))
			if (want == nil) != (got == "") {
				t.Errorf("%s %.300s\n got %q\nwant %v", s.name, params, got, want)
			}
			compared++
			if want == nil {
				valid++
			}
		}
	}
	t.Logf("%d compared, %d of them valid", compared, valid)
	if compared < 5000 || valid < 2000 || valid > compared-1000 {
		t.Errorf("the cases are lopsided: %d compared, %d valid", compared, valid)
	}
}

func beyondTheStandard(params string) bool {
	for _, s := range []string{"\u0301", `\u0301`, "\u200d", `\u200d`, "🇩", `\ud83d"`, "1e400", "23:59:60"} {
		if strings.Contains(params, s) {
			return true
		}
	}
	return false
}

// TestPatternsAgreeWithECMAScript runs every pattern of the protocol beside a
// JavaScript engine's semantics, on texts that sit at the patterns' edges.
func TestPatternsAgreeWithECMAScript(t *testing.T) {
	t.Cleanup(regexp2.StopTimeoutClock)
	sources := map[string]bool{}
	for i := range schemaTable {
		collectPatterns(schemaTable[i].compiled(), sources)
	}
	texts := append([]string{"", "-", "--", "a-", "-a", "a-b", "a--b", ".", "..", "...", "a.", "\n", "a\n", "a\r\nb", "\u2028", "\u0085", "\v", "\f",
		"é", "😀", "a😀", "\u00a0x", "x\u3000", "https://", "https://a", "HTTPS://a", strings.Repeat("a", 256), strings.Repeat("a", 257), "session:", "session:x\ny",
		"UTC+", "UTC+12:60", "UTC-9:59", "A", "a/b", `a\b`, "conv_", "x:y:z"}, samples...)
	for source := range sources {
		ours, err := compilePattern(source)
		if err != nil {
			t.Fatal(err)
		}
		reference, err := compileECMA(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			if text == "\u2028" && strings.Contains(source, ".") {
				continue // regexp2's dot matches it, JavaScript's does not
			}
			got := ours(quoted{AppendString(nil, text), true})
			if want := reference.MatchString(text); got != want {
				t.Errorf("%s on %q: %v, want %v", source, text, got, want)
			}
		}
	}
	if len(sources) < 40 {
		t.Errorf("only %d patterns", len(sources))
	}
}

func collectPatterns(n *node, into map[string]bool) {
	if n == nil {
		return
	}
	if n.str != nil && n.str.pattern != "" {
		into[n.str.pattern] = true
	}
	if n.object != nil {
		for i := range n.object.props {
			collectPatterns(n.object.props[i].node, into)
		}
		for i := range n.object.patterns {
			into[n.object.patterns[i].source] = true
			collectPatterns(n.object.patterns[i].node, into)
		}
		collectPatterns(n.object.additional, into)
	}
	if n.array != nil {
		collectPatterns(n.array.items, into)
	}
	for _, list := range [][]*node{n.allOf, n.anyOf, n.oneOf, {n.not}} {
		for _, sub := range list {
			collectPatterns(sub, into)
		}
	}
}

// TestLoneSurrogatesInPatterns: the one pattern that speaks of surrogates refuses a
// lone one, which JSON text can hold and UTF-8 cannot.
func TestLoneSurrogatesInPatterns(t *testing.T) {
	m, err := compilePattern(`^(?!\.{1,2}$)(?:[^\uD800-\uDFFF]|[\uD800-\uDBFF][\uDC00-\uDFFF])+$`)
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]bool{`"a"`: true, `"\ud83d\ude00"`: true, `"a\ud83d"`: false, `"\ude00\ud83d"`: false, `".."`: false, `""`: false} {
		if got := m(quoted{[]byte(raw), true}); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
}
