//go:build !linux

package badinput_test

import "syscall"

// ownGroup keeps a terminal's Ctrl-C from the gateways.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
