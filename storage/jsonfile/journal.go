package jsonfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"sluice/storage"
)

// The journal makes a batch of files atomic: one record a transaction, written and
// synced before any file is touched. Its frame is
//
//	magic u32 | payload length u32 | CRC-32C of the payload u32 | payload
//
// and a payload is a list of operations: kind u8 ('P' or 'D'), collection (length u8),
// key (length u32), and for P the value (length u32). All integers are little-endian.
const (
	journalName  = "journal"
	journalMagic = 0x314A4C53 // "SLJ1"
	frameHeader  = 12

	opPut    = 'P'
	opDelete = 'D'
)

// errInDoubt says that the end of the journal could not be restored after a failure.
var errInDoubt = errors.New("the journal is in doubt after a failed write; restart when the disk is well")

// op is one change: value is nil for a delete.
type op struct {
	c     storage.Collection
	key   string
	value []byte
	put   bool
}

func appendOp(b []byte, o op) []byte {
	kind := byte(opDelete)
	if o.put {
		kind = opPut
	}
	b = append(b, kind, byte(len(o.c)))
	b = append(b, o.c...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(o.key)))
	b = append(b, o.key...)
	if o.put {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(o.value)))
		b = append(b, o.value...)
	}
	return b
}

// frame returns the record of a transaction.
func frame(ops []op) []byte {
	size := frameHeader
	for _, o := range ops {
		size += 10 + len(o.c) + len(o.key) + len(o.value)
	}
	b := make([]byte, frameHeader, size)
	for _, o := range ops {
		b = appendOp(b, o)
	}
	binary.LittleEndian.PutUint32(b, journalMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-frameHeader))
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[frameHeader:], castagnoli))
	return b
}

// unframe returns the payload of the record at the start of b and the record's length,
// or false if there is no whole record.
func unframe(b []byte) (payload []byte, n int, ok bool) {
	if len(b) < frameHeader || binary.LittleEndian.Uint32(b) != journalMagic {
		return nil, 0, false
	}
	size := uint64(binary.LittleEndian.Uint32(b[4:]))
	if size > uint64(len(b)-frameHeader) {
		return nil, 0, false
	}
	payload = b[frameHeader : frameHeader+size]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return nil, 0, false
	}
	return payload, frameHeader + int(size), true
}

// parseOps splits a payload. Its checksum was right, so an error means a newer version.
func parseOps(b []byte) (ops []op, err error) {
	take := func(n uint64) []byte {
		if err != nil || n > uint64(len(b)) {
			err = errors.Join(err, io.ErrUnexpectedEOF)
			return nil
		}
		head := b[:n:n]
		b = b[n:]
		return head
	}
	size := func() uint64 {
		if raw := take(4); raw != nil {
			return uint64(binary.LittleEndian.Uint32(raw))
		}
		return 0
	}
	for len(b) > 0 && err == nil {
		head := take(2)
		if head == nil {
			break
		}
		o := op{put: head[0] == opPut, c: storage.Collection(take(uint64(head[1])))}
		if !o.put && head[0] != opDelete {
			return nil, fmt.Errorf("unknown operation %q", head[0])
		}
		o.key = string(take(size()))
		if o.put {
			o.value = take(size())
		}
		if err == nil {
			err = storage.CheckKey(o.c, o.key)
		}
		ops = append(ops, o)
	}
	return ops, err
}

// replay calls apply for each whole record in b, in order. damaged reports records that
// are not whole although others follow, or bytes at the end that are no interrupted
// write; an interrupted last write was never acknowledged and is no damage.
func replay(b []byte, apply func([]op) error) (damaged bool, err error) {
	for len(b) > 0 {
		payload, n, ok := unframe(b)
		if !ok {
			next := resync(b)
			if next < 0 {
				return damaged || !interrupted(b), nil
			}
			damaged, b = true, b[next:]
			continue
		}
		ops, err := parseOps(payload)
		if err != nil {
			return damaged, fmt.Errorf("%w: journal: %w", storage.ErrCorrupt, err)
		}
		if err := apply(ops); err != nil {
			return damaged, err
		}
		b = b[n:]
	}
	return damaged, nil
}

// resync finds the next whole record after a broken one, or returns -1.
func resync(b []byte) int {
	magic := binary.LittleEndian.AppendUint32(nil, journalMagic)
	for at := 1; at < len(b); {
		i := bytes.Index(b[at:], magic)
		if i < 0 {
			return -1
		}
		if _, _, ok := unframe(b[at+i:]); ok {
			return at + i
		}
		at += i + 1
	}
	return -1
}

// interrupted reports whether b looks like the start of one record, or like room that
// was allocated and never written.
func interrupted(b []byte) bool {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return true
	}
	magic := binary.LittleEndian.AppendUint32(nil, journalMagic)
	if !bytes.HasPrefix(b, magic[:min(4, len(b))]) {
		return false
	}
	return len(b) < frameHeader || uint64(binary.LittleEndian.Uint32(b[4:])) > uint64(len(b)-frameHeader)
}

// journal is the open file. It is used under the store's writer lock.
type journal struct {
	file *os.File
	size int64
}

// append writes and syncs one record. After an error nothing of it remains; errInDoubt
// is part of the error if that could not be made sure.
func (j *journal) append(record []byte) error {
	_, err := j.file.WriteAt(record, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil {
		j.size += int64(len(record))
		return nil
	}
	if undo := j.cut(j.size); undo != nil {
		return errors.Join(errInDoubt, err, undo)
	}
	return err
}

// cut shortens the journal to n bytes, durably.
func (j *journal) cut(n int64) error {
	if err := j.file.Truncate(n); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.size = n
	return nil
}
