package frames

import (
	"hash/maphash"
	"sync"
)

// MaxMembers bounds the members of the objects that enclose one place of a value, so
// that checking their names needs bounded memory. The real gateway has no such bound;
// no params of its schema come near it.
const MaxMembers = 1 << 16

// CheckNames refuses params in which an object gives a name twice, at any depth, or
// which are no JSON: {"a":1,"a":2} is 1 to some readers and 2 to others, and what the
// defender judged must be what the handler does (law 11). Schema.Validate and
// UnmarshalParams include this check; it is for readers of params that use neither.
// The walk is linear and does not allocate once its buffers are warm.
func CheckNames(params []byte) *Error {
	if fault := checkNames(params); fault.kind != nameOK {
		return Invalid("invalid params: %s", fault.text())
	}
	return nil
}

type nameFaultKind uint8

const (
	nameOK nameFaultKind = iota
	nameTwice
	nameMany
	nameDeep
	nameBroken
)

// nameFault is why checkNames refused.
type nameFault struct {
	kind nameFaultKind
	name string
}

func (f nameFault) text() string {
	switch f.kind {
	case nameTwice:
		return "duplicate property '" + f.name + "'"
	case nameMany:
		return "too many properties"
	case nameDeep:
		return "nested too deep"
	}
	return "not JSON"
}

// nameRef is one name seen in an open object.
type nameRef struct {
	print      uint64
	start, end int32
	escaped    bool
}

// nameWalk is the reusable state of a walk.
type nameWalk struct {
	refs  []nameRef
	bases [MaxDepth + 1]int32
	table []int32
	text  [2][]byte
}

// nameWalks are not part of any state: a walk found here is only warm memory.
var nameWalks = sync.Pool{New: func() any { return new(nameWalk) }}

// checkNames walks the one value that b holds.
func checkNames(b []byte) nameFault {
	i := space(b, 0)
	if i < len(b) && b[i] != '{' && b[i] != '[' || len(b) > 1<<31-1 {
		if Valid(b) {
			return nameFault{}
		}
		return nameFault{kind: nameBroken}
	}
	w := nameWalks.Get().(*nameWalk)
	w.refs = w.refs[:0]
	fault := w.walk(b, i)
	if cap(w.refs) <= keptNames && cap(w.text[0])+cap(w.text[1]) <= keptNames {
		nameWalks.Put(w)
	}
	return fault
}

// keptNames bounds the buffers that go back to the pool: keep the common, drop the
// outsized.
const keptNames = 1 << 12

// walk is scanContainer with the names of open objects kept. It is apart from it
// because decode must not pay for names.
func (w *nameWalk) walk(b []byte, i int) nameFault {
	var n nesting
	for {
		// A value is due at i.
		if i >= len(b) {
			return nameFault{kind: nameBroken}
		}
		if c := b[i]; c == '{' || c == '[' {
			if !n.push(c == '{') {
				return nameFault{kind: nameDeep}
			}
			w.bases[n.depth] = int32(len(w.refs))
			i = space(b, i+1)
			if i >= len(b) || b[i] != c+2 { // not empty: '{'+2 is '}', '['+2 is ']'
				if c == '{' {
					var kind nameFaultKind
					if i, kind = w.name(b, i); kind != nameOK {
						return nameFault{kind: kind}
					}
				}
				continue
			}
			n.depth--
			i++
		} else if i = scanScalar(b, i); i < 0 {
			return nameFault{kind: nameBroken}
		}
		var fault nameFault
		if i, fault = w.done(b, i, &n); i < 0 || fault.kind != nameOK {
			return fault
		}
	}
}

// done goes on after a value: it closes what ends at i and returns the index of the
// next value, or -1 when the whole value is done or wrong.
func (w *nameWalk) done(b []byte, i int, n *nesting) (int, nameFault) {
	for {
		i = space(b, i)
		if n.depth == 0 {
			if i != len(b) {
				return -1, nameFault{kind: nameBroken}
			}
			return -1, nameFault{}
		}
		if i >= len(b) {
			return -1, nameFault{kind: nameBroken}
		}
		object := n.object()
		switch {
		case b[i] == ',' && object:
			next, kind := w.name(b, space(b, i+1))
			return next, nameFault{kind: kind}
		case b[i] == ',':
			return space(b, i+1), nameFault{}
		case object && b[i] == '}':
			if fault := w.close(b, int(w.bases[n.depth])); fault.kind != nameOK {
				return -1, fault
			}
		case object || b[i] != ']':
			return -1, nameFault{kind: nameBroken}
		}
		n.depth--
		i++
	}
}

// name keeps the name at i and returns the index of its value.
func (w *nameWalk) name(b []byte, i int) (int, nameFaultKind) {
	if i >= len(b) || b[i] != '"' {
		return -1, nameBroken
	}
	end, escaped := scanString(b, i)
	if end < 0 {
		return -1, nameBroken
	}
	if len(w.refs) >= MaxMembers {
		return -1, nameMany
	}
	w.refs = append(w.refs, nameRef{start: int32(i), end: int32(end), escaped: escaped})
	i = space(b, end)
	if i >= len(b) || b[i] != ':' {
		return -1, nameBroken
	}
	return space(b, i+1), nameOK
}

// fewNames is up to how many names are compared pair by pair: cheaper than hashing.
const fewNames = 12

// close checks the names of the object that ends, which are those from base on.
func (w *nameWalk) close(b []byte, base int) nameFault {
	refs := w.refs[base:]
	w.refs = w.refs[:base]
	if len(refs) < 2 {
		return nameFault{}
	}
	if len(refs) <= fewNames {
		return w.closeFew(b, refs)
	}
	return w.closeMany(b, refs)
}

func (w *nameWalk) closeFew(b []byte, refs []nameRef) nameFault {
	for k := range refs {
		r := &refs[k]
		text := w.textOf(b, r, 0)
		r.print = fingerprint(text)
		for j := range refs[:k] {
			if refs[j].print == r.print && string(w.textOf(b, &refs[j], 1)) == string(text) {
				return nameFault{nameTwice, cutName(text)}
			}
		}
	}
	return nameFault{}
}

// maxNamedBytes bounds the name in the error, which may be as long as the frame.
const maxNamedBytes = 120

func cutName(text []byte) string { return CutReason(string(text[:min(len(text), maxNamedBytes+1)])) }

// fingerprint is the first bytes and the length of a name: enough to tell most apart.
func fingerprint(text []byte) uint64 {
	v := uint64(len(text)) << 56
	for k := 0; k < len(text) && k < 7; k++ {
		v |= uint64(text[k]) << (8 * k)
	}
	return v
}

func (w *nameWalk) closeMany(b []byte, refs []nameRef) nameFault {
	size := 32
	for size < 2*len(refs) {
		size *= 2
	}
	if cap(w.table) < size {
		w.table = make([]int32, size)
	}
	table := w.table[:size]
	clear(table)
	for k := range refs {
		r := &refs[k]
		text := w.textOf(b, r, 0)
		r.print = maphash.Bytes(hashSeed, text)
		for slot := int(r.print) & (size - 1); ; slot = (slot + 1) & (size - 1) {
			if table[slot] == 0 {
				table[slot] = int32(k + 1)
				break
			}
			if other := &refs[table[slot]-1]; other.print == r.print && string(w.textOf(b, other, 1)) == string(text) {
				return nameFault{nameTwice, cutName(text)}
			}
		}
	}
	return nameFault{}
}

// textOf returns a name's text; an escaped one is written to the scratch buffer.
func (w *nameWalk) textOf(b []byte, r *nameRef, scratch int) []byte {
	if !r.escaped {
		return b[r.start+1 : r.end-1]
	}
	w.text[scratch] = Unquote(w.text[scratch][:0], b[r.start:r.end])
	return w.text[scratch]
}
