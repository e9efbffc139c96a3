package persist

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/storage"
	"sluice/storage/bolt"
)

// envChild tells this binary to be the process that is killed; its value is the store.
const envChild = "SLUICE_PERSIST_CHILD"

// writeUntilKilled sends requests with effects through a pipeline over bolt and prints
// the number of each that was acknowledged.
func writeUntilKilled(path string) {
	store, err := bolt.Open(path, bolt.Default())
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	var p *pipeline.Pipeline
	s, err := New(Default(), store, func(e *pipeline.Envelope, err error) { p.Resume(e, err) }, slog.Default())
	if err != nil {
		panic(err)
	}
	first := pipelinetest.Stage{StageName: "dispatch", Fn: func(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
		e.Effects = append(e.Effects, pipeline.EffectFunc(countUp))
		return pipeline.Next, nil
	}}
	if p, err = pipeline.New(pipeline.Default(), []pipeline.Stage{first, s}, nil, nil); err == nil {
		err = p.Start(context.Background())
	}
	if err != nil {
		panic(err)
	}
	acks := make(chan string, 64)
	for range cap(acks) {
		submitOne(p, acks)
	}
	for a := range acks {
		fmt.Println(a)
		submitOne(p, acks)
	}
}

// countUp takes the next number; its key and the counter are written together.
func countUp(tx storage.Tx, e *pipeline.Envelope) error {
	n := 0
	if v, err := tx.Get(storage.Meta, "count"); err == nil {
		fmt.Sscan(string(v), &n)
	}
	n++
	if err := tx.Put(storage.Meta, "count", fmt.Append(nil, n)); err != nil {
		return err
	}
	if err := tx.Put(storage.Outbox, fmt.Sprintf("ack/%08d", n), []byte("x")); err != nil {
		return err
	}
	return e.AnswerValue(n)
}

type acker struct {
	pipelinetest.Client
	acks chan string
}

func (a *acker) Send(b frames.Buffer) bool {
	defer b.Release()
	_, payload, ok := strings.Cut(string(b.Bytes()), `"payload":`)
	if !ok {
		a.acks <- "error: " + string(b.Bytes())
		return true
	}
	a.acks <- "ack " + strings.TrimSuffix(payload, "}")
	return true
}

func submitOne(p *pipeline.Pipeline, acks chan string) {
	e := pipeline.NewEnvelope(pipeline.SourceReplay, nil)
	e.Client = &acker{acks: acks}
	e.Frame.Kind, e.Frame.ID = frames.KindRequest, []byte(`"1"`)
	if err := p.Submit(e); err != nil {
		panic(err)
	}
}

// TestKill kills a process that writes through the stage, at random moments. What it
// had acknowledged must be there, each once.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	acked := map[int]bool{}
	for round := range 4 {
		stop := 1 + rand.IntN(400)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envChild+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for seen := 0; lines.Scan(); {
			n := 0
			if _, err := fmt.Sscanf(lines.Text(), "ack %d", &n); err != nil {
				t.Errorf("round %d: the child says %q", round, lines.Text())
				break
			}
			if acked[n] {
				t.Errorf("round %d: %d was acknowledged twice", round, n)
			}
			acked[n] = true
			if seen++; seen == stop {
				cmd.Process.Kill() // what it has printed is read on
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		checkAcked(t, path, acked)
	}
	t.Logf("%d acknowledged over 4 kills", len(acked))
}

func checkAcked(t *testing.T, path string, acked map[int]bool) {
	t.Helper()
	store, err := bolt.Open(path, bolt.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	count, keys := 0, 0
	fmt.Sscan(value(t, store, "count"), &count)
	err = store.View(t.Context(), func(r storage.Reader) error {
		for n := range acked {
			if _, err := r.Get(storage.Outbox, fmt.Sprintf("ack/%08d", n)); err != nil {
				t.Errorf("%d was acknowledged: %v", n, err)
			}
		}
		return r.Scan(storage.Outbox, storage.Range{Prefix: "ack/"}, func(string, []byte) error { keys++; return nil })
	})
	if err != nil || keys != count {
		t.Errorf("%d keys, the counter says %d: %v", keys, count, err)
	}
	for n := 1; n <= count; n++ { // they survived; the next round must not repeat them
		acked[n] = true
	}
}
