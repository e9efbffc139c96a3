package bolt

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
	cfg.GrowBytes = 64 << 10 // so that a scratch in the file meets data
	return cfg
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(path string) (storage.Store, error) { return Open(path, testConfig()) })
}
