package ws

import (
	"encoding/binary"
	"errors"

	gws "github.com/gobwas/ws"
)

var errLengthMSB = errors.New("the most significant bit of a 64-bit payload length is set")

// parseHeader reads a frame header from the start of b. n is its size, 0 when b holds
// only part of it. It is ws.ReadHeader over bytes that are already here: no reader, no
// allocation, no small reads. ws.CheckHeader judges the result.
func parseHeader(b []byte) (h gws.Header, n int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = b[0] & 0x70 >> 4
	h.OpCode = gws.OpCode(b[0] & 0x0f)
	h.Masked = b[1]&0x80 != 0
	n = 2
	switch l := b[1] & 0x7f; l {
	case 126:
		if len(b) < 4 {
			return h, 0, nil
		}
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		n = 4
	case 127:
		if len(b) < 10 {
			return h, 0, nil
		}
		v := binary.BigEndian.Uint64(b[2:])
		if v>>63 != 0 {
			return h, 0, errLengthMSB
		}
		h.Length = int64(v)
		n = 10
	default:
		h.Length = int64(l)
	}
	if h.Masked {
		if len(b) < n+4 {
			return h, 0, nil
		}
		copy(h.Mask[:], b[n:])
		n += 4
	}
	return h, n, nil
}

// maxHeader is the size of the largest frame header that this server writes.
const maxHeader = 10

// appendHeader appends the header of a final, unmasked frame of n payload bytes.
func appendHeader(dst []byte, op gws.OpCode, n int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case n < 126:
		return append(dst, byte(n))
	case n < 1<<16:
		return append(dst, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
}
