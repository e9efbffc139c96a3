package policy

import (
	"testing"
	"time"
)

// TestTaintsOutliveTheProcess: a restart is no turn of the owner's.
func TestTaintsOutliveTheProcess(t *testing.T) {
	state, c := newMemory(), &clock{now: time.UnixMilli(1_700_000_000_000)}
	deps := Deps{State: state, Now: c.Now}
	p := mustNew(t, Default(), deps)
	p.Taint("s", "web")
	p.Taint("done", "web")
	p.BeginTurn("done")
	if err := p.SaveTaints(t.Context()); err != nil {
		t.Fatal(err)
	}
	state.m["defend.policy.bundle"] = nil
	before := string(state.m[taintKey])
	delete(state.m, taintKey)
	if err := p.SaveTaints(t.Context()); err != nil || state.m[taintKey] != nil {
		t.Error("what had not changed was written again")
	}
	state.m[taintKey] = []byte(before)
	again := mustNew(t, Default(), deps)
	if err := again.RestoreTaints(t.Context()); err != nil {
		t.Fatal(err)
	}
	for session, want := range map[string]string{"s": "review 0 tainted_turn", "done": "allow 0"} {
		if got := judge(t, again, call(session, "nodes", "")); got != want && got[:6] != want[:6] {
			t.Errorf("%s: %s, want %s", session, got, want)
		}
	}
	again.BeginTurn("s")
	if err := again.SaveTaints(t.Context()); err != nil || string(state.m[taintKey]) != "[]" {
		t.Errorf("kept %s (%v)", state.m[taintKey], err)
	}
	// What cannot be read taints all; what is too old taints none.
	state.m[taintKey] = []byte("[{")
	broken := mustNew(t, Default(), deps)
	if err := broken.RestoreTaints(t.Context()); err == nil || judge(t, broken, call("x", "nodes", ""))[:6] != "review" {
		t.Error("damage was taken for innocence")
	}
	state.m[taintKey] = []byte(before)
	c.advance(25 * time.Hour)
	old := mustNew(t, Default(), deps)
	if err := old.RestoreTaints(t.Context()); err != nil || old.Tainted() != 0 {
		t.Errorf("%d tainted: %v", old.Tainted(), err)
	}
}
