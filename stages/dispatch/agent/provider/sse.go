package provider

import (
	"bufio"
	"bytes"
	"io"
)

// eventReader reads server-sent events and gives the data of each, by the rules of the
// HTML standard as far as model endpoints use them: lines end with LF or CRLF, comments
// and other fields are skipped, several data lines are one text.
type eventReader struct {
	r    *bufio.Reader
	data []byte
	line []byte // one longer than the buffer
}

func newEventReader(r io.Reader) *eventReader {
	return &eventReader{r: bufio.NewReaderSize(r, 16<<10)}
}

// next returns the data of the next event that has some, without white space around it;
// it is valid until the following call. An event that the stream's end cuts off is
// given too: some endpoints forget the last blank line. Then comes io.EOF.
func (e *eventReader) next() ([]byte, error) {
	e.data = e.data[:0]
	seen := false
	for {
		line, err := e.readLine()
		if err != nil && (err != io.EOF || len(line) == 0) {
			if err == io.EOF && seen {
				return bytes.TrimSpace(e.data), nil
			}
			return nil, err
		}
		if len(line) == 0 {
			if seen {
				return bytes.TrimSpace(e.data), nil
			}
			continue
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			if !bytes.Equal(line, []byte("data")) {
				continue // a comment, an event's name or id
			}
			value = nil
		}
		if seen {
			e.data = append(e.data, '\n')
		}
		e.data = append(e.data, bytes.TrimPrefix(value, []byte(" "))...)
		seen = true
	}
}

// readLine returns the next line without its end. Its length is bounded by what the
// reader below gives. At the end of the stream the rest comes with io.EOF.
func (e *eventReader) readLine() ([]byte, error) {
	line, err := e.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		e.line = e.line[:0]
		for err == bufio.ErrBufferFull {
			e.line = append(e.line, line...)
			line, err = e.r.ReadSlice('\n')
		}
		e.line = append(e.line, line...)
		line = e.line
	}
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, err
}
