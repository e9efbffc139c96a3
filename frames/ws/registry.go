package ws

import (
	"hash/maphash"
	"sync"
)

const shards = 16

// registry holds every open connection, in shards so that a broadcast to ten thousand
// never keeps a new connection waiting.
type registry struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu   sync.RWMutex
	list []*Conn
	byID map[string]*Conn
}

func (r *registry) shard(id string) *shard {
	return &r.shards[maphash.String(r.seed, id)%shards]
}

func (r *registry) add(c *Conn) {
	sh := r.shard(c.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.byID == nil {
		sh.byID = make(map[string]*Conn)
	}
	c.slot = len(sh.list)
	sh.list = append(sh.list, c)
	sh.byID[c.id] = c
}

func (r *registry) remove(c *Conn) {
	sh := r.shard(c.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	last := len(sh.list) - 1
	sh.list[c.slot] = sh.list[last]
	sh.list[c.slot].slot = c.slot
	sh.list[last] = nil
	sh.list = sh.list[:last]
	delete(sh.byID, c.id)
}

func (r *registry) get(id string) *Conn {
	sh := r.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.byID[id]
}

var snapshots = sync.Pool{New: func() any { return new([]*Conn) }}

// each calls f for every connection, a shard's snapshot at a time and without a lock.
func (r *registry) each(f func(*Conn)) {
	snap := snapshots.Get().(*[]*Conn)
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.RLock()
		list := append((*snap)[:0], sh.list...)
		sh.mu.RUnlock()
		for _, c := range list {
			f(c)
		}
		clear(list)
		*snap = list[:0]
	}
	snapshots.Put(snap)
}
