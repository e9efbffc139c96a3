package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sluice/pipeline"
)

// writer is the state of the goroutine that writes.
type writer struct {
	headFile file
	cur      file
	seg      segment
	// The end of the current file, as far as it is good.
	bytes   int64
	seq     uint64
	hash    sum
	dirty   bool // the file may hold more than bytes: a write failed
	rotated bool // a new file was begun since retention was looked at

	// Entries that could not be written: the next one that can says how many, and since when.
	lost      int
	lostSince time.Time

	buf     []byte
	batch   []*request
	checked time.Time // when retention was looked at last
}

// retryEvery is how often the gap is tried to be written while nothing else is.
const retryEvery = 5 * time.Second

// maxBatchBytes bounds what one fsync covers, and by how much a file exceeds
// Config.SegmentBytes.
const maxBatchBytes = 4 << 20

// write is the writer: it ends when the ledger is closed and the queue is empty.
func (l *Ledger) write() {
	defer close(l.ended)
	defer l.closeFiles()
	for {
		var retry <-chan time.Time
		if l.w.lost > 0 {
			retry = time.After(retryEvery)
		}
		select {
		case r := <-l.queue:
			l.round(r)
		case <-retry:
			_ = l.commit(nil) // the gap alone; a failure is noted and tried again
		case <-l.closing:
			for {
				select {
				case r := <-l.queue:
					l.round(r)
				default:
					return
				}
			}
		}
	}
}

// round commits r and what else waits, without waiting for more: the delay is one
// commit, and throughput grows with the number of callers.
func (l *Ledger) round(r *request) {
	batch := l.w.batch[:0]
	for size := 0; r != nil; {
		if r.state.CompareAndSwap(queued, writing) {
			batch = append(batch, r)
			size += len(r.entry.ContentRedacted) + len(r.entry.ContentEncrypted) + 1024
		}
		r = nil
		if len(batch) < l.cfg.BatchEntries && size < maxBatchBytes {
			select {
			case r = <-l.queue:
			default:
			}
		}
	}
	if len(batch) > 0 {
		err := l.commit(batch)
		now := pipeline.Now()
		for _, r := range batch {
			if err == nil {
				l.Stats.Wait.Observe(now - r.at)
			}
			r.done <- err
		}
	}
	clear(batch)
	l.w.batch = batch
	l.retain()
}

// commit makes a batch durable: the lines, then the head. On an error the file is cut
// back, so that what was refused does not come back with the next start. When entries were
// lost before, a line that says so goes first.
func (l *Ledger) commit(batch []*request) error {
	lines := batch
	if l.w.lost > 0 {
		lines = append([]*request{l.gap()}, batch...)
	}
	err := l.tryCommit(lines)
	if err == nil {
		l.Stats.Appended.Add(uint64(len(lines)))
		l.Stats.Commits.Add(1)
		l.failed.Store(nil)
		l.w.lost = 0
		return nil
	}
	l.Stats.Failed.Add(uint64(len(batch)))
	if l.w.lost == 0 {
		l.w.lostSince = l.deps.Now()
	}
	l.w.lost += len(batch)
	err = failure(err)
	why := err.Error()
	l.failed.Store(&why)
	l.deps.Log.Error("ledger: entries were not written", "entries", len(batch), "err", err)
	return err
}

// gap is the line about entries that are missing.
func (l *Ledger) gap() *request {
	return &request{entry: Entry{Kind: KindIntegrity, Action: "gap", Source: "ledger", Tags: []string{"ledger_gap"},
		Reasons: []string{fmt.Sprintf("%d entries since %s could not be written and are missing here: %s", l.w.lost,
			l.w.lostSince.UTC().Format(time.RFC3339), l.clean(*l.failed.Load(), maxField))}}}
}

func (l *Ledger) tryCommit(batch []*request) error {
	w := &l.w
	if err := l.repair(); err != nil {
		return err
	}
	if w.bytes >= l.cfg.SegmentBytes {
		if err := l.rotate(""); err != nil {
			return err
		}
	}
	buf, seq, hash := w.buf[:0], w.seq, w.hash
	now := l.deps.Now().UnixMilli()
	for _, r := range batch {
		seq++
		r.entry.Seq, r.entry.AtMs = seq, now
		buf, hash = appendLine(buf, &r.entry, hash)
	}
	if cap(buf) <= 2*maxBatchBytes {
		w.buf = buf[:0]
	}
	w.dirty = true
	if _, err := w.cur.WriteAt(buf, w.bytes); err != nil {
		return errors.Join(err, l.repair())
	}
	if err := w.cur.Sync(); err != nil {
		return errors.Join(err, l.repair())
	}
	h := l.committed // only this goroutine changes it
	h.File, h.Bytes, h.Seq, h.Last = w.seg.name, w.bytes+int64(len(buf)), seq, hash.String()
	if err := l.writeHead(h); err != nil {
		return errors.Join(err, l.repair())
	}
	w.bytes, w.seq, w.hash, w.dirty = h.Bytes, seq, hash, false
	return nil
}

// writeHead makes h durable and then known.
func (l *Ledger) writeHead(h head) error {
	h.Gen++
	if _, err := l.w.headFile.WriteAt(encodeHead(h), h.slot()); err != nil {
		return err
	}
	if err := l.w.headFile.Sync(); err != nil {
		return err
	}
	h.Sum = ""
	l.mu.Lock()
	l.committed = h
	l.mu.Unlock()
	return nil
}

// repair cuts off what a failed write left behind it. The head may have reached the disk
// although its write failed, so both slots get the good one again, and that first: a
// crash in between leaves a journal that is longer than its head, which is no damage.
func (l *Ledger) repair() error {
	w := &l.w
	if !w.dirty {
		return nil
	}
	h := l.committed
	h.Gen++
	if _, err := w.headFile.WriteAt(encodeHead(h), h.slot()); err != nil {
		return fmt.Errorf("head after a failed write: %w", err)
	}
	if err := l.writeHead(h); err != nil {
		return fmt.Errorf("head after a failed write: %w", err)
	}
	if err := w.cur.Truncate(w.bytes); err != nil {
		return fmt.Errorf("cut back after a failed write: %w", err)
	}
	if err := w.cur.Sync(); err != nil {
		return fmt.Errorf("cut back after a failed write: %w", err)
	}
	w.dirty = false
	return nil
}

// rotate goes on in a new file. The head names it with the next commit.
func (l *Ledger) rotate(damage string) error {
	w := &l.w
	next := newSegment(w.seg.number+1, w.seq+1)
	line, hash := appendHeader(nil, header{Journal: formatVersion, Segment: next.number, FirstSeq: next.firstSeq,
		CreatedMs: l.deps.Now().UnixMilli(), Damage: damage}, w.hash)
	f, err := l.create(next.name, line)
	if err != nil {
		return fmt.Errorf("new file %s: %w", next.name, err)
	}
	if w.cur != nil {
		_ = w.cur.Close() // synced
	}
	w.cur, w.seg, w.bytes, w.hash, w.rotated = f, next, int64(len(line)), hash, true
	return nil
}

func (l *Ledger) create(name string, line []byte) (file, error) {
	f, err := l.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		// An attempt that failed half-way; no head names it, and the lock is ours.
		if err = l.root.Remove(name); err == nil {
			f, err = l.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(line, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(l.dir)
	}
	if err != nil {
		_ = f.Close()
		_ = l.root.Remove(name) // tried again when the name is needed
		return nil, err
	}
	return f, nil
}

// retentionEvery is how often retention is looked at between two new files.
const retentionEvery = time.Hour

// retain removes the oldest files beyond the bounds: first an entry says so, then the
// head forgets them, then they go.
func (l *Ledger) retain() {
	now := l.deps.Now()
	if !l.w.rotated && now.Sub(l.w.checked) < retentionEvery {
		return
	}
	l.w.checked, l.w.rotated = now, false
	if err := l.removeOld(now); err != nil {
		l.deps.Log.Error("ledger: old files were not removed", "err", err)
	}
}

func (l *Ledger) removeOld(now time.Time) error {
	list, err := listSegments(l.root)
	if err != nil {
		return err
	}
	var total int64
	infos := make([]fs.FileInfo, len(list))
	for i, s := range list {
		if infos[i], err = l.root.Stat(s.name); err != nil {
			return err
		}
		total += infos[i].Size()
	}
	drop := 0
	// One more file must fit below the bound; the one being written always stays.
	for drop < len(list)-1 && list[drop].number < l.w.seg.number {
		old := l.cfg.RetainDays > 0 && now.Sub(infos[drop].ModTime()) > time.Duration(l.cfg.RetainDays)*24*time.Hour
		if total+l.cfg.SegmentBytes <= l.cfg.MaxBytes && !old {
			break
		}
		total -= infos[drop].Size()
		drop++
	}
	if drop == 0 {
		return nil
	}
	return l.dropFiles(list[:drop], list[drop])
}

func (l *Ledger) dropFiles(gone []segment, first segment) error {
	prev, err := headerPrev(l.root, first.name)
	if err != nil {
		return err
	}
	r := &request{entry: Entry{Kind: KindIntegrity, Action: "retention", Source: "ledger",
		Tags: []string{"ledger_retention"},
		Reasons: []string{fmt.Sprintf("entries %d to %d (%s to %s) were removed by retention; the hash of the last is %s",
			gone[0].firstSeq, first.firstSeq-1, gone[0].name, gone[len(gone)-1].name, prev)}}}
	if err := l.commit([]*request{r}); err != nil {
		return err
	}
	h := l.committed
	h.First, h.FirstPrev = first.name, prev.String()
	if err := l.writeHead(h); err != nil {
		l.w.dirty = true // the head's slots may differ; repair writes both
		return err
	}
	for _, s := range gone {
		if err := l.root.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l.Stats.Removed.Add(1)
	}
	l.deps.Log.Warn("ledger: old files were removed", "files", len(gone), "firstEntry", first.firstSeq)
	return syncDir(l.dir)
}

// headerPrev reads the hash that a file's header follows.
func headerPrev(root *os.Root, name string) (sum, error) {
	f, err := root.Open(name)
	if err != nil {
		return sum{}, err
	}
	defer f.Close()
	in := newLines(f, -1)
	defer in.free()
	line, err := in.read()
	if err != nil {
		return sum{}, fmt.Errorf("%s: %w", name, err)
	}
	h, ok := decodeHeader(line)
	prev, okPrev := unhex([]byte(h.Prev))
	if !ok || !okPrev {
		return sum{}, fmt.Errorf("%s: %s", name, whyHeader)
	}
	return prev, nil
}
