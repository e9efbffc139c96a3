package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spanQueue is a batching span processor. It does what the SDK's does and, unlike that
// one, says how many spans were dropped: a full queue must not be silent (law 2), and
// the SDK tells only its debug log (otel-go issues 3264 and 5557).
type spanQueue struct {
	exporter sdktrace.SpanExporter
	conf     TracesConfig
	log      *slog.Logger

	spans  chan queued
	length atomic.Int64 // spans in the channel; a group counts each of its spans
	flush  chan chan struct{}
	stop   chan struct{} // closed by Shutdown
	done   chan struct{} // closed when the loop has ended
	once   sync.Once
	closed atomic.Bool
	cancel context.CancelFunc // ends an export that Shutdown cannot wait for
	base   context.Context

	ended, exported, dropped, failed atomic.Uint64
	lastWarn                         time.Time // only the loop touches it
}

var _ sdktrace.SpanProcessor = (*spanQueue)(nil)

func newSpanQueue(e sdktrace.SpanExporter, c TracesConfig, log *slog.Logger) *spanQueue {
	q := &spanQueue{
		exporter: e, conf: c, log: log,
		spans: make(chan queued, c.QueueSpans),
		flush: make(chan chan struct{}),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	q.base, q.cancel = context.WithCancel(context.Background())
	go q.loop()
	return q
}

// OnStart implements sdktrace.SpanProcessor.
func (q *spanQueue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// queued is one span of the SDK, or the finished children of one frame.
type queued struct {
	one   sdktrace.ReadOnlySpan
	group []childSpan
}

func (q queued) size() int64 {
	if q.one != nil {
		return 1
	}
	return int64(len(q.group))
}

// OnEnd queues a span without ever waiting.
func (q *spanQueue) OnEnd(s sdktrace.ReadOnlySpan) { q.put(queued{one: s}) }

// put queues or drops; either way the spans are counted.
func (q *spanQueue) put(item queued) {
	n := item.size()
	q.ended.Add(uint64(n))
	if q.closed.Load() {
		q.dropped.Add(uint64(n))
		return
	}
	if q.length.Add(n) > int64(q.conf.QueueSpans) {
		q.length.Add(-n)
		q.dropped.Add(uint64(n))
		return
	}
	select {
	case q.spans <- item:
	default:
		q.length.Add(-n)
		q.dropped.Add(uint64(n))
	}
}

// full reports that a new frame's spans would hardly find room.
func (q *spanQueue) full() bool { return q.length.Load()+framesSpans > int64(q.conf.QueueSpans) }

// framesSpans is what one frame needs: a root, seven stages, and some to spare for
// frames that are under way.
const framesSpans = 32

// loop owns the batch: it exports when the batch is full, when its oldest span has
// waited long enough, on a flush, and at the end.
func (q *spanQueue) loop() {
	defer close(q.done)
	batch := make([]sdktrace.ReadOnlySpan, 0, q.conf.BatchSpans)
	delay := time.Duration(q.conf.ScheduleDelayMs) * time.Millisecond
	timer := time.NewTimer(delay)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case item := <-q.spans:
			if len(batch) == 0 {
				timer.Reset(delay)
			}
			if batch = q.take(batch, item); len(batch) == 0 {
				timer.Stop()
			}
		case <-timer.C:
			batch = q.export(batch)
		case answer := <-q.flush:
			batch = q.drain(batch)
			close(answer)
		case <-q.stop:
			q.drain(batch)
			return
		}
	}
}

// drain exports everything that is queued now.
func (q *spanQueue) drain(batch []sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	for n := len(q.spans); n > 0; n-- {
		batch = q.take(batch, <-q.spans)
	}
	return q.export(batch)
}

// take adds an item to the batch and exports the batch when it is full.
func (q *spanQueue) take(batch []sdktrace.ReadOnlySpan, item queued) []sdktrace.ReadOnlySpan {
	q.length.Add(-item.size())
	if item.one != nil {
		batch = append(batch, item.one)
	}
	for i := range item.group {
		batch = append(batch, &item.group[i])
	}
	if len(batch) >= q.conf.BatchSpans {
		batch = q.export(batch)
	}
	return batch
}

func (q *spanQueue) export(batch []sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	if len(batch) == 0 {
		return batch
	}
	ctx, cancel := context.WithTimeout(q.base, time.Duration(q.conf.ExportTimeoutMs)*time.Millisecond)
	err := q.exporter.ExportSpans(ctx, batch)
	cancel()
	if err != nil {
		q.failed.Add(uint64(len(batch)))
		// A collector that is down must not fill the log: once a minute.
		if now := time.Now(); now.Sub(q.lastWarn) > time.Minute {
			q.lastWarn = now
			q.log.Warn("spans could not be exported", "spans", len(batch), "error", err, "failed", q.failed.Load(), "dropped", q.dropped.Load())
		}
	} else {
		q.exported.Add(uint64(len(batch)))
	}
	clear(batch)
	return batch[:0]
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
