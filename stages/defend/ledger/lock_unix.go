//go:build unix

package ledger

import (
	"errors"
	"os"
	"syscall"
)

// lock makes this process the only writer. The kernel drops the lock with the process,
// so nothing is left behind by kill -9.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// full tells a disk without room from other failures.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
