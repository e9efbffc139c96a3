package normalize

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRun(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain text", "plain text"},
		{"Caf\u00e9 na\u00efve \u0141\u00f3d\u017a", "Cafe naive lodz"},
		{"\uff29\uff47\uff4e\uff4f\uff52\uff45", "Ignore"},
		{"\U0001D422\U0001D420\U0001D427\U0001D428\U0001D42B\U0001D41E", "ignore"},
		{"i\u200bg\u200dn\u00ado\ufeffre\u202e", "ignore"},
		{"\U000E0069\U000E0067\U000E006E", "ign"},
		{"ign\u043er\u0435", "ignore"}, // Cyrillic o and e
		{"\u0440\u0430\u0443 now, it is all Latin", "pay now, it is all Latin"},
		{"\u043f\u0440\u0438\u0432\u0435\u0442", "\u043f\u0440\u0438\u0432\u0435\u0442"}, // Russian stays
		{"&#105;&#x67;&lt;b&gt;", "ig<b>"},
		{`\u0069\x67\u{6e}\n\ud835\udc28`, "ign\no"},
		{"ignore%20all%C3%A9", "ignore alle"},
		{"100%", "100%"},
		{"\ufb01le", "file"},
	} {
		var b Buffer
		if got := string(b.Run([]byte(c.in))); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestSource(t *testing.T) {
	in := strings.Repeat("&#105;\u200b\u043ex\uff49 ", 200)
	var b Buffer
	out := b.Run([]byte(in))
	last := 0
	for i := range out {
		at := b.Source(i)
		if at < last || at > len(in) {
			t.Fatalf("offset %d is %d, after %d, of %d", i, at, last, len(in))
		}
		last = at
	}
	if end := b.Source(len(out) - 1); len(in)-end > 64 {
		t.Errorf("the last byte is at %d of %d", end, len(in))
	}
}

func FuzzRun(f *testing.F) {
	f.Add([]byte("Caf\u00e9 &#105; \\u0041 %41 ign\u043ere \U000E0069 \ufe01\ufe02\ufe03\ufe04"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var b Buffer
		out := b.Run(in)
		if len(out) > 2*len(in)+16 {
			t.Errorf("%d bytes became %d", len(in), len(out))
		}
		if !b.Plain() && !utf8.Valid(out) {
			t.Errorf("%q is no UTF-8", out)
		}
		for i := range out {
			if at := b.Source(i); at < 0 || at > len(in) {
				t.Fatalf("offset %d is %d of %d", i, at, len(in))
			}
		}
	})
}

// FuzzNormalize: any bytes give text of bounded length, the same every time, and offsets
// that lie in the source and never fall.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"plain text", "&#105;&#x67;&lt;b&gt;", "ignore%20all%C3%A9", "\\u0069\\x67", "і\u200bg\u00ad\U000E0041", "\xff\xe2\x80", "ａｂｃ"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var b, again Buffer
		out := string(b.Run(src))
		if len(out) > 4*len(src)+16 {
			t.Errorf("%d bytes became %d", len(src), len(out))
		}
		if got := string(again.Run(src)); got != out {
			t.Errorf("%q, then %q", out, got)
		}
		for at, last := 0, 0; at <= len(out); at++ {
			s := b.Source(at)
			if s < last || s > len(src) {
				t.Fatalf("offset %d is at %d of %d, after %d", at, s, len(src), last)
			}
			last = s
		}
	})
}
