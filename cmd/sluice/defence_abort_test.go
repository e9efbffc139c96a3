package main

import (
	"testing"
	"time"
)

// parked sends a message that the defender wants reviewed and returns its answer to be
// and its approval's id.
func parked(owner, sender *conn, session, id string) (answer chan error, approval string) {
	mark := owner.mark()
	answer = make(chan error, 1)
	go func() {
		_, err := sender.try("chat.send", obj{"sessionKey": session, "message": "draw a zebra " + id, "idempotencyKey": id})
		answer <- err
	}()
	approval, _ = approvalOf(owner, mark)
	return answer, approval
}

// TestAbortEndsReviews: who aborts, resets or deletes a session waits for no operator, and
// nothing of what waited runs when one says yes after all.
func TestAbortEndsReviews(t *testing.T) {
	w := defended(t)
	g := w.start()
	owner, sender := g.dial(), g.dial()
	for i, end := range []struct {
		method string
		params obj
	}{
		{"chat.abort", obj{"sessionKey": key}},
		{"chat.abort", obj{"sessionKey": key, "runId": "r1"}},
		{"sessions.abort", obj{"key": key}},
		{"sessions.reset", obj{"key": key}},
	} {
		id := "r" + string(rune('0'+i))
		answer, approval := parked(owner, sender, key, id)
		owner.call(end.method, end.params, nil)
		select {
		case err := <-answer:
			wantRefusal(t, err, "DEFENDER_REVIEW", "aborted")
		case <-time.After(5 * time.Second):
			t.Fatalf("%s left the review waiting", end.method)
		}
		if _, err := owner.try("plugin.approval.resolve", obj{"id": approval, "decision": "allow-once"}); err == nil {
			t.Errorf("after %s it can still be allowed", end.method)
		}
	}
	owner.send(key, "after", "hello")
	owner.end(0, "after")
	if n := len(w.model.requests()); n != 1 {
		t.Errorf("%d model calls, want the last message's alone", n)
	}
	const other = "agent:main:other"
	owner.call("sessions.create", obj{"key": other}, nil)
	answer, _ := parked(owner, sender, other, "d1")
	eventually(t, "the session with a review can be deleted", func() bool {
		_, err := owner.try("sessions.delete", obj{"key": other})
		return err == nil
	})
	wantRefusal(t, <-answer, "DEFENDER_REVIEW", "aborted")
}

// TestInterruptEndsReviews: a message that interrupts makes those before it needless, also
// one that waits for an operator.
func TestInterruptEndsReviews(t *testing.T) {
	w := defended(t)
	g := w.start()
	owner, sender := g.dial(), g.dial()
	answer, _ := parked(owner, sender, key, "old")
	owner.send(key, "new", "hello", "queueMode", "interrupt")
	owner.end(0, "new")
	select {
	case err := <-answer:
		wantRefusal(t, err, "DEFENDER_REVIEW", "aborted")
	case <-time.After(5 * time.Second):
		t.Fatal("the review is left waiting")
	}
}

// TestGrantDoesNotAnswerForDoubt: a command that is allowed always is asked about again
// once somebody else's words came into its session.
func TestGrantDoesNotAnswerForDoubt(t *testing.T) {
	w := defended(t)
	w.conf["hooks.enabled"], w.conf["hooks.token"], w.conf["hooks.allowRequestSessionKey"] = true, "the-token-of-the-hooks", true
	g := w.start()
	owner, asker := g.dial(), g.dial()
	ask := func() chan error {
		done := make(chan error, 1)
		go func() {
			_, err := asker.try("exec.approval.request", obj{"command": "ls -la", "commandArgv": []string{"ls", "-la"}, "cwd": "/tmp",
				"agentId": "main", "sessionKey": "agent:main:main", "host": "gateway"})
			if done <- err; err != nil {
				t.Log(err)
			}
		}()
		return done
	}
	resolve := func(mark int, decision string) {
		ev := owner.until(mark, "exec.approval.requested", func(e event) bool { return e.Name == "exec.approval.requested" })
		var p struct{ ID string }
		unmarshal(t, ev.Payload, &p)
		owner.call("exec.approval.resolve", obj{"id": p.ID, "decision": decision}, nil)
	}
	mark := owner.mark()
	first := ask()
	resolve(mark, "allow-always")
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if err := <-ask(); err != nil { // by the grant
		t.Fatal(err)
	}
	for _, in := range ingresses {
		if in.name == "hook" {
			in.send(t, g, "wake", `{"text":"a stranger writes","mode":"next-heartbeat"}`)
		}
	}
	mark = owner.mark()
	third := ask()
	resolve(mark, "deny")
	if err := <-third; err != nil {
		t.Fatal(err)
	}
}
