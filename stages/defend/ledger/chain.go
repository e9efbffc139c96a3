package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

// sum is a SHA-256.
type sum [sha256.Size]byte

func (s sum) String() string { return hex.EncodeToString(s[:]) }

// A line ends in these, the sums in lower-case hexadecimal:
//
//	,"prev":"<64>","hash":"<64>"}\n
const (
	prevMark = `,"prev":"`
	hashMark = `,"hash":"`
	lineEnd  = "\"}\n"
	hexSum   = 2 * sha256.Size
	tailHash = len(hashMark) + hexSum + len(lineEnd)
	tailPrev = len(prevMark) + hexSum + 1 + tailHash
)

// closeLine ends the line that starts at dst[start:] and returns its hash, which is
// SHA-256(previous hash, the line's bytes before `,"hash"`).
func closeLine(dst []byte, start int, prev sum) ([]byte, sum) {
	dst = append(dst, prevMark...)
	dst = hex.AppendEncode(dst, prev[:])
	dst = append(dst, '"')
	hash := hashLine(prev, dst[start:])
	dst = append(dst, hashMark...)
	dst = hex.AppendEncode(dst, hash[:])
	return append(dst, lineEnd...), hash
}

func hashLine(prev sum, body []byte) sum {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(body)
	var out sum
	h.Sum(out[:0])
	return out
}

// Why a line is wrong.
const (
	whyForm   = "this is no line of the journal: bytes were changed, added or cut"
	whyHash   = "the line's hash does not match its bytes: it was changed"
	whyPrev   = "the line does not follow the one before it: a line was dropped, added or moved"
	whyTorn   = "the line has no end: the file was cut inside it"
	whyHeader = "the file's first line is no header of this journal"
)

// checkLine checks one line, its line feed included, against the hash before it.
func checkLine(line []byte, prev sum) (sum, string) {
	n := len(line)
	if n == 0 || line[n-1] != '\n' {
		return sum{}, whyTorn
	}
	if n < tailPrev+2 || line[0] != '{' || string(line[n-len(lineEnd):]) != lineEnd {
		return sum{}, whyForm
	}
	tail := line[n-tailHash:]
	hash, ok := unhex(tail[len(hashMark) : len(hashMark)+hexSum])
	if !ok || string(tail[:len(hashMark)]) != hashMark {
		return sum{}, whyForm
	}
	mark := line[n-tailPrev:]
	said, ok := unhex(mark[len(prevMark) : len(prevMark)+hexSum])
	if !ok || string(mark[:len(prevMark)]) != prevMark {
		return sum{}, whyForm
	}
	// By the prev that it names a line can be judged alone: changed and moved differ.
	if hashLine(said, line[:n-tailHash]) != hash {
		return sum{}, whyHash
	}
	if said != prev {
		return hash, whyPrev
	}
	return hash, ""
}

// unhex reads 64 lower-case digits; others are a changed byte.
func unhex(text []byte) (sum, bool) {
	var s sum
	if len(text) != hexSum || bytes.ContainsAny(text, "ABCDEF") {
		return s, false
	}
	_, err := hex.Decode(s[:], text)
	return s, err == nil
}

// lineSeq reads the number that every entry starts with.
func lineSeq(line []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"seq":`))
	if !ok {
		return 0, false
	}
	n, digits := uint64(0), 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		n = n*10 + uint64(rest[digits]-'0')
		digits++
	}
	return n, digits > 0 && digits < 20
}
