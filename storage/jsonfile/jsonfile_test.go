package jsonfile

import (
	"testing"

	"go.uber.org/goleak"

	"sluice/storage"
	"sluice/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig() Config {
	cfg := Default()
	cfg.LockTimeoutMs = 50
	return cfg
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(path string) (storage.Store, error) { return Open(path, testConfig()) })
}

// TestConformanceSmall runs the suite with next to no cache, verification and journal,
// so that files are read, evicted and synced all the time.
func TestConformanceSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of syncs")
	}
	cfg := testConfig()
	cfg.CacheBytes, cfg.JournalMaxBytes, cfg.JournalMaxFiles = 0, 4<<10, 3
	storagetest.Run(t, func(path string) (storage.Store, error) { return Open(path, cfg) })
}
