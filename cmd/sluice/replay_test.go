package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/frames/framestest"

	"github.com/go-json-experiment/json"
)

func TestReplay(t *testing.T) {
	c := newCLI(t)
	file := filepath.Join("testdata", "replay", "verdicts.jsonl")
	out := c.want(0, []string{"replay", file}, "verdict: block", "verdict: allow", "0 not met")
	if strings.Contains(out, "verdict is") {
		t.Errorf("a mismatch:\n%s", out)
	}
	if _, err := os.Stat(c.state); err == nil {
		t.Error("replay used the user's state folder")
	}
	out = c.want(0, []string{"replay", "--json", file})
	for line := range strings.Lines(out) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil || o.File != file || o.Mismatch != "" {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestReplayMismatch(t *testing.T) {
	c := newCLI(t)
	file := filepath.Join("testdata", "replay", "mismatches.jsonl")
	c.want(1, []string{"replay", file}, "verdict is none, expected block", "/payload/ok is true, expected false",
		"/error is missing, expected {}", "/payload/agents is [", "there is no answer", "5 of 6 expectations not met")
}

// TestReplayCaptures: what real clients sent goes through without a defect of ours.
func TestReplayCaptures(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(framestest.Shared(t), "protocol", "captures", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	c := newCLI(t)
	out := c.want(0, append([]string{"replay", "--json", "--timeout", "2s", "--state", filepath.Join(c.state, "kept")}, files...))
	for line := range strings.Lines(out) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if strings.Contains(line, "internal error") || strings.HasPrefix(o.Note, "not settled") {
			t.Errorf("%s", line)
		}
	}
	if !exists(filepath.Join(c.state, "kept", "sluice.db")) {
		t.Error("--state keeps nothing")
	}
}

func TestReplayRefusesWhatItCannotRead(t *testing.T) {
	c := newCLI(t)
	c.want(2, []string{"replay"}, "needs a FILE")
	c.want(2, []string{"replay", "x", "--timeout", "0"}, "must be positive")
	c.want(1, []string{"replay", filepath.Join(c.state, "none")}, "cannot be read")
	bad := c.write("bad.jsonl", "\n{\"conn\":1}\nnot json\n")
	c.want(1, []string{"replay", bad}, "bad.jsonl:3 is no line of a recording")
	bad = c.write("bad.jsonl", `{"conn":1,"dir":"c2s","frame":{},"expect":"ok"}`)
	c.want(1, []string{"replay", bad}, "bad.jsonl:1: expect must be an object")
}

func TestDiffers(t *testing.T) {
	for _, tc := range []struct{ want, got, diff string }{
		{`{}`, `{"a":1}`, ""},
		{`{"a":{"b":[1,{"c":null}]}}`, `{"a":{"b":[1,{"c":null,"d":2}],"e":3}}`, ""},
		{`{"a":1}`, `{"a":"1"}`, `/a is "1", expected 1`},
		{`{"a":[1]}`, `{"a":[1,2]}`, `/a is [1,2], expected [1]`},
		{`{"a":[{"b":1}]}`, `{"a":[{"b":2}]}`, `/a/0/b is 2, expected 1`},
		{`{"a":{}}`, `{}`, `/a is missing, expected {}`},
		{`{"a":{}}`, `[]`, `the answer is [], expected {"a":{}}`},
	} {
		var want, got any
		if json.Unmarshal([]byte(tc.want), &want) != nil || json.Unmarshal([]byte(tc.got), &got) != nil {
			t.Fatal(tc)
		}
		if d := differs(want, got, ""); d != tc.diff {
			t.Errorf("%s in %s: %q, want %q", tc.want, tc.got, d, tc.diff)
		}
	}
}

// TestReplayRecord: frames that were no JSON are restored as they went over the wire.
func TestReplayRecord(t *testing.T) {
	for line, want := range map[string]string{
		`{"frame":{"a":1}}`:                `{"a":1}`,
		`{"frame":"{bad \u0022json"}`:      `{bad "json`,
		`{"frame":"AAEC","bin":true}`:      "\x00\x01\x02",
		`{"frame":"no base64","bin":true}`: "no base64",
	} {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil || string(r.raw()) != want {
			t.Errorf("%s: %q, %v", line, r.raw(), err)
		}
	}
}

// TestReplayDoesNotWait: a frame whose answer does not come holds up nothing.
func TestReplayDoesNotWait(t *testing.T) {
	c := newCLI(t)
	begin := time.Now()
	c.want(0, []string{"replay", "--timeout", "50ms", filepath.Join("testdata", "replay", "waits.jsonl")}, "0 not met")
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("took %s", d)
	}
}

func FuzzReplayLine(f *testing.F) {
	f.Add([]byte(`{"conn":1,"dir":"c2s","frame":"x","bin":true,"expect":{}}`))
	f.Add([]byte(`{"frame":{"id":"1","method":"connect","params":{"minProtocol":4}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var rec record
		if json.Unmarshal(line, &rec) != nil {
			return
		}
		x := &exchange{rec: &rec, conn: newReplayConn(0, 1), done: make(chan struct{})}
		x.read(rec.raw())
		recordedAnswers([]*record{&rec, nil})
		x.grant(nil)
		if !x.ended() {
			t.Fatal("grant left the exchange open")
		}
		o := x.outcome()
		_ = o.text()
	})
}
