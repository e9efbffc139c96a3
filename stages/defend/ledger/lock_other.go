//go:build !unix

package ledger

import "os"

// lock does nothing where there is no flock: the state folder's own lock must do.
func lock(*os.File) error { return nil }

func full(error) bool { return false }
