package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// start finds the journal's end, repairs what a crash leaves, and notes in the journal
// what it did.
func (l *Ledger) start() error {
	f, err := l.root.OpenFile(headName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("ledger: head: %w", err)
	}
	l.w.headFile = l.deps.wrap(f)
	if err := lock(f); err != nil {
		return err
	}
	hs, err := readHeads(f)
	if err != nil {
		return err
	}
	list, err := listSegments(l.root)
	if err != nil {
		return err
	}
	r := recovery{l: l, heads: hs, list: list}
	if err := r.run(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.closeToOthers()
	return l.report(&r)
}

func (l *Ledger) open(name string, flag int) (file, error) {
	f, err := l.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return l.deps.wrap(f), nil
}

// recovery is one start.
type recovery struct {
	l     *Ledger
	heads heads
	list  []segment
	// What was found, for the journal and for the operator.
	damage []string // acknowledged lines are not as they were
	notes  []string // leftovers of a crash; nothing is lost
}

func (r *recovery) run() error {
	l := r.l
	for _, why := range r.heads.damage {
		r.notes = append(r.notes, "head: "+why)
	}
	if !r.heads.found {
		return r.withoutHead()
	}
	r.removeForgotten()
	h := r.heads.head
	seg, _ := parseSegment(h.File) // decodeHead has checked it
	end, why, err := r.scan(seg, h)
	if err != nil {
		return err
	}
	l.committed = h
	l.w.seg, l.w.seq, l.w.hash = seg, h.Seq, h.hash()
	if why != "" {
		r.damage = append(r.damage, why)
		return r.goOn(strings.Join(r.damage, "; "))
	}
	return r.resume(seg, end)
}

// withoutHead starts a new journal, or goes on after one whose head is gone.
func (r *recovery) withoutHead() error {
	l := r.l
	if len(r.list) == 0 && len(r.heads.damage) == 0 {
		return r.goOn("")
	}
	why := "the head file is missing or damaged: lines at the end may be missing"
	r.damage = append(r.damage, why)
	if len(r.list) == 0 {
		return r.goOn(why)
	}
	last := r.list[len(r.list)-1]
	end, _, err := r.scan(last, head{})
	if err != nil {
		return err
	}
	l.w.seg, l.w.seq, l.w.hash = last, max(end.seq, last.firstSeq-1), end.hash
	prev, err := headerPrev(l.root, r.list[0].name)
	if err != nil {
		r.damage = append(r.damage, err.Error())
	}
	l.committed = head{First: r.list[0].name, FirstPrev: prev.String()}
	return r.goOn(strings.Join(r.damage, "; "))
}

// goOn begins a new file after l.w's state.
func (r *recovery) goOn(why string) error {
	l := r.l
	// Files that no head names and that stand in the way are kept under another name.
	for _, s := range r.list {
		if s.number > l.w.seg.number {
			if err := r.setAside(s); err != nil {
				return err
			}
		}
	}
	if err := l.rotate(why); err != nil {
		return err
	}
	h := l.committed
	h.File, h.Bytes, h.Seq, h.Last = l.w.seg.name, l.w.bytes, l.w.seq, l.w.hash.String()
	if h.First == "" {
		h.First, h.FirstPrev = l.w.seg.name, sum{}.String()
	}
	return r.bothSlots(h)
}

// bothSlots writes the head twice, so that no slot stays damaged.
func (r *recovery) bothSlots(h head) error {
	if err := r.l.w.headFile.Truncate(headBytes); err != nil {
		return err
	}
	if err := r.l.writeHead(h); err != nil {
		return err
	}
	if err := r.l.writeHead(r.l.committed); err != nil {
		return err
	}
	return syncDir(r.l.dir)
}

func (r *recovery) setAside(s segment) error {
	aside := fmt.Sprintf("%s.aside-%d", s.name, r.l.deps.Now().UnixNano())
	if err := r.l.root.Rename(s.name, aside); err != nil {
		return fmt.Errorf("set %s aside: %w", s.name, err)
	}
	r.notes = append(r.notes, s.name+" is named by no head; it was set aside as "+aside)
	return nil
}

// end is how far a file is good.
type end struct {
	bytes int64
	seq   uint64
	hash  sum
	size  int64 // of the file
}

// scan checks a file from its header on. Up to h's end (none for a zero h) everything
// must be as the head says; behind it, lines count as far as they follow.
func (r *recovery) scan(s segment, h head) (end, string, error) {
	f, err := r.l.root.Open(s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return end{}, s.name + " is missing", nil
	}
	if err != nil {
		return end{}, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return end{}, "", err
	}
	at := end{size: info.Size()}
	in := newLines(f, -1)
	defer in.free()
	for {
		line, err := in.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return at, "", err
		}
		next, why := r.step(s, at, in.number, line)
		if why != "" {
			if in.offset >= h.Bytes {
				break // behind the head: a write that was torn
			}
			return at, fmt.Sprintf("%s:%d: %s", s.name, in.number, why), nil
		}
		next.bytes, next.size = in.next, at.size
		at = next
		if at.bytes == h.Bytes && (at.seq != h.Seq || at.hash != h.hash()) {
			return at, fmt.Sprintf("%s:%d: the line is not the one that the head names", s.name, in.number), nil
		}
	}
	if at.bytes < h.Bytes {
		return at, fmt.Sprintf("%s: it ends after entry %d; the head names entry %d", s.name, at.seq, h.Seq), nil
	}
	return at, "", nil
}

func (r *recovery) step(s segment, at end, number int, line []byte) (end, string) {
	if number == 1 {
		h, ok := decodeHeader(line)
		prev, okPrev := unhex([]byte(h.Prev))
		if !ok || !okPrev || h.Segment != s.number || h.FirstSeq != s.firstSeq {
			return at, whyHeader
		}
		hash, why := checkLine(line, prev)
		return end{seq: s.firstSeq - 1, hash: hash}, why
	}
	hash, why := checkLine(line, at.hash)
	if seq, ok := lineSeq(line); why == "" && (!ok || seq != at.seq+1) {
		why = whyForm
	}
	return end{seq: at.seq + 1, hash: hash}, why
}

// resume takes the writer's place at the end that was found, which may lie behind the
// head: lines that reached the disk before a crash and were never acknowledged stay.
func (r *recovery) resume(seg segment, at end) error {
	l := r.l
	for {
		next, ok := r.following(seg)
		if !ok || at.size != at.bytes {
			break
		}
		after, _, err := r.scan(next, head{})
		if err != nil {
			return err
		}
		prev, err := headerPrev(l.root, next.name)
		if err != nil || after.bytes == 0 || prev != at.hash || next.firstSeq != at.seq+1 {
			break
		}
		seg, at = next, after
	}
	l.w.seg, l.w.bytes, l.w.seq, l.w.hash = seg, at.bytes, at.seq, at.hash
	for _, s := range r.list {
		if s.number > seg.number {
			if err := r.setAside(s); err != nil {
				return err
			}
		}
	}
	f, err := l.open(seg.name, os.O_RDWR)
	if err != nil {
		return err
	}
	l.w.cur = f
	if at.size > at.bytes {
		if err := r.cutTorn(f, seg, at); err != nil {
			return err
		}
	}
	if at.seq > r.heads.Seq {
		r.notes = append(r.notes, fmt.Sprintf("entries %d to %d were written and not acknowledged before a crash; they are kept", r.heads.Seq+1, at.seq))
	}
	if len(r.notes) == 0 && seg.name == r.heads.File {
		return nil
	}
	h := l.committed
	h.File, h.Bytes, h.Seq, h.Last = seg.name, at.bytes, at.seq, at.hash.String()
	return r.bothSlots(h)
}

func (r *recovery) following(s segment) (segment, bool) {
	for _, next := range r.list {
		if next.number == s.number+1 {
			return next, true
		}
	}
	return segment{}, false
}

// cutTorn moves the bytes of a write that was torn into a file of their own.
func (r *recovery) cutTorn(f file, s segment, at end) error {
	aside := fmt.Sprintf("%s.torn-%d", s.name, r.l.deps.Now().UnixNano())
	out, err := r.l.root.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("set a torn write aside: %w", err)
	}
	_, err = io.Copy(out, io.NewSectionReader(f, at.bytes, min(at.size-at.bytes, maxTorn)))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("set a torn write aside: %w", err)
	}
	if err := errors.Join(f.Truncate(at.bytes), f.Sync()); err != nil {
		return fmt.Errorf("cut a torn write off: %w", err)
	}
	r.notes = append(r.notes, fmt.Sprintf("%s: %d bytes of a write that was torn were set aside as %s", s.name, at.size-at.bytes, aside))
	return nil
}

// maxTorn bounds what is kept of a torn write; one commit is far below it.
const maxTorn = 64 << 20

// removeForgotten removes files that retention had decided to remove.
func (r *recovery) removeForgotten() {
	first, _ := parseSegment(r.heads.First)
	keep := r.list[:0]
	for _, s := range r.list {
		if s.number >= first.number {
			keep = append(keep, s)
		} else if err := r.l.root.Remove(s.name); err != nil {
			r.l.deps.Log.Error("ledger: an old file was not removed", "file", s.name, "err", err)
		}
	}
	r.list = keep
}

// closeToOthers makes the journal's files readable by their owner only.
func (l *Ledger) closeToOthers() {
	entries, err := fs.ReadDir(l.root.FS(), ".")
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 {
			continue
		}
		if err := l.root.Chmod(entry.Name(), 0o600); err != nil {
			l.deps.Log.Error("ledger: a file stays readable by others", "file", entry.Name(), "err", err)
		}
	}
	if err != nil {
		l.deps.Log.Error("ledger: the folder was not read", "err", err)
	}
}

// report writes what was found into the journal itself.
func (l *Ledger) report(r *recovery) error {
	if len(r.damage) == 0 && len(r.notes) == 0 {
		return nil
	}
	e := Entry{Kind: KindIntegrity, Source: "ledger", Action: "recovered", Tags: []string{"ledger_recovered"},
		Reasons: append(append([]string(nil), r.damage...), r.notes...)}
	if len(r.damage) > 0 {
		why := strings.Join(r.damage, "; ")
		l.damage.Store(&why)
		e.Action, e.Tags = "damaged", []string{"ledger_damaged"}
	}
	l.deps.Log.Warn("ledger: "+e.Action, "found", e.Reasons)
	if err := l.prepare(&e); err != nil {
		return err
	}
	return l.commit([]*request{{entry: e}})
}
