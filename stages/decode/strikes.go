package decode

import (
	"container/list"
	"sync"
	"sync/atomic"
)

// strikes counts the calls of the other role's methods that connections made in a row.
// A frame that was queued when its connection ended may strike after Forget, so the
// table is bounded and the connection that struck longest ago leaves first: it begins
// anew, which costs the gateway ten more refusals.
type strikes struct {
	max   int
	count atomic.Int64 // connections in the table, to skip the lock while there are none
	mu    sync.Mutex
	conns map[string]*list.Element
	order list.List // *struck, the latest in front
}

type struck struct {
	conn string
	n    int
}

func newStrikes(max int) *strikes {
	return &strikes{max: max, conns: make(map[string]*list.Element)}
}

// strike counts one more call and returns how many there were in a row.
func (s *strikes) strike(conn string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if el := s.conns[conn]; el != nil {
		s.order.MoveToFront(el)
		x := el.Value.(*struck)
		x.n++
		return x.n
	}
	if len(s.conns) >= s.max {
		s.drop(s.order.Back())
	}
	s.conns[conn] = s.order.PushFront(&struck{conn, 1})
	s.count.Store(int64(len(s.conns)))
	return 1
}

// forgive ends the row. It takes no lock and does not allocate while nobody strikes.
func (s *strikes) forgive(conn string) {
	if s.count.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if el := s.conns[conn]; el != nil {
		s.drop(el)
	}
}

func (s *strikes) drop(el *list.Element) {
	delete(s.conns, el.Value.(*struck).conn)
	s.order.Remove(el)
	s.count.Store(int64(len(s.conns)))
}
