package ledger

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		appendUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}
