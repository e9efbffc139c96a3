package jsonfile

import "hash/maphash"

// The index of a collection is a persistent treap: an update copies the path to what it
// changes and shares the rest, so that a View keeps the tree it started with and costs
// nothing to begin. Priorities are a seeded hash of the key: balanced whatever keys a
// client picks.
type node struct {
	key         string
	entry       *entry
	prio        uint64
	left, right *node
}

// roots holds one tree for each collection, by Collection.Index.
type roots [16]*node

func find(n *node, key string) *entry {
	for n != nil {
		switch {
		case key < n.key:
			n = n.left
		case key > n.key:
			n = n.right
		default:
			return n.entry
		}
	}
	return nil
}

func insert(n *node, key string, e *entry, seed maphash.Seed) *node {
	return insertAt(n, &node{key: key, entry: e, prio: maphash.String(seed, key)})
}

func insertAt(n, add *node) *node {
	if n == nil {
		return add
	}
	c := *n
	switch {
	case add.key < n.key:
		c.left = insertAt(n.left, add)
		if c.left.prio > c.prio { // rotate right; c.left is new, so it may be changed
			top := c.left
			c.left, top.right = top.right, &c
			return top
		}
	case add.key > n.key:
		c.right = insertAt(n.right, add)
		if c.right.prio > c.prio {
			top := c.right
			c.right, top.left = top.left, &c
			return top
		}
	default:
		c.entry = add.entry
	}
	return &c
}

func remove(n *node, key string) *node {
	if n == nil {
		return nil
	}
	switch {
	case key < n.key:
		left := remove(n.left, key)
		if left == n.left {
			return n
		}
		c := *n
		c.left = left
		return &c
	case key > n.key:
		right := remove(n.right, key)
		if right == n.right {
			return n
		}
		c := *n
		c.right = right
		return &c
	}
	return join(n.left, n.right)
}

// join makes one tree of two, all keys of a being smaller than all of b.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.prio > b.prio:
		c := *a
		c.right = join(a.right, b)
		return &c
	}
	c := *b
	c.left = join(a, b.left)
	return &c
}

// bounds is the half-open interval [low, high) of a scan, without end if !bounded.
type bounds struct {
	low, high string
	bounded   bool
}

// ascend calls fn for each key within b, in order, until it returns false.
func ascend(n *node, b *bounds, fn func(*node) bool) bool {
	if n == nil {
		return true
	}
	below := b.bounded && n.key >= b.high
	if n.key >= b.low {
		if !ascend(n.left, b, fn) || !below && !fn(n) {
			return false
		}
	}
	return below || ascend(n.right, b, fn)
}

// descend is ascend from the greatest key to the smallest.
func descend(n *node, b *bounds, fn func(*node) bool) bool {
	if n == nil {
		return true
	}
	above := n.key < b.low
	if !b.bounded || n.key < b.high {
		if !descend(n.right, b, fn) || !above && !fn(n) {
			return false
		}
	}
	return above || descend(n.left, b, fn)
}
