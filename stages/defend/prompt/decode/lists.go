package decode

// minList is the least number of bytes in a list that is tried.
const minList = 8

// lists finds bytes written one by one: "69 67 6e", "0x69, 0x67", "01101001 01100111",
// "105 103 110".
//
// A list has only characters of listed, and is no shorter than minListBytes: stretches of
// that size are read from their end, as in Find.
func (f *Finder) lists(src []byte) {
	for i := 0; i+minListBytes <= len(src); {
		j := i + minListBytes - 1
		for j >= i && listed[src[j]] {
			j--
		}
		if j >= i {
			i = j + 1
			continue
		}
		hi := i + minListBytes
		for hi < len(src) && listed[src[hi]] {
			hi++
		}
		f.list(src[:hi], i)
		i = hi
	}
}

const minListBytes = minList*2 + minList - 1

var listed = func() (t [256]bool) {
	for _, c := range []byte("0123456789abcdefABCDEFxX ,\n;:\t") {
		t[c] = true
	}
	return
}()

// list reads the lists in src from i on.
func (f *Finder) list(src []byte, i int) {
	var l list
	for i < len(src) && len(f.Runs) < maxRuns {
		c := src[i]
		if separator(c) {
			i++
			continue
		}
		if c < '0' || c > 'f' && c != '{' || c > 'F' && c < 'a' || c > '9' && c < 'A' {
			f.end(&l)
			for i < len(src) && !separator(src[i]) { // to the end of this word
				i++
			}
			continue
		}
		start := i
		for i < len(src) && !separator(src[i]) && i < start+10 {
			i++
		}
		kind, v := element(src[start:i])
		if kind == 0 || i < len(src) && !separator(src[i]) {
			f.end(&l)
			for i < len(src) && !separator(src[i]) {
				i++
			}
			continue
		}
		if l.n > 0 && kind&l.kind == 0 {
			f.end(&l)
		}
		if l.n == 0 {
			l = list{kind: kind, start: start, from: len(f.Text)}
		}
		l.kind &= kind
		l.n++
		l.end = i
		f.Text = append(f.Text, byte(v), byte(v>>8))
	}
	f.end(&l)
}

// list is one being read; its elements wait at Text[from:], two bytes each: the value as
// hexadecimal and as decimal.
type list struct {
	kind             uint8
	n                int
	start, end, from int
}

const (
	isHex = 1 << iota
	isDecimal
	isBinary
)

func separator(c byte) bool {
	return c == ' ' || c == ',' || c == '\n' || c == ';' || c == ':' || c == '\t'
}

// element reads one byte of a list. An element can be of several kinds: 69 is hex and
// decimal. The hex (or binary) value is in the low byte, the decimal one in the high.
func element(s []byte) (kind uint8, v int) {
	if len(s) == 8 {
		for _, c := range s {
			if c != '0' && c != '1' {
				return 0, 0
			}
			v = v<<1 | int(c-'0')
		}
		return isBinary, v
	}
	if len(s) == 4 && s[0] == '0' && s[1]|0x20 == 'x' {
		s = s[2:]
		if hi, lo := nibble(s[0]), nibble(s[1]); hi >= 0 && lo >= 0 {
			return isHex, hi<<4 | lo
		}
		return 0, 0
	}
	if len(s) == 2 {
		if hi, lo := nibble(s[0]), nibble(s[1]); hi >= 0 && lo >= 0 {
			kind, v = isHex, hi<<4|lo
		}
	}
	if len(s) == 2 || len(s) == 3 {
		d := 0
		for _, c := range s {
			if c < '0' || c > '9' {
				return kind, v
			}
			d = d*10 + int(c-'0')
		}
		if d >= 32 && d < 256 || d == '\n' {
			return kind | isDecimal, v | d<<8
		}
	}
	return kind, v
}

// end closes l: its bytes are put in place, and kept if they are text.
func (f *Finder) end(l *list) {
	if l.n == 0 {
		return
	}
	n, from := l.n, l.from
	pairs := f.Text[from : from+2*n]
	l.n = 0
	ok := n >= minList
	if ok {
		shift := 0
		if l.kind&isHex == 0 && l.kind&isDecimal != 0 {
			shift = 1
		}
		for i := range n {
			pairs[i] = pairs[2*i+shift]
		}
		if !readable(pairs[:n]) && shift == 0 && l.kind&isDecimal != 0 {
			ok = false
		}
		ok = ok && readable(pairs[:n])
	}
	if !ok {
		f.Text = f.Text[:from]
		return
	}
	f.Text = f.Text[:from+n]
	f.Runs = append(f.Runs, Run{l.start, l.end, from, from + n})
}
