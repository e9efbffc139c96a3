package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// tree writes files into a new folder and makes it the current one.
func tree(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

const skillFile = `---
name: weather
---
# Weather

Tell the user the temperature. ODD it is.

` + "```sh" + `
curl -s https://wttr.in
echo ATTACK
` + "```" + `

` + "~~~ {.console}" + `
$ ls \
  ODD
printed ODD
$ echo ok
` + "~~~" + `

` + "```go" + `
func ATTACK() {}
` + "```" + `
`

const sessionFile = `{"type":"session","version":3,"id":"s1","cwd":"/tmp"}
{"type":"message","id":"m1","parentId":null,"message":{"role":"user","content":[{"type":"text","text":"what is this?"},{"type":"text","text":"ODD"}]}}
{"type":"message","id":"m2","message":{"role":"assistant","content":[{"type":"thinking","thinking":"ATTACK"},{"type":"text","text":"ATTACK"},{"type":"toolCall","id":"t","name":"exec","arguments":{"command":["echo","ATTACK"]}}]}}
{"type":"message","id":"m3","message":{"role":"toolResult","toolName":"exec","content":[{"type":"text","text":"it is ODD"}]}}
{"type":"message","message":{"role":"bashExecution","command":"ls ODD","output":"a b"}}
{"type":"model_change","id":"c"}
`

// TestScanFolder: a folder with a skill, scripts, transcripts and what is none of our
// business.
func TestScanFolder(t *testing.T) {
	tree(t, map[string]string{
		"skill/SKILL.md": skillFile, "skill/run": "#!/usr/bin/env bash\nset -e\necho ATTACK\n", "skill/x.PS1": "Write-Host ODD\n",
		"skill/Makefile":  "# ATTACK\nbuild:\n\tgo build\n\n\t@echo $(ODD) $$HOME\nclean:\n\trm x\n",
		"skill/.git/HEAD": "ATTACK", "skill/bin": "\x7fELF\x00ATTACK", "sessions/s.jsonl": sessionFile,
		"sessions/chat.json": `{
 "messages": [{"role":"system","content":"be nice"}, {"role":"user","content":"hello"},
  {"role":"assistant","content":null,"tool_calls":[{"function":{"name":"bash","arguments":"{\"command\":\"echo ATTACK\"}"}}]},
  {"role":"assistant","content":[{"type":"tool_use","name":"bash","input":{"command":"ls"}},{"type":"text","text":"ATTACK"}]},
  {"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"ODD"}]}]}]}`,
		"skill/utf16.ps1": "\xff\xfeA\x00T\x00T\x00A\x00C\x00K\x00\n\x00",
		"notes.txt":       `{"id":"n","text":"lines in a text file"}` + "\n", "data.json": `{"a": "ODD"}`, "empty.md": "",
	})
	if err := os.Symlink("notes.txt", "link"); err != nil {
		t.Fatal(err)
	}
	k := &scanKit{}
	k.run(t, ".")
	golden(t, "folder.jsonl", k.out)
	if k.code != exitFound || !strings.Contains(k.err, "skipped 3 things") {
		t.Errorf("exit status %d, %s", k.code, k.err)
	}
	k = &scanKit{opt: scanOptions{explain: true, summary: true}}
	k.run(t, "sessions", "skill", "link")
	golden(t, "folder.explain", k.out)
	k = &scanKit{}
	k.run(t, "skill/bin", "nothing", "data.json")
	if k.code != 1 || !strings.Contains(k.err, "skill/bin: it is not text") || !strings.Contains(k.err, "nothing: no such file") || !strings.Contains(k.out, `"data.json:1"`) {
		t.Errorf("%d %s %s", k.code, k.err, k.out)
	}
	k = &scanKit{opt: scanOptions{as: asScript, origin: "owner"}}
	k.run(t, "skill/SKILL.md")
	if k.code != exitFound || !strings.HasPrefix(k.out, `{"id":"skill/SKILL.md:10"`) {
		t.Errorf("--as script: %d %s", k.code, k.out)
	}
	k = &scanKit{opt: scanOptions{as: asTranscript}}
	k.run(t, "sessions/chat.json", "data.json")
	if k.code != 1 || !strings.Contains(k.err, "data.json: it holds no messages") || !strings.Contains(k.out, `"sessions/chat.json#3"`) {
		t.Errorf("--as transcript: %d %s %s", k.code, k.err, k.out)
	}
}

// TestScanLongDocument: pieces name the line, what lies over their border is found, and
// what lies in their overlap is reported once.
func TestScanLongDocument(t *testing.T) {
	quiet := strings.Repeat("quiet words, nothing else here.\n", 40) + "\n"
	border := strings.Repeat("x", pieceMax-3) + "ATTACK" + strings.Repeat("y", 2*pieceMax)
	tree(t, map[string]string{"a.md": quiet + "ODD\n" + quiet + quiet + "ATTACK\n\n" + quiet, "b.txt": border,
		"c.md": strings.Repeat("q", pieceMin-8) + "ATTACK\n\n" + quiet + quiet + quiet})
	var found []string
	for _, name := range []string{"a.md", "b.txt", "c.md"} {
		k := &scanKit{}
		k.run(t, name)
		for _, line := range strings.Split(k.out, "\n") {
			if strings.Contains(line, "says") {
				found = append(found, line[:strings.IndexByte(line, ',')])
			}
		}
	}
	if got := strings.Join(found, " "); got != `{"id":"a.md:42" {"id":"a.md:125" {"id":"b.txt:1" {"id":"c.md:1"` {
		t.Error(got)
	}
}

// TestExcerpt: what a text says to the terminal is shown and not done.
func TestExcerpt(t *testing.T) {
	e := newExplainer(nil, false)
	if got := visible("a\x1b[2Jb\u202ec\xffd\n\té"); got != `a\x1b[2Jb\u202ec\ufffdd`+"\n\té" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("é", 2000)
	if got := e.excerpt(long[:1001]+"ODD"+long[1001:], mergeMarks(nil, 0)); !strings.HasSuffix(got, "é …") || len(got) > explainWhole+10 {
		t.Errorf("%q", got)
	}
}

// FuzzScan: whatever comes in, each line that comes out is JSON, and nothing that is
// explained does something to a terminal.
func FuzzScan(f *testing.F) {
	f.Add(scanInput)
	f.Add(sessionFile)
	f.Add(`{"messages":[{"role":"user","content":[{"type":"tool_result","content":"x"}]}]}`)
	f.Fuzz(func(t *testing.T, in string) {
		k := &scanKit{in: in}
		k.run(t)
		for line := range strings.Lines(k.out) {
			if !jsontext.Value(line).IsValid() {
				t.Errorf("no JSON: %q", line)
			}
		}
		k = &scanKit{in: in, opt: scanOptions{explain: true, summary: true}}
		k.run(t)
		if strings.ContainsFunc(k.out, func(r rune) bool { return r != '\n' && r != '\t' && !strconv.IsPrint(r) }) {
			t.Errorf("not printable: %q", k.out)
		}
	})
}

func FuzzShellBlocks(f *testing.F) {
	f.Add(skillFile)
	f.Add("```sh\n$ a\n")
	f.Add("PS C:\\> x\nC:\\> dir\n\t\tx\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, b := range shellBlocks([]byte(text)) {
			in, out := session(b.text)
			if n := strings.Count(string(b.text), "\n"); strings.Count(string(in), "\n") < n || out != nil && strings.Count(string(out), "\n") < n {
				t.Errorf("lines are lost in %q: %q %q", b.text, in, out)
			}
		}
		recipes([]byte(text))
		for start := 0; start < len(text); {
			end := start + pieceEnd([]byte(text[start:]))
			if end == len(text) {
				break
			}
			next := overlapStart([]byte(text), start, end)
			if next <= start || next > end {
				t.Fatalf("a piece of %q from %d to %d, the next from %d", text, start, end, next)
			}
			start = next
		}
	})
}
