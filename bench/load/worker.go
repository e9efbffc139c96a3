package load

import (
	"bytes"
	"errors"
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"

	"sluice/bench/measure"
	"sluice/frames/client"

	"github.com/go-json-experiment/json/jsontext"
)

// maxCodes bounds the distinct error codes that are told apart.
const maxCodes = 64

// pool is the state that all workers of a run share. Time is nanoseconds since base.
type pool struct {
	mix      *mix
	sessions []string
	stride   uint64 // connections
	base     time.Time
	// recording: requests that start now count.
	recording atomic.Bool
	// stopping: no further request starts.
	stopping atomic.Bool
	stopped  chan struct{} // closed with stopping
	// hist[shard][method]; few shards, since a histogram has 28 KiB.
	hist     [shards][]measure.Histogram
	validate int
	drain    time.Duration
	patience atomic.Pointer[time.Time] // no drain goes on after it
}

const shards = 4

func (p *pool) now() int64 { return int64(time.Since(p.base)) }

// tally is what one worker counts; the progress line reads it meanwhile.
type tally struct {
	sent, ok, refused, failed atomic.Uint64
	lost, cutOff              uint64 // set once, at the worker's end
}

// slot is one request in flight. Its place and generation make the request's id. The
// sender fills it in and then sets live; the receiver reads it while live is its
// generation and then clears live: so the two need no lock.
type slot struct {
	start    int64
	gen      uint64
	live     atomic.Uint64 // gen while in flight, 0 before and after
	method   uint8
	recorded bool
}

// freeList hands places of slots from the receiver back to the sender.
type freeList struct {
	places     []uint32 // a ring; its length is a power of two
	head, tail atomic.Uint64
}

func (f *freeList) empty() bool { return f.head.Load() == f.tail.Load() }

func (f *freeList) pop() uint32 {
	h := f.head.Load()
	p := f.places[h&uint64(len(f.places)-1)]
	f.head.Store(h + 1)
	return p
}

func (f *freeList) push(p uint32) {
	t := f.tail.Load()
	f.places[t&uint64(len(f.places)-1)] = p
	f.tail.Store(t + 1)
}

// worker drives one connection. In the closed loop one goroutine sends and receives; in
// the open loop there is one for each.
type worker struct {
	pool  *pool
	id    int
	conn  *client.Conn
	hist  []measure.Histogram
	quota uint64 // recorded requests to send; 0 = no limit

	slots    []slot
	free     freeList
	shift    uint          // log2 of len(slots)
	started  atomic.Uint64 // requests
	finished atomic.Uint64 // final answers
	written  atomic.Bool   // the open loop's sender has ended

	answers uint64
	methods []tally

	unexpected, malformed, accepted, events, unsent atomic.Uint64

	codes  map[string]*Failure
	closed *Failure // why the connection ended, nil if it lived
}

// newWorker prepares a worker with room for inFlight requests (rounded up to a power of
// two, of which only inFlight are used).
func newWorker(p *pool, id, inFlight int) *worker {
	shift := uint(bits.Len(uint(inFlight - 1)))
	w := &worker{pool: p, id: id, hist: p.hist[id%shards], shift: shift, slots: make([]slot, 1<<shift),
		methods: make([]tally, len(p.mix.methods)), codes: make(map[string]*Failure)}
	w.free.places = make([]uint32, 1<<shift)
	for i := range inFlight {
		w.free.push(uint32(i))
	}
	return w
}

// inFlight is how many requests wait for an answer.
func (w *worker) inFlight() uint64 { return w.started.Load() - w.finished.Load() }

// start queues one request that counts from now. It needs a free slot.
func (w *worker) start(now int64) {
	place := w.free.pop()
	n := w.started.Load()
	m := w.pool.mix.order[(n+uint64(w.id))%uint64(len(w.pool.mix.order))]
	s := &w.slots[place]
	s.start, s.method, s.recorded = now, m, w.pool.recording.Load()
	s.gen++
	s.live.Store(s.gen)
	session := ""
	if k := len(w.pool.sessions); k > 0 {
		// As many sessions as connections: each keeps its own; more: each walks over its share.
		session = w.pool.sessions[(uint64(w.id)+n*w.pool.stride)%uint64(k)]
	}
	w.started.Store(n + 1)
	if s.recorded {
		w.methods[m].sent.Add(1)
	}
	w.conn.End(w.pool.mix.methods[m].append(w.conn.Begin(), s.gen<<w.shift|uint64(place), n+1, w.id, session))
}

// take handles one message from the gateway.
func (w *worker) take(b []byte, now int64) {
	var h client.Head
	if !client.ScanHead(b, &h) {
		w.malformed.Add(1)
		return
	}
	switch string(h.Type) {
	case "event":
		w.events.Add(1)
		return
	case "res":
	default:
		w.malformed.Add(1)
		return
	}
	s, place := w.find(h.ID)
	if s == nil {
		w.unexpected.Add(1)
		return
	}
	if w.answers++; w.answers%uint64(w.pool.validate) == 0 && !jsontext.Value(b).IsValid() {
		w.malformed.Add(1)
	}
	if h.OK && w.pool.mix.methods[s.method].final && bytes.Contains(h.Rest[:min(len(h.Rest), 512)], []byte(`"status":"accepted"`)) {
		w.accepted.Add(1)
		return
	}
	w.count(s, &h, now)
	s.live.Store(0)
	w.free.push(place)
	w.finished.Add(1)
}

// find returns the busy slot of an id, nil for an id that is not in flight.
func (w *worker) find(id []byte) (*slot, uint32) {
	n, ok := parseID(id)
	place := uint32(n & (1<<w.shift - 1))
	s := &w.slots[place]
	if gen := n >> w.shift; !ok || gen == 0 || s.live.Load() != gen {
		return nil, 0
	}
	return s, place
}

func parseID(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

func (w *worker) count(s *slot, h *client.Head, now int64) {
	if !s.recorded {
		return
	}
	t := &w.methods[s.method]
	if h.OK {
		t.ok.Add(1)
		w.hist[s.method].Add(time.Duration(now - s.start))
		return
	}
	code := client.Field(h.Error, "code")
	if string(code) == "UNAVAILABLE" {
		t.refused.Add(1)
	} else {
		t.failed.Add(1)
	}
	f := w.codes[string(code)] // does not allocate
	if f == nil {
		if len(w.codes) >= maxCodes {
			code = []byte("other")
		}
		if f = w.codes[string(code)]; f == nil {
			f = &Failure{Code: string(code), Text: string(client.Field(h.Error, "message"))}
			w.codes[f.Code] = f
		}
	}
	f.Count++
}

// end counts what is still in flight: lost if the connection lived (err is a deadline),
// cut off otherwise.
func (w *worker) end(err error) {
	timeout := err == nil || isTimeout(err)
	for i := range w.slots {
		s := &w.slots[i]
		if s.live.Load() == 0 || !s.recorded {
			continue
		}
		if timeout {
			w.methods[s.method].lost++
		} else {
			w.methods[s.method].cutOff++
		}
	}
	if !timeout {
		w.closed = closeFailure(err)
	}
	_ = w.conn.SendClose(1000, "")
	_ = w.conn.Close()
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// closeFailure names the end of a connection by its close code.
func closeFailure(err error) *Failure {
	var ce *client.CloseError
	if errors.As(err, &ce) {
		return &Failure{Code: strconv.Itoa(ce.Code), Text: ce.Reason, Count: 1}
	}
	return &Failure{Code: "socket", Text: err.Error(), Count: 1}
}

// done: the worker has sent what it should.
func (w *worker) done() bool {
	if w.pool.stopping.Load() {
		return true
	}
	if w.quota == 0 {
		return false
	}
	var sent uint64
	for i := range w.methods {
		sent += w.methods[i].sent.Load()
	}
	return sent >= w.quota
}
