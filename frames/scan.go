package frames

import (
	"encoding/binary"
	"math/bits"
)

// This file is the one JSON scanner of the package: decode, the name check and the
// params validator all read bytes through it, so that they cannot disagree about where
// a value ends (design.md, law 11). It checks the full grammar of RFC 8259 except
// UTF-8, which the edge has checked before (libraries.md 2.1), allocates nothing and
// keeps its nesting in two words instead of on the stack.

// scanFault says why a scan stopped.
type scanFault uint8

const (
	scanOK scanFault = iota
	// scanBroken: the bytes are not JSON.
	scanBroken
	// scanDeep: nested deeper than MaxDepth.
	scanDeep
)

// space returns the index of the first byte at or after i that is not white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

const (
	swarOnes  = 0x0101010101010101
	swarHighs = 0x8080808080808080
)

// swarStop marks the bytes of w that can end a run of plain string bytes: a quote, a
// backslash or a control character. Marks above the lowest one may be wrong (a borrow
// may spread upwards), so only the lowest is used.
func swarStop(w uint64) uint64 {
	quote := w ^ (swarOnes * '"')
	slash := w ^ (swarOnes * '\\')
	return ((quote - swarOnes) &^ quote & swarHighs) |
		((slash - swarOnes) &^ slash & swarHighs) |
		((w - swarOnes*0x20) &^ w & swarHighs)
}

// plain returns the index of the first byte at or after i that is a quote, a backslash
// or a control character, or len(b).
func plain(b []byte, i int) int {
	for i+8 <= len(b) {
		if m := swarStop(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
		i++
	}
	return i
}

// scanString scans the string whose opening quote is at i and returns the index after
// its closing quote, and whether it contains an escape; -1 when it is broken.
func scanString(b []byte, i int) (end int, escaped bool) {
	i = plain(b, i+1)
	for i < len(b) {
		switch {
		case b[i] == '"':
			return i + 1, escaped
		case b[i] != '\\' || i+1 >= len(b):
			return -1, escaped
		}
		escaped = true
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if _, ok := hex4(b, i+2); !ok {
				return -1, escaped
			}
			i += 6
		default:
			return -1, escaped
		}
		i = plain(b, i)
	}
	return -1, escaped
}

// hex4 reads four hexadecimal digits at i.
func hex4(b []byte, i int) (uint16, bool) {
	if i+4 > len(b) {
		return 0, false
	}
	var v uint16
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint16(c)
	}
	return v, true
}

// digits returns the index after the digits at i.
func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// scanNumber returns the index after the number at i, -1 when it is broken.
func scanNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b):
		return -1
	case b[i] == '0':
		i++
	case b[i]-'1' <= 8:
		i = digits(b, i+1)
	default:
		return -1
	}
	if i < len(b) && b[i] == '.' {
		j := digits(b, i+1)
		if j == i+1 {
			return -1
		}
		i = j
	}
	if i < len(b) && (b[i]|0x20) == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		j := digits(b, i)
		if j == i {
			return -1
		}
		i = j
	}
	return i
}

// scanScalar returns the index after the string, number or literal at i, -1 when it is
// broken.
func scanScalar(b []byte, i int) int {
	switch c := b[i]; {
	case c == '"':
		end, _ := scanString(b, i)
		return end
	case c == '-' || c-'0' <= 9:
		return scanNumber(b, i)
	case c == 't' && len(b)-i >= 4 && string(b[i:i+4]) == "true",
		c == 'n' && len(b)-i >= 4 && string(b[i:i+4]) == "null":
		return i + 4
	case c == 'f' && len(b)-i >= 5 && string(b[i:i+5]) == "false":
		return i + 5
	}
	return -1
}

// nesting is a stack of up to MaxDepth container kinds, one bit each: set for objects.
type nesting struct {
	kinds [MaxDepth / 64]uint64
	depth int
}

func (n *nesting) push(object bool) bool {
	if n.depth >= MaxDepth {
		return false
	}
	if word, bit := n.depth>>6, uint(n.depth)&63; object {
		n.kinds[word] |= 1 << bit
	} else {
		n.kinds[word] &^= 1 << bit
	}
	n.depth++
	return true
}

// object reports whether the innermost container is an object.
func (n *nesting) object() bool {
	d := n.depth - 1
	return n.kinds[d>>6]>>(uint(d)&63)&1 != 0
}

// scanValue scans the value at i, which is base levels deep already, and returns the
// index after it. On a fault the index says where the scan stopped.
func scanValue(b []byte, i, base int) (int, scanFault) {
	if i >= len(b) {
		return i, scanBroken
	}
	if b[i] != '{' && b[i] != '[' {
		if end := scanScalar(b, i); end >= 0 {
			return end, scanOK
		}
		return i, scanBroken
	}
	return scanContainer(b, i, base)
}

// scanContainer is scanValue for an object or array. It is a loop over two states, a
// value is due or a value is done, rather than a recursion, so that the nesting a peer
// chooses costs no stack.
func scanContainer(b []byte, i, base int) (int, scanFault) {
	n := nesting{depth: base}
value:
	for i < len(b) {
		switch c := b[i]; c {
		case '{', '[':
			if !n.push(c == '{') {
				return i, scanDeep
			}
			i = space(b, i+1)
			if i < len(b) && b[i] == c+2 { // '{'+2 is '}', '['+2 is ']'
				n.depth--
				i++
				break
			}
			if c == '{' {
				if i = scanName(b, i); i < 0 {
					return len(b), scanBroken
				}
			}
			continue value
		default:
			if i = scanScalar(b, i); i < 0 {
				return len(b), scanBroken
			}
		}
		for { // a value is done
			if n.depth == base {
				return i, scanOK
			}
			i = space(b, i)
			if i >= len(b) {
				return i, scanBroken
			}
			object := n.object()
			switch {
			case b[i] == ',':
				i = space(b, i+1)
				if object {
					if i = scanName(b, i); i < 0 {
						return len(b), scanBroken
					}
				}
				continue value
			case object && b[i] == '}', !object && b[i] == ']':
				n.depth--
				i++
			default:
				return i, scanBroken
			}
		}
	}
	return i, scanBroken
}

// scanName scans a member's name and its colon at i and returns the index of the value,
// -1 when they are broken.
func scanName(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	end, _ := scanString(b, i)
	if end < 0 {
		return -1
	}
	i = space(b, end)
	if i >= len(b) || b[i] != ':' {
		return -1
	}
	return space(b, i+1)
}

// Valid reports whether b is exactly one JSON value nested at most MaxDepth deep, by
// the same scanner that Decode and the params validator use. UTF-8 is not checked.
func Valid(b []byte) bool {
	end, fault := scanValue(b, space(b, 0), 0)
	return fault == scanOK && space(b, end) == len(b)
}
