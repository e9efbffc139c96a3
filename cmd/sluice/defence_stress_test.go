package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/frames/client"
)

// operators decide on what they are asked about, by what it says: two of three are
// allowed or denied, and the third is left to its time. They return what they denied.
func operators(t *testing.T, g *running, stop <-chan struct{}) (denied func() []string) {
	var mu sync.Mutex
	var list []string
	var wg sync.WaitGroup
	for range 2 {
		c := g.dial()
		wg.Go(func() {
			for at := 0; ; {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				events := c.since(at)
				at += len(events)
				for _, ev := range events {
					if ev.Name != "plugin.approval.requested" {
						continue
					}
					var p struct {
						ID      string
						Request struct{ Detail string }
					}
					unmarshal(t, ev.Payload, &p)
					h := fnv.New32()
					h.Write([]byte(p.Request.Detail))
					switch h.Sum32() % 3 {
					case 0:
						_, _ = c.try("plugin.approval.resolve", obj{"id": p.ID, "decision": "allow-once"}) // the other may be first
					case 1:
						if _, err := c.try("plugin.approval.resolve", obj{"id": p.ID, "decision": "deny"}); err == nil {
							mu.Lock()
							list = append(list, strings.TrimPrefix(p.Request.Detail, "prompt: "))
							mu.Unlock()
						}
					}
				}
			}
		})
	}
	return func() []string { wg.Wait(); return list }
}

// TestDefenceUnderLoad: many clients send what is allowed, reviewed and blocked while
// operators decide or do not, sessions are aborted, clients leave and the configuration
// changes. Everyone gets one answer, what was blocked or denied never reaches the model,
// and nothing is left behind.
func TestDefenceUnderLoad(t *testing.T) {
	w := defended(t)
	w.conf["defend.approval.reviewTimeoutMs"] = 1000
	w.conf["defend.approval.maxPending"] = 12
	w.conf["schedule.queueCap"] = 64
	g := w.start()
	stop := make(chan struct{})
	denied := operators(t, g, stop)

	const clients, messages = 8, 16
	kinds := []string{"hello", "a zebra", "zebra quagga", "good day"}
	var senders sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	for i := range clients {
		c := g.dial()
		senders.Go(func() {
			var all sync.WaitGroup
			defer all.Wait()
			answered := make(chan struct{}, messages)
			for n := range messages {
				id := fmt.Sprintf("m%d-%d", i, n)
				session := fmt.Sprintf("agent:main:s%d", (i+n)%5)
				all.Go(func() {
					_, err := c.try("chat.send", obj{"sessionKey": session, "message": kinds[n%4] + " " + id, "idempotencyKey": id})
					mu.Lock()
					answers[outcomeOf(err)]++
					mu.Unlock()
					answered <- struct{}{}
				})
				if n == messages-2 && i%4 == 3 {
					<-answered
					c.Close() // with some of them under way
				}
			}
		})
	}
	senders.Go(func() { // somebody aborts
		c := g.dial()
		for n := range 40 {
			_, _ = c.try("chat.abort", obj{"sessionKey": fmt.Sprintf("agent:main:s%d", n%5)})
		}
	})
	for n := range 6 { // and somebody edits the file
		w.conf["defend.review"] = []string{"approve", "allow", "refuse"}[n%3]
		w.conf["defend.reviewThreshold"] = 35 + n
		hash := g.conf.Current().Hash
		w.writeConfig()
		eventually(t, "the new configuration is in force", func() bool { return g.conf.Current().Hash != hash })
	}
	senders.Wait()
	eventually(t, "all is at rest", func() bool {
		waiting, bytes := g.defence.broker.Waiting()
		frames, queued := g.pipe.InFlight()
		v := g.stages.schedule.View()
		return waiting == 0 && bytes == 0 && frames == 0 && queued == 0 && v.Running == 0 && v.Queued == 0
	})
	close(stop)
	forbidden := append(denied(), "zebra quagga")
	for _, call := range w.model.requests() {
		for _, m := range call.Messages {
			for _, text := range forbidden {
				if m.Role == "user" && strings.Contains(m.Content+"\n", text+"\n") || strings.Contains(m.Content, "zebra quagga") {
					t.Errorf("the model was told %q", m.Content)
				}
			}
		}
	}
	t.Logf("answers: %v; denied %d; model calls %d", answers, len(forbidden)-1, len(w.model.requests()))
	total := 0
	for what, n := range answers {
		if total += n; strings.HasPrefix(what, "other") {
			t.Errorf("%d times: %s", n, what)
		}
	}
	if total != clients*messages || answers["DEFENDER_BLOCKED"] == 0 || answers["DEFENDER_REVIEW"] == 0 || answers["ok"] == 0 {
		t.Errorf("%d answers", total)
	}
}

// outcomeOf names how a request of the test ended.
func outcomeOf(err error) string {
	var re *client.RemoteError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &re):
		for _, code := range []string{"DEFENDER_BLOCKED", "DEFENDER_REVIEW"} {
			if strings.Contains(string(re.Details), code) {
				return code
			}
		}
		if re.Code == "UNAVAILABLE" {
			return re.Code
		}
		return "other: " + err.Error()
	case strings.Contains(err.Error(), "deadline"):
		return "other: " + err.Error()
	}
	return "left"
}
