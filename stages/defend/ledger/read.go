package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sort"
)

// Reader reads a journal, also while another process writes it. It is safe for
// concurrent use.
type Reader struct {
	dir  string
	root *os.Root
	head func() (heads, error)
}

// OpenReader opens the journal in dir for reading.
func OpenReader(dir string) (*Reader, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	r := &Reader{dir: dir, root: root}
	r.head = r.readHead
	return r, nil
}

// Close gives the folder up.
func (r *Reader) Close() error { return r.root.Close() }

// headTries bounds how often a head is read again that may be half-written just now.
const headTries = 3

func (r *Reader) readHead() (heads, error) {
	f, err := r.root.Open(headName)
	if errors.Is(err, fs.ErrNotExist) {
		return heads{}, nil
	}
	if err != nil {
		return heads{}, fmt.Errorf("ledger: head: %w", err)
	}
	defer f.Close()
	var h heads
	for range headTries {
		if h, err = readHeads(f); err != nil || len(h.damage) == 0 {
			break
		}
	}
	return h, err
}

// Filter chooses entries. Its zero value chooses all.
type Filter struct {
	Kind       Kind
	Action     string
	Tag        string
	SessionKey string
	RequestID  string
	SinceMs    int64 // inclusive; 0 = no bound, as below
	UntilMs    int64 // exclusive
	AfterSeq   uint64
	BeforeSeq  uint64
	// Limit is the most entries that List returns: 0 is 100, the most is 10 000.
	Limit int
	// Newest takes the last entries instead of the first; the order stays the journal's.
	Newest bool
}

const (
	defaultLimit = 100
	maxLimit     = 10_000
)

func (f *Filter) match(e *Entry) bool {
	switch {
	case f.Kind != "" && e.Kind != f.Kind, f.Action != "" && e.Action != f.Action,
		f.SessionKey != "" && e.SessionKey != f.SessionKey, f.RequestID != "" && e.RequestID != f.RequestID,
		f.SinceMs != 0 && e.AtMs < f.SinceMs, f.UntilMs != 0 && e.AtMs >= f.UntilMs,
		e.Seq <= f.AfterSeq, f.BeforeSeq != 0 && e.Seq >= f.BeforeSeq,
		f.Tag != "" && !slices.Contains(e.Tags, f.Tag):
		return false
	}
	return true
}

// ErrDamaged says that lines could not be read; Verify says which.
var ErrDamaged = errors.New("ledger: lines of the journal are damaged; sluice ledger verify says where")

// List returns the entries that f chooses. When lines are damaged it returns the others
// and ErrDamaged.
func (r *Reader) List(ctx context.Context, f Filter) ([]Entry, error) {
	limit := min(f.Limit, maxLimit)
	if limit <= 0 {
		limit = defaultLimit
	}
	segments, err := r.segments(f)
	if err != nil {
		return nil, err
	}
	if !f.Newest {
		var out []Entry
		err := r.each(ctx, segments, f, func(e *Entry) bool {
			out = append(out, *e)
			return len(out) < limit
		})
		return out, err
	}
	var out []Entry
	var damaged error
	for i := len(segments) - 1; i >= 0 && len(out) < limit; i-- {
		var part []Entry
		want := limit - len(out)
		err := r.each(ctx, segments[i:i+1], f, func(e *Entry) bool {
			if part = append(part, *e); len(part) >= 2*want {
				part = append(part[:0], part[len(part)-want:]...)
			}
			return true
		})
		if err != nil && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		damaged = errors.Join(damaged, err)
		out = append(part[max(0, len(part)-want):], out...)
	}
	if damaged != nil {
		return out, ErrDamaged
	}
	return out, nil
}

// segments are the files in which entries of f can be.
func (r *Reader) segments(f Filter) ([]segment, error) {
	list, err := listSegments(r.root)
	if err != nil {
		return nil, err
	}
	from, to := 0, len(list)
	if f.AfterSeq > 0 {
		from = max(0, sort.Search(len(list), func(i int) bool { return list[i].firstSeq > f.AfterSeq+1 })-1)
	}
	if f.BeforeSeq > 0 {
		to = sort.Search(len(list), func(i int) bool { return list[i].firstSeq >= f.BeforeSeq })
	}
	return list[from:max(from, to)], nil
}

// each calls do for the entries of f in order until it returns false.
func (r *Reader) each(ctx context.Context, segments []segment, f Filter, do func(*Entry) bool) error {
	h, err := r.head()
	if err != nil {
		return err
	}
	damaged := false
	for _, s := range segments {
		if h.found && s.firstSeq > h.Seq {
			break // begun, and nothing in it is acknowledged
		}
		more, err := r.eachOf(ctx, s, h, f, &damaged, do)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed by retention meanwhile
		}
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if damaged {
		return ErrDamaged
	}
	return nil
}

func (r *Reader) eachOf(ctx context.Context, s segment, h heads, f Filter, damaged *bool, do func(*Entry) bool) (bool, error) {
	file, err := r.root.Open(s.name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	limit := int64(-1)
	if h.found && s.name == h.File {
		limit = h.Bytes
	}
	in := newLines(file, limit)
	defer in.free()
	for {
		line, err := in.read()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("ledger: %s: %w", s.name, err)
		}
		if in.number == 1 {
			continue
		}
		if in.number%1024 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		seq, ok := lineSeq(line)
		if ok && (seq <= f.AfterSeq || !f.mayMatch(line)) {
			continue
		}
		if f.BeforeSeq != 0 && ok && seq >= f.BeforeSeq {
			return false, nil
		}
		e, good := soundEntry(line)
		if !good {
			*damaged = true
			continue
		}
		if f.match(&e) && !do(&e) {
			return false, nil
		}
	}
}

// mayMatch passes over lines that do not contain what f asks for, without reading them as
// JSON.
func (f *Filter) mayMatch(line []byte) bool {
	return f.Kind == "" || bytes.Contains(line, []byte(`,"kind":"`+string(f.Kind)+`"`))
}

// soundEntry reads a line whose hash fits its own bytes.
func soundEntry(line []byte) (Entry, bool) {
	if len(line) < tailPrev {
		return Entry{}, false
	}
	mark := line[len(line)-tailPrev+len(prevMark):]
	prev, ok := unhex(mark[:hexSum])
	if !ok {
		return Entry{}, false
	}
	if _, why := checkLine(line, prev); why != "" {
		return Entry{}, false
	}
	e, err := decodeEntry(line)
	return e, err == nil
}

// Show returns one entry; ErrNotFound when there is none, ErrDamaged when it cannot be
// trusted.
func (r *Reader) Show(ctx context.Context, seq uint64) (Entry, error) {
	if seq == 0 {
		return Entry{}, fmt.Errorf("%w: entries are numbered from 1", ErrNotFound)
	}
	list, err := r.List(ctx, Filter{AfterSeq: seq - 1, BeforeSeq: seq + 1, Limit: 1})
	switch {
	case err != nil:
		return Entry{}, err
	case len(list) == 0:
		return Entry{}, fmt.Errorf("%w: %d; it was never written, or retention removed it", ErrNotFound, seq)
	}
	return list[0], nil
}
