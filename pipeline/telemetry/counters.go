package telemetry

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Counters is a family of counters whose label values appear while the gateway runs,
// such as one for each method. At the bound a new combination is counted in one series
// whose values are all "other", so that a sum stays right. Keep the *Counter that With
// returns where the values are known beforehand.
type Counters struct {
	max   int
	names int
	mu    sync.RWMutex
	byKey map[string]*Counter
	other Counter
}

// Counter is one series. Add is one atomic add.
type Counter struct {
	n      atomic.Uint64
	values []string
}

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Load returns the count.
func (c *Counter) Load() uint64 { return c.n.Load() }

// NewCounters registers a family with at most max combinations of label values.
func (r *Registry) NewCounters(name, help string, max int, labelNames ...string) (*Counters, error) {
	c := &Counters{max: max, names: len(labelNames), byKey: map[string]*Counter{}}
	return c, r.RegisterCounters(name, help, labelNames, c.collect)
}

// With returns the counter of these values. It does not allocate for a known
// combination of one value.
func (c *Counters) With(values ...string) *Counter {
	key := values[0]
	if len(values) > 1 {
		key = strings.Join(values, "\xff")
	}
	c.mu.RLock()
	have := c.byKey[key]
	c.mu.RUnlock()
	if have != nil {
		return have
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have = c.byKey[key]; have != nil {
		return have
	}
	if len(values) != c.names || len(c.byKey) >= c.max {
		return &c.other
	}
	have = &Counter{}
	for _, v := range values {
		have.values = append(have.values, strings.ToValidUTF8(strings.Clone(v), "?"))
	}
	c.byKey[strings.Clone(key)] = have
	return have
}

func (c *Counters) collect(emit Emit) {
	c.mu.RLock()
	list := make([]*Counter, 0, len(c.byKey))
	for _, one := range c.byKey {
		list = append(list, one)
	}
	c.mu.RUnlock()
	for _, one := range list {
		emit(float64(one.Load()), one.values...)
	}
	if n := c.other.Load(); n > 0 {
		values := make([]string, c.names)
		for i := range values {
			values[i] = "other"
		}
		emit(float64(n), values...)
	}
}
