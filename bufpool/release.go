//go:build !bufdebug

package bufpool

// reuse: arrays and lease objects go back to their pools.
const reuse = true

// trace records nothing in a release build.
type trace struct{}

// String is empty: build with -tags bufdebug to see who held the lease.
func (trace) String() string { return " (build with -tags bufdebug to see both stacks)" }

func newLease() *Lease { return leases.Get().(*Lease) }

// free returns the memory and then the lease object itself. refs stays 0, so that a
// second Release or a Retain before the object is lent again is still noticed.
func (l *Lease) free() {
	recycle(l.bb, l.B)
	l.bb, l.B = nil, nil
	leases.Put(l)
}

func poison([]byte) {}
