package badinput_test

import "syscall"

// ownGroup keeps a terminal's Ctrl-C from the gateways, and ends them with a test binary
// that panics.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
