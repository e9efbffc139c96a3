package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden pages")

var made = time.Date(2026, 11, 23, 6, 30, 0, 0, time.UTC)

// TestGolden makes testdata/X.html from testdata/X.*.json.
func TestGolden(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			files, err := filepath.Glob("testdata/" + name + ".*.json")
			if err != nil || len(files) == 0 {
				t.Fatal("no input", err)
			}
			var inputs []Input
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				inputs = append(inputs, Input{f, b})
			}
			var got bytes.Buffer
			if err := Write(&got, inputs, made); err != nil {
				t.Fatal(err)
			}
			golden := "testdata/" + name + ".html"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs (%v); look at it and run with -update", golden, err)
			}
			checkPage(t, got.String())
		})
	}
}

// checkPage: every drawing is well-formed, has no broken number, and nothing is loaded.
func checkPage(t *testing.T, page string) {
	t.Helper()
	for _, bad := range []string{"NaN", "Inf", "http:", "https:", "<script", "<b>"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, part := range strings.SplitAfter(page, "</svg>") {
		i := strings.Index(part, "<svg")
		if i < 0 {
			continue
		}
		d := xml.NewDecoder(strings.NewReader(part[i:]))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, part[i:])
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for _, in := range []string{"", "{}", "[]", `{"version":2}`, `{"version":1,"runs":[null]}`, `{"version":1,"runs":3}`, `{"version":1,"total":7}`} {
		if err := Write(io.Discard, []Input{{"x.json", []byte(in)}}, made); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
	if err := Write(io.Discard, nil, made); err == nil {
		t.Error("no input was accepted")
	}
}

func FuzzWrite(f *testing.F) {
	// Small seeds: the engine shrinks what it finds, and large ones take it minutes.
	f.Add([]byte(`{"version":1,"name":"n","total":{"sent":1,"latency":{"n":1,"p50Ms":1}},"series":[{"t":1,"perSecond":5},{"t":2}]}`))
	f.Add([]byte(`{"version":1,"rows":[{"scenario":"s","target":"t","metric":"cpu","median":1}],"runs":[{"name":"t s"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		if Write(&out, []Input{{"x.json", b}}, made) == nil && strings.Contains(out.String(), "<script") {
			t.Fatal("a script came in")
		}
	})
}
