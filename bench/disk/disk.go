// Package disk measures what the disk itself can do with an append and an fsync, so
// that a figure of durable writes can be read beside the floor of the machine.
//
// It measures two ways: one writer that appends a record and syncs, and many writers
// whose records one goroutine gathers, writes with one call and syncs once (group
// commit). Everything happens in one temporary file in the given folder, which is
// removed at the end.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"sluice/bench/measure"
)

// Config bounds a measurement.
type Config struct {
	// Dir is the folder to measure; it must exist. No default.
	Dir string `json:"dir"`
	// RecordBytes is the size of one record. Default 1024.
	RecordBytes int `json:"recordBytes"`
	// DurationMs of each of the two ways. Default 3000.
	DurationMs int `json:"durationMs"`
	// Writers of the grouped way, each with one record under way. Default 64.
	Writers int `json:"writers"`
	// MaxBatch is how many records one fsync takes. Default 256.
	MaxBatch int `json:"maxBatch"`
	// MaxFileBytes: at this size the file begins anew. Default 64 MiB.
	MaxFileBytes int64 `json:"maxFileBytes"`
}

// Default returns the usual Config; Dir is missing.
func Default() Config {
	return Config{RecordBytes: 1024, DurationMs: 3000, Writers: 64, MaxBatch: 256, MaxFileBytes: 64 << 20}
}

// Validate names the first field that cannot work.
func (c Config) Validate() error {
	for _, f := range []struct {
		name           string
		v, least, most int
	}{{"record bytes", c.RecordBytes, 1, 1 << 20}, {"duration", c.DurationMs, 10, 600_000}, {"writers", c.Writers, 1, 4096}, {"max batch", c.MaxBatch, 1, 4096}} {
		if f.v < f.least || f.v > f.most {
			return fmt.Errorf("bench fsync: %s is %d, must be %d to %d", f.name, f.v, f.least, f.most)
		}
	}
	if c.MaxFileBytes < int64(c.RecordBytes*c.MaxBatch) {
		return fmt.Errorf("bench fsync: a file of %d bytes does not hold one batch", c.MaxFileBytes)
	}
	if st, err := os.Stat(c.Dir); err != nil || !st.IsDir() {
		return fmt.Errorf("bench fsync: %q is no folder; give one on the disk to measure with --dir", c.Dir)
	}
	return nil
}

// Way is one way's figures.
type Way struct {
	Writes          uint64          `json:"writes"`
	Fsyncs          uint64          `json:"fsyncs"`
	WritesPerSecond float64         `json:"writesPerSecond"`
	FsyncsPerSecond float64         `json:"fsyncsPerSecond"`
	Latency         measure.Latency `json:"latency"` // of one durable write
}

// Result is what Run measured.
type Result struct {
	Config  Config `json:"config"`
	Single  Way    `json:"single"`
	Grouped Way    `json:"grouped"`
}

// Run measures both ways. It ends early with ctx.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(cfg.Dir, ".sluice-fsync-*")
	if err != nil {
		return nil, fmt.Errorf("bench fsync: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	l := &log{f: f, max: cfg.MaxFileBytes}
	res := &Result{Config: cfg}
	if res.Single, err = single(ctx, cfg, l); err != nil {
		return nil, fmt.Errorf("bench fsync: %w", err)
	}
	if res.Grouped, err = grouped(ctx, cfg, l); err != nil {
		return nil, fmt.Errorf("bench fsync: %w", err)
	}
	return res, nil
}

// log appends to a file that begins anew at its bound.
type log struct {
	f    *os.File
	at   int64
	max  int64
	sync uint64
}

func (l *log) commit(b []byte) error {
	if l.at+int64(len(b)) > l.max {
		if err := l.f.Truncate(0); err != nil {
			return err
		}
		l.at = 0
	}
	n, err := l.f.WriteAt(b, l.at)
	l.at += int64(n)
	if err != nil {
		return err
	}
	l.sync++
	return l.f.Sync()
}

func single(ctx context.Context, cfg Config, l *log) (Way, error) {
	var h measure.Histogram
	record := make([]byte, cfg.RecordBytes)
	l.sync = 0
	begin := time.Now()
	for ctx.Err() == nil && time.Since(begin) < time.Duration(cfg.DurationMs)*time.Millisecond {
		t := time.Now()
		if err := l.commit(record); err != nil {
			return Way{}, err
		}
		h.Add(time.Since(t))
	}
	return way(&h, l.sync, time.Since(begin)), nil
}

// grouped is group commit at its simplest: take one record, take what else waits, write,
// sync, answer all.
func grouped(ctx context.Context, cfg Config, l *log) (Way, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cfg.DurationMs)*time.Millisecond)
	defer cancel()
	var (
		h       measure.Histogram
		wg      sync.WaitGroup
		records = make(chan chan error, cfg.MaxBatch)
		errs    = make([]error, cfg.Writers)
		begin   = time.Now()
	)
	for i := range cfg.Writers {
		wg.Go(func() {
			done := make(chan error, 1)
			for ctx.Err() == nil && errs[i] == nil {
				t := time.Now()
				records <- done
				errs[i] = <-done
				h.Add(time.Since(t))
			}
		})
	}
	go func() { wg.Wait(); close(records) }()
	l.sync = 0
	batch, waiting := make([]byte, 0, cfg.RecordBytes*cfg.MaxBatch), make([]chan error, 0, cfg.MaxBatch)
	record := make([]byte, cfg.RecordBytes)
	for first := range records {
		batch, waiting = append(batch[:0], record...), append(waiting[:0], first)
	more:
		for len(waiting) < cfg.MaxBatch {
			select {
			case next, ok := <-records:
				if !ok {
					break more
				}
				batch, waiting = append(batch, record...), append(waiting, next)
			default:
				break more
			}
		}
		err := l.commit(batch)
		for _, w := range waiting {
			w <- err
		}
	}
	return way(&h, l.sync, time.Since(begin)), errors.Join(errs...)
}

func way(h *measure.Histogram, syncs uint64, took time.Duration) Way {
	var c measure.Counts
	h.AddTo(&c)
	return Way{Writes: c.N(), Fsyncs: syncs, WritesPerSecond: float64(c.N()) / took.Seconds(),
		FsyncsPerSecond: float64(syncs) / took.Seconds(), Latency: c.Summary()}
}

// Table writes the result for a person.
func (r *Result) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "folder\t%s, records of %d bytes\n", r.Config.Dir, r.Config.RecordBytes)
	for _, x := range []struct {
		name string
		w    Way
	}{{"one writer", r.Single}, {fmt.Sprintf("%d writers, grouped", r.Config.Writers), r.Grouped}} {
		fmt.Fprintf(w, "%s\t%.0f durable writes/s with %.0f fsyncs/s\t%s\n", x.name, x.w.WritesPerSecond, x.w.FsyncsPerSecond, x.w.Latency)
	}
	return w.Flush()
}
