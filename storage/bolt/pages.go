package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"

	"sluice/storage"
)

// This file reads bbolt's format page by page, with every offset checked. bbolt
// itself trusts its file: a damaged page is a panic, and one past the end of the file
// a SIGBUS that no recover catches in its goroutines. So Open looks first, and when it
// finds damage it takes from here what is still whole. Layout: bbolt's
// internal/common/{meta,page,bucket}.go, version 2 of the format.
const (
	pageHeaderBytes = 16 // id u64, flags u16, count u16, overflow u32
	elementBytes    = 16
	bucketHeader    = 16 // root page u64, sequence u64
	metaBytes       = 64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	flagBucket   = 0x01 // of a leaf element

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	noFreelist  = ^uint64(0)

	minPageSize = 1 << 10
	maxPageSize = 64 << 10
	maxDepth    = 32 // a tree this deep holds more keys than a disk has bytes
	maxProblems = 8  // kept as text; the rest is counted
)

var native = binary.NativeEndian

type meta struct {
	pageSize                    uint32
	root, freelist, pages, txid uint64
}

// inspection is what one pass over a file found.
type inspection struct {
	meta     meta
	used     uint64 // pages in use, with the two meta pages
	problems []string
	count    int // of problems, also beyond those kept
}

func (in *inspection) problem(format string, args ...any) {
	in.count++
	if len(in.problems) < maxProblems {
		in.problems = append(in.problems, fmt.Sprintf(format, args...))
	}
}

func (in *inspection) damaged() bool { return in.count > 0 }

// freePercent is the share of the file's pages that hold nothing.
func (in *inspection) freePercent() int {
	if in.meta.pages == 0 {
		return 0
	}
	return int(100 - in.used*100/in.meta.pages)
}

// pairFunc receives each key and sealed value whose page is whole. Its error ends
// the walk.
type pairFunc func(bucket, key string, raw []byte) error

type walker struct {
	inspection
	file io.ReaderAt
	size int64
	seen []uint64 // one bit a page
	emit pairFunc
	// buffers[depth] is reused by every page at that depth.
	buffers [maxDepth + 1][]byte
	last    []byte // greatest key of the current bucket so far
}

// inspect reads every page that is reachable from the newest valid meta page and
// passes each pair to emit (which may be nil). Damage is a result, not an error; the
// error is emit's or the disk's.
func inspect(file io.ReaderAt, size int64, emit pairFunc) (inspection, error) {
	w := &walker{file: file, size: size, emit: emit}
	if w.size == 0 {
		return inspection{}, nil
	}
	if !w.readMeta() {
		return w.inspection, nil
	}
	if need := int64(w.meta.pages) * int64(w.meta.pageSize); need > w.size {
		w.problem("the file has %d bytes and should have at least %d", w.size, need)
	}
	w.seen = make([]uint64, min(w.meta.pages, uint64(w.size)/uint64(w.meta.pageSize)+1)/64+1)
	w.used = 2
	err := w.walk("", w.meta.root, 0)
	if err == nil {
		w.checkFreelist()
	}
	return w.inspection, err
}

// inspectMeta reads only the two meta pages and the size.
func inspectMeta(file io.ReaderAt, size int64) inspection {
	w := &walker{file: file, size: size}
	if w.size > 0 && w.readMeta() {
		if need := int64(w.meta.pages) * int64(w.meta.pageSize); need > w.size {
			w.problem("the file has %d bytes and should have at least %d", w.size, need)
		}
	}
	return w.inspection
}

// readMeta finds the newest valid meta page. bbolt goes on with the older one when the
// newer is unreadable, which would silently drop the last acknowledged commit: here
// one unreadable meta page is damage.
func (w *walker) readMeta() bool {
	first, ok0 := w.metaAt(0)
	sizes := []int64{int64(first.pageSize)}
	if !ok0 {
		sizes = sizes[:0]
		for s := int64(minPageSize); s <= maxPageSize; s *= 2 {
			sizes = append(sizes, s)
		}
	}
	var second meta
	ok1 := false
	for _, s := range sizes {
		if second, ok1 = w.metaAt(s); ok1 && int64(second.pageSize) == s {
			break
		}
		ok1 = false
	}
	switch {
	case ok0 && ok1:
		w.meta = first
		if second.txid > first.txid {
			w.meta = second
		}
	case ok0:
		w.meta = first
		w.problem("the second meta page is unreadable")
	case ok1:
		w.meta = second
		w.problem("the first meta page is unreadable")
	default:
		w.problem("no readable meta page: not a bolt file, or its head is lost")
		return false
	}
	return true
}

func (w *walker) metaAt(offset int64) (meta, bool) {
	var b [pageHeaderBytes + metaBytes]byte
	if _, err := w.file.ReadAt(b[:], offset); err != nil {
		return meta{}, false
	}
	m := b[pageHeaderBytes:]
	h := fnv.New64a()
	h.Write(m[:56])
	if native.Uint32(m) != metaMagic || native.Uint32(m[4:]) != metaVersion || native.Uint64(m[56:]) != h.Sum64() {
		return meta{}, false
	}
	found := meta{
		pageSize: native.Uint32(m[8:]),
		root:     native.Uint64(m[16:]),
		freelist: native.Uint64(m[32:]),
		pages:    native.Uint64(m[40:]),
		txid:     native.Uint64(m[48:]),
	}
	if found.pageSize < minPageSize || found.pageSize > maxPageSize || found.pageSize&(found.pageSize-1) != 0 {
		return meta{}, false
	}
	return found, true
}

// claim marks pages as used and reports false when one already was or is out of range.
func (w *walker) claim(id, n uint64) bool {
	for i := id; i < id+n; i++ {
		if i < 2 || i >= w.meta.pages || i/64 >= uint64(len(w.seen)) || w.seen[i/64]&(1<<(i%64)) != 0 {
			return false
		}
		w.seen[i/64] |= 1 << (i % 64)
	}
	w.used += n
	return true
}

// load reads page id with its overflow pages into the buffer of a depth.
func (w *walker) load(id uint64, depth int) ([]byte, error) {
	size := int64(w.meta.pageSize)
	var head [pageHeaderBytes]byte
	if id < 2 || id >= w.meta.pages {
		return nil, fmt.Errorf("page %d is outside of the file", id)
	}
	if _, err := w.file.ReadAt(head[:], int64(id)*size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if got := native.Uint64(head[:]); got != id {
		return nil, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	n := uint64(native.Uint32(head[12:])) + 1
	if id+n > w.meta.pages || int64(id+n)*size > w.size {
		return nil, fmt.Errorf("page %d with %d overflow pages ends outside of the file", id, n-1)
	}
	if !w.claim(id, n) {
		return nil, fmt.Errorf("page %d is referenced twice", id)
	}
	need := int(n) * int(size)
	if cap(w.buffers[depth]) < need {
		w.buffers[depth] = make([]byte, need)
	}
	page := w.buffers[depth][:need]
	if _, err := w.file.ReadAt(page, int64(id)*size); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return page, nil
}

func (w *walker) walk(bucket string, id uint64, depth int) error {
	if depth > maxDepth {
		w.problem("page %d of %q is deeper than %d levels", id, bucket, maxDepth)
		return nil
	}
	page, err := w.load(id, depth)
	if err != nil {
		w.problem("%s: %v", where(bucket), err)
		return nil
	}
	switch native.Uint16(page[8:]) {
	case flagLeaf:
		return w.leaf(bucket, id, page, depth)
	case flagBranch:
		return w.branch(bucket, id, page, depth)
	}
	w.problem("%s: page %d is neither branch nor leaf", where(bucket), id)
	return nil
}

func (w *walker) branch(bucket string, id uint64, page []byte, depth int) error {
	for i := range int(native.Uint16(page[10:])) {
		at := pageHeaderBytes + i*elementBytes
		if at+elementBytes > len(page) {
			w.problem("%s: page %d has more children than room", where(bucket), id)
			return nil
		}
		if err := w.walk(bucket, native.Uint64(page[at+8:]), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(bucket string, id uint64, page []byte, depth int) error {
	for i := range int(native.Uint16(page[10:])) {
		flags, key, value, ok := leafElement(page, i)
		if !ok {
			w.problem("%s: element %d of page %d is outside of its page", where(bucket), i, id)
			return nil
		}
		if bucket == "" {
			if flags&flagBucket == 0 || len(value) < bucketHeader {
				w.problem("page %d holds %q, which is not a bucket", id, key)
				continue
			}
			if err := w.bucket(string(key), value, depth); err != nil {
				return err
			}
			continue
		}
		if err := w.pair(bucket, id, flags, key, value); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) bucket(name string, value []byte, depth int) error {
	w.last = w.last[:0]
	if root := native.Uint64(value); root != 0 {
		return w.walk(name, root, depth+1)
	}
	// A small bucket lives inside of its parent's value.
	inline := value[bucketHeader:]
	if len(inline) < pageHeaderBytes || native.Uint16(inline[8:]) != flagLeaf {
		w.problem("%s: its inline page is unreadable", name)
		return nil
	}
	return w.leaf(name, 0, inline, depth+1)
}

func (w *walker) pair(bucket string, id uint64, flags uint32, key, value []byte) error {
	if flags&flagBucket != 0 {
		w.problem("%s: unexpected bucket in page %d", bucket, id)
		return nil
	}
	if len(w.last) > 0 && bytes.Compare(key, w.last) <= 0 {
		w.problem("%s: page %d has its keys out of order", bucket, id)
	}
	w.last = append(w.last[:0], key...)
	if _, err := unseal(storage.Collection(bucket), string(key), value); err != nil {
		w.problem("%s: the value of %q in page %d has a wrong checksum", bucket, key, id)
		return nil
	}
	if w.emit == nil {
		return nil
	}
	return w.emit(bucket, string(key), value)
}

func leafElement(page []byte, i int) (flags uint32, key, value []byte, ok bool) {
	at := pageHeaderBytes + i*elementBytes
	if at+elementBytes > len(page) {
		return 0, nil, nil, false
	}
	e := page[at:]
	pos, klen, vlen := uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
	start := uint64(at) + pos
	if start+klen+vlen > uint64(len(page)) {
		return 0, nil, nil, false
	}
	return native.Uint32(e), page[start : start+klen], page[start+klen : start+klen+vlen], true
}

// checkFreelist makes sure that no page in use will be handed out again.
func (w *walker) checkFreelist() {
	if w.meta.freelist == noFreelist {
		return
	}
	page, err := w.load(w.meta.freelist, 0)
	if err != nil {
		w.problem("freelist: %v", err)
		return
	}
	if native.Uint16(page[8:]) != flagFreelist {
		w.problem("page %d is not a freelist", w.meta.freelist)
		return
	}
	ids, count := page[pageHeaderBytes:], uint64(native.Uint16(page[10:]))
	if count == 0xFFFF {
		count, ids = native.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		w.problem("the freelist names %d pages and has room for %d", count, len(ids)/8)
		return
	}
	for i := range count {
		id := native.Uint64(ids[i*8:])
		if !w.claim(id, 1) {
			w.problem("page %d is free and in use at once", id)
			return
		}
		w.used--
	}
}

func where(bucket string) string {
	if bucket == "" {
		return "root"
	}
	return bucket
}
