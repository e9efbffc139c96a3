package engine

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"sluice/bench/measure"
	"sluice/pipeline"
)

// inFlight is how many envelopes are under way at once: the 16 connections x 8 of the
// bench's closed loop.
const inFlight = 128

// BenchmarkPipeline is a frame through all seven stages, from Submit to the answer,
// inFlight at a time: ns/op is the throughput's inverse, on all processors together.
func BenchmarkPipeline(b *testing.B) {
	for _, c := range []struct{ name, frame string }{
		{"health", health}, {"system-presence", presence}, {"chat.send_1KB_replayed", chatSend}, {"sessions.patch_bolt", patch},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := mustRig(b, nil)
			r.ask(b, c.frame)
			r.load(b, c.frame)
		})
	}
}

// BenchmarkPipelineAlone is one frame at a time: what the hops cost when nothing shares
// their wake-ups.
func BenchmarkPipelineAlone(b *testing.B) {
	r := mustRig(b, nil)
	r.ask(b, health)
	b.ReportAllocs()
	for b.Loop() {
		r.ask(b, health)
	}
}

// load sends b.N frames, inFlight at a time, and reports what they cost.
func (r *rig) load(b *testing.B, frame string) {
	cpu := measure.Self()
	b.ReportAllocs()
	b.ResetTimer()
	under := 0
	for range b.N {
		if under == inFlight {
			r.client.wait(inFlight / 2)
			under -= inFlight / 2
		}
		push(b, r.pipe, r.envelope(frame))
		under++
	}
	r.client.wait(under)
	b.StopTimer()
	b.ReportMetric(float64((measure.Self()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	if n := r.client.failed.Load(); n > 0 {
		b.Fatalf("%d of %d failed: %s", n, b.N, *r.client.why.Load())
	}
}

// TestHealthAllocatesNothing is the "decode to dispatch without an allocation",
// and a little more: from Submit to the answer through all seven stages. The pools'
// contents may be collected meanwhile, so a fraction is allowed.
func TestHealthAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	r := mustRig(t, nil)
	for _, frame := range []string{health, presence} {
		for range 1000 { // the pools fill
			r.ask(t, frame)
		}
		n := testing.AllocsPerRun(5000, func() { r.ask(t, frame) })
		if n > 0 {
			t.Errorf("%s: %.0f allocations a call, want none", frame, n)
		}
	}
}

// TestStagesPassHealthUnallocated names the stage that allocates, if one does.
func TestStagesPassHealthUnallocated(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	r := mustRig(t, nil)
	e := r.envelope(health)
	defer r.drop(e)
	for _, s := range r.stages() {
		n := testing.AllocsPerRun(1000, func() {
			if v, err := s.Process(t.Context(), e); err != nil || v != pipeline.Next {
				t.Fatalf("%s: verdict %d, %v", s.Name(), v, err)
			}
		})
		if n > 0 {
			t.Errorf("%s allocates %.0f times for health, want none", s.Name(), n)
		}
	}
}

// TestRigAnswers keeps the benchmarks honest: what they measure must be an answer.
func TestRigAnswers(t *testing.T) {
	r := mustRig(t, nil)
	for _, frame := range []string{health, presence, patch, chatSend, chatSend} {
		r.ask(t, frame)
	}
	if n := r.dedupe.Stats.Replayed.Load(); n != 1 {
		t.Errorf("%d requests were replayed, want the second chat.send", n)
	}
	if n := r.persist.Stats.Written.Load(); n < 2 {
		t.Errorf("%d writes are durable, want sessions.patch and chat.send", n)
	}
}

// BenchmarkGroupCommit is the persist stage over each backend: n writers, each with one
// sessions.patch under way, each acknowledged after the fsync.
func BenchmarkGroupCommit(b *testing.B) {
	for _, kind := range []string{"bolt", "sqlite", "jsonfile"} {
		for _, writers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/writers=%d", kind, writers), func(b *testing.B) { groupCommit(b, kind, writers) })
		}
	}
}

// push submits e as soon as there is room.
func push(tb testing.TB, p *pipeline.Pipeline, e *pipeline.Envelope) {
	for {
		err := p.Submit(e)
		if err == nil {
			return
		}
		if !errors.Is(err, pipeline.ErrBusy) {
			tb.Fatal(err)
		}
		runtime.Gosched()
	}
}
