package bolt

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"sluice/storage"
)

func benchStore(b *testing.B) *Store {
	return mustOpen(b, filepath.Join(b.TempDir(), "s.db"), Default())
}

// BenchmarkGet is a View with one Get of 1 KiB among 10 000.
func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	value := make([]byte, 1024)
	mustUpdate(b, s, func(tx storage.Tx) error {
		for i := range 10_000 {
			if err := tx.Put(storage.Sessions, key(i), value); err != nil {
				return err
			}
		}
		return nil
	})
	ctx, k := context.Background(), key(5000)
	b.ReportAllocs()
	for b.Loop() {
		err := s.View(ctx, func(r storage.Reader) error {
			_, err := r.Get(storage.Sessions, k)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut is one durable Update of 1 KiB by a single caller: mostly the sync.
func BenchmarkPut(b *testing.B) {
	s := benchStore(b)
	value := make([]byte, 1024)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		mustUpdate(b, s, func(tx storage.Tx) error { return tx.Put(storage.Transcripts, key(i), value) })
	}
}

// BenchmarkGroupCommit shares one Update among n effects of 1 KiB, each in its own
// overlay, as the persist stage does; the figure is for one effect.
func BenchmarkGroupCommit(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := benchStore(b)
			value := make([]byte, 1024)
			next := 0
			b.ReportAllocs()
			for b.Loop() {
				mustUpdate(b, s, func(tx storage.Tx) error {
					o := storage.NewOverlay(tx)
					for range n {
						o.Reset(tx)
						next++
						if err := o.Put(storage.Transcripts, key(next), value); err != nil {
							return err
						}
						if err := o.Flush(); err != nil {
							return err
						}
					}
					return nil
				})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(next), "ns/effect")
		})
	}
}

// BenchmarkGetWhileWriting is BenchmarkGet beside a writer that never rests.
func BenchmarkGetWhileWriting(b *testing.B) {
	s := benchStore(b)
	value := make([]byte, 1024)
	mustUpdate(b, s, func(tx storage.Tx) error { return tx.Put(storage.Sessions, "k", value) })
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			s.Update(ctx, func(tx storage.Tx) error { return tx.Put(storage.Transcripts, key(i), value) })
		}
	})
	for b.Loop() {
		if err := s.View(context.Background(), func(r storage.Reader) error {
			_, err := r.Get(storage.Sessions, "k")
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	cancel()
	wg.Wait()
}

// BenchmarkOpen opens and verifies a store of 10 000 messages (about 5 MB).
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "s.db")
	fill(b, path, 10_000)
	for b.Loop() {
		s, err := Open(path, Default())
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
