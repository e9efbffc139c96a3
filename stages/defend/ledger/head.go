package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
)

// head says how far the journal goes. It stands in a file of its own, which is written
// after the journal and before an append returns: without it nobody could see that the
// journal's last lines were cut off.
type head struct {
	Gen       uint64 `json:"gen"`
	First     string `json:"first"`     // oldest file that is kept
	FirstPrev string `json:"firstPrev"` // what its header names as the hash before it
	File      string `json:"file"`      // file with the last entry
	Bytes     int64  `json:"bytes"`     // length of File
	Seq       uint64 `json:"seq"`
	Last      string `json:"last"` // hash of the last line
	Sum       string `json:"sum"`
}

const (
	headName = "head"
	// Two slots are written in turn, so that one survives a write that was torn. Each has
	// a disk block of its own.
	slotBytes = 4096
	headBytes = 2 * slotBytes
)

// encodeHead returns one slot: a line of JSON, blanks, a line feed.
func encodeHead(h head) []byte {
	dst := make([]byte, 0, slotBytes)
	dst = append(dst, `{"gen":`...)
	dst = strconv.AppendUint(dst, h.Gen, 10)
	dst = appendMember(dst, "first", h.First)
	dst = appendMember(dst, "firstPrev", h.FirstPrev)
	dst = appendMember(dst, "file", h.File)
	dst = append(dst, `,"bytes":`...)
	dst = strconv.AppendInt(dst, h.Bytes, 10)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, h.Seq, 10)
	dst = appendMember(dst, "last", h.Last)
	check := sha256.Sum256(dst)
	dst = append(dst, `,"sum":"`...)
	dst = hex.AppendEncode(dst, check[:])
	dst = append(dst, `"}`...)
	for len(dst) < slotBytes-1 {
		dst = append(dst, ' ')
	}
	return append(dst, '\n')
}

// decodeHead reads a slot strictly: a changed blank counts as much as a changed digit.
func decodeHead(slot []byte) (head, bool) {
	var h head
	if json.Unmarshal(slot, &h) != nil || !segmentName(h.First) || !segmentName(h.File) || h.Bytes < 0 {
		return head{}, false
	}
	for _, s := range []string{h.FirstPrev, h.Last, h.Sum} {
		if _, ok := unhex([]byte(s)); !ok {
			return head{}, false
		}
	}
	return h, string(encodeHead(h)) == string(slot)
}

// heads is what the head file holds.
type heads struct {
	head
	found  bool
	damage []string // slots that cannot be read
}

// readHeads reads both slots and takes the younger one.
func readHeads(f io.ReaderAt) (heads, error) {
	var out heads
	buf := make([]byte, headBytes+1)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return out, fmt.Errorf("ledger: head: %w", err)
	}
	if n == 0 {
		return out, nil
	}
	if n != slotBytes && n != headBytes { // the first write makes one slot, the second the other
		out.damage = append(out.damage, fmt.Sprintf("the file has %d bytes; %d are expected", n, headBytes))
	}
	for i := range 2 {
		end := (i + 1) * slotBytes
		if n <= i*slotBytes {
			break
		}
		h, ok := decodeHead(buf[i*slotBytes : min(end, n)])
		switch {
		case !ok || h.Gen%2 != uint64(i):
			out.damage = append(out.damage, fmt.Sprintf("slot %d is damaged: it was changed, or a write was torn", i))
		case !out.found || h.Gen > out.Gen:
			out.head, out.found = h, true
		}
	}
	return out, nil
}

// slot is where h belongs in the head file.
func (h head) slot() int64 { return int64(h.Gen%2) * slotBytes }

// hash returns Last as bytes; decodeHead has checked it.
func (h head) hash() sum {
	s, _ := unhex([]byte(h.Last))
	return s
}
