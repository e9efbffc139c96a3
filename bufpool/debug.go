//go:build bufdebug

package bufpool

import (
	"fmt"
	"runtime"
	"sync"
)

// reuse: in a debug build nothing is lent twice, so that a use after release reads
// poison for ever and a second release cannot hit somebody else's lease.
const reuse = false

// poisonByte is no valid UTF-8 lead byte and no JSON: whoever reads it fails at once.
const poisonByte = 0xDB

// trace is where a lease was lent and where its last hold was given up.
type trace struct {
	mu       sync.Mutex
	got, end []byte
}

// String renders both stacks for a panic.
func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("\n\nlent at:\n%s\nreleased at:\n%s\nnow at:\n%s", t.got, t.end, stack())
}

func newLease() *Lease {
	l := new(Lease)
	l.trace.got = stack()
	remember(l)
	return l
}

func (l *Lease) free() {
	l.trace.mu.Lock()
	l.trace.end = stack()
	l.trace.mu.Unlock()
	forget(l)
	poison(l.B[:cap(l.B)])
}

func poison(b []byte) {
	for i := range b {
		b[i] = poisonByte
	}
}

func stack() []byte {
	buf := make([]byte, 8<<10)
	return buf[:runtime.Stack(buf, false)]
}

var (
	liveMu sync.Mutex
	live   = map[*Lease]struct{}{}
)

func remember(l *Lease) {
	liveMu.Lock()
	live[l] = struct{}{}
	liveMu.Unlock()
}

func forget(l *Lease) {
	liveMu.Lock()
	delete(live, l)
	liveMu.Unlock()
}

// Holders returns where each outstanding lease was lent.
func Holders() []string {
	liveMu.Lock()
	defer liveMu.Unlock()
	var at []string
	for l := range live {
		at = append(at, string(l.trace.got))
	}
	return at
}
