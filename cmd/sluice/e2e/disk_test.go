//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/stages/defend/ledger"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// onSmallDisk is the command that runs a server with its state folder on a tmpfs of its own, in a mount
// namespace of its own: the mount is seen by that process alone and goes with it. $0 is the state folder.
func onSmallDisk() []string {
	unshare := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--user", "--map-root-user")
	}
	return append(unshare, "sh", "-ec", `cp "$0/sluice.json5" "$0.json5"; mount -t tmpfs -o size=12m tmpfs "$0"; cp "$0.json5" "$0/sluice.json5"; exec "$@"`)
}

// readyz returns the probe's status and what it names as failing.
func readyz(tb testing.TB, g *gateway) (status int, failing []string) {
	tb.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", g.port))
	if err != nil {
		tb.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	var body struct {
		Failing []string `json:"failing"`
	}
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(b, &body)
	}
	if err != nil {
		tb.Fatalf("readyz: %v in %s", err, b)
	}
	return resp.StatusCode, body.Failing
}

func healthWarnings(tb testing.TB, c *client) string {
	tb.Helper()
	var h struct {
		Warnings []string `json:"warnings"`
	}
	c.call(tb, "health", map[string]any{}, &h)
	return strings.Join(h.Warnings, "\n")
}

// TestFullDisk fills the disk under a running gateway: a block stays a block and says that its evidence
// could not be written, a suspicious message is not let through for want of an approval, health and
// readyz name the ledger; and when there is room again all is well without a restart and without
// another attack, and the ledger says what is missing.
func TestFullDisk(t *testing.T) {
	if env.real {
		t.Log("about sluice's ledger")
		return
	}
	if leftOut(t, "E2E_NO_TMPFS") { // where neither root nor user namespaces may mount
		return
	}
	g := startGateway(t, options{config: guarded(), wrap: onSmallDisk()})
	disk := filepath.Join("/proc", fmt.Sprint(g.cmd.Process.Pid), "root", g.state) // as the server sees it
	c := dial(t, g.url())
	send := func(message string) response {
		t.Helper()
		ch, err := c.send("chat.send", map[string]any{"sessionKey": "agent:main:disk", "message": message, "idempotencyKey": uuid.NewString()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-ch:
			return r
		case <-time.After(20 * time.Second):
			t.Fatalf("%q: no answer", message)
			return response{}
		}
	}
	blocked := func() (d blockedDetails, message string) {
		t.Helper()
		r := send(forbidden)
		if r.OK || r.Error.Code != "FORBIDDEN" || r.details(&d) != nil || d.Code != "DEFENDER_BLOCKED" {
			t.Fatalf("a forbidden message was answered %s %+v", r.Payload, r.Error)
		}
		return d, r.Error.Message
	}
	if d, _ := blocked(); d.Entry == 0 || d.File == "" {
		t.Fatalf("before: %+v", d)
	}
	fill(t, filepath.Join(disk, "filler"))

	// The ledger still has the rest of the block of the disk that its end lies in.
	for n := 0; ; n++ {
		d, message := blocked()
		if d.File != "" || n > 30 {
			t.Fatalf("on a full disk: %+v", d)
		}
		if d.Entry == 0 {
			if !strings.Contains(message, "its ledger entry could not be written") {
				t.Errorf("on a full disk: %q", message)
			}
			break
		}
	}
	if r := send(suspicious); r.OK || r.Error.Code != "UNAVAILABLE" {
		t.Errorf("a suspicious message on a full disk was answered %s %+v", r.Payload, r.Error)
	}
	if status, failing := readyz(t, g); status != http.StatusServiceUnavailable || !slices.Contains(failing, "ledger") {
		t.Errorf("readyz: %d, failing %q", status, failing)
	}
	eventually(t, "health names the ledger and the quarantine", 10*time.Second, func() bool {
		w := healthWarnings(t, c)
		return strings.Contains(w, "ledger: ") && strings.Contains(w, "quarantine: ") && strings.Contains(w, "no space left")
	})

	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	c.turn(t, "agent:main:disk", "hello again", uuid.NewString(), nil) // the store is well with its next write
	eventually(t, "the ledger heals by itself", 15*time.Second, func() bool {
		status, _ := readyz(t, g)
		return status == http.StatusOK && healthWarnings(t, c) == ""
	})
	if d, _ := blocked(); d.Entry == 0 || d.File == "" {
		t.Errorf("after: %+v", d)
	}
	read := *g
	read.state = disk
	list := journal(t, &read, ledger.Filter{})
	i := slices.IndexFunc(list, func(e ledger.Entry) bool { return e.Action == "gap" })
	if i < 0 || !strings.Contains(list[i].Reasons[0], "2 entries since ") {
		t.Errorf("the ledger does not say what is missing: %s", actions(list))
	}
}

// fill writes a file until the disk is full.
func fill(tb testing.TB, path string) {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			tb.Fatal(err)
		}
	}
}
