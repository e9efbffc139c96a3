package approval

import (
	"cmp"
	"encoding/base64"
	"slices"

	"github.com/go-json-experiment/json"
)

// past holds decided approvals, bounded in number and bytes. Broker.mu guards it.
type past struct {
	byID  map[string]*entry
	list  []*entry // by order, oldest first
	bytes int64
}

func newPast() past { return past{byID: map[string]*entry{}} }

func (p *past) get(id string) *entry { return p.byID[id] }

// order is by the time of the decision, then by id.
func order(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.end.atMs, b.end.atMs), cmp.Compare(a.id, b.id))
}

// add takes e in and returns the keys of the rows that went for it.
func (p *past) add(e *entry, cfg *Config) (gone []string) {
	if old := p.byID[e.id]; old != nil {
		p.remove(slices.Index(p.list, old))
	}
	i, _ := slices.BinarySearchFunc(p.list, e, order)
	p.list = slices.Insert(p.list, i, e)
	p.byID[e.id] = e
	p.bytes += e.size()
	for len(p.list) > 1 && (len(p.list) > cfg.MaxHistory || p.bytes > cfg.MaxHistoryBytes) {
		gone = append(gone, recordKey+p.list[0].id)
		p.remove(0)
	}
	return gone
}

func (p *past) remove(i int) {
	e := p.list[i]
	p.list = slices.Delete(p.list, i, i+1)
	delete(p.byID, e.id)
	p.bytes -= e.size()
}

// cursor names the last approval of a page of approval.history.
type cursor struct {
	V            int    `json:"v"`
	ResolvedAtMs int64  `json:"resolvedAtMs"`
	ID           string `json:"id"`
}

func (c cursor) String() string {
	raw, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parseCursor returns the place that a cursor names; ok is false when it is none of ours.
func parseCursor(text string) (place *entry, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, false
	}
	var c cursor
	if json.Unmarshal(raw, &c) != nil || c.V != 1 || c.ResolvedAtMs < 0 || c.ID == "" || c.String() != text {
		return nil, false
	}
	return &entry{id: c.ID, end: &verdict{atMs: c.ResolvedAtMs}}, true
}

// defaultPage is upstream's for a history without a limit.
const defaultPage = 50

// History lists decided approvals of a kind (empty: all), newest first, after cursor. next
// is the cursor of the next page; empty when this was the last. ok is false when after is
// no cursor.
func (b *Broker) History(after string, limit int, kind string) (items []Approval, next string, ok bool) {
	var from *entry
	if after != "" {
		if from, ok = parseCursor(after); !ok {
			return nil, "", false
		}
	}
	if limit <= 0 {
		limit = defaultPage
	}
	var page []*entry
	b.mu.Lock()
	i := len(b.past.list)
	if from != nil {
		i, _ = slices.BinarySearchFunc(b.past.list, from, order)
	}
	for i--; i >= 0 && len(page) <= limit; i-- {
		if e := b.past.list[i]; kind == "" || e.kind == kind {
			page = append(page, e)
		}
	}
	b.mu.Unlock()
	if len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = cursor{1, last.end.atMs, last.id}.String()
	}
	for _, e := range page {
		items = append(items, b.view(e))
	}
	return items, next, true
}
