// Package bufpooltest checks in tests that every buffer was given back.
package bufpooltest

import (
	"strings"
	"testing"
	"time"

	"sluice/bufpool"
)

// settle is how long NoLeaks waits for goroutines that are just ending to release what
// they hold; a leak costs a failing test this much and a passing one nothing.
const settle = 2 * time.Second

// NoLeaks fails t when, after the test and its cleanups that were registered later,
// more leases are outstanding than now. Call it first in a test; such tests must not
// run in parallel with others of their package, as the count is the process's.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := bufpool.Outstanding()
	t.Cleanup(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(settle); time.Now().Before(end); <-tick.C {
			if bufpool.Outstanding() <= before {
				return
			}
		}
		if n := bufpool.Outstanding() - before; n > 0 {
			at := "build with -tags bufdebug to see where they were lent"
			if h := bufpool.Holders(); len(h) > 0 {
				at = strings.Join(h, "\n")
			}
			t.Errorf("bufpool: %d leases were not released: %s", n, at)
		}
	})
}
