package frames

import (
	"hash/maphash"
	"math"
	"slices"
	"strconv"
)

// number is a JSON number as JavaScript sees it.
type number struct {
	v       float64
	finite  bool
	integer bool
}

// parseNumber reads the JSON number raw. Integers of up to 15 digits, all but a few of
// what clients send, are read without strconv.
func parseNumber(raw []byte) number {
	i, negative := 0, false
	if raw[0] == '-' {
		i, negative = 1, true
	}
	if len(raw)-i <= 15 {
		var n int64
		for ; i < len(raw) && raw[i]-'0' <= 9; i++ {
			n = n*10 + int64(raw[i]-'0')
		}
		if i == len(raw) {
			if negative {
				n = -n
			}
			return number{float64(n), true, true}
		}
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil { // out of range: Infinity to JSON.parse
		return number{v: v}
	}
	return number{v, true, v == math.Trunc(v)}
}

// is reports whether the raw value equals the literal.
func (l *literal) is(raw []byte) bool {
	switch raw[0] {
	case '"':
		if l.kind != kindString {
			return false
		}
		if len(raw) == len(l.text)+2 {
			if string(raw[1:len(raw)-1]) == l.text {
				return true
			}
		}
		return len(raw) > len(l.text)+2 && quoted{raw, true}.is(l.text)
	case 't', 'f':
		return l.kind == kindBoolean && l.yes == (raw[0] == 't')
	case 'n':
		return l.kind == kindNull
	case '{', '[':
		return false
	}
	return l.kind == kindNumber && parseNumber(raw).v == l.num
}

func oneOfLiterals(ls []literal, raw []byte) bool {
	for k := range ls {
		if ls[k].is(raw) {
			return true
		}
	}
	return false
}

// hashSeed keys the hashes of values and names, so that a peer cannot choose colliding
// ones.
var hashSeed = maphash.MakeSeed()

// uniqueItems reports whether no two items of the array at i are equal. Like upstream
// it compares 64-bit hashes of the items, so that it stays linear.
func uniqueItems(b []byte, i int) bool {
	var few [64]uint64
	hashes := few[:0]
	i = space(b, i+1)
	for b[i] != ']' {
		hashes = append(hashes, hashValue(b, i))
		i = space(b, skip(b, i))
		if b[i] == ',' {
			i = space(b, i+1)
		}
	}
	slices.Sort(hashes)
	for k := 1; k < len(hashes); k++ {
		if hashes[k] == hashes[k-1] {
			return false
		}
	}
	return true
}

// hashValue hashes the value at i such that values that are equal in JavaScript hash
// alike: text instead of escapes, numbers by value, members in any order.
func hashValue(b []byte, i int) uint64 {
	switch b[i] {
	case '"':
		end, escaped := scanString(b, i)
		return hashString(quoted{b[i:end], escaped})
	case '{':
		sum := uint64(kindObject)
		members(b, i, func(name quoted, value int) int {
			sum += mix(hashString(name), hashValue(b, value))
			return skip(b, value)
		})
		return mix(sum, uint64(kindObject))
	case '[':
		h := uint64(kindArray)
		i = space(b, i+1)
		for b[i] != ']' {
			h = mix(h, hashValue(b, i))
			i = space(b, skip(b, i))
			if b[i] == ',' {
				i = space(b, i+1)
			}
		}
		return mix(h, uint64(kindArray))
	case 't', 'f', 'n':
		return mix(uint64(b[i]), uint64(kindBoolean))
	}
	return mix(math.Float64bits(parseNumber(b[i:scanNumber(b, i)]).v), uint64(kindNumber))
}

func hashString(q quoted) uint64 {
	if !q.escaped {
		return maphash.Bytes(hashSeed, q.raw[1:len(q.raw)-1])
	}
	var buf [128]byte
	return maphash.Bytes(hashSeed, Unquote(buf[:0], q.raw))
}

// mix combines two hashes; the order counts.
func mix(a, b uint64) uint64 {
	return maphash.Comparable(hashSeed, [2]uint64{a, b})
}
