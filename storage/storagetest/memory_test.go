package storagetest

import (
	"testing"

	"go.uber.org/goleak"

	"sluice/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestMemory runs the parts of the suite that need no file.
func TestMemory(t *testing.T) {
	open := func(string) (storage.Store, error) { return NewMemory(), nil }
	for name, run := range map[string]func(*testing.T, Opener){
		"Values": testValues, "Ownership": testOwnership, "InvalidKeys": testInvalidKeys, "Scan": nil,
		"ScanInUpdate": testScanInUpdate, "ScanErrors": testScanErrors, "Rollback": nil, "Isolation": testIsolation,
		"Context": testContext, "Closed": testClosed, "Concurrent": testConcurrent, "Overlay": testOverlay,
	} {
		if run != nil {
			t.Run(name, func(t *testing.T) { run(t, open) })
		}
	}
}
