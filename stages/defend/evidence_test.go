package defend_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// judgeBy blocks, reviews and allows by what is said, and is not Quick.
var judgeBy = fakeDefender(func(_ context.Context, a *defend.Action, f *defend.Findings) error {
	for _, p := range a.Prompts {
		switch {
		case strings.Contains(string(p), "block"):
			f.Hit(90, "bad", "it is bad")
		case strings.Contains(string(p), "review"):
			f.Hit(50, "odd", "it is odd")
		}
	}
	return nil
})

// commandsReviewed reviews every command.
var commandsReviewed = fakeDefender(func(_ context.Context, a *defend.Action, f *defend.Findings) error {
	if len(a.Commands) > 0 {
		f.Hit(50, "odd", "it is a command")
	}
	return nil
})

// TestHungDisk: a disk that hangs delays whoever is blocked, by the time that judging may
// take, and nobody else; what it holds up is written in the end (law 9, law 10).
func TestHungDisk(t *testing.T) {
	g := mustGateway(t, func(c *defend.Config) {
		c.Concurrency, c.Queue, c.TimeoutMs = 1, 4, 300
	}, judgeBy)
	g.disk.Lock()
	begin := time.Now()
	for range 3 { // as many as would take every slot
		g.submit("chat.send", `{"message":"block me"}`)
	}
	time.Sleep(50 * time.Millisecond)
	if r := g.call("chat.send", `{"message":"fine"}`); r.err != nil || time.Since(begin) > 250*time.Millisecond {
		t.Errorf("another frame waited %s: %v", time.Since(begin), r.err)
	}
	for range 3 {
		r := g.wait()
		d := r.err.Details.(defend.Refusal)
		if d.Code != defend.CodeBlocked || d.Entry != 0 || r.decision.Action != pipeline.Block {
			t.Errorf("%+v", d)
		}
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the answers took %s", took)
	}
	if !strings.Contains(g.stage.Health(), "the disk took longer") {
		t.Errorf("health: %q", g.stage.Health())
	}
	g.disk.Unlock()
	for range 3 {
		select {
		case r := <-g.records:
			if string(r.Content) != "block me\n" { // of a frame that was answered long ago
				t.Errorf("the ledger has %q", r.Content)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("a decision was never written")
		}
	}
	if n := g.worked.Load(); n != 1 {
		t.Errorf("%d frames worked", n)
	}
	for range 100 {
		if g.stage.Health() == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("health: %q", g.stage.Health())
}

// TestNamesHideSecrets: ids, sessions and addresses are the client's to choose; a secret in
// one reaches no event, no file and no file's name.
func TestNamesHideSecrets(t *testing.T) {
	g := mustGateway(t, nil, judgeBy)
	secret := "ghp_" + strings.Repeat("Ab3dE9", 6)
	g.submitAs(secret, "send", `{"message":"block me","to":"`+secret+`","channel":"`+secret+`","accountId":"`+secret+`","threadId":"`+secret+`","sessionKey":"`+secret+`"}`)
	if r := g.wait(); r.err == nil {
		t.Fatal(r.err)
	}
	for _, ev := range g.events.take() {
		if strings.Contains(string(ev.Payload), secret) {
			t.Errorf("the event: %s", ev.Payload)
		}
	}
	files, err := os.ReadDir(g.dir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	body, err := os.ReadFile(g.dir + "/" + files[0].Name())
	if err != nil || strings.Contains(string(body), secret) || strings.Contains(files[0].Name(), secret) {
		t.Errorf("%s: %s %v", files[0].Name(), body, err)
	}
}
