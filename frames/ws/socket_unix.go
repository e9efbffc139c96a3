//go:build unix

package ws

import (
	"net"
	"runtime"
	"syscall"
)

// rawConn returns the socket under conn for direct reads; nil when there is none (TLS,
// net.Pipe).
func rawConn(conn net.Conn) syscall.RawConn {
	sc, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// onReadable reads what the socket has and handles it; true ends the read loop.
//
// It is the callback of one RawConn.Read that lasts as long as the connection. That
// saves three things a frame over net.Conn.Read: an idle connection needs no buffer, no
// lock is taken, and after a read that did not fill its buffer the socket is known to
// be empty, so that the second read, which only learns EAGAIN, is left out (epoll(7),
// question 9). The one thing that a short read can hide is an end of stream that came
// with the last bytes, before the poller looked; the read with which askMove's fresh
// goroutine begins finds that one.
func (c *Conn) onReadable(fd uintptr) bool {
	for !c.dead.Load() {
		p := c.target()
		n, err := syscall.Read(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.rest()
			return false
		case err != nil || n <= 0:
			return true
		}
		c.feed(n)
		if n < len(p) {
			c.rest()
			return false
		}
		// The socket has more than one buffer's worth: this client floods. It takes its
		// turns like everybody, and not the 10 ms for which the scheduler would let it go
		// on: sixteen that flood kept the workers from working, so that of 1.5 million
		// requests 5 000 got a result and a handshake took seconds. With this 50 000 did.
		runtime.Gosched()
	}
	return true
}
