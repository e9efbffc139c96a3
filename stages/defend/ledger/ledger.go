// Package ledger keeps the journal of what the defender decided: an append-only file of
// JSON lines in which every line carries the hash of the one before it.
//
// An entry is durable when Append returns. One goroutine writes: it takes all entries
// that wait, writes them with one fsync, notes in the head file how far the journal goes
// (a second fsync), and answers. The journal is split into files; their headers are
// lines of the same chain. Verify finds a byte that was changed, a line that was
// dropped, added or moved, and a file or an end that is missing, and says where.
//
// What the chain cannot show: whoever can write to the folder and computes all hashes
// and the head anew. Against that, keep Head elsewhere from time to time and give it to
// VerifyAgainst.
//
// Lifecycle: Open, Append from any goroutine, Close. A second process reads the same
// folder by OpenReader at any time.
package ledger

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/storage"
)

// Deps are what the ledger needs from outside.
type Deps struct {
	// Redact returns text with the secrets in it hidden; it must be safe for concurrent
	// use. Without it no content is kept in the clear.
	Redact func(text []byte) []byte
	// QuarantineDir is where the files that entries name are, for Release.
	QuarantineDir string
	// Log may be nil.
	Log *slog.Logger
	// Now may be nil.
	Now func() time.Time

	wrap func(file) file // for tests: files that fail
}

// Errors of a Ledger. One that wraps storage.ErrFull says that the disk has no room.
var (
	ErrClosed = errors.New("ledger: closed")
	// ErrInUse says that another process writes to the folder.
	ErrInUse = errors.New("ledger: another process writes to it; stop that one first")
	// ErrUnsure says that the disk took longer than Append's ctx: the entry may still be
	// written, and then it counts.
	ErrUnsure = errors.New("ledger: the disk is slow; the entry may still be written")
	// ErrNotFound says that the journal has no entry of that number.
	ErrNotFound = errors.New("ledger: no such entry")
)

// Ledger writes the journal. It is safe for concurrent use.
type Ledger struct {
	*Reader
	cfg       Config
	deps      Deps
	recipient *ecdh.PublicKey

	queue   chan *request
	closing chan struct{}
	ended   chan struct{}
	once    sync.Once

	failed atomic.Pointer[string] // why the last commit failed
	damage atomic.Pointer[string] // what Open found

	mu        sync.Mutex // guards committed
	committed head

	w writer

	// Stats are the counters.
	Stats Stats
}

// Stats are the ledger's counters, for the metrics exporter.
type Stats struct {
	Appended atomic.Uint64 // entries made durable
	Failed   atomic.Uint64 // entries refused because they could not be written
	Commits  atomic.Uint64
	Removed  atomic.Uint64 // files removed by retention
	// Wait is the time from Append to durable, in nanoseconds: the ledger's lag.
	Wait pipeline.Histogram
}

// request is one entry that waits for the writer.
type request struct {
	entry Entry
	at    int64
	done  chan error // buffered
	state atomic.Int32
}

// The states of a request: whoever moves it on from queued decides its fate.
const (
	queued int32 = iota
	writing
	withdrawn
)

// Open opens or creates the journal in dir and takes the writer's place. Damage does not
// keep it from opening, for a gateway without a journal is worse: what was damaged stays
// as it is, the journal goes on in a new file, an entry of kind integrity says so, and
// Health says so until the next start.
func Open(dir string, cfg Config, deps Deps) (*Ledger, error) {
	l, err := open(dir, cfg, deps)
	if err != nil {
		return nil, err
	}
	go l.write()
	return l, nil
}

// open is Open without the goroutine that writes.
func open(dir string, cfg Config, deps Deps) (*Ledger, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.wrap == nil {
		deps.wrap = func(f file) file { return f }
	}
	l := &Ledger{cfg: cfg, deps: deps, queue: make(chan *request, cfg.Queue),
		closing: make(chan struct{}), ended: make(chan struct{})}
	if cfg.Content == ContentEncrypted {
		l.recipient, _ = ParsePublicKey(cfg.EncryptTo) // Validate has read it
	}
	if err := ownerOnly(dir); err != nil {
		return nil, err
	}
	var err error
	if l.Reader, err = OpenReader(dir); err != nil {
		return nil, err
	}
	l.Reader.head = l.snapshot
	if err := l.start(); err != nil {
		l.closeFiles()
		return nil, err
	}
	return l, nil
}

// ownerOnly makes the folder, or closes an open one to others.
func ownerOnly(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("ledger: %w; name a folder that can be written", err)
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("ledger: the folder must be its owner's alone: %w", err)
	}
	return nil
}

// snapshot is the head as of the last commit.
func (l *Ledger) snapshot() (heads, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return heads{head: l.committed, found: true}, nil
}

// Append writes one entry and returns it, with its number and hashes, when it is
// durable. When ctx ends before its turn, it is never written; when ctx ends during its
// write, the error is ErrUnsure. On any other error nothing was written.
func (l *Ledger) Append(ctx context.Context, e Entry) (Entry, error) {
	if err := l.prepare(&e); err != nil {
		return Entry{}, err
	}
	e.Content = nil
	r := &request{entry: e, at: pipeline.Now(), done: make(chan error, 1)}
	select {
	case <-l.closing:
		return Entry{}, ErrClosed
	default:
	}
	select {
	case l.queue <- r:
	case <-l.closing:
		return Entry{}, ErrClosed
	case <-ctx.Done():
		return Entry{}, ctx.Err()
	}
	if err := l.wait(ctx, r); err != nil {
		return Entry{}, err
	}
	return r.entry, nil
}

func (l *Ledger) wait(ctx context.Context, r *request) error {
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, withdrawn) {
			return ctx.Err()
		}
		select { // it may just have ended
		case err := <-r.done:
			return err
		default:
			return fmt.Errorf("%w (%w)", ErrUnsure, ctx.Err())
		}
	case <-l.ended:
	}
	select { // both may be ready: an answer counts more than the end
	case err := <-r.done:
		return err
	default:
		return ErrClosed // it came in after the writer's last round
	}
}

// Waiting is how many entries wait for the writer.
func (l *Ledger) Waiting() int { return len(l.queue) }

// Head returns the last entry's number and hash, to be kept elsewhere.
func (l *Ledger) Head() Anchor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Anchor{Seq: l.committed.Seq, Hash: l.committed.Last}
}

// Failing says why the journal could not be written last; empty when it could. It heals
// by itself: what is missing is tried to be said again and again.
func (l *Ledger) Failing() string {
	if why := l.failed.Load(); why != nil {
		return *why
	}
	return ""
}

// Health says why the journal cannot be written, or what was found damaged at start;
// empty when all is well.
func (l *Ledger) Health() string {
	if why := l.Failing(); why != "" {
		return why
	}
	if why := l.damage.Load(); why != nil {
		return "ledger: damaged: " + *why + "; sluice ledger verify says where"
	}
	return ""
}

// Close writes what waits and gives the folder up. It may be called twice.
func (l *Ledger) Close() error {
	l.once.Do(func() { close(l.closing) })
	<-l.ended
	return nil
}

func (l *Ledger) closeFiles() {
	for _, f := range []file{l.w.cur, l.w.headFile} {
		if f != nil {
			_ = f.Close() // everything that counts was synced
		}
	}
	_ = l.Reader.Close()
}

// Released is evidence that was handed out.
type Released struct {
	Seq  uint64 `json:"seq"`
	Path string `json:"path"`
}

// Release notes in the journal that by takes the evidence of these entries out of
// quarantine, and then returns where it is. It changes nothing in the quarantine.
func (l *Ledger) Release(ctx context.Context, by string, seqs ...uint64) ([]Released, error) {
	if len(seqs) == 0 || len(seqs) > maxRelease {
		return nil, fmt.Errorf("ledger: release: 1 to %d entries", maxRelease)
	}
	dir, err := os.OpenRoot(l.deps.QuarantineDir)
	if err != nil {
		return nil, fmt.Errorf("ledger: release: the quarantine folder: %w", err)
	}
	defer dir.Close()
	var out []Released
	for _, seq := range seqs {
		e, err := l.Show(ctx, seq)
		switch {
		case err != nil:
			return nil, err
		case e.File == "":
			return nil, fmt.Errorf("ledger: release: entry %d has no file in quarantine", seq)
		case !plainName(e.File):
			return nil, fmt.Errorf("ledger: release: entry %d names no plain file", seq)
		}
		info, err := dir.Lstat(e.File)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("ledger: release: entry %d: %s is no longer in quarantine", seq, e.File)
		}
		if err != nil {
			return nil, fmt.Errorf("ledger: release: entry %d: %w", seq, err)
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("ledger: release: entry %d: %s is no regular file", seq, e.File)
		}
		out = append(out, Released{seq, l.deps.QuarantineDir + string(os.PathSeparator) + e.File})
	}
	e := Entry{Kind: KindRelease, Action: "release", Source: by, Releases: append([]uint64(nil), seqs...)}
	if len(out) == 1 {
		e.File = out[0].Path[len(l.deps.QuarantineDir)+1:]
	}
	if _, err := l.Append(ctx, e); err != nil {
		return nil, err
	}
	return out, nil
}

// failure words why a commit failed.
func failure(err error) error {
	if full(err) {
		return fmt.Errorf("ledger: %w; the entry was not written: %w", storage.ErrFull, err)
	}
	return fmt.Errorf("ledger: the entry was not written: %w", err)
}
