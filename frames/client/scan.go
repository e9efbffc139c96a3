package client

import "bytes"

// Head is what ScanHead finds of a frame, as slices of it. String values come without
// their quotes and still escaped; ids and methods that a tool made itself need no more.
type Head struct {
	Type, ID, Method, Event []byte
	// OK is the value of "ok"; HasOK says that it was there.
	OK, HasOK bool
	// Error is the raw error object of a response that is not ok.
	Error []byte
	// Rest is where the walk stopped: the bytes that were not looked at.
	Rest []byte
}

// ScanHead finds the members of a frame that route it, without allocating, without
// decoding, and without reading more than it must: it stops when the head is complete,
// which for a response is usually before the payload. It checks no more JSON than it
// walks over, so a tool that wants to know whether frames are valid samples them with
// jsontext. It reports whether the frame could be walked at all.
func ScanHead(b []byte, h *Head) bool {
	*h = Head{}
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	i = space(b, i+1)
	for i < len(b) && b[i] == '"' {
		key, j := str(b, i)
		if j < 0 {
			return false
		}
		j = space(b, j)
		if j >= len(b) || b[j] != ':' {
			return false
		}
		j = space(b, j+1)
		end := skip(b, j)
		if end < 0 {
			return false
		}
		h.set(key, b[j:end])
		if h.complete() {
			h.Rest = b[end:]
			return true
		}
		i = space(b, end)
		if i < len(b) && b[i] == ',' {
			i = space(b, i+1)
			continue
		}
		break
	}
	if i >= len(b) || b[i] != '}' {
		return false
	}
	h.Rest = b[i+1:]
	return true
}

func (h *Head) set(key, val []byte) {
	switch string(key) { // does not allocate
	case "type":
		h.Type = unquoted(val)
	case "id":
		h.ID = unquoted(val)
	case "method":
		h.Method = unquoted(val)
	case "event":
		h.Event = unquoted(val)
	case "ok":
		h.OK, h.HasOK = string(val) == "true", true
	case "error":
		h.Error = val
	}
}

func (h *Head) complete() bool {
	switch string(h.Type) {
	case "res":
		return h.ID != nil && h.HasOK && (h.OK || h.Error != nil)
	case "event":
		return h.Event != nil
	case "req":
		return h.ID != nil && h.Method != nil
	}
	return false
}

// Field returns the unquoted string member name of the flat walk over object b, nil if
// there is none. Tools use it for error.code.
func Field(b []byte, name string) []byte {
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return nil
	}
	i = space(b, i+1)
	for i < len(b) && b[i] == '"' {
		key, j := str(b, i)
		if j < 0 {
			return nil
		}
		j = space(b, j)
		if j >= len(b) || b[j] != ':' {
			return nil
		}
		j = space(b, j+1)
		end := skip(b, j)
		if end < 0 {
			return nil
		}
		if string(key) == name {
			return unquoted(b[j:end])
		}
		if i = space(b, end); i >= len(b) || b[i] != ',' {
			return nil
		}
		i = space(b, i+1)
	}
	return nil
}

// unquoted strips the quotes of a string; another value gives nil.
func unquoted(v []byte) []byte {
	if len(v) >= 2 && v[0] == '"' {
		return v[1 : len(v)-1]
	}
	return nil
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// str returns the inside of the string that starts at b[i] and the index after it, or
// -1 if it does not end.
func str(b []byte, i int) ([]byte, int) {
	start := i + 1
	for j := start; ; {
		k := bytes.IndexByte(b[j:], '"')
		if k < 0 {
			return nil, -1
		}
		j += k
		back := 0
		for j-1-back >= start && b[j-1-back] == '\\' {
			back++
		}
		if back%2 == 0 {
			return b[start:j], j + 1
		}
		j++
	}
}

// skip returns the index after the value at b[i], or -1. It counts brackets and leaves
// strings to str; depth costs no stack.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		_, end := str(b, i)
		return end
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				_, end := str(b, i)
				if end < 0 {
					return -1
				}
				i = end
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	case ',', '}', ']', ':':
		return -1
	}
	for j := i; j < len(b); j++ {
		switch b[j] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			return j
		}
	}
	return -1
}
