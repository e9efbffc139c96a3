package ws

import "sync"

// ipBudget bounds the sockets of one address that have not yet said who they are.
type ipBudget struct {
	mu sync.Mutex
	n  map[string]int
}

// acquire takes one place of ip's limit; release gives it back.
func (b *ipBudget) acquire(ip string, limit int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == nil {
		b.n = make(map[string]int)
	}
	if b.n[ip] >= limit {
		return false
	}
	b.n[ip]++
	return true
}

func (b *ipBudget) release(ip string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n[ip]--; b.n[ip] <= 0 {
		delete(b.n, ip)
	}
}
