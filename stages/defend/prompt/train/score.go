package main

import (
	"bufio"
	"fmt"
	"os"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/stages/defend/prompt"
)

// scoreLines reads texts as JSON lines and writes scores as eval.py wants them, with the
// embedded weights.
func scoreLines(in, out string) error {
	src, err := os.Open(in)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(out)
	if err != nil {
		return err
	}
	defer dst.Close()
	s, err := prompt.New()
	if err != nil {
		return err
	}
	w := bufio.NewWriter(dst)
	lines := bufio.NewScanner(src)
	lines.Buffer(nil, 1<<24)
	var r prompt.Result
	for lines.Scan() {
		var t struct {
			ID   string `json:"id"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			return err
		}
		text := []byte(t.Text)
		begin := time.Now()
		s.Score(&r, text, prompt.Unknown)
		us := float64(time.Since(begin)) / 1e3
		decision := "allow"
		switch {
		case r.Score >= prompt.Block:
			decision = "block"
		case r.Score >= prompt.Review:
			decision = "review"
		}
		fmt.Fprintf(w, "{\"id\":%q,\"score\":%.9g,\"decision\":%q,\"us\":%.2f}\n", t.ID, r.Score, decision, us)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return w.Flush()
}
