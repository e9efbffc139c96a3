package adapter

import (
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mustCases reads the cases of a parity file.
func mustCases[T any](t *testing.T, name string) []T {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []T `json:"cases"`
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Cases) == 0 {
		t.Fatalf("%s: %v, %d cases", name, err, len(file.Cases))
	}
	return file.Cases
}

func TestParityChunking(t *testing.T) {
	for _, c := range mustCases[struct {
		Text         string   `json:"text"`
		Limit        int      `json:"limit"`
		Mode         Mode     `json:"mode"`
		MinChunks    int      `json:"minChunks"`
		MaxCharsEach int      `json:"maxCharsEach"`
		Chunks       []string `json:"chunks"`
	}](t, "chunking.json") {
		got := Chunk(c.Text, c.Limit, c.Mode)
		if len(got) < c.MinChunks || c.Chunks != nil && strings.Join(got, "|") != strings.Join(c.Chunks, "|") {
			t.Errorf("%q by %d: %q", c.Text, c.Limit, got)
		}
		for _, g := range got {
			if c.MaxCharsEach > 0 && utf8.RuneCountInString(g) > c.MaxCharsEach {
				t.Errorf("%q is longer than %d", g, c.MaxCharsEach)
			}
		}
	}
}

func TestParityCapabilities(t *testing.T) {
	type want struct {
		Name             string `json:"name"`
		Edit             bool   `json:"edit"`
		Delete           bool   `json:"delete"`
		Reactions        bool   `json:"reactions"`
		Threads          bool   `json:"threads"`
		Polls            bool   `json:"polls"`
		Media            bool   `json:"media"`
		DefaultDMPairing bool   `json:"defaultDmPairing"`
	}
	got := Catalog()
	cases := mustCases[want](t, "channel-capabilities.json")
	if len(got) != len(cases) {
		t.Fatalf("%d channels, want %d", len(got), len(cases))
	}
	for i, c := range cases {
		g := got[i]
		if (want{g.Name, g.Edit, g.Delete, g.Reactions, g.Threads, g.Polls, g.Media, g.DefaultDMPairing}) != c {
			t.Errorf("%d: %+v, want %+v", i, g, c)
		}
		if Describe(c.Name) != g {
			t.Errorf("Describe(%q) differs from Catalog", c.Name)
		}
	}
	if d := Describe("discord"); d.TextLimit != 2000 || Describe("slack").TextLimit != 4000 || Describe("webchat").ChunkMode != ModeNewline {
		t.Errorf("limits: %+v", d)
	}
	if d := Describe("something"); d.Name != "something" || !d.Media || d.Edit {
		t.Errorf("an unlisted channel: %+v", d)
	}
}

func TestParityAlias(t *testing.T) {
	for _, c := range mustCases[struct {
		In  string  `json:"in"`
		Out *string `json:"out"`
	}](t, "channel-alias.json") {
		want := ""
		if c.Out != nil {
			want = *c.Out
		}
		if got := NormalizeChannel(c.In); got != want {
			t.Errorf("%q: %q, want %q", c.In, got, want)
		}
	}
}

func TestParityBackoff(t *testing.T) {
	cfg := RetryConfig{InitialMs: 1000, Factor: 2, MaxMs: 30_000}
	for _, c := range mustCases[struct {
		Attempt int   `json:"attempt"`
		DelayMs int64 `json:"delayMs"`
	}](t, "retry-backoff.json") {
		if got := cfg.Delay(c.Attempt, 0.5); got != time.Duration(c.DelayMs)*time.Millisecond {
			t.Errorf("attempt %d: %s, want %d ms", c.Attempt, got, c.DelayMs)
		}
	}
	cfg.Jitter = 0.5
	if a, b := cfg.Delay(3, 0), cfg.Delay(3, 0.999); a != 4*time.Second || b < 2*time.Second || b > 2010*time.Millisecond {
		t.Errorf("jitter: %s to %s, want 2 s to 4 s", b, a)
	}
}

func TestChunks(t *testing.T) {
	flag := "\U0001F1E9\U0001F1EA" // a flag is two characters that must stay together
	family := "\U0001F468\u200d\U0001F469\u200d\U0001F467"
	for _, c := range []struct {
		name, text string
		limit      int
		want       []string
	}{
		{"line feed before blank", "aaa bbb\nccc ddd", 10, []string{"aaa bbb", "ccc ddd"}},
		{"hard", "abcdefghij", 4, []string{"abcd", "efgh", "ij"}},
		{"exactly", "abcd efgh", 4, []string{"abcd", "efgh"}},
		{"flags", strings.Repeat(flag, 3), 3, []string{flag, flag, flag}},
		{"family", "ab" + family, 5, []string{"ab", family}},
		{"combining", "aaae\u0301", 4, []string{"aaa", "e\u0301"}},
		{"a cluster longer than a message", strings.Repeat("\u0301", 6), 4, []string{strings.Repeat("\u0301", 4), strings.Repeat("\u0301", 2)}},
		{"only blanks", " \n\t ", 2, nil},
		{"fence kept whole", "before it all\n```go\na := 1\n```\nafter", 26, []string{"before it all", "```go\na := 1\n```\nafter"}},
		{"fence closed and opened", "```go\n1234567890\n1234567890\n1234567890\n```", 36,
			[]string{"```go\n1234567890\n1234567890\n```", "```go\n1234567890\n```"}},
		{"not a fence", "``x``` and more words that follow it here", 20, []string{"``x``` and more", "words that follow it", "here"}},
	} {
		got := Chunk(c.text, c.limit, ModeLength)
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	text := "one\n\n```\na\n\nb\n```\n \ntwo\n\n\n"
	if got := Chunk(text, 100, ModeNewline); strings.Join(got, "|") != "one|```\na\n\nb\n```|two" {
		t.Errorf("paragraphs: %q", got)
	}
}

// TestChunkLongFence: a fence of a megabyte is cut in linear time.
func TestChunkLongFence(t *testing.T) {
	chunks := Chunk("```\n"+strings.Repeat("0123456789 abcdef\n", 1<<16)+"```\n", 4000, ModeLength)
	for i, c := range chunks {
		if !strings.HasPrefix(c, "```\n") || !strings.HasSuffix(c, "\n```") || utf8.RuneCountInString(c) > 4000 {
			t.Fatalf("chunk %d of %d: %.20q … %q", i, len(chunks), c, c[len(c)-10:])
		}
	}
}

func FuzzChunk(f *testing.F) {
	f.Add("para one\n\n```go\ncode\n```\npara two "+strings.Repeat("x", 50), 20, true)
	f.Add("~~~\n```\n~~~~\r\n\u0301\U0001F1E9", 1, false)
	f.Add("\xff\xfe```", 40, false)
	f.Fuzz(func(t *testing.T, text string, limit int, newline bool) {
		limit = 1 + max(limit, -limit)&0x3f
		if len(text) > 1<<12 || limit < 1 {
			return
		}
		mode := ModeLength
		if newline {
			mode = ModeNewline
		}
		fenced := strings.Contains(text, "```") || strings.Contains(text, "~~~")
		var kept strings.Builder
		for _, c := range Chunk(text, limit, mode) {
			if n := utf8.RuneCountInString(c); n > limit || n == 0 {
				t.Fatalf("a chunk of %d characters, limit %d: %q", n, limit, c)
			}
			kept.WriteString(c)
		}
		squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if !fenced && squeeze(kept.String()) != squeeze(text) {
			t.Fatalf("text was lost: %q of %q", kept.String(), text)
		}
		if fenced && len(squeeze(kept.String())) < len(squeeze(text)) {
			t.Fatalf("text was lost: %q of %q", kept.String(), text)
		}
	})
}
