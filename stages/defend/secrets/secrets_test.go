package secrets

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/frames/framestest"
	"sluice/pipeline"
	"sluice/stages/defend"

	"github.com/go-json-experiment/json"
)

func mustScanner(tb testing.TB, literals ...[]byte) *Scanner {
	tb.Helper()
	s, err := NewScanner(literals...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestShapes finds every kind, alone and in four surroundings, and hides all of it.
func TestShapes(t *testing.T) {
	s := mustScanner(t)
	have := map[string]bool{}
	missed, total := 0, 0
	for seed := range uint64(40) {
		for _, c := range samples(seed) {
			have[c.id] = true
			for _, around := range [][2]string{{"", ""}, {"use this: ", ". Thanks"}, {`{"k":"`, `"}`}, {`a\n`, `\n`}, {"`", "`"}} {
				text := []byte(around[0] + c.text + around[1])
				found := s.Find(nil, text)
				total++
				hidden := s.Redact(nil, text)
				if len(found) == 0 || bytes.Contains(hidden, []byte(c.secret[len(c.secret)/2:])) {
					// A random body may look like a placeholder or have little entropy.
					if missed++; missed > 20 {
						t.Fatalf("%s: %q is hidden as %q", c.id, text, hidden)
					}
					continue
				}
				if seed == 0 && around[0] == "" && found[0].ID() != c.id {
					t.Errorf("%s: found as %s", c.id, found[0].ID())
				}
			}
		}
	}
	for _, sh := range shapes {
		if !have[sh.id] {
			t.Errorf("no sample of %s", sh.id)
		}
	}
	t.Logf("%d kinds, %d of %d texts missed", len(have), missed, total)
	if missed*500 > total {
		t.Errorf("%d of %d missed", missed, total)
	}
}

func TestNotSecrets(t *testing.T) {
	s := mustScanner(t)
	for _, text := range []string{
		"AKIAIOSFODNN7EXAMPLE", "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "sk-your-api-key-goes-here-1234567890",
		"password: changeme123", "export TOKEN=$MY_TOKEN", "token = os.environ['API_TOKEN_VALUE_1']",
		"postgres://user:password@localhost/db", "https://${USER}:${PASS}@host", "http://example.com:8080/a@b",
		"-----BEGIN PUBLIC KEY-----\n" + strings.Repeat("A", 64), "a -----BEGIN PRIVATE KEY----- line starts a key",
		"the secret sauce: tomatoes, basil and 3 cloves", "secret: projects/my-project/secrets/name-1", "eyJ is how JWTs start",
		"commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "uuid 123e4567-e89b-12d3-a456-426614174000",
		"sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "task-list", "Asia is a continent", "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg",
	} {
		if found := s.Find(nil, []byte(text)); len(found) > 0 {
			t.Errorf("%q: %s", text, found[0].ID())
		}
	}
}

func TestChecksums(t *testing.T) {
	s := mustScanner(t)
	m := newMaker(7)
	good := crcToken("ghp_", m.of(setAlnum, 30))
	bad := good[:39] + string(base62[(strings.IndexByte(base62, good[39])+1)%62])
	for text, sure := range map[string]bool{good: true, bad: false} {
		if found := s.Find(nil, []byte(text)); len(found) != 1 || found[0].Sure != sure {
			t.Errorf("%v, want sure=%v", found, sure)
		}
	}
	key := m.ageKey()
	if found := s.Find(nil, []byte(key)); len(found) != 1 {
		t.Error("an age key is not found")
	}
	if found := s.Find(nil, []byte(key[:len(key)-1]+"Q")); len(found) != 0 && key[len(key)-1] != 'Q' {
		t.Error("an age key with a wrong checksum is one")
	}
}

func TestLiterals(t *testing.T) {
	s := mustScanner(t, []byte("correct horse battery"), []byte("otherthing"))
	found := s.Find(nil, []byte("it is correct horse battery, not otherthin"))
	if len(found) != 1 || found[0].ID() != "known_value" || found[0].Start != 6 || found[0].End != 27 {
		t.Errorf("%+v", found)
	}
	if _, err := NewScanner([]byte("short")); err == nil {
		t.Error("a short value was taken")
	}
}

func TestDefender(t *testing.T) {
	m := newMaker(3)
	token := crcToken("ghp_", m.of(setAlnum, 30))
	for _, c := range []struct {
		name, source, outbound, inbound string
		want                            pipeline.Action
		tags                            string
	}{
		{"redact", "send", Redact, Allow, pipeline.Allow, "secret_leaves"},
		{"review", "send", Review, Allow, pipeline.Review, "secret_leaves"},
		{"block", "send", Block, Allow, pipeline.Block, "secret_leaves"},
		{"prompt", "chat.send", Block, Allow, pipeline.Allow, "secret_in_text"},
		{"prompt blocked", "chat.send", Allow, Block, pipeline.Block, "secret_in_text"},
	} {
		cfg := Default()
		cfg.Outbound, cfg.Inbound = c.outbound, c.inbound
		d, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		st, err := defend.New(defend.Default(), []defend.Defender{d}, defend.Deps{Resume: func(*pipeline.Envelope, error) {}})
		if err != nil {
			t.Fatal(err)
		}
		got := st.Evaluate(t.Context(), &defend.Action{Source: c.source, Prompts: [][]byte{[]byte("use " + token + " and " + token)}})
		if got.Action != c.want || strings.Join(got.Tags, " ") != c.tags || strings.Contains(strings.Join(got.Reasons, ""), token) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestOutbound(t *testing.T) {
	m := newMaker(4)
	token := crcToken("ghp_", m.of(setAlnum, 30))
	cfg := Default()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	v := d.Outbound([]byte("here: " + token + "!"))
	if v.Action != pipeline.Allow || string(v.Text) != "here: "+Redacted+"!" || len(v.Found) != 1 {
		t.Errorf("%q %v", v.Text, v)
	}
	if v := d.Outbound([]byte("nothing")); string(v.Text) != "nothing" || v.Found != nil {
		t.Errorf("%+v", v)
	}
	cfg.Outbound = Block
	if err := d.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if v := d.Outbound([]byte(token)); v.Action != pipeline.Block {
		t.Errorf("%v", v)
	}
	cfg.Inbound = Redact
	if d.Reload(cfg) == nil {
		t.Error("inbound redact was taken")
	}
}

// hostile are texts that are built to be slow.
func hostile() map[string]string {
	out := map[string]string{}
	for name, unit := range map[string]string{
		"jwt": "-eyJ", "pem": "-----BEGIN PRIVATE KEY-----", "pem solid": "-----BEGIN PRIVATE KEY-----AAAAAAAAAAAAAAAA", "gitlab": "-glft-aZ3", "url": "a://",
		"token": "token", "assign": "token=aZ3", "pypi": "-pypi-AgE", "ya29": "-ya29.x", "putty": "PuTTY-User-Key-File-", "bearer": "bearer ",
		"discord": " MT", "kube": "client-key-data:", "words": "secret_password_api_key_token=",
		"aws": "-AKIA", "sig": "&sig=a", "space": " ", "hook": "hooks.slack.com/services/",
	} {
		out[name] = strings.Repeat(unit, 32<<10/len(unit))
	}
	return out
}

// TestLinear holds the time of hostile texts to a bound that only a quadratic scan
// exceeds.
func TestLinear(t *testing.T) {
	s := mustScanner(t)
	for name, text := range hostile() {
		best := time.Hour
		for range 3 {
			at := time.Now()
			s.Find(nil, []byte(text))
			best = min(best, time.Since(at))
		}
		if best > 100*time.Millisecond { // some 1 ms without the race detector; a quadratic scan takes seconds
			t.Errorf("%s: %v", name, best)
		}
	}
}

// TestBenign counts what is found in benign texts of the shared corpus.
func TestBenign(t *testing.T) {
	s := mustScanner(t)
	for _, name := range []string{"train_prompts.jsonl", "train_commands.jsonl"} {
		f, err := os.Open(filepath.Join(framestest.Shared(t), "defender", name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		texts, sure, guess, bytesIn := 0, 0, 0, 0
		kinds := map[string]int{}
		in := bufio.NewScanner(f)
		in.Buffer(nil, 4<<20)
		for in.Scan() {
			var row struct{ ID, Label, Text string }
			if err := json.Unmarshal(in.Bytes(), &row, json.MatchCaseInsensitiveNames(true)); err != nil {
				t.Fatal(err)
			}
			if row.Label != "benign" {
				continue
			}
			texts++
			bytesIn += len(row.Text)
			isSure, isGuess := false, false
			for _, m := range s.Find(nil, []byte(row.Text)) {
				kinds[m.ID()]++
				isSure, isGuess = isSure || m.Sure, isGuess || !m.Sure
				if testing.Verbose() {
					t.Logf("%s %s: %.60q", row.ID, m.ID(), row.Text[m.Start:m.End])
				}
			}
			if isSure {
				sure++
			} else if isGuess {
				guess++
			}
		}
		t.Logf("%s: %d benign texts, %d bytes: sure in %d (%.3f %%), guessed in %d (%.3f %%); %v", name, texts, bytesIn,
			sure, 100*float64(sure)/float64(texts), guess, 100*float64(guess)/float64(texts), kinds)
		if 200*(sure+guess) > texts {
			t.Errorf("%d of %d benign texts", sure+guess, texts)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, c := range samples(1) {
		f.Add([]byte(c.text))
	}
	s := mustScanner(f, []byte("a literal value"))
	f.Fuzz(func(t *testing.T, text []byte) {
		at := 0
		found := s.Find(nil, text)
		for _, m := range found {
			if m.Start < at || m.End <= m.Start || m.End > len(text) {
				t.Fatalf("%+v in %d bytes after %d", m, len(text), at)
			}
			at = m.End
			_, _ = m.ID(), m.Name()
		}
		s.Redact(nil, text)
		d, err := New(Default())
		if err != nil {
			t.Fatal(err)
		}
		fs := &defend.Findings{}
		if err := d.Assess(context.Background(), &defend.Action{Source: "send", Prompts: [][]byte{text}}, fs); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzEntropy(f *testing.F) {
	f.Add([]byte("abcabc"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if e := entropy(text); e < 0 || e > 8*1024 {
			t.Errorf("%d", e)
		}
		placeholder(text)
		bech32Fits(text)
		jwtHeader(text)
		crcFits(text)
	})
}

// benchText is 4 KiB of prose, code and one token.
func benchText() []byte {
	const prose = "The gateway accepts a frame, checks who sent it and passes it on; a task that asks for more than it may is reviewed.\n" +
		"func handle(ctx context.Context, r *Request) error { if r.ID == \"\" { return errMissing }; return store.Put(ctx, r) }\n"
	text := strings.Repeat(prose, 4096/len(prose)+1)[:4096-48]
	return []byte(text + " " + crcToken("ghp_", newMaker(5).of(setAlnum, 30)) + " done")
}

func BenchmarkFind4K(b *testing.B) {
	s := mustScanner(b)
	text := benchText()
	dst := make([]Match, 0, 16)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		dst = s.Find(dst[:0], text)
	}
	if len(dst) != 1 {
		b.Fatal(dst)
	}
}

func BenchmarkHostile32K(b *testing.B) {
	s := mustScanner(b)
	for name, text := range hostile() {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			dst := make([]Match, 0, 4096)
			raw := []byte(text)
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				dst = s.Find(dst[:0], raw)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		mustScanner(b)
	}
	s := mustScanner(b)
	b.ReportMetric(float64(2*len(s.auto.next)), "table-bytes")
}
