package command

import (
	"bufio"
	"fmt"
	"os"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
)

// TestDump writes decisions for exploration: SLUICE_DUMP=out SLUICE_IN=in.
func TestDump(t *testing.T) {
	out := os.Getenv("SLUICE_DUMP")
	if out == "" {
		t.Skip()
	}
	in := os.Getenv("SLUICE_IN")
	if in == "" {
		in = "/work/shared/defender/train_commands.jsonl"
	}
	f, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := os.Create(out)
	defer o.Close()
	w := bufio.NewWriter(o)
	defer w.Flush()
	j, err := New(Default())
	if err != nil {
		t.Fatal(err)
	}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	var r Result
	for sc.Scan() {
		var row struct {
			ID   string `json:"id"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(sc.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		b := []byte(row.Text)
		j.Assess(&r, b)
		us := 1e9
		for range 5 {
			start := time.Now()
			j.Assess(&r, b)
			us = min(us, float64(time.Since(start).Nanoseconds())/1000)
		}
		why := []string{}
		for _, f := range r.Findings {
			d := j.set.Describe(f.Rule)
			why = append(why, fmt.Sprintf("%v %.0f %s [%s] (%s)", f.Decision, f.Score, f.Tag, f.Reason, d))
		}
		line, _ := json.Marshal(map[string]any{"id": row.ID, "score": r.Score, "decision": r.Decision.String(), "us": us, "why": why})
		w.Write(line)
		w.WriteByte('\n')
	}
}
