package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	full   = flag.Bool("full", false, "retrain on all data and compare with the weights in the repository")
	data   = flag.String("data", "../../../../../shared/defender/train_prompts.jsonl", "labelled texts, for -full")
	update = flag.Bool("update", false, "write testdata/small.sha256")
)

// TestSmall trains on every tenth text of the grammars: the same bits every time.
func TestSmall(t *testing.T) {
	var docs []*doc
	for i, d := range grammarDocs() {
		if i%10 == 0 {
			docs = append(docs, d)
		}
	}
	extract(docs)
	balance(docs)
	sum := sha256.Sum256(pack(fit(docs, 2).w, 1, 2))
	got := hex.EncodeToString(sum[:]) + "\n"
	path := filepath.Join("testdata", "small.sha256")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
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
		t.Errorf("training gives other weights than before: %s; with -update if the features or grammars changed", got)
	}
}

// TestFull retrains all and compares with what is embedded.
func TestFull(t *testing.T) {
	if !*full {
		t.Skip("run with -full: it trains for a minute and needs the data")
	}
	docs, err := load(*data)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "model"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := trainAll(options{dir: dir, epochs: defaultEpochs, workers: 2}, docs); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "model", "weights.bin"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("..", "model", "weights.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(got) != sha256.Sum256(want) {
		t.Error("weights.bin is not what the data and this code make: go generate ./stages/defend/prompt")
	}
}

func TestGrammar(t *testing.T) {
	a, b := grammarDocs(), grammarDocs()
	if len(a) != len(b) || len(a) < 1000 {
		t.Fatalf("%d and %d texts", len(a), len(b))
	}
	for i := range a {
		if a[i].text != b[i].text {
			t.Fatalf("text %d differs between two runs", i)
		}
		if a[i].text == "" {
			t.Errorf("%s is empty", a[i].id)
		}
	}
}
