//go:build !unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Lock is not available on this platform: a store that two processes can open at
// once would lose data, so opening fails instead. The bolt backend brings a lock of
// its own only for unix in this program, too.
func Lock(f *os.File, _ time.Duration) error {
	return fmt.Errorf("lock %s: %w", f.Name(), errors.ErrUnsupported)
}
