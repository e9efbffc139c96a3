// Command train makes the tables of the prompt defender from labelled texts: the fold
// table, the packed lexicon and the weights. It is deterministic bit for bit: fixed
// seeds, and every model is trained by one goroutine.
//
//	go run ./stages/defend/prompt/train -tables        fold.bin and lexicon.bin
//	go run ./stages/defend/prompt/train -cv -card docs/models/prompt.md
//	                                                   leave-one-source-out figures
//	go run ./stages/defend/prompt/train                weights.bin
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	flag.StringVar(&o.data, "data", "../shared/defender/train_prompts.jsonl", "labelled texts")
	flag.StringVar(&o.dir, "dir", "stages/defend/prompt", "the package's folder")
	flag.BoolVar(&o.tables, "tables", false, "make fold.bin and lexicon.bin only")
	flag.BoolVar(&o.cv, "cv", false, "cross-validate by source instead of writing weights")
	flag.StringVar(&o.out, "out", "", "with -cv: write held-out scores as JSON lines here")
	flag.IntVar(&o.epochs, "epochs", defaultEpochs, "passes over the data")
	flag.IntVar(&o.workers, "workers", 2, "folds trained at a time")
	flag.StringVar(&o.card, "card", "", "with -cv: put the figures into this model card, between its marks")
	flag.StringVar(&o.score, "score", "", "score these JSON lines with the embedded weights and write them to -out")
	flag.Parse()
	if o.score != "" {
		return scoreLines(o.score, o.out)
	}
	if o.tables {
		return makeTables(o)
	}
	docs, err := load(o.data)
	if err != nil {
		return err
	}
	if o.cv {
		return crossValidate(o, docs)
	}
	return trainAll(o, docs)
}

type options struct {
	data, dir, out, score, card string
	tables, cv                  bool
	epochs, workers             int
}

// defaultEpochs: more does not change the figures.
const defaultEpochs = 8
