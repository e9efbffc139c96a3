package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
)

// A segment is one file of the journal: journal-<number>-<first entry>.jsonl. Its first
// line is a header that takes part in the chain, so that files follow each other as
// lines do.
type segment struct {
	name     string
	number   uint64
	firstSeq uint64
}

const (
	segmentPrefix = "journal-"
	segmentSuffix = ".jsonl"
)

func newSegment(number, firstSeq uint64) segment {
	return segment{fmt.Sprintf("%s%08d-%016d%s", segmentPrefix, number, firstSeq, segmentSuffix), number, firstSeq}
}

func parseSegment(name string) (segment, bool) {
	rest, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok {
		return segment{}, false
	}
	rest, ok = strings.CutSuffix(rest, segmentSuffix)
	if !ok {
		return segment{}, false
	}
	number, first, ok := strings.Cut(rest, "-")
	n, err1 := strconv.ParseUint(number, 10, 64)
	f, err2 := strconv.ParseUint(first, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return segment{}, false
	}
	s := newSegment(n, f)
	return s, s.name == name
}

func segmentName(name string) bool {
	_, ok := parseSegment(name)
	return ok
}

// listSegments returns the folder's files of the journal by number.
func listSegments(root *os.Root) ([]segment, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	var list []segment
	for _, entry := range entries {
		if s, ok := parseSegment(entry.Name()); ok {
			list = append(list, s)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list, nil
}

// header is a segment's first line.
type header struct {
	Journal   int    `json:"journal"` // version of the format
	Segment   uint64 `json:"segment"`
	FirstSeq  uint64 `json:"firstSeq"`
	CreatedMs int64  `json:"createdMs"`
	// Damage says why the file before this one could not be continued.
	Damage string `json:"damage,omitzero"`
	Prev   string `json:"prev"`
	Hash   string `json:"hash"`
}

const formatVersion = 1

func appendHeader(dst []byte, h header, prev sum) ([]byte, sum) {
	start := len(dst)
	dst = append(dst, `{"journal":`...)
	dst = strconv.AppendInt(dst, int64(h.Journal), 10)
	dst = append(dst, `,"segment":`...)
	dst = strconv.AppendUint(dst, h.Segment, 10)
	dst = append(dst, `,"firstSeq":`...)
	dst = strconv.AppendUint(dst, h.FirstSeq, 10)
	dst = append(dst, `,"createdMs":`...)
	dst = strconv.AppendInt(dst, h.CreatedMs, 10)
	dst = appendMember(dst, "damage", cut(h.Damage, maxField, false))
	return closeLine(dst, start, prev)
}

func decodeHeader(line []byte) (header, bool) {
	var h header
	err := json.Unmarshal(line, &h)
	return h, err == nil && h.Journal == formatVersion
}

// lines reads a file of the journal line by line, up to limit bytes (negative = all).
type lines struct {
	r      *bufio.Reader
	offset int64 // of the line that was returned last
	next   int64
	number int // of that line; 1 = the header
}

// readBuffer holds the longest line. Buffers are used again: a journal has many files.
const readBuffer = maxLine

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

func newLines(f io.Reader, limit int64) *lines {
	if limit >= 0 {
		f = io.LimitReader(f, limit)
	}
	r := readers.Get().(*bufio.Reader)
	r.Reset(f)
	return &lines{r: r}
}

// free gives the buffer back; the lines that were read are no longer valid.
func (l *lines) free() {
	l.r.Reset(nil)
	readers.Put(l.r)
	l.r = nil
}

// read returns the next line with its line feed; what has none is the file's end or
// longer than any line that Sluice writes. The bytes are valid until the next call.
func (l *lines) read() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if len(line) == 0 && err != nil {
		return nil, err
	}
	l.offset, l.number = l.next, l.number+1
	l.next += int64(len(line))
	if err == nil || errors.Is(err, io.EOF) {
		return line, nil
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	// Too long: whatever it is, it ends where the next line feed is.
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = l.r.ReadSlice('\n')
		l.next += int64(len(more))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return []byte("(too long)\n"), nil
}

// file is what the writer needs of an *os.File; tests make it fail.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
