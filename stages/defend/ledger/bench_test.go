package ledger

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// buildJournal writes n entries without fsync, by the writer's own code.
func buildJournal(tb testing.TB, dir string, n int) {
	tb.Helper()
	l := MustOpenIdle(tb, dir, Default(), Deps{wrap: func(f file) file { return noSync{f} }})
	batch := make([]*request, 256)
	for done := 0; done < n; done += len(batch) {
		batch = batch[:min(len(batch), n-done)]
		for i := range batch {
			e := sample(done + i)
			if err := l.prepare(&e); err != nil {
				tb.Fatal(err)
			}
			batch[i] = &request{entry: e}
		}
		if err := l.commit(batch); err != nil {
			tb.Fatal(err)
		}
	}
}

type noSync struct{ file }

func (noSync) Sync() error { return nil }

// BenchmarkVerifyMillion verifies a million entries; the bound is 10 s.
func BenchmarkVerifyMillion(b *testing.B) {
	dir := b.TempDir()
	buildJournal(b, dir, 1_000_000)
	r, err := OpenReader(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for b.Loop() {
		rep, err := r.Verify(b.Context(), nil)
		if err != nil || !rep.OK() || rep.Entries != 1_000_000 {
			b.Fatal(err, rep.Entries, problems(rep))
		}
		b.SetBytes(rep.Bytes)
	}
}

// BenchmarkShow finds one entry in a journal of a hundred thousand.
func BenchmarkShow(b *testing.B) {
	dir := b.TempDir()
	buildJournal(b, dir, 100_000)
	r, err := OpenReader(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for b.Loop() {
		if _, err := r.Show(b.Context(), 50_000); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, callers := range map[string]int{"callers=1": 1, "callers=64": 64} {
		b.Run(name, func(b *testing.B) {
			dir, err := os.MkdirTemp(filepath.Dir(b.TempDir()), "append")
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(dir)
			l := MustOpen(b, dir, Default(), Deps{})
			defer l.Close()
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := l.Append(context.Background(), sample(int(n.Add(1)))); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
