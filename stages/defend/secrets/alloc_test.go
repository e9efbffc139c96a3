//go:build !race

package secrets

import "testing"

// TestAllocations: the scan allocates nothing.
func TestAllocations(t *testing.T) {
	s := mustScanner(t)
	text := benchText()
	dst := make([]Match, 0, 16)
	if n := testing.AllocsPerRun(50, func() { dst = s.Find(dst[:0], text) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
