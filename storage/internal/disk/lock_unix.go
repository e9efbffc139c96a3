//go:build unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"sluice/storage"
)

// lockRetry is how often Lock tries again; the lock has no queue to wait in.
const lockRetry = 10 * time.Millisecond

// Lock takes the kernel's exclusive lock on an open file or folder. It waits up to
// timeout and then returns an error that wraps storage.ErrLocked. The lock belongs to
// f: it ends when f is closed or the process dies, so that nothing stale remains.
func Lock(f *os.File, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("%w: %s; stop the other process or give this one another path", storage.ErrLocked, f.Name())
		}
		time.Sleep(lockRetry)
	}
}
