//go:build !unix

package storagetest

import "testing"

func runChild(*testing.T, Opener) bool { return false }

func testKill(t *testing.T, _ Opener) { t.Skip("needs SIGKILL") }

func testFullDisk(t *testing.T, _ Opener) { t.Skip("needs RLIMIT_FSIZE") }
