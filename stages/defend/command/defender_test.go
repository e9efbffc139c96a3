package command

import (
	"context"
	"testing"

	"sluice/pipeline"
	"sluice/stages/defend"
)

func TestDefender(t *testing.T) {
	s, err := defend.New(defend.Default(), []defend.Defender{NewDefender(mustJudge(t))}, defend.Deps{Resume: func(*pipeline.Envelope, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want pipeline.Action
		cmds [][]byte
	}{
		{pipeline.Allow, [][]byte{[]byte("git status")}},
		{pipeline.Review, [][]byte{[]byte("git reset --hard")}},
		{pipeline.Block, [][]byte{[]byte("ls"), []byte("rm -rf /")}},
		{pipeline.Review, [][]byte{[]byte("git reset --hard"), []byte("git push -f")}},
	} {
		d := s.Evaluate(context.Background(), &defend.Action{Source: "node.invoke", Commands: c.cmds})
		if d.Action != c.want {
			t.Errorf("%q: %+v, want %v", c.cmds, d, c.want)
		}
	}
}
