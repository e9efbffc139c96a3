//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/stages/defend/ledger"

	"github.com/google/uuid"
)

// blockedDetails are what the error of a block says about its evidence.
type blockedDetails struct {
	Code  string `json:"code"`
	File  string `json:"ledger"`
	Entry uint64 `json:"ledgerEntry"`
}

// TestKillNineEvidence kills the gateway in the middle of a stream of blocked and reviewed requests, some
// times on one state folder: every block that was answered is in the ledger and in quarantine, the
// ledger verifies, and what waited for an operator is cancelled by the restart and has not run.
func TestKillNineEvidence(t *testing.T) {
	if env.real {
		t.Log("the real gateway keeps no ledger")
		return
	}
	const (
		writers = 4
		rounds  = 3
	)
	g := startGateway(t, options{config: guarded()})
	answered := map[uint64]string{} // entry -> file, of blocks that were answered
	reviewed := map[string]bool{}   // approvals that an operator has seen waiting
	for round := range rounds {
		var mu sync.Mutex
		var group sync.WaitGroup
		operator := dial(t, g.url())
		for w := range writers {
			c := dial(t, g.url())
			group.Go(func() {
				for i := 0; ; i++ {
					message := forbidden
					if i%10 == 5 { // waits for somebody: its answer is the end of the connection
						message = suspicious
					}
					ch, err := c.send("chat.send", map[string]any{"sessionKey": fmt.Sprintf("agent:main:k%d", w), "message": message, "idempotencyKey": uuid.NewString()}, nil)
					if err != nil {
						return
					}
					if message == suspicious {
						continue
					}
					select {
					case r := <-ch:
						var d blockedDetails
						if r.OK || r.Error == nil || r.details(&d) != nil || d.Code != "DEFENDER_BLOCKED" || d.Entry == 0 || d.File == "" {
							t.Errorf("a forbidden message was answered %s %+v", r.Payload, r.Error)
							return
						}
						mu.Lock()
						answered[d.Entry] = d.File
						mu.Unlock()
					case <-c.closed:
						return
					}
				}
			})
		}
		waiting(t, operator)
		<-time.After(150*time.Millisecond + time.Duration(rand.IntN(200))*time.Millisecond)
		var list []approval
		operator.call(t, "plugin.approval.list", map[string]any{}, &list)
		for _, a := range list {
			reviewed[a.ID] = true
		}
		g.kill()
		group.Wait()
		g.launch(t)
		if len(answered) < 10*(round+1) || len(reviewed) == 0 {
			t.Fatalf("only %d blocks and %d reviews in round %d: the stream proves nothing", len(answered), len(reviewed), round)
		}
		checkEvidence(t, g, answered, reviewed)
	}
	t.Logf("%d blocks answered, %d approvals seen waiting, %d kills", len(answered), len(reviewed), rounds)
}

func checkEvidence(t *testing.T, g *gateway, answered map[uint64]string, reviewed map[string]bool) {
	t.Helper()
	entries := map[uint64]ledger.Entry{}
	cancelled := map[string]bool{}
	for _, e := range journal(t, g, ledger.Filter{}) {
		entries[e.Seq] = e
		if e.Kind == ledger.KindApproval && e.Action == "cancelled" && slices.Contains(e.Reasons, "gateway-restart") {
			cancelled[e.RequestID] = true
		}
	}
	for seq, file := range answered {
		if e := entries[seq]; e.Action != "block" || e.File != file {
			t.Errorf("block %d was answered with the file %s; the ledger has %+v", seq, file, e)
		}
		if found, _ := filepath.Glob(filepath.Join(g.state, "quarantine", file)); len(found) != 1 {
			t.Errorf("%s is not in quarantine", file)
		}
	}
	for id := range reviewed {
		if !cancelled[id] {
			t.Errorf("the ledger does not say that approval %s ended with the gateway", id)
		}
	}
	c := dial(t, g.url())
	var left []approval
	c.call(t, "plugin.approval.list", map[string]any{}, &left)
	if len(left) > 0 {
		t.Errorf("%d approvals wait although their senders are gone", len(left))
	}
	for id := range reviewed {
		var a struct {
			Approval struct {
				Status string `json:"status"`
				Reason string `json:"reason"`
			} `json:"approval"`
		}
		c.call(t, "approval.get", map[string]any{"id": id}, &a)
		if a.Approval.Status != "cancelled" || a.Approval.Reason != "gateway-restart" {
			t.Errorf("approval %s is %+v after the restart", id, a.Approval)
		}
		break
	}
	for w := range 4 {
		if texts := c.texts(t, fmt.Sprintf("agent:main:k%d", w)); len(texts) > 0 {
			t.Errorf("something ran: %s", strings.Join(texts, "; "))
		}
	}
}
