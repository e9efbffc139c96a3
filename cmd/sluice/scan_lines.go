package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"sluice/frames"
	"sluice/stages/defend"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxScanLine bounds one line of input; a longer one is reported and skipped.
	maxScanLine = 32 << 20
	scanInBytes = 256 << 10
)

// scanLine is one line of input: a text, or an entry of a transcript. Fields of other
// types than they should have are no error of lines that do not use them.
type scanLine struct {
	ID      jsontext.Value `json:"id"`
	Kind    jsontext.Value `json:"kind"`
	Text    jsontext.Value `json:"text"`
	Origin  jsontext.Value `json:"origin"`
	Channel jsontext.Value `json:"channel"`
	Tool    jsontext.Value `json:"tool"`

	// Of transcripts.
	Type     jsontext.Value `json:"type"`
	Role     jsontext.Value `json:"role"`
	Message  jsontext.Value `json:"message"`
	Messages jsontext.Value `json:"messages"`
	Content  jsontext.Value `json:"content"`
}

// ofTranscript reports whether it is an entry of a transcript: it has no text of its own.
func (l *scanLine) ofTranscript() bool {
	return l.Text == nil && (isKind(l.Message, '{') || isKind(l.Messages, '[') || isKind(l.Role, '"') || isKind(l.Type, '"'))
}

func isKind(v jsontext.Value, k jsontext.Kind) bool { return len(v) > 0 && v.Kind() == k }

// stream is an input that is read line by line.
type stream struct {
	name       string // as it stands in ids and complaints
	in         *bufio.Reader
	line       int
	buf        []byte
	text       []byte // of the current line, decoded
	transcript bool
}

// newStream reads r. Before more of it is awaited, flush is called: whoever feeds us line
// by line gets an answer to each.
func newStream(name string, r io.Reader, flush func() error) *stream {
	return &stream{name: name, in: bufio.NewReaderSize(&flushingReader{r, flush}, scanInBytes)}
}

type flushingReader struct {
	r     io.Reader
	flush func() error
}

func (f *flushingReader) Read(p []byte) (int, error) {
	if err := f.flush(); err != nil {
		return 0, fmt.Errorf("the results could not be written: %w", err)
	}
	return f.r.Read(p)
}

var errLongLine = fmt.Errorf("the line is longer than %d MiB", maxScanLine>>20)

// next returns the next line, valid until the next call; io.EOF after the last.
func (l *stream) next() ([]byte, error) {
	l.line++
	part, err := l.in.ReadSlice('\n')
	if err == nil || err == io.EOF && len(part) > 0 {
		return part, nil
	}
	if err != bufio.ErrBufferFull {
		return nil, err
	}
	l.buf = append(l.buf[:0], part...)
	for long := false; ; {
		part, err = l.in.ReadSlice('\n')
		if long = long || len(l.buf)+len(part) > maxScanLine; !long {
			l.buf = append(l.buf, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return nil, err
		case long:
			return nil, errLongLine
		}
		return l.buf, nil
	}
}

func (l *stream) where() string { return l.name + ":" + strconv.Itoa(l.line) }

var utf8Mark = []byte("\xef\xbb\xbf")

// lines judges a stream of JSON lines.
func (s *scanner) lines(ctx context.Context, in *stream) error {
	in.transcript = s.opt.as == asTranscript
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := in.next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, errLongLine):
			s.complain(in.where(), "%v; cut the text into parts", err)
			continue
		case err != nil:
			return fmt.Errorf("scan: %s: %w", in.where(), err)
		}
		if in.line == 1 {
			line = bytes.TrimPrefix(line, utf8Mark)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := s.oneLine(ctx, in, line); err != nil {
			return err
		}
	}
}

// oneLine judges one line; what is wrong with it is no error of the scan.
func (s *scanner) oneLine(ctx context.Context, in *stream, line []byte) error {
	var l scanLine
	if err := json.Unmarshal(line, &l, jsontext.AllowInvalidUTF8(true)); err != nil {
		s.complain(in.where(), "no JSON object of one line: %v", err)
		return nil
	}
	if s.opt.as != asLines && (l.ofTranscript() || in.transcript && l.Text == nil) {
		in.transcript = true
		return s.entry(ctx, in, &l)
	}
	t, err := s.parseLine(in, &l)
	if err != nil {
		s.complain(in.where(), "%v", err)
		return nil
	}
	_, err = s.text(ctx, t)
	return err
}

// parseLine checks the fields of a line.
func (s *scanner) parseLine(in *stream, l *scanLine) (*scanText, error) {
	t := &scanText{kind: s.opt.kind, origin: s.opt.defaultOrigin}
	var err error
	if t.id, err = lineID(l.ID, in.where()); err != nil {
		return nil, err
	}
	if !isKind(l.Text, '"') {
		return nil, errors.New(`"text" is missing or no string`)
	}
	in.text = frames.Unquote(in.text[:0], l.Text)
	t.text = in.text
	kind, errKind := optional("kind", l.Kind)
	origin, errOrigin := optional("origin", l.Origin)
	channel, errChannel := optional("channel", l.Channel)
	tool, errTool := optional("tool", l.Tool)
	if err := errors.Join(errKind, errOrigin, errChannel, errTool); err != nil {
		return nil, err
	}
	t.channel, t.tool = channel, tool
	switch kind {
	case kindPrompt, kindCommand:
		t.kind = kind
	case "":
	default:
		return nil, fmt.Errorf(`"kind" is %.40q; it must be "prompt" or "command"`, kind)
	}
	if origin != "" {
		t.origin = defend.ParseOrigin(origin)
	}
	return t, nil
}

// lineID is the JSON of an id, which is kept as it came.
func lineID(raw jsontext.Value, otherwise string) ([]byte, error) {
	switch {
	case len(raw) == 0 || raw.Kind() == 'n':
		return quoteJSON(otherwise), nil
	case raw.Kind() == '"':
		return quoteJSON(string(frames.Unquote(nil, raw))), nil // valid UTF-8 again
	case raw.Kind() == '0':
		return raw, nil
	}
	return nil, errors.New(`"id" is neither a string nor a number`)
}

func quoteJSON(text string) []byte {
	b, _ := jsontext.AppendQuote(nil, text) // the error is about bad UTF-8, which is replaced
	return b
}

// optional is the value of a string that may be missing or null.
func optional(name string, raw jsontext.Value) (string, error) {
	switch {
	case len(raw) == 0 || raw.Kind() == 'n':
		return "", nil
	case raw.Kind() == '"':
		return string(frames.Unquote(nil, raw)), nil
	}
	return "", fmt.Errorf("%q is no string", name)
}

// scoreDigits after the point keep the order of texts that are almost alike.
const scoreDigits = 1e6

// appendVerdict appends the line of output.
func appendVerdict(b []byte, t *scanText, v *scanVerdict) []byte {
	b = append(append(b, `{"id":`...), t.id...)
	b = strconv.AppendFloat(append(b, `,"score":`...), math.Round(v.score*scoreDigits)/scoreDigits, 'f', -1, 64)
	b = append(append(append(b, `,"decision":"`...), v.action.String()...), '"')
	b = appendStrings(append(b, `,"tags":`...), v.tags)
	b = appendStrings(append(b, `,"reasons":`...), v.reasons)
	b = strconv.AppendFloat(append(b, `,"us":`...), float64(v.nanos)/1000, 'f', -1, 64)
	return append(b, "}\n"...)
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, text := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, text)
	}
	return append(b, ']')
}
