//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

const reply = "Echo from fake model: hello there, this is a streamed reply with several tokens."

// TestHistorySurvivesRestart: a turn, then SIGTERM and a new process: chat.history gives it back, and a
// repeat of the message's id is answered as done instead of running again.
func TestHistorySurvivesRestart(t *testing.T) {
	g := startGateway(t, options{})
	c := dial(t, g.url())
	const key = "agent:main:restart"
	run := uuid.NewString()
	c.turn(t, key, "hello before the restart", run, nil)
	var before history
	eventually(t, "the reply in chat.history", 10*time.Second, func() bool {
		c.call(t, "chat.history", map[string]any{"sessionKey": key}, &before)
		return len(before.Messages) == 2
	})
	c.call(t, "sessions.patch", map[string]any{"key": key, "label": "kept"}, nil)
	g.stop(t, 20*time.Second)
	c.waitEvent(t, "shutdown", time.Second, func(event) bool { return true })
	g.launch(t)

	c = dial(t, g.url())
	var after history
	c.call(t, "chat.history", map[string]any{"sessionKey": key}, &after)
	if want := []string{"user: hello before the restart", "assistant: " + reply}; !slices.Equal(after.texts(), want) || !slices.Equal(before.texts(), want) {
		t.Errorf("history before the restart %q, after it %q, want %q", before.texts(), after.texts(), want)
	}
	var described struct {
		Session struct {
			Label string `json:"label"`
		} `json:"session"`
	}
	c.call(t, "sessions.describe", map[string]any{"key": key}, &described)
	if described.Session.Label != "kept" {
		t.Errorf("label after the restart = %q, want %q", described.Session.Label, "kept")
	}
	var again struct {
		Status string `json:"status"`
	}
	c.call(t, "chat.send", map[string]any{"sessionKey": key, "message": "hello before the restart", "idempotencyKey": run}, &again)
	if again.Status != "ok" && !env.real { // the real gateway keeps the ids in memory only
		t.Errorf("the same message id after a restart: status %q, want ok (an acknowledged turn does not run twice)", again.Status)
	}
	c.call(t, "chat.history", map[string]any{"sessionKey": key}, &after)
	if len(after.Messages) != 2 && !env.real {
		t.Errorf("after repeating the id the history has %d messages, want 2: %q", len(after.Messages), after.texts())
	}
}

// TestKillNine kills the server in the middle of a burst of writes from several connections, three
// times on one state folder: everything that was acknowledged is there, and nothing is there twice.
func TestKillNine(t *testing.T) {
	const (
		writers = 4
		rounds  = 3
		burst   = 400 * time.Millisecond
	)
	g := startGateway(t, options{})
	acked := map[string]bool{} // texts whose chat.inject was answered ok
	sent := map[string]bool{}
	labels := map[string]string{} // session -> the last label that was answered ok, and the one in flight
	inFlight := map[string]string{}
	keys := make([]string, writers)
	setup := dial(t, g.url())
	for w := range writers {
		keys[w] = fmt.Sprintf("agent:main:kill%d", w)
		setup.call(t, "sessions.create", map[string]any{"key": keys[w]}, nil)
	}
	for round := range rounds {
		var mu sync.Mutex
		var group sync.WaitGroup
		for w := range writers {
			c := dial(t, g.url())
			group.Add(1)
			go func() {
				defer group.Done()
				for i := 0; ; i++ {
					text := fmt.Sprintf("r%d w%d i%d", round, w, i)
					mu.Lock()
					sent[text], inFlight[keys[w]] = true, text
					mu.Unlock()
					inject, err := c.send("chat.inject", map[string]any{"sessionKey": keys[w], "message": text}, nil)
					if err != nil {
						return
					}
					label, err := c.send("sessions.patch", map[string]any{"key": keys[w], "label": text}, nil)
					if err != nil {
						return
					}
					for _, ch := range []chan response{inject, label} {
						select {
						case r := <-ch:
							mu.Lock()
							if r.OK && ch == inject {
								acked[text] = true
							} else if r.OK {
								labels[keys[w]] = text
							}
							mu.Unlock()
						case <-c.closed:
							return
						}
					}
				}
			}()
		}
		<-time.After(burst)
		g.kill()
		group.Wait()
		g.launch(t)
		if len(acked) < 10 {
			t.Fatalf("only %d acknowledged writes in round %d: the burst proves nothing", len(acked), round)
		}
		checkBurst(t, g, keys, sent, acked, labels, inFlight)
	}
	t.Logf("%d writes sent, %d acknowledged, %d kills", len(sent), len(acked), rounds)
}

func checkBurst(t *testing.T, g *gateway, keys []string, sent, acked map[string]bool, labels, inFlight map[string]string) {
	t.Helper()
	c := dial(t, g.url())
	found := map[string]int{}
	for _, key := range keys {
		for offset := 0; ; {
			var page struct {
				history
				HasMore    bool `json:"hasMore"`
				NextOffset int  `json:"nextOffset"`
			}
			c.call(t, "chat.history", map[string]any{"sessionKey": key, "limit": 500, "offset": offset}, &page)
			for _, text := range page.texts() {
				found[strings.TrimPrefix(text, "assistant: ")]++
			}
			if !page.HasMore {
				break
			}
			if page.NextOffset <= offset {
				t.Fatalf("chat.history says hasMore with nextOffset %d after offset %d", page.NextOffset, offset)
			}
			offset = page.NextOffset
		}
		var described struct {
			Session struct {
				Label string `json:"label"`
			} `json:"session"`
		}
		c.call(t, "sessions.describe", map[string]any{"key": key}, &described)
		if got := described.Session.Label; got != labels[key] && got != inFlight[key] {
			t.Errorf("%s: label %q, want the last acknowledged %q or the one in flight %q", key, got, labels[key], inFlight[key])
		}
	}
	lost, twice, foreign := 0, 0, 0
	for text := range acked {
		if found[text] == 0 {
			lost++
		}
	}
	for text, n := range found {
		if n > 1 {
			twice++
		}
		if !sent[text] {
			foreign++
		}
	}
	if lost+twice+foreign > 0 {
		t.Errorf("of %d acknowledged messages %d are lost; %d are there twice; %d were never sent", len(acked), lost, twice, foreign)
	}
}
