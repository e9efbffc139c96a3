package bufpool_test

import (
	"bytes"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"sluice/bufpool"
	"sluice/bufpool/bufpooltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGetHasRoom(t *testing.T) {
	bufpooltest.NoLeaks(t)
	for _, n := range []int{-1, 0, 1, 512, 513, 4096, 4097, 32 << 10, 256 << 10, 2 << 20, 2<<20 + 1, 9 << 20} {
		l := bufpool.Get(n)
		if len(l.B) != 0 || cap(l.B) < n {
			t.Errorf("Get(%d): len %d cap %d, want an empty buffer with room", n, len(l.B), cap(l.B))
		}
		l.Release()
	}
}

func TestGrowKeepsContent(t *testing.T) {
	bufpooltest.NoLeaks(t)
	l := bufpool.Get(1)
	var want bytes.Buffer
	for i := range 5000 {
		p := bytes.Repeat([]byte{byte(i)}, i%900)
		want.Write(p)
		if n, err := l.Write(p); n != len(p) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if !bytes.Equal(l.Bytes(), want.Bytes()) {
		t.Error("content changed while growing")
	}
	l.Release()
}

func TestRetainHoldsUntilLastRelease(t *testing.T) {
	bufpooltest.NoLeaks(t)
	before := bufpool.Outstanding()
	l := bufpool.Copy([]byte("shared"))
	var wg sync.WaitGroup
	for range 50 {
		l.Retain()
		wg.Go(func() {
			if string(l.Bytes()) != "shared" {
				t.Error("content changed under a hold")
			}
			l.Release()
		})
	}
	wg.Wait()
	if got := bufpool.Outstanding() - before; got != 1 {
		t.Errorf("Outstanding = %d, want 1: the first hold is still there", got)
	}
	l.Release()
}

func TestDoubleReleasePanics(t *testing.T) {
	l := bufpool.Get(10)
	l.Release()
	defer func() {
		if recover() == nil {
			t.Error("a second Release went unnoticed")
		}
	}()
	l.Release()
}

func TestRetainAfterReleasePanics(t *testing.T) {
	l := bufpool.Get(10)
	l.Release()
	defer func() {
		if recover() == nil {
			t.Error("Retain after the last Release went unnoticed")
		}
	}()
	l.Retain()
}

// TestSmallContentKeepsClass is libraries.md 2.2 trap 2: 42 000 puts of small content
// must not teach the pool to throw the class's arrays away.
func TestSmallContentKeepsClass(t *testing.T) {
	if len(bufpool.Holders()) > 0 || debugBuild {
		t.Skip("a debug build reuses nothing")
	}
	for range 100_000 {
		l := bufpool.Get(4096)
		l.B = append(l.B, "tiny"...)
		l.Release()
	}
	if n := testing.AllocsPerRun(1000, func() { bufpool.Get(4096).Release() }); n > 0.1 {
		t.Errorf("%.2f allocations a Get after calibration, want 0", n)
	}
}

func BenchmarkGetRelease(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"512B", 512}, {"4KiB", 4096}, {"256KiB", 256 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bufpool.Get(c.n).Release()
			}
		})
	}
	b.Run("512B/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				bufpool.Get(512).Release()
			}
		})
	})
}

func BenchmarkRetainRelease(b *testing.B) {
	l := bufpool.Get(512)
	defer l.Release()
	b.ReportAllocs()
	for b.Loop() {
		l.Retain().Release()
	}
}
