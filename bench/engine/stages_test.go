package engine

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
)

// BenchmarkDecode is frames.Decode alone: the walk over the bytes.
func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct{ name, frame string }{{"health", health}, {"chat.send_1KB", chatSend}} {
		b.Run(c.name, func(b *testing.B) {
			raw := []byte(c.frame)
			var f frames.Frame
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if err := frames.Decode(raw, &f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEncode is an answer into a pooled buffer.
func BenchmarkEncode(b *testing.B) {
	id, payload := []byte(`"7"`), []byte(`{"ok":true,"text":"`+repeat("words ", 600)+`"}`)
	refused := frames.Unavailable(500, "The server is busy. Please try again in a moment.")
	b.Run("result_600B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			pipeline.EncodeAnswer(id, payload, nil).Release()
		}
	})
	b.Run("error", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			pipeline.EncodeAnswer(id, nil, refused).Release()
		}
	})
	b.Run("event", func(b *testing.B) {
		b.ReportAllocs()
		var seq uint64
		for b.Loop() {
			seq++
			l := bufpool.Get(len(payload) + 128)
			l.B = frames.AppendEventTail(frames.AppendEventHead(l.B, "chat", payload), seq, nil)
			l.Release()
		}
	})
}

// BenchmarkStage is the Process of one real stage. The stages before it have seen the
// frame; chat.send ends in dedupe, as the answer to a repeated request, so the later
// stages are given frames that reach them.
func BenchmarkStage(b *testing.B) {
	r := mustRig(b, nil)
	r.ask(b, chatSend) // its key is known from now on
	for _, c := range []struct {
		stage pipeline.Stage
		name  string
		frame string
	}{
		{r.decode, "health", health}, {r.decode, "chat.send_1KB", chatSend}, {r.decode, "sessions.patch", patch},
		{r.dedupe, "health", health}, {r.dedupe, "chat.send_1KB_replayed", chatSend},
		{r.schedule, "health", health},
		{r.defend, "health", health}, {r.defend, "chat.send_1KB", chatSend},
		{r.dispatch, "health", health}, {r.dispatch, "system-presence", presence},
		{r.adapter, "health", health},
		{r.persist, "health", health},
	} {
		b.Run(c.stage.Name()+"/"+c.name, func(b *testing.B) {
			e := r.envelope(c.frame)
			defer r.drop(e)
			if err := frames.Decode(e.Bytes(), &e.Frame); err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if v, err := c.stage.Process(ctx, e); err != nil || v == pipeline.Parked {
					b.Fatalf("verdict %d: %v", v, err)
				}
			}
		})
	}
}

// BenchmarkStageEffect is Process where it leaves something behind that only the end of
// an envelope takes away (an entry, a place in a lane, effects), so that every call
// needs an envelope of its own: a pipeline of that stage and one that refuses. The time
// of Process alone is ns/process; ns/op has the pipeline around it.
func BenchmarkStageEffect(b *testing.B) {
	r := mustRig(b, nil)
	r.ask(b, patch) // the session exists from now on
	for _, c := range []struct {
		stage pipeline.Stage
		name  string
		frame func(i int) string
	}{
		{r.dedupe, "chat.send_1KB_first", func(i int) string { return keyed(i) }},
		{r.schedule, "chat.send_1KB", func(int) string { return chatSend }},
		{r.dispatch, "sessions.patch", func(int) string { return patch }},
	} {
		b.Run(c.stage.Name()+"/"+c.name, func(b *testing.B) {
			t := &timed{Stage: c.stage}
			p := mustPipeline(b, t, refusing{})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e := r.envelope(c.frame(i))
				if err := frames.Decode(e.Bytes(), &e.Frame); err != nil {
					b.Fatal(err)
				}
				if err := p.Submit(e); err != nil {
					b.Fatal(err)
				}
				r.client.wait(1)
			}
			b.ReportMetric(float64(t.nanos.Load())/float64(b.N), "ns/process")
			if t.errors.Load() > 0 {
				b.Fatal(*t.why.Load())
			}
		})
	}
}

// keyed is chatSend with another idempotency key.
func keyed(i int) string {
	at := strings.Index(chatSend, "0b5d3c1e")
	return chatSend[:at] + fmt.Sprintf("%08x", i) + chatSend[at+8:]
}

// timed measures the stage's Process from within a pipeline.
type timed struct {
	pipeline.Stage
	nanos, errors atomic.Int64
	why           atomic.Pointer[error]
}

// Process implements pipeline.Stage.
func (t *timed) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	begin := pipeline.Now()
	v, err := t.Stage.Process(ctx, e)
	t.nanos.Add(pipeline.Now() - begin)
	if err != nil {
		t.why.Store(&err)
		t.errors.Add(1)
	}
	return v, err
}

// refusing ends every envelope without a trace.
type refusing struct{}

var errEnough = frames.Invalid("enough")

// Name implements pipeline.Stage.
func (refusing) Name() string { return "refusing" }

// Process implements pipeline.Stage.
func (refusing) Process(context.Context, *pipeline.Envelope) (pipeline.Verdict, error) {
	return pipeline.Done, errEnough
}

// mustPipeline starts a pipeline; the end of the benchmark ends it. A stage that belongs
// to a rig comes as timed, which hides its Start and Stop.
func mustPipeline(tb testing.TB, stages ...pipeline.Stage) *pipeline.Pipeline {
	tb.Helper()
	p, err := pipeline.New(pipeline.Default(), stages, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Start(context.Background()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		p.Drain(ctx)
		if err := p.Stop(ctx); err != nil {
			tb.Error(err)
		}
	})
	return p
}
