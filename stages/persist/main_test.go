package persist

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(envChild); path != "" {
		writeUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}
