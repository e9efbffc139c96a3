package ledger

import "testing"

// FuzzLine reads foreign bytes as a line, a head and a header.
func FuzzLine(f *testing.F) {
	e := sample(1)
	line, hash := appendLine(nil, &e, sum{1})
	f.Add(line)
	header, _ := appendHeader(nil, header{Journal: formatVersion, Segment: 1, FirstSeq: 1}, sum{})
	f.Add(header)
	f.Add(encodeHead(head{Gen: 3, First: newSegment(1, 1).name, FirstPrev: hash.String(), File: newSegment(2, 9).name, Last: hash.String()}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, ok := soundEntry(b); ok {
			// What is taken for sound says the same when written again.
			again, _ := appendLine(nil, &got, mustUnhex(got.Prev))
			if e2, ok := soundEntry(again); !ok || e2.Hash != got.Hash && string(again) == string(b) {
				t.Errorf("%s", b)
			}
		}
		if h, ok := decodeHead(b); ok && string(encodeHead(h)) != string(b) {
			t.Errorf("%s", b)
		}
		checkLine(b, sum{1})
		lineSeq(b)
		decodeHeader(b)
	})
}

func mustUnhex(text string) sum {
	s, _ := unhex([]byte(text))
	return s
}
