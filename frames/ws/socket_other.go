//go:build !unix

package ws

import (
	"net"
	"syscall"
)

// rawConn returns nil: connections are read through net.Conn here.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (c *Conn) onReadable(uintptr) bool { return true }
