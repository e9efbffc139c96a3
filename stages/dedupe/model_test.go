package dedupe

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
	"sluice/storage/storagetest"

	"pgregory.net/rapid"
)

// model is what dedupe promises, without memory bounds and restarts: they must not show.
type model struct {
	keys map[string]*modelKey
}

type modelKey struct {
	content string
	state   entryState
	answer  string
	expires time.Time

	first   *pipeline.Envelope
	waiting int
	claim   pipeline.Claim          // of an open run
	row     *storage.IdempotencyRow // of an open run, after a restart
}

// machine drives a stage and its model side by side.
type machine struct {
	t       *testing.T
	s       *Stage
	cfg     Config
	store   *storagetest.Memory
	clock   time.Time
	model   model
	resumed map[*pipeline.Envelope]bool
	count   int
}

func (m *machine) boot() {
	s, err := New(m.cfg, m.store, func(e *pipeline.Envelope) { m.resumed[e] = true })
	if err != nil {
		m.t.Fatal(err)
	}
	s.now = func() time.Time { return m.clock }
	m.s = s
}

func (m *machine) get(id string) *modelKey {
	k := m.model.keys[id]
	if k != nil && k.state != inFlight && !k.expires.After(m.clock) {
		delete(m.model.keys, id)
		return nil
	}
	return k
}

func (m *machine) inFlight() (ids []string) {
	for _, id := range sortedIDs {
		if k := m.get(id); k != nil && k.state == inFlight {
			ids = append(ids, id)
		}
	}
	return ids
}

var sortedIDs = func() (ids []string) {
	for _, who := range []string{"a", "b"} {
		for i := range 24 {
			ids = append(ids, fmt.Sprint(who, "/k", i))
		}
	}
	return ids
}()

func (m *machine) submit(r *rapid.T) {
	id := rapid.SampledFrom(sortedIDs).Draw(r, "key")
	content := rapid.SampledFrom([]string{"x", "y"}).Draw(r, "content")
	e := direct(m.t, id[:1], "chat.send", params(id[2:], content))
	v, err := m.s.Process(context.Background(), e)
	payload, _, _ := e.Result()
	switch k := m.get(id); {
	case k == nil && len(m.inFlight()) == m.cfg.MaxEntries:
		if err != errTableFull {
			r.Fatalf("%s at the bound: %v, %v", id, v, err)
		}
	case k == nil:
		if v != pipeline.Next || err != nil || e.Claim == nil {
			r.Fatalf("%s is the first: %v, %v", id, v, err)
		}
		m.model.keys[id] = &modelKey{content: content, first: e}
	case k.content != content:
		if err != errConflict {
			r.Fatalf("%s has other content: %v, %v", id, v, err)
		}
	case k.state == inFlight && k.waiting == m.cfg.MaxWaiters:
		if err != errWaiters {
			r.Fatalf("%s has enough waiters: %v, %v", id, v, err)
		}
	case k.state == inFlight:
		if v != pipeline.Parked || err != nil {
			r.Fatalf("%s is in flight: %v, %v", id, v, err)
		}
		k.waiting++
		m.resumed[e] = false
	default:
		if v != pipeline.Done || err != nil || string(payload) != k.answer {
			r.Fatalf("%s has ended with %s: %v, %v, %s", id, k.answer, v, err, payload)
		}
	}
}

// settle ends a request in flight: refused, done, or done with a run that goes on.
func (m *machine) settle(r *rapid.T) {
	ids := m.inFlight()
	if len(ids) == 0 {
		r.Skip()
	}
	id := rapid.SampledFrom(ids).Draw(r, "key")
	k := m.model.keys[id]
	how := rapid.SampledFrom([]string{"refused", "done", "run"}).Draw(r, "how")
	m.count++
	answer := fmt.Sprintf(`"answer %d"`, m.count)
	if how == "refused" {
		k.first.Fail(frames.Invalid("no"))
		delete(m.model.keys, id)
	} else {
		k.state, k.answer, k.expires = ended, answer, m.clock.Add(m.cfg.ttl())
		if how == "run" {
			k.state, k.answer, k.expires = open, `"in_flight"`, m.clock.Add(m.cfg.runTTL())
			k.claim = k.first.Claim
			k.claim.Replace([]byte(k.answer))
		}
		row := k.first.Claim.Row([]byte(answer)) // persist's part
		m.put(r, &row)
		k.row = &row
		k.first.Answer([]byte(answer))
	}
	k.first.Claim.(*entry).Settle(k.first)
	answered := 0
	for e, done := range m.resumed {
		if !done {
			continue
		}
		delete(m.resumed, e)
		answered++
		payload, err, ok := e.Result()
		if !ok || (how == "refused") != (err != nil) || err == nil && string(payload) != k.answer {
			r.Fatalf("a waiter of %s got %s, %v", id, payload, err)
		}
	}
	if answered != k.waiting {
		r.Fatalf("%d of %d waiters of %s were answered", answered, k.waiting, id)
	}
	k.waiting, k.first = 0, nil
}

func (m *machine) put(r *rapid.T, row *storage.IdempotencyRow) {
	err := m.store.Update(context.Background(), func(tx storage.Tx) error { return storage.PutIdempotency(tx, row) })
	if err != nil {
		r.Fatal(err)
	}
}

// endRun ends an open run as package agent does.
func (m *machine) endRun(r *rapid.T) {
	var ids []string
	for _, id := range sortedIDs {
		if k := m.get(id); k != nil && k.state == open {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		r.Skip()
	}
	id := rapid.SampledFrom(ids).Draw(r, "key")
	k := m.model.keys[id]
	m.count++
	k.state, k.answer = ended, fmt.Sprintf(`"end %d"`, m.count)
	if k.claim == nil { // of a former process
		k.row.Answer = []byte(k.answer)
		m.put(r, k.row)
		return
	}
	k.expires = m.clock.Add(m.cfg.ttl())
	row := k.claim.Row(nil)
	row.Answer = []byte(k.answer)
	m.put(r, &row)
	k.claim.Replace([]byte(k.answer))
}

func (m *machine) restart(*rapid.T) {
	for id, k := range m.model.keys {
		if k.state == inFlight {
			delete(m.model.keys, id) // never committed
		}
		k.claim = nil
	}
	clear(m.resumed)
	m.boot()
}

func (m *machine) wait(r *rapid.T) {
	m.clock = m.clock.Add(time.Duration(rapid.IntRange(1, 400).Draw(r, "seconds")) * time.Second)
}

func (m *machine) check(r *rapid.T) {
	if n := m.s.Size(); n > m.cfg.MaxEntries {
		r.Fatalf("%d keys in the table", n)
	}
	if b := m.s.Bytes(); b < 0 || b > m.cfg.MaxBytes {
		r.Fatalf("%d bytes in the table", b)
	}
	t := &m.s.table
	listed := t.open.Len() + t.ended.Len()
	flying := 0
	for _, en := range t.entries {
		if en.state == inFlight {
			flying++
		}
	}
	if listed+flying != len(t.entries) {
		r.Fatalf("%d listed and %d in flight of %d", listed, flying, len(t.entries))
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		cfg := Default()
		cfg.MaxEntries = rapid.SampledFrom([]int{16, 20, 1000}).Draw(r, "maxEntries")
		cfg.MaxWaiters = 2
		cfg.RunTTLMs = 900_000
		m := &machine{t: t, cfg: cfg, store: storagetest.NewMemory(), clock: time.Unix(1_800_000_000, 0),
			model: model{map[string]*modelKey{}}, resumed: map[*pipeline.Envelope]bool{}}
		m.boot()
		r.Repeat(map[string]func(*rapid.T){
			"submit": m.submit, "submit again": m.submit, "submit more": m.submit, "settle": m.settle, "settle more": m.settle,
			"end a run": m.endRun, "restart": m.restart, "wait": m.wait, "": m.check,
		})
	})
}
