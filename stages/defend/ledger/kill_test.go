package ledger

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

// envChild tells this binary to be the process that is killed; its value is the folder.
const envChild = "SLUICE_LEDGER_CHILD"

// appendUntilKilled appends from many goroutines and prints what was acknowledged.
func appendUntilKilled(dir string) {
	cfg := smallConfig()
	l, err := Open(dir, cfg, Deps{Redact: hideSecret})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	acks := make(chan Entry)
	for range 8 {
		go func() {
			for {
				e, err := l.Append(context.Background(), sample(int(rand.Uint32())))
				if err != nil {
					fmt.Println("error:", err)
					os.Exit(1)
				}
				acks <- e
			}
		}()
	}
	for e := range acks {
		fmt.Println("ack", e.Seq, e.Hash)
	}
}

// TestKill kills a process that appends, at random moments. What it had acknowledged
// must be there, once, and the journal sound.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[uint64]string{}
	for round := range 5 {
		stop := 1 + rand.IntN(500)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envChild+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for seen := 0; in.Scan(); {
			var seq uint64
			var hash string
			if _, err := fmt.Sscanf(in.Text(), "ack %d %s", &seq, &hash); err != nil {
				break // an error, or a line that the kill cut
			}
			if len(hash) != hexSum {
				break
			}
			if acked[seq] != "" {
				t.Errorf("round %d: entry %d was acknowledged twice", round, seq)
			}
			acked[seq] = hash
			if seen++; seen == stop {
				cmd.Process.Kill() // what it has printed is read on
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		anchors := make([]Anchor, 0, len(acked))
		for seq, hash := range acked {
			anchors = append(anchors, Anchor{seq, hash})
		}
		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := r.VerifyAgainst(t.Context(), anchors, nil)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range rep.Problems {
			if p.File != headName { // a torn head slot is healed by the next start
				t.Errorf("round %d: %v", round, p)
			}
		}
	}
	if len(acked) == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("%d acknowledged over 5 kills", len(acked))
}
