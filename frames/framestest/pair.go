package framestest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Pair returns the two ends of a connection in memory. Unlike net.Pipe it holds up to
// buffer bytes in each direction, so that a writer does not wait for its reader until
// that many are on the way; like a socket it has deadlines and half-close by Close. All
// its waiting is on sync.Cond and timers, so it works inside a testing/synctest bubble.
func Pair(buffer int) (client, server net.Conn) {
	up, down := newStream(buffer), newStream(buffer)
	return &end{in: down, out: up, name: "client"}, &end{in: up, out: down, name: "server"}
}

// end is one end of a Pair.
type end struct {
	in, out *stream
	name    string
}

var _ net.Conn = (*end)(nil)

func (e *end) Read(b []byte) (int, error)  { return e.in.read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.write(b) }

// Close ends both directions: the peer reads what is on the way, then EOF.
func (e *end) Close() error {
	e.in.close(true)
	e.out.close(false)
	return nil
}

// CloseWrite ends the outbound direction only, as (*net.TCPConn).CloseWrite.
func (e *end) CloseWrite() error {
	e.out.close(false)
	return nil
}

func (e *end) LocalAddr() net.Addr  { return addr(e.name) }
func (e *end) RemoteAddr() net.Addr { return addr("pair") }

func (e *end) SetDeadline(t time.Time) error {
	e.in.reads.set(&e.in.mu, e.in.wake, t)
	e.out.writes.set(&e.out.mu, e.out.wake, t)
	return nil
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.in.reads.set(&e.in.mu, e.in.wake, t)
	return nil
}

func (e *end) SetWriteDeadline(t time.Time) error {
	e.out.writes.set(&e.out.mu, e.out.wake, t)
	return nil
}

type addr string

func (a addr) Network() string { return "memory" }
func (a addr) String() string  { return string(a) }

// stream is one direction.
type stream struct {
	mu     sync.Mutex
	wake   *sync.Cond
	buf    []byte
	max    int
	eof    bool // the writer closed
	gone   bool // the reader closed
	reads  deadline
	writes deadline
}

func newStream(max int) *stream {
	s := &stream{max: max}
	s.wake = sync.NewCond(&s.mu)
	return s
}

// deadline is a moment after which waiting ends; its stream's mutex guards it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(mu *sync.Mutex, wake *sync.Cond, t time.Time) {
	mu.Lock()
	defer mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() {
			mu.Lock()
			defer mu.Unlock()
			wake.Broadcast()
		})
	}
	wake.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.gone:
			return 0, net.ErrClosed
		case s.reads.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(s.buf) > 0:
			n := copy(b, s.buf)
			s.buf = s.buf[n:]
			s.wake.Broadcast()
			return n, nil
		case s.eof:
			return 0, io.EOF
		}
		s.wake.Wait()
	}
}

func (s *stream) write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.eof:
			return n, net.ErrClosed
		case s.gone:
			return n, io.ErrClosedPipe
		case s.writes.passed():
			return n, os.ErrDeadlineExceeded
		case len(b) == 0:
			return n, nil
		case len(s.buf) < s.max:
			k := min(len(b), s.max-len(s.buf))
			s.buf = append(s.buf, b[:k]...)
			b, n = b[k:], n+k
			s.wake.Broadcast()
			continue
		}
		s.wake.Wait()
	}
}

// close ends the stream from its reader's or its writer's side.
func (s *stream) close(reader bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reader {
		s.gone = true
		s.buf = nil
	} else {
		s.eof = true
	}
	for _, d := range []*deadline{&s.reads, &s.writes} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	s.wake.Broadcast()
}
