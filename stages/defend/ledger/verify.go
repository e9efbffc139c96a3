package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Problem is one place where the journal is not as it was written.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line,omitzero"` // from 1, which is the file's header; 0 = the file itself
	Seq  uint64 `json:"seq,omitzero"`  // the entry that is expected there
	Why  string `json:"why"`
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Why
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Why)
}

// Anchor is an entry's number and hash that were kept elsewhere.
type Anchor struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// Report is what Verify found.
type Report struct {
	Entries  uint64    `json:"entries"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	FirstSeq uint64    `json:"firstSeq"`
	LastSeq  uint64    `json:"lastSeq"`
	LastHash string    `json:"lastHash"`
	Problems []Problem `json:"problems"`
	// More counts problems beyond the first hundred.
	More int `json:"more,omitzero"`
	// Beyond counts sound entries behind the head: written and not yet acknowledged.
	Beyond uint64 `json:"beyond,omitzero"`
	// TornBytes counts bytes behind the head that are no whole line: a write that a crash
	// tore, or that is under way.
	TornBytes int64 `json:"tornBytes,omitzero"`
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

const maxProblems = 100

func (r *Report) add(p Problem) {
	if len(r.Problems) >= maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, p)
}

// Progress is how far a verification is.
type Progress struct {
	Entries uint64
	Bytes   int64
	File    string
}

// Verify reads the whole journal and checks every line, that they follow each other, and
// that the first and the last are those that the head names. The error is about reading;
// damage is in the report. progress may be nil; it is called some times a second at most.
func (r *Reader) Verify(ctx context.Context, progress func(Progress)) (Report, error) {
	return r.VerifyAgainst(ctx, nil, progress)
}

// VerifyAgainst is Verify that also compares entries with what was kept of them
// elsewhere: it finds a journal that was written anew as a whole.
func (r *Reader) VerifyAgainst(ctx context.Context, anchors []Anchor, progress func(Progress)) (Report, error) {
	for try := 1; ; try++ {
		v, err := r.newCheck(ctx, anchors, progress)
		if err != nil {
			return Report{}, err
		}
		for i, s := range v.list {
			if err := v.file(i, s); err != nil {
				return v.Report, fmt.Errorf("ledger: %s: %w", s.name, err)
			}
		}
		v.finish()
		if v.OK() || try == verifyTries || !v.overtaken() {
			return v.Report, nil
		}
	}
}

// verifyTries bounds how often a verification starts again because retention removed
// files under it.
const verifyTries = 3

// overtaken reports whether retention has moved the journal's begin meanwhile.
func (v *check) overtaken() bool {
	now, err := v.r.head()
	return err == nil && now.found && v.head.found && now.First != v.head.First
}

// check is one verification.
type check struct {
	Report
	r        *Reader
	ctx      context.Context
	head     heads
	list     []segment
	anchors  map[uint64]string
	progress func(Progress)

	prev sum    // hash of the line before; known unless lost
	seq  uint64 // number of the entry before
	lost bool   // the line before cannot be read: the next one is believed
	met  bool   // the head's last entry was seen
}

func (r *Reader) newCheck(ctx context.Context, anchors []Anchor, progress func(Progress)) (*check, error) {
	// The head first: what is written while the files are read lies behind it.
	h, err := r.head()
	if err != nil {
		return nil, err
	}
	list, err := listSegments(r.root)
	if err != nil {
		return nil, err
	}
	v := &check{r: r, ctx: ctx, head: h, list: list, anchors: map[uint64]string{}, progress: progress}
	for _, a := range anchors {
		v.anchors[a.Seq] = a.Hash
	}
	for _, why := range h.damage {
		v.add(Problem{File: headName, Why: why})
	}
	switch {
	case h.found:
		first, _ := parseSegment(h.First)
		for len(v.list) > 0 && v.list[0].number < first.number {
			v.list = v.list[1:] // retention has decided and not yet removed
		}
		if len(v.list) == 0 || v.list[0].name != h.First {
			v.add(Problem{File: h.First, Why: "the journal's first file is missing"})
			v.lost = true
			break
		}
		v.prev, _ = unhex([]byte(h.FirstPrev))
	case len(list) > 0:
		v.add(Problem{File: headName, Why: "it is missing or damaged: lines at the end of the journal may be missing"})
		v.lost = true
	}
	return v, nil
}

func (v *check) file(i int, s segment) error {
	f, err := v.r.root.Open(s.name)
	if errors.Is(err, fs.ErrNotExist) {
		v.add(Problem{File: s.name, Why: "the file was removed while the journal was read; verify again"})
		v.lost = true
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if i > 0 && s.number != v.list[i-1].number+1 {
		v.add(Problem{File: s.name, Why: fmt.Sprintf("the file before it (number %d) is missing", s.number-1)})
	}
	in := newLines(f, -1)
	defer in.free()
	v.Files++
	for {
		line, err := in.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if in.number == 1 {
			v.header(s, line, i == 0)
		} else if !v.entry(s, in, line) {
			break
		}
		if in.number%32768 == 0 {
			if v.ctx.Err() != nil {
				return v.ctx.Err()
			}
			v.tell(s)
		}
	}
	v.Bytes += in.next
	v.tell(s)
	if in.number == 0 && !v.behind(s, 0) {
		v.add(Problem{File: s.name, Why: "the file is empty"})
	}
	if v.head.found && s.name == v.head.File && !v.met {
		v.met = true
		v.add(Problem{File: s.name, Line: in.number, Seq: v.seq,
			Why: fmt.Sprintf("the file ends after entry %d; the head names entry %d as the last: lines were cut off", v.seq, v.head.Seq)})
	}
	return nil
}

func (v *check) tell(s segment) {
	if v.progress != nil {
		v.progress(Progress{v.Entries, v.Bytes, s.name})
	}
}

// behind reports whether that place was never acknowledged.
func (v *check) behind(s segment, offset int64) bool {
	if !v.head.found {
		return false
	}
	last, _ := parseSegment(v.head.File)
	return s.number > last.number || s.number == last.number && offset >= v.head.Bytes
}

func (v *check) header(s segment, line []byte, first bool) {
	h, ok := decodeHeader(line)
	bad := func(why string) {
		if !v.behind(s, 0) {
			v.add(Problem{File: s.name, Line: 1, Why: why})
		}
	}
	if !ok || h.Segment != s.number || h.FirstSeq != s.firstSeq {
		bad(whyHeader)
		v.lost = true
		return
	}
	prev := v.prev
	if v.lost {
		prev, _ = unhex([]byte(h.Prev))
	}
	hash, why := checkLine(line, prev)
	if why == whyPrev {
		why = "the file does not follow the one before it: lines at that one's end, or a file, were dropped, added or changed"
	}
	if why != "" {
		bad(why)
	}
	if h.Damage != "" {
		bad("noted here when the gateway started: " + h.Damage)
	}
	if first {
		v.FirstSeq = s.firstSeq
	} else if !v.lost && s.firstSeq != v.seq+1 {
		bad(fmt.Sprintf("the file begins with entry %d; the one before it ends with entry %d", s.firstSeq, v.seq))
	}
	v.prev, v.seq, v.lost = hash, s.firstSeq-1, why == whyForm || why == whyTorn
	v.reached(s, int64(len(line)), 1)
}

// entry checks one line; false ends the file.
func (v *check) entry(s segment, in *lines, line []byte) bool {
	prev := v.prev
	if v.lost && len(line) >= tailPrev {
		prev, _ = unhex(line[len(line)-tailPrev+len(prevMark):][:hexSum])
	}
	hash, why := checkLine(line, prev)
	seq, ok := lineSeq(line)
	if why == "" && !ok {
		why = whyForm
	}
	if why == whyTorn && v.behind(s, in.offset) {
		v.TornBytes += int64(len(line))
		return false // a write that was torn, or is under way
	}
	switch {
	case why == whyPrev && ok && seq != v.seq+1:
		why = fmt.Sprintf("%s (entry %d stands where entry %d is expected)", whyPrev, seq, v.seq+1)
		v.add(Problem{s.name, in.number, v.seq + 1, why})
	case why != "":
		v.add(Problem{s.name, in.number, v.seq + 1, why})
	case seq != v.seq+1 && !v.lost:
		v.add(Problem{s.name, in.number, v.seq + 1, fmt.Sprintf("entry %d stands where entry %d is expected", seq, v.seq+1)})
	}
	if hash == (sum{}) || why == whyForm || why == whyHash {
		// Nothing is known of this line; the next one is judged by what it says itself.
		v.lost, v.seq = true, v.seq+1
		if ok {
			v.seq = seq
		}
	} else {
		v.prev, v.seq, v.lost = hash, seq, false
		v.anchor(s, in.number, hash)
	}
	v.Entries++
	if v.behind(s, in.offset) {
		v.Beyond++
	}
	v.LastSeq = v.seq
	v.reached(s, in.next, in.number)
	return true
}

func (v *check) anchor(s segment, line int, hash sum) {
	if want, ok := v.anchors[v.seq]; ok {
		delete(v.anchors, v.seq)
		if want != hash.String() {
			v.add(Problem{s.name, line, v.seq, "the entry is not the one whose hash was kept elsewhere: the journal was written anew"})
		}
	}
}

// reached compares with the head where it says that the journal ends.
func (v *check) reached(s segment, next int64, line int) {
	if !v.head.found || s.name != v.head.File || next < v.head.Bytes || v.met {
		return
	}
	v.met = true
	if next != v.head.Bytes || v.seq != v.head.Seq || !v.lost && v.prev != v.head.hash() {
		v.add(Problem{s.name, line, v.head.Seq, fmt.Sprintf("the line is not the one that the head names (entry %d)", v.head.Seq)})
	}
}

func (v *check) finish() {
	v.LastHash = v.prev.String()
	if v.head.found && !v.met {
		v.add(Problem{File: v.head.File, Seq: v.head.Seq, Why: "the file is missing; the head says that it holds the journal's end"})
	}
	for seq := range v.anchors {
		if seq >= v.FirstSeq { // older ones went with retention
			v.add(Problem{File: headName, Seq: seq, Why: fmt.Sprintf("entry %d, whose hash was kept elsewhere, is missing", seq)})
		}
	}
}
