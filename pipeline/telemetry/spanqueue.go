package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"sluice/bufpool"
)

// spanQueue is a batching span processor. It does what the SDK's does and, unlike that
// one, says how many spans were dropped: a full queue must not be silent (law 2), and
// the SDK tells only its debug log (otel-go issues 3264 and 5557).
//
// Whoever puts a span wakes the loop twice a batch, when the queue has become non-empty
// and when a batch is there: at 1 % of 200 000 frames a second a wake-up a span was as
// dear as the spans.
type spanQueue struct {
	exporter sdktrace.SpanExporter
	encoded  encodedExporter // the same, if it can
	resource *resource.Resource
	conf     TracesConfig
	log      *slog.Logger

	mu      sync.Mutex
	waiting []queued     // for exporters of SDK spans
	chunks  []chunk      // for those that take encoded ones
	length  atomic.Int64 // spans waiting or being exported
	wake    chan struct{}
	flush   chan chan struct{}
	stop    chan struct{} // closed by Shutdown
	done    chan struct{} // closed when the loop has ended
	once    sync.Once
	closed  atomic.Bool
	cancel  context.CancelFunc // ends an export that Shutdown cannot wait for
	base    context.Context

	ended, exported, dropped, failed atomic.Uint64

	// Only the loop touches these.
	taken    []queued
	spare    []chunk
	views    []sdktrace.ReadOnlySpan
	lastWarn time.Time
}

// chunk is one batch of encoded spans.
type chunk struct {
	bytes []byte
	spans int64
}

var _ sdktrace.SpanProcessor = (*spanQueue)(nil)

func newSpanQueue(e sdktrace.SpanExporter, res *resource.Resource, c TracesConfig, log *slog.Logger) *spanQueue {
	q := &spanQueue{
		exporter: e, resource: res, conf: c, log: log,
		wake:  make(chan struct{}, 1),
		flush: make(chan chan struct{}),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	q.encoded, _ = e.(encodedExporter)
	q.base, q.cancel = context.WithCancel(context.Background())
	go q.loop()
	return q
}

// OnStart implements sdktrace.SpanProcessor.
func (q *spanQueue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// queued is one span of the SDK, or the root or the finished children of one frame for
// an exporter that takes SDK spans.
type queued struct {
	one      sdktrace.ReadOnlySpan
	frame    *frameSpan
	root     bool // of frame
	children []Child
}

func (q queued) size() int64 {
	if q.one != nil || q.root {
		return 1
	}
	return int64(len(q.children))
}

// OnEnd queues a span without ever waiting.
func (q *spanQueue) OnEnd(s sdktrace.ReadOnlySpan) { q.put(queued{one: s}) }

// root queues the root of a frame, children what is below it. For OTLP they are encoded
// here and now: bytes in a queue cost the collector of garbage nothing, where a thousand
// objects a millisecond cost more than their encoding.
func (q *spanQueue) root(f *frameSpan) {
	if q.encoded == nil {
		q.put(queued{frame: f, root: true})
		return
	}
	l := bufpool.Get(encodedSpanBytes)
	l.B = appendRoot(l.B, f)
	q.putEncoded(l, 1)
}

func (q *spanQueue) children(f *frameSpan, list []Child) {
	if q.encoded == nil {
		q.put(queued{frame: f, children: slices.Clone(list)})
		return
	}
	l := bufpool.Get(encodedSpanBytes * len(list))
	for i := range list {
		l.B = appendChild(l.B, f, &list[i])
	}
	q.putEncoded(l, int64(len(list)))
}

// encodedSpanBytes is the usual size of one.
const encodedSpanBytes = 160

// take counts n spans in, or as dropped. at is how many there are then.
func (q *spanQueue) take(n int64) (at int64, ok bool) {
	q.ended.Add(uint64(n))
	if q.closed.Load() {
		q.dropped.Add(uint64(n))
		return 0, false
	}
	if at = q.length.Add(n); at > int64(q.conf.QueueSpans) {
		q.length.Add(-n)
		q.dropped.Add(uint64(n))
		return 0, false
	}
	return at, true
}

// put queues or drops; either way the spans are counted.
func (q *spanQueue) put(item queued) {
	n := item.size()
	at, ok := q.take(n)
	if !ok {
		return
	}
	q.mu.Lock()
	first := len(q.waiting) == 0
	q.waiting = append(q.waiting, item)
	q.mu.Unlock()
	q.tell(first, at, n)
}

// putEncoded is put for n encoded spans, whose lease it takes over.
func (q *spanQueue) putEncoded(l *bufpool.Lease, n int64) {
	defer l.Release()
	at, ok := q.take(n)
	if !ok {
		return
	}
	q.mu.Lock()
	last := len(q.chunks) - 1
	first := last < 0
	if first || q.chunks[last].spans+n > int64(q.conf.BatchSpans) {
		if last++; last < cap(q.chunks) { // with the memory of a former chunk
			q.chunks = q.chunks[:last+1]
		} else {
			q.chunks = append(q.chunks, chunk{})
		}
	}
	c := &q.chunks[last]
	c.bytes = append(c.bytes, l.B...)
	c.spans += n
	q.mu.Unlock()
	q.tell(first, at, n)
}

// tell wakes the loop when the queue was empty, so that it sets its timer, and when the
// n spans that came made a batch full.
func (q *spanQueue) tell(first bool, at, n int64) {
	if batch := int64(q.conf.BatchSpans); first || at >= batch && at-n < batch {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// full reports that a new frame's spans would hardly find room.
func (q *spanQueue) full() bool { return q.length.Load()+framesSpans > int64(q.conf.QueueSpans) }

// framesSpans is what one frame needs: a root, seven stages, and some to spare for
// frames that are under way.
const framesSpans = 32

// loop exports when a batch is there, when the oldest span has waited long enough, on a
// flush, and at the end.
func (q *spanQueue) loop() {
	defer close(q.done)
	delay := time.Duration(q.conf.ScheduleDelayMs) * time.Millisecond
	timer := time.NewTimer(delay)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-q.wake:
			if q.length.Load() < int64(q.conf.BatchSpans) {
				timer.Reset(delay)
				continue
			}
		case <-timer.C:
		case answer := <-q.flush:
			q.exportAll()
			close(answer)
			continue
		case <-q.stop:
			q.exportAll()
			return
		}
		timer.Stop()
		q.exportAll()
	}
}

// exportAll exports what is queued now, in batches.
func (q *spanQueue) exportAll() {
	q.mu.Lock()
	q.taken, q.waiting = q.waiting, q.taken[:0]
	q.spare, q.chunks = q.chunks, q.spare[:0]
	q.mu.Unlock()
	for i := range q.spare {
		c := &q.spare[i]
		q.export(c.spans, func(ctx context.Context) error { return q.encoded.ExportEncoded(ctx, q.resource, c.bytes) })
		c.bytes, c.spans = c.bytes[:0], 0
	}
	from, size := 0, int64(0)
	for i := range q.taken {
		if size += q.taken[i].size(); size >= int64(q.conf.BatchSpans) || i == len(q.taken)-1 {
			part := q.taken[from : i+1]
			q.export(size, func(ctx context.Context) error { return q.exporter.ExportSpans(ctx, q.show(part)) })
			from, size = i+1, 0
		}
	}
	clear(q.taken)
	clear(q.views)
}

// export hands one batch of n spans to the exporter and counts what became of it.
func (q *spanQueue) export(n int64, send func(context.Context) error) {
	ctx, cancel := context.WithTimeout(q.base, time.Duration(q.conf.ExportTimeoutMs)*time.Millisecond)
	err := send(ctx)
	cancel()
	q.length.Add(-n)
	if err == nil {
		q.exported.Add(uint64(n))
		return
	}
	q.failed.Add(uint64(n))
	// A collector that is down must not fill the log: once a minute.
	if now := time.Now(); now.Sub(q.lastWarn) > time.Minute {
		q.lastWarn = now
		q.log.Warn("spans could not be exported", "spans", n, "error", err, "failed", q.failed.Load(), "dropped", q.dropped.Load())
	}
}

// show turns a batch into SDK spans.
func (q *spanQueue) show(batch []queued) []sdktrace.ReadOnlySpan {
	q.views = q.views[:0]
	for i := range batch {
		item := &batch[i]
		if item.one != nil {
			q.views = append(q.views, item.one)
			continue
		}
		root := rootView{f: item.frame}
		if item.root {
			q.views = append(q.views, root)
		}
		for j := range item.children {
			q.views = append(q.views, &childSpan{rootView: root, c: &item.children[j]})
		}
	}
	return q.views
}

// ForceFlush exports what is queued.
func (q *spanQueue) ForceFlush(ctx context.Context) error {
	answer := make(chan struct{})
	select {
	case q.flush <- answer:
	case <-q.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-answer:
		return nil
	case <-q.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown exports what is queued, within ctx, and stops. What could not be exported in
// time is counted as dropped.
func (q *spanQueue) Shutdown(ctx context.Context) error {
	var err error
	q.once.Do(func() {
		q.closed.Store(true)
		close(q.stop)
		select {
		case <-q.done:
		case <-ctx.Done():
			err = ctx.Err()
			q.cancel()
			select { // an exporter obeys its context; one that does not is left behind
			case <-q.done:
			case <-time.After(time.Second):
			}
		}
		q.cancel()
		q.dropped.Add(uint64(q.length.Swap(0)))
		err = errors.Join(err, q.exporter.Shutdown(ctx))
	})
	return err
}

func (q *spanQueue) stats() SpanStats {
	return SpanStats{
		Ended: q.ended.Load(), Exported: q.exported.Load(), Dropped: q.dropped.Load(),
		Failed: q.failed.Load(), Queued: int(q.length.Load()),
	}
}
